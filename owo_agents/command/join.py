"""``owo join``: take part in a running server's rounds as a user of a shipped scenario."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated

import typer
from rich.text import Text

from owo_agents.command.terminal import RED, Settings, console, errors, pairs, refusing
from owo_agents.playing.threads import one_thread


def join(
    address: Annotated[str, typer.Argument(metavar="ADDRESS", help="HOST:PORT of the server.")],
    token_file: Annotated[Path, typer.Option(help="The file with this user's token.")],
    user: Annotated[
        int | None, typer.Option(help="Which user, from 1.", show_default="the token's")
    ] = None,
    state: Annotated[
        Path | None,
        typer.Option(help="Keeps head and front.", show_default="owo-user-N.safetensors"),
    ] = None,
    start_again: Annotated[
        bool, typer.Option("--start-again", help="Begin with new private parts.")
    ] = False,
    patience: Annotated[
        float, typer.Option(help="Minutes for which a server that is away is waited for.")
    ] = 10.0,
    set_: Settings = None,
) -> None:
    """Join a server (`owo serve`) as one of its users, until the run is over."""
    os.environ.setdefault("GRPC_VERBOSITY", "NONE")
    with refusing():
        from owo_env.remote.client import RemoteError
        from owo_env.remote.credentials import Token
        from owo_env.remote.join import join_shipped

        token = Token.read(token_file.read_text(encoding="utf-8"))
        if user is not None and user != token.user:
            raise ValueError(f"--user {user}: {token_file} is the token of user {token.user}")
        path = state or Path(f"owo-user-{token.user}.safetensors")
        settings = pairs("--set", set_)
    try:
        with refusing(), one_thread():
            found = join_shipped(
                *(address, token.line, settings, path, start_again, patience),
                tell=lambda text: console.print(text, highlight=False, soft_wrap=True),
            )
    except RemoteError as error:
        errors.print(Text("owo:", RED), str(error))
        raise typer.Exit(1) from error
    except KeyboardInterrupt:
        kept = f"head and front are kept in {path}; the same command goes on from there"
        errors.print(f"interrupted: {kept if path.exists() else 'there is nothing to keep yet'}")
        raise typer.Exit(130) from None
    console.print(
        f"{found.reason}: learned from {found.learned} slots, the last of round {found.round}; "
        f"head and front are in {path}",
        highlight=False,
        soft_wrap=True,
    )
