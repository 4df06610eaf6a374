"""Many agents in one chart: a few stand out, in colours of their own, and the rest is pale."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from owo_agents.benchmark.figures.leaderboard import Board
from owo_agents.benchmark.report.chart import Chart
from owo_agents.benchmark.report.charts import alike

COLOURS = 10
"""Agents that can be told apart: more are a crowd."""

STRONG = 8
"""How many of a crowd stand out: its baseline, and the best."""


def order(boards: Sequence[Board]) -> list[str]:
    """The labels of one experiment's agents in the order that decides colours.

    That is the suite's, and of a crowd the baseline, then the others by their mean rank over the
    points of the grid, best first.
    """
    labels = by_rank(boards)
    if len(labels) > COLOURS:
        return labels
    return [label for label in boards[0].experiment.agents if label in labels]


def by_rank(boards: Sequence[Board]) -> list[str]:
    """The labels of one experiment's agents: the baseline, then the others, best first."""
    experiment = boards[0].experiment
    labels = [label for label in experiment.agents if any(label in b.runs for b in boards)]
    places = [{row.label: place for place, row in enumerate(board.rows)} for board in boards]
    rank = {label: sum(p.get(label, len(labels)) for p in places) for label in labels}
    return sorted(labels, key=lambda label: (label != experiment.baseline, rank[label]))


def pale(labels: Sequence[str]) -> list[str]:
    """Those of the :func:`order` that do not stand out."""
    return list(labels[STRONG:]) if len(labels) > COLOURS else []


def led(chart: Chart, labels: Sequence[str]) -> Chart:
    """The chart with the agents in order, and which of them are pale.

    Of panels that are each of one agent, those of pale agents are last and marked so.
    """
    behind = pale(labels)
    if any(panel.agent is not None for panel in chart.panels):
        panels = sorted(chart.panels, key=lambda panel: labels.index(panel.agent or labels[0]))
        marked = [replace(panel, pale=panel.agent in behind) for panel in panels]
        if chart.name == "weights":  # on one scale, that of one behind would flatten the others
            marked = [
                p for pale in (False, True) for p in alike([m for m in marked if m.pale == pale])
            ]
        return replace(chart, panels=marked)
    agents = [label for label in labels if label in chart.labels]
    others = [label for label in chart.labels if label not in labels]
    drawn = {series.label for panel in chart.panels for series in panel.series}
    return replace(
        chart, labels=[*agents, *others], pale=[label for label in behind if label in drawn]
    )
