"""A suite's leaderboards and charts, grouped by experiment in reading order."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from owo_agents.benchmark.figures.leaderboard import Board, by_experiment, settled
from owo_agents.benchmark.report import crowd
from owo_agents.benchmark.report.airtime import airtime
from owo_agents.benchmark.report.chart import Chart
from owo_agents.benchmark.report.charts import charts_of
from owo_agents.benchmark.report.frontier import frontier
from owo_agents.benchmark.report.sweep import sweep
from owo_agents.benchmark.report.tables import judged_lines
from owo_agents.benchmark.suite.plan import Experiment


@dataclass(frozen=True)
class Section:
    """One experiment.

    Attributes:
        experiment: Which.
        labels: Its agents in the order that decides colours.
        across: Charts that compare the points of its grid.
        boards: The leaderboard of each point, with its own charts.
        left_out: Runs that the charts leave out, since they diverged.
        judged: What was learned under one notion of fairness judged by another: a header and
            lines; empty unless its grid is of notions.
    """

    experiment: Experiment
    labels: list[str]
    across: list[Chart]
    boards: list[tuple[Board, list[Chart]]]
    left_out: list[str]
    judged: list[list[str]]

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
    for together in by_experiment(boards):
        calm = [settled(board) for board in together]
        left = [board for board, _ in calm if board is not None]
        labels = crowd.order(together)
        across = [crowd.led(c, labels) for c in (sweep(left), frontier(left)) if c is not None]
        across += filter(None, [airtime(left)])
        own = [
            (
                board,
                [_marked(crowd.led(c, labels), names) for c in charts_of(shown)] if shown else [],
            )
            for board, (shown, names) in zip(together, calm)
        ]
        out = [
            ", ".join(filter(None, [name, board.variant.label]))
            for board, (_, names) in zip(together, calm)
            for name in names
        ]
        marked = [_marked(chart, out) for chart in across]
        judged = judged_lines(left) if left else []
        found.append(Section(together[0].experiment, labels, marked, own, out, judged))
    return found


def _marked(chart: Chart, left_out: Sequence[str]) -> Chart:
    """The chart, saying in its title if it leaves out runs."""
    if not left_out:
        return chart
    return replace(chart, title=f"{chart.title} (without diverged runs)")
