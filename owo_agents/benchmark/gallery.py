"""A suite's leaderboards and charts, grouped by experiment in reading order."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby

from owo_agents.benchmark.charts import Chart, charts_of, sweep
from owo_agents.benchmark.frontier import frontier
from owo_agents.benchmark.leaderboard import Board
from owo_agents.benchmark.plan import Experiment


@dataclass(frozen=True)
class Section:
    """One experiment.

    Attributes:
        experiment: Which.
        across: Charts that compare the points of its grid.
        boards: The leaderboard of each point, with its own charts.
    """

    experiment: Experiment
    across: list[Chart]
    boards: list[tuple[Board, list[Chart]]]

    def charts(self) -> Iterator[tuple[str, Chart]]:
        """Every chart after the title of what it is about."""
        for chart in self.across:
            yield self.experiment.title, chart
        for board, charts in self.boards:
            for chart in charts:
                yield board.title, chart


def sections(boards: Sequence[Board]) -> list[Section]:
    """The experiments that have results."""
    found = []
    for _, group in groupby(boards, key=lambda board: board.experiment.name):
        together = list(group)
        across = [c for c in (sweep(together), frontier(together)) if c is not None]
        own = [(board, charts_of(board)) for board in together]
        found.append(Section(together[0].experiment, across, own))
    return found
