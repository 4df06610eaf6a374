"""Whose code a call may run: the modules that it names, where they lie, and who agreed to them."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterable
from importlib.machinery import PathFinder
from pathlib import Path
from typing import Annotated

import typer

from owo_agents.benchmark.suite import stranger
from owo_agents.command.terminal import errors

Trust = Annotated[
    bool, typer.Option("--trust", help="Import the modules that the file names, unasked.")
]
_PATH = re.compile(r"([^\W\d]\w*)(\.[^\W\d]\w*)*:[^\W\d]\w*")
_OWN = {"owo_env", "owo_agents"}


def agreed(suite: str, trust: bool) -> None:
    """Say which modules a suite's file will import; of one from elsewhere, ask.

    Args:
        suite: A file, or the name of one of our own, which import nothing.
        trust: Nobody need be asked.

    Raises:
        ValueError: The file lies outside the working folder and nobody agrees, or it is larger
            than a suite may be.
    """
    path = Path(suite)
    if not path.is_file():
        return
    texts = list(stranger.texts(stranger.read_limited(path)))
    modules = _named(texts)
    if not modules:
        return
    named = ", ".join(modules)
    errors.print(f"{suite} imports {named}")
    if not trust and not path.resolve().is_relative_to(Path.cwd().resolve()):
        if not _asks():
            raise ValueError(
                f"{suite}: lies outside the working folder and imports {named}, which may do "
                "anything: say --trust if you know what they are"
            )
        question = "It lies outside the working folder. Do you know these modules?"
        typer.confirm(question, abort=True, err=True)
    look_here(texts)


def _asks() -> bool:
    """Whether there is somebody to ask."""
    return sys.stdin is not None and sys.stdin.isatty()


def look_here(texts: Iterable[str]) -> None:
    """Let modules that texts name be found in the working folder, after all other places."""
    here = str(Path.cwd())
    if here not in sys.path and any(_lies(name, [here]) for name in _named(texts)):
        sys.path.append(here)


def _named(texts: Iterable[str]) -> list[str]:
    """The packages that texts like ``package.module:Class`` name, if they can be found."""
    ends = (_PATH.fullmatch(text.rpartition("=")[2]) for text in texts)
    tops = {found[1] for found in ends if found} - _OWN - sys.stdlib_module_names
    return sorted(name for name in tops if _lies(name, [*sys.path, str(Path.cwd())]))


def _lies(package: str, folders: list[str]) -> bool:
    """Whether a package is found in one of the folders; nothing is imported."""
    return PathFinder.find_spec(package, folders) is not None
