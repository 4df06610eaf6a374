"""What ``owo`` is told in a terminal and says there: options, refusals, tables, what failed."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping, Sequence
from itertools import groupby
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.markup import escape
from rich.panel import Panel
from rich.table import Table

from owo_agents.benchmark.figures import certificates, claims
from owo_agents.benchmark.figures.leaderboard import Board, by_experiment
from owo_agents.benchmark.report import tables
from owo_agents.benchmark.run import runner
from owo_agents.benchmark.run.results import Store
from owo_agents.benchmark.suite import values
from owo_agents.benchmark.suite.plan import Suite

Settings = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="KEY=VALUE", help="A setting of the environment; repeatable."),
]
TensorBoardDir = Annotated[
    Path | None, typer.Option("--tensorboard", metavar="DIR", help="Also log to TensorBoard.")
]
console = Console(emoji=False)
errors = Console(stderr=True, soft_wrap=True, emoji=False)


@contextlib.contextmanager
def refusing() -> Iterator[None]:
    """Turn what is wrong with a call into one line and exit code 2."""
    try:
        yield
    except (ValueError, TypeError, ImportError, OSError) as error:
        text = " ".join(str(error).split())
        errors.print(f"[bold red]owo:[/bold red] {escape(text)}", highlight=False)
        raise typer.Exit(2) from error


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


def tidy(store: Store, chosen: Suite) -> None:
    """Set foreign and damaged files aside, and say which."""
    for line in store.tidy(cell.key for cell in chosen.cells()):
        errors.print(f"[yellow]set aside[/yellow] {escape(line)}", highlight=False)


def show(boards: Sequence[Board]) -> None:
    """The leaderboards; of an experiment with a grid one table of its headline figure."""
    for together in by_experiment(boards):
        if len(together) > 1:
            console.print(tables.grid_table(together))
            for text, words in claims.tally(together).items():
                counts = ", ".join(f"{word} at {count}" for word, count in words.items())
                line = f"{text}: {counts} of {len(together)} points"
                console.print(line, highlight=False, markup=False)
        else:
            console.print(tables.terminal(together[0], console.width))
            if (verdicts := tables.claims_table(together[0])).row_count:
                console.print(verdicts)
        baseline = together[0].experiment.baseline
        runs = [run for board in together for run in board.runs.get(baseline, {}).values()]
        for check in certificates.checks_of(runs):
            console.print(f"{baseline}, {check.name}: {check}", highlight=False, markup=False)


def summary(board: Board) -> Panel:
    """The figures of a single run."""
    table = Table.grid(padding=(0, 2))
    for metric in board.metrics:
        figure = board.rows[0].figures.get(metric.key)
        text = tables.figure_text(figure, metric.digits, spread=False)
        table.add_row(escape(metric.title), text, f"[dim]{escape(metric.meaning)}[/dim]")
    cell = next(iter(board.runs[board.rows[0].label].values())).cell
    title = f"{cell.agent} on {cell.scenario}: {cell.rounds} rounds, seed {cell.seed}"
    return Panel(table, title=escape(title), title_align="left", expand=False)


def announce(paths: Sequence[Path]) -> None:
    """Say what was written, folders once."""
    for folder, group in groupby(paths, key=lambda path: path.parent):
        first, *more = group
        what = f"{escape(str(folder))} ({len(more) + 1} files)" if more else escape(str(first))
        console.print(f"wrote {what}", highlight=False)


def finish(outcome: runner.Outcome, names: Mapping[str, str], resumable: bool) -> None:
    """Report skipped and failed runs, those with one error together, and exit accordingly."""
    if outcome.skipped:
        console.print(f"{outcome.skipped} runs were there already (--force runs them again)")
    by_error: dict[str, list[str]] = {}
    for cell, error in outcome.failures:
        by_error.setdefault(error, []).append(names[cell.key])
    for error, runs in by_error.items():
        more = f" and {len(runs) - 3} more" if len(runs) > 3 else ""
        which = escape("; ".join(runs[:3]))
        errors.print(f"[red]failed[/red] {which}{more}: {escape(error)}", highlight=False)
    if outcome.interrupted:
        kept = "what is done is kept; the same command goes on from there"
        errors.print(f"interrupted: {kept if resumable else 'nothing is kept'}")
        raise typer.Exit(130)
    if outcome.failures:
        errors.print(f"[bold red]{len(outcome.failures)} runs failed[/bold red]")
        raise typer.Exit(1)
