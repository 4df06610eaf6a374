"""What fairness buys and costs as α grows: a curve for each agent, with the oracle's beside it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from owo_agents.benchmark.figures.leaderboard import Board
from owo_agents.benchmark.report.charts import Chart, Panel, Series
from owo_env.fairness import price_of_fairness

ORACLE = "oracle"


def frontier(boards: Sequence[Board]) -> Chart | None:
    """Worst user against mean utility, one point per α, and the price of fairness by α.

    The price is the share of the summed utility that is lost against the oracle at α = 0; there is
    none without that.

    Args:
        boards: Of one experiment; None is drawn unless α, and nothing else, varies among them.
    """
    if not boards or any(set(board.variant.point) != {"alpha"} for board in boards):
        return None
    boards = sorted(boards, key=lambda board: board.variant.point["alpha"])
    if len(boards) < 2:
        return None
    labels = boards[0].experiment.agents
    curves = [s for label in labels if (s := _curve(label, boards)) is not None]
    # One curve tells which point is which α: the oracle's, or else the first.
    told = next((i for i, s in enumerate(curves) if s.label == ORACLE), 0)
    notes = [f"{board.variant.point['alpha']:g}" for board in boards]
    if curves and len(curves[told].x) == len(notes):
        curves[told] = replace(curves[told], notes=[f"α={notes[0]}", *notes[1:]])
    mean, worst = (_title(boards[0], key) for key in ("mean_utility", "worst_user"))
    panels = [Panel("Worst user against mean utility, by α", mean, worst, curves)]
    prices = _prices(boards)
    if prices:
        panels.append(Panel("Price of fairness", "alpha", "share of summed utility lost", prices))
    alphas = ", ".join(f"{board.variant.point['alpha']:g}" for board in boards)
    caption = (
        f"α = {alphas}, the numbers beside the points; means over rounds and seeds. "
        "The oracle plays the fairest model in hindsight."
    )
    return Chart("frontier", "Frontier", caption, panels, list(labels))


def _title(board: Board, key: str) -> str:
    return next(metric.title for metric in board.metrics if metric.key == key)


def _mean(board: Board, label: str, key: str) -> float | None:
    row = next((row for row in board.rows if row.label == label), None)
    return None if row is None else row.figures[key].value


def _curve(label: str, boards: Sequence[Board]) -> Series | None:
    points = [tuple(_mean(b, label, key) for key in ("mean_utility", "worst_user")) for b in boards]
    known = [(x, y) for x, y in points if x is not None and y is not None]
    return Series(label, [x for x, _ in known], [y for _, y in known]) if known else None


def _prices(boards: Sequence[Board]) -> list[Series]:
    """1 − S/S_0 by α, with S_0 the summed utility of the oracle at α = 0."""
    first = boards[0]
    best = _mean(first, ORACLE, "mean_utility")
    if first.variant.point["alpha"] != 0 or best is None:
        return []
    found = []
    for label in first.experiment.agents:
        means = [(b.variant.point["alpha"], _mean(b, label, "mean_utility")) for b in boards]
        known = [(alpha, mean) for alpha, mean in means if mean is not None]
        prices = [float(price_of_fairness(np.array([u]), np.array([best]))) for _, u in known]
        found.append(Series(label, [alpha for alpha, _ in known], prices))
    return found
