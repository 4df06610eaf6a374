"""What watches a benchmark: agents and environments know nothing of it."""

from collections.abc import Sequence

from owo_agents.benchmark.run.results import Result
from owo_agents.benchmark.suite.cells import Cell
from owo_agents.playing.loop import RoundRecord


class Callback:
    """Hears of every cell, in the process that was started.

    Where cells run in that process, rounds are heard of as they end; where workers run them, when
    the cell's result arrives. Subclass it and override what you need.
    """

    def on_start(self, cells: Sequence[Cell]) -> None:
        """The cells about to be run; those already done are not among them."""

    def on_round(self, cell: Cell, record: RoundRecord) -> None:
        """A round of ``cell`` ended."""

    def on_result(self, cell: Cell, result: Result) -> None:
        """``cell`` is done and its result is stored."""

    def on_failure(self, cell: Cell, error: str) -> None:
        """``cell`` ended with an error."""

    def on_end(self) -> None:
        """No cell is left, or the run was interrupted."""
