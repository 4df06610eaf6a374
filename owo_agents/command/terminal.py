"""What ``owo`` is told in a terminal and says there: options, refusals, tables, what failed."""

from __future__ import annotations

import contextlib
import io
import sys
from collections.abc import Iterator, Sequence
from itertools import groupby
from pathlib import Path
from typing import Annotated, Any, TextIO

import typer
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from owo_agents.benchmark.api.results import Results
from owo_agents.benchmark.figures.leaderboard import Board
from owo_agents.benchmark.report import inert, tables
from owo_agents.benchmark.report.shown import Plain
from owo_agents.benchmark.suite import values

Settings = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="KEY=VALUE", help="A setting of the environment; repeatable."),
]
AgentName = Annotated[str, typer.Option(help="An agent's name, or package.module:Class.")]
Rounds = Annotated[int, typer.Option(help="How many rounds to play.")]
Seed = Annotated[int, typer.Option(help="Decides every draw.")]
Arguments = Annotated[
    list[str] | None,
    typer.Option("--arg", metavar="KEY=VALUE", help="An argument of the agent; repeatable."),
]
Resume = Annotated[
    bool, typer.Option("--resume", help="Go on from the checkpoint in the folder of --out.")
]
TensorBoardDir = Annotated[
    Path | None, typer.Option("--tensorboard", metavar="DIR", help="Also log to TensorBoard.")
]


console = Plain(markup=False, emoji=False)
errors = Plain(markup=False, emoji=False, highlight=False, stderr=True, soft_wrap=True)
RED = "bold red"


def degrade() -> None:
    """Let what the output's encoding lacks become a "?" there, instead of an error after hours."""
    if isinstance(sys.stdout, io.TextIOWrapper):  # Python does so with stderr itself
        sys.stdout.reconfigure(errors="replace")


@contextlib.contextmanager
def refusing() -> Iterator[None]:
    """Turn what is wrong with a call into one line and exit code 2."""
    try:
        yield
    except (ValueError, TypeError, ImportError, OSError) as error:
        errors.print(Text("owo:", RED), " ".join(str(error).split()))
        raise typer.Exit(2) from error


@contextlib.contextmanager
def stopping(folder: Path | None) -> Iterator[None]:
    """Turn a full disk, or a folder that is gone, into one line that says what is kept; code 1.

    Args:
        folder: Where results are kept, or None where they are not.
    """
    try:
        yield
    except OSError as error:
        kept = "nothing is kept"
        if folder is not None and (folder / "suite.json").exists():
            kept = "the results stored before are kept; the same command goes on from there"
        elif folder is not None:
            kept = f"{folder} was moved or deleted: what it held went with it, the rest is lost"
        where = f" ({error.filename})" if error.filename else ""
        errors.print(Text("owo:", RED), f"{error.strerror or error}{where}; {kept}")
        raise typer.Exit(1) from error


def pairs(option: str, given: Sequence[str] | None) -> dict[str, Any]:
    """``KEY=VALUE`` options as a mapping; values are read as YAML (numbers, lists, texts)."""
    found = {}
    for text in given or ():
        key, equals, value = text.partition("=")
        if not equals or not key:
            raise ValueError(f"{option} {text!r}: must be KEY=VALUE")
        try:
            found[key] = values.read(value)
        except ValueError as error:
            raise ValueError(f"{option} {text!r}: {value!r} is no YAML value ({error})") from error
    return found


def say_warning(
    message: Warning | str,
    category: type[Warning],
    filename: str,
    lineno: int,
    file: TextIO | None = None,
    line: str | None = None,
) -> None:
    """A warning as one line, without the line of code that it comes from."""
    errors.print(Text("warning", "yellow"), " ".join(str(message).split()))


def say_set_aside(lines: Sequence[str]) -> None:
    """Say which foreign and damaged files were set aside."""
    for line in lines:
        errors.print(Text("set aside", "yellow"), line)


def show(boards: Sequence[Board]) -> None:
    """The leaderboards."""
    for thing in tables.shown(boards, console.width):
        console.print(thing, highlight=not isinstance(thing, str))


def summary(board: Board) -> Panel:
    """The figures of a single run."""
    table = Table.grid(padding=(0, 2))
    for style in ("", "", "dim"):
        table.add_column(style=style)
    for metric in board.metrics:
        figure = board.rows[0].figures.get(metric.key)
        text = tables.figure_text(figure, metric.digits, spread=False)
        table.add_row(metric.title, text, metric.meaning)
    cell = next(iter(board.runs[board.rows[0].label].values())).cell
    title = f"{cell.agent} on {cell.scenario}: {cell.rounds} rounds, seed {cell.seed}"
    return Panel(table, title=Text(inert.flat(title)), title_align="left", expand=False)


def announce(paths: Sequence[Path]) -> None:
    """Say what was written, folders once."""
    for folder, group in groupby(paths, key=lambda path: path.parent):
        first, *more = group
        what = f"{folder} ({len(more) + 1} files)" if more else str(first)
        console.print(f"wrote {what}", highlight=False)


def finish(results: Results, resumable: bool) -> None:
    """Report skipped and failed runs, those with one error together, and exit accordingly."""
    if results.skipped:
        console.print(f"{results.skipped} runs were there already (--force runs them again)")
    for error, runs in results.errors.items():
        errors.print(Text("failed", "red"), f"{tables.few(runs)}: {error}")
    if results.interrupted:
        kept = "what is done is kept; the same command goes on from there"
        errors.print(f"interrupted: {kept if resumable else 'nothing is kept'}")
        raise typer.Exit(130)
    if results.errors:
        failed = sum(map(len, results.errors.values()))
        errors.print(Text(f"{failed} runs failed", RED))
        raise typer.Exit(1)
