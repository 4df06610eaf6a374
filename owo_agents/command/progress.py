"""Progress bars with the time left: one for each scenario, counted in rounds."""

from collections import Counter
from collections.abc import Mapping, Sequence

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    ProgressColumn,
    TaskID,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from rich.text import Text

from owo_agents.benchmark.report import inert
from owo_agents.benchmark.run.callbacks import Callback
from owo_agents.benchmark.run.results import Result
from owo_agents.benchmark.suite.cells import Cell
from owo_agents.playing.loop import RoundRecord


def bars(*count: ProgressColumn, console: Console) -> Progress:
    """Bars that say what they are of, how far it is, and the time taken and left."""
    name = TextColumn("{task.description}", markup=False)
    columns = name, BarColumn(), *count, TimeElapsedColumn()
    return Progress(*columns, TextColumn("left"), TimeRemainingColumn(), console=console)


class ProgressBars(Callback):
    """Draws on ``console``; a failed cell is named at once, above the bars.

    Args:
        console: Where.
        titles: Cell key → the name of its bar.
        names: Cell key → the run's name, for failures.
    """

    def __init__(
        self, console: Console, titles: Mapping[str, str], names: Mapping[str, str]
    ) -> None:
        self._titles, self._names = titles, names
        self._bars: dict[str, TaskID] = {}
        self._left: dict[str, int] = {}
        self._progress = bars(MofNCompleteColumn(), TextColumn("rounds"), console=console)

    def on_start(self, cells: Sequence[Cell]) -> None:
        """Show a bar for each name."""
        totals: Counter[str] = Counter()
        for cell in cells:
            totals[self._titles[cell.key]] += cell.rounds
            self._left[cell.key] = cell.rounds
        for title, total in totals.items():
            self._bars[title] = self._progress.add_task(inert.flat(title), total=total, start=False)
        self._progress.start()

    def on_round(self, cell: Cell, record: RoundRecord) -> None:
        """One round further."""
        self._advance(cell, 1)

    def on_result(self, cell: Cell, result: Result) -> None:
        """Every round is done."""
        self._advance(cell, self._left[cell.key])

    def on_failure(self, cell: Cell, error: str) -> None:
        """Say so, and count the cell as over."""
        self._progress.console.print(
            Text("failed", "red"),
            f"{self._names.get(cell.key, cell.agent)}: {error}",
            highlight=False,
        )
        self._advance(cell, self._left[cell.key])

    def on_end(self) -> None:
        """Leave the bars as they are."""
        self._progress.stop()

    def _advance(self, cell: Cell, rounds: int) -> None:
        bar = self._bars[self._titles[cell.key]]
        self._progress.start_task(bar)
        self._progress.advance(bar, rounds)
        self._left[cell.key] -= rounds
