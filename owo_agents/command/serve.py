"""``owo serve``: play one agent on users who join from other processes and machines."""

from __future__ import annotations

import functools
import os
import secrets
from pathlib import Path
from typing import Annotated, Any

import typer

from owo_agents.benchmark.run import backends
from owo_agents.benchmark.run.execution import ENVIRONMENTS_OWN
from owo_agents.benchmark.suite.cells import Cell
from owo_agents.command.running import one_run, prepared
from owo_agents.command.terminal import (
    AgentName,
    Arguments,
    Resume,
    Rounds,
    Seed,
    Settings,
    console,
    finish,
    refusing,
    stopping,
    summary,
)
from owo_env import files


def serve(
    scenario: Annotated[
        str, typer.Option(help="Of split learning, by name or package.module:Class.")
    ] = "rainbow-mnist",
    agent: AgentName = "owo-fmtl",
    rounds: Rounds = 56,
    seed: Seed = 0,
    set_: Settings = None,
    arg: Arguments = None,
    listen: Annotated[
        str, typer.Option(help="HOST:PORT; port 0 takes a free one.")
    ] = "127.0.0.1:7411",
    out: Annotated[Path, typer.Option(help="Folder of results, certificate and tokens.")] = Path(
        "results/serve"
    ),
    resume: Resume = False,
    deadline: Annotated[
        float, typer.Option(help="Seconds that a user has for an answer in a slot.")
    ] = 10.0,
    wait: Annotated[
        float | None,
        typer.Option(
            help="Minutes to wait for all users before the first round.", show_default="for ever"
        ),
    ] = None,
    certificate: Annotated[
        Path | None,
        typer.Option(help="A self-signed one, PEM.", show_default="made in the folder of --out"),
    ] = None,
    key: Annotated[Path | None, typer.Option(help="Its private key, PEM.")] = None,
) -> None:
    """Host the shared model; users join with `owo join` or owo_env.remote.join."""
    os.environ.setdefault("GRPC_VERBOSITY", "NONE")
    with refusing():
        if (certificate is None) != (key is None):
            raise ValueError("--certificate and --key: give both or neither")
        one = one_run(scenario, agent, rounds, seed, set_, arg)
        (cell,) = one.cells()
        own = (certificate, key) if certificate and key else None
        how: dict[str, Any] = dict(resume=resume, deadline=deadline, wait=wait, own=own)
        with hosted(cell, listen, out, **how) as ready:
            backend = functools.partial(backends.serial, scenario=ready, every=1)
            benchmark = prepared(one, out, None, backend=backend, jobs=1, force=not resume)
            with stopping(out):
                results = benchmark.run()
            if not results.interrupted:
                ready.over = "the run failed" if results.errors else "the run is over"
    for board in results.boards:
        console.print(summary(board))
    finish(results, resumable=True)


def hosted(
    cell: Cell,
    listen: str,
    folder: Path,
    *,
    resume: bool,
    deadline: float,
    wait: float | None,
    own: tuple[Path, Path] | None,
) -> Any:
    """The cell's scenario behind a port, as a context; says how users join.

    Raises:
        ValueError, TypeError, OSError: It cannot be served.
    """
    from owo_env.remote import credentials
    from owo_env.remote.serving import served
    from owo_env.scenarios import make_scenario

    if "link" in cell.settings:
        raise ValueError(f"link={cell.settings['link']!r}: is drawn, and this link is there")
    settings = {k: v for k, v in cell.settings.items() if k not in ENVIRONMENTS_OWN}
    made = make_scenario(cell.scenario, **settings)
    users = made.problem.num_users
    known = credentials.kept(folder / "seats", users, own)
    return served(
        made,
        known,
        listen,
        run=run_name(folder / "seats" / "run", resume),
        deadline=deadline,
        patience=None if wait is None else 60 * wait,
        settings=settings,
        tell=lambda text: console.print(text, highlight=False, soft_wrap=True),
        greet=functools.partial(say_how, folder / "seats", known),
    )


def run_name(path: Path, resume: bool) -> str:
    """What this run is called, for users' private parts; that of before with ``resume``."""
    if resume and path.exists():
        return path.read_text(encoding="utf-8").strip()
    name = secrets.token_hex(8)
    files.write(path, f"{name}\n")
    return name


def say_how(folder: Path, known: Any, address: str) -> None:
    """Where the server is, how it is known, and how each user joins."""
    console.print(f"listening at {address}", highlight=False)
    console.print(f"certificate SHA-256 {known.fingerprint}", highlight=False, soft_wrap=True)
    for token in known.tokens:
        path = folder / f"user-{token.user}.token"
        line = f"owo join {address} --user {token.user} --token-file {path}"
        console.print(line, highlight=False, soft_wrap=True)
