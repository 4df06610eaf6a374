"""A suite's leaderboards and charts, grouped by experiment in reading order."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import groupby

from owo_agents.benchmark.charts import Chart, charts_of, sweep
from owo_agents.benchmark.frontier import frontier
from owo_agents.benchmark.leaderboard import Board, settled
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
        calm = [settled(board) for board in together]
        left = [board for board, _ in calm if board is not None]
        out = [name for _, names in calm for name in names]
        across = [c for c in (sweep(left), frontier(left)) if c is not None] if left else []
        own = [
            (board, [] if shown is None else [_without(c, names) for c in charts_of(shown)])
            for board, (shown, names) in zip(together, calm)
        ]
        found.append(Section(together[0].experiment, [_without(c, out) for c in across], own))
    return found


def _without(chart: Chart, names: Sequence[str]) -> Chart:
    """The chart, saying which diverged runs it leaves out."""
    if not names:
        return chart
    note = f" Left out, since they diverged: {', '.join(names)}."
    title = f"{chart.title} (without diverged runs)"
    return replace(chart, title=title, caption=chart.caption + note)
