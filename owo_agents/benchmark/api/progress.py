"""One line that says how far a benchmark is, what is left of it, and which agent takes longest."""

from __future__ import annotations

import sys
import time
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol, cast

from rich.console import Console
from rich.progress import (
    BarColumn,
    Progress,
    ProgressColumn,
    Task,
    TaskID,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from rich.text import Text

from owo_agents.benchmark.report import inert
from owo_agents.benchmark.report.shown import Plain
from owo_agents.benchmark.run.callbacks import Callback
from owo_agents.benchmark.run.results import Result
from owo_agents.benchmark.suite.cells import Cell
from owo_agents.playing.loop import RoundRecord

PAUSE = 0.1  # seconds for which a notebook's line stands at least


def bars(*count: ProgressColumn, console: Console) -> Progress:
    """Bars that say what they are of, how far it is, and the time taken and left."""
    name = TextColumn("{task.description}", markup=False)
    columns = name, BarColumn(), *count, TimeElapsedColumn()
    return Progress(*columns, TextColumn("left"), TimeRemainingColumn(), console=console)


class Line(Protocol):
    """Where the line is shown."""

    def start(self, total: int) -> None:
        """Begin, with so many rounds to come."""

    def show(self, done: int, text: Callable[[], str]) -> None:
        """Say that so many of them are done, and what ``text`` gives at any time."""

    def tell(self, text: str) -> None:
        """Say at once what failed."""

    def stop(self) -> None:
        """Leave the line as it is."""


class _Told(ProgressColumn):
    """What the line says now: its clock goes on while nothing ends."""

    def render(self, task: Task) -> Text:
        return Text(task.fields["text"]())


class Terminal:
    """A bar on a terminal.

    Args:
        console: Where; standard error by default.
    """

    def __init__(self, console: Console | None = None) -> None:
        console = console or Plain(stderr=True, markup=False, emoji=False)
        self._progress = Progress(BarColumn(), _Told(), console=console)
        self._bar = TaskID(0)

    def start(self, total: int) -> None:
        """Show the bar."""
        self._bar = self._progress.add_task("", total=total, text=str)
        self._progress.start()

    def show(self, done: int, text: Callable[[], str]) -> None:
        """Move the bar."""
        self._progress.update(self._bar, completed=done, text=text)

    def tell(self, text: str) -> None:
        """Print a line above the bar."""
        self._progress.console.print(Text("failed", "red"), text, highlight=False)

    def stop(self) -> None:
        """Leave the bar."""
        self._progress.stop()


class Notebook:
    """One line of a cell's output, written anew; what failed stands in the leaderboard."""

    def __init__(self) -> None:
        self._handle: Any = None
        self._total, self._written = 0, 0.0
        self._bar, self._text = "", cast(Callable[[], str], str)

    def start(self, total: int) -> None:
        """Show the line."""
        from IPython.display import display

        self._total = total
        self._handle = display({"text/plain": ""}, raw=True, display_id=True)

    def show(self, done: int, text: Callable[[], str]) -> None:
        """Write it anew, unless it was written just now."""
        full = round(20 * done / max(1, self._total))
        self._bar, self._text = f"{'█' * full}{'░' * (20 - full)}", text
        if time.monotonic() - self._written > PAUSE:
            self._write()

    def tell(self, text: str) -> None:
        """Leave that to the leaderboard."""

    def stop(self) -> None:
        """Write the line's end."""
        self._write()

    def _write(self) -> None:
        self._written = time.monotonic()
        self._handle.update({"text/plain": f"{self._bar} {self._text()}"}, raw=True)


def line(wanted: bool | Line | None) -> Line | None:
    """Where to show progress: as told, or where somebody looks, in a notebook or a terminal."""
    if wanted is not None and not isinstance(wanted, bool):
        return wanted
    if wanted is False:
        return None
    shell = getattr(sys.modules.get("IPython"), "get_ipython", lambda: None)()
    if getattr(shell, "kernel", None) is not None:
        return Notebook()
    return Terminal() if wanted or sys.stderr.isatty() else None


class Bar(Callback):
    """Counts rounds and runs, and tells the line.

    Args:
        line: Where it is shown.
        names: Cell key → how people know the run.
        labels: Cell key → the agent's label.
        jobs: How many runs at a time.
    """

    def __init__(
        self, line: Line, names: Mapping[str, str], labels: Mapping[str, str], jobs: int
    ) -> None:
        self._line, self._names, self._labels, self._jobs = line, names, labels, jobs
        self._left: dict[str, int] = {}  # rounds of each run
        self._waiting: defaultdict[str, int] = defaultdict(int)  # runs of each agent
        self._took: defaultdict[str, list[float]] = defaultdict(list)  # seconds of its runs
        self._total = self._ended = self._failed = 0
        self._began = 0.0

    def on_start(self, cells: Sequence[Cell]) -> None:
        """Show the line."""
        self._began = time.monotonic()
        for cell in cells:
            self._left[cell.key] = cell.rounds
            self._waiting[self._label(cell)] += 1
        self._total = sum(self._left.values())
        self._line.start(self._total)
        self._show()

    def on_round(self, cell: Cell, record: RoundRecord) -> None:
        """One round further."""
        self._left[cell.key] -= 1
        self._show()

    def on_result(self, cell: Cell, result: Result) -> None:
        """A run is done."""
        self._took[self._label(cell)].append(result.seconds)
        self._end(cell)

    def on_failure(self, cell: Cell, error: str) -> None:
        """Say so, and count the run as over."""
        self._line.tell(f"{self._names.get(cell.key, cell.agent)}: {error}")
        self._failed += 1
        self._end(cell)

    def on_end(self) -> None:
        """Leave the line as it is."""
        self._line.stop()

    def _label(self, cell: Cell) -> str:
        return self._labels.get(cell.key, cell.agent)

    def _end(self, cell: Cell) -> None:
        self._left[cell.key] = 0
        self._waiting[self._label(cell)] -= 1
        self._ended += 1
        self._show()

    def _show(self) -> None:
        self._line.show(self._total - sum(self._left.values()), self._text)

    def _text(self) -> str:
        taken = time.monotonic() - self._began
        parts = [f"{self._ended} of {len(self._left)} runs in {_clock(taken)}"]
        if self._failed:
            parts.append(f"{self._failed} failed")
        return " · ".join([*parts, *self._ahead(taken)])

    def _ahead(self, taken: float) -> list[str]:
        """The time left, and the agent that most of it is for."""
        waiting = {label: runs for label, runs in list(self._waiting.items()) if runs}
        known = [seconds for took in list(self._took.values()) for seconds in took]
        if not waiting or not known:
            return []
        # An agent of which no run has ended yet may well be in one since the beginning.
        unknown = max(sum(known) / len(known), taken if self._jobs > 1 else 0.0)
        each = {a: sum(t) / len(t) if (t := self._took.get(a)) else unknown for a in waiting}
        share = {label: runs * each[label] for label, runs in waiting.items()}
        left = f"{_clock(sum(share.values()) / self._jobs)} left"
        if len(self._waiting) == 1:
            return [left]
        slowest = max(share, key=share.__getitem__)
        about = f", {each[slowest]:.2g} s each" if slowest in self._took else ""
        return [left, f"most for {inert.flat(slowest)} ({waiting[slowest]} runs{about})"]


def _clock(seconds: float) -> str:
    """``12 s``, ``3:05 min`` or ``1:02 h``."""
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    minutes, hours = divmod(whole, 60), divmod(whole // 60, 60)
    return f"{minutes[0]}:{minutes[1]:02} min" if whole < 3600 else f"{hours[0]}:{hours[1]:02} h"
