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
    if len(boards) < 2 or any(set(board.variant.point) != {"alpha"} for board in boards):
        return None
    boards = sorted(boards, key=lambda board: board.variant.point["alpha"])
    labels = boards[0].experiment.agents
    points = {label: found for label in labels if (found := _points(label, boards))}
    curves = {label: Series(label, mean, worst) for label, (_, mean, worst) in points.items()}
    alphas = [f"{board.variant.point['alpha']:g}" for board in boards]
    told = ORACLE if ORACLE in curves else next(iter(curves))  # says which point is which α
    if len(curves[told].x) == len(alphas):
        curves[told] = replace(curves[told], notes=[f"α={alphas[0]}", *alphas[1:]])
    titles = boards[0].title_of("mean_utility"), boards[0].title_of("worst_user")
    panels = [Panel("Worst user against mean utility, by α", *titles, list(curves.values()))]
    if ORACLE in points and points[ORACLE][0][0] == 0:
        best = [points[ORACLE][1][0]]
        prices = [
            Series(label, alpha, price_of_fairness(np.array(mean)[:, None], best).tolist())
            for label, (alpha, mean, _) in points.items()
        ]
        panels.append(Panel("Price of fairness", "alpha", "share of summed utility lost", prices))
    caption = (
        f"α = {', '.join(alphas)}, the numbers beside the points; means over rounds and seeds. "
        "The oracle plays the fairest model in hindsight."
    )
    return Chart("frontier", "Frontier", caption, panels, list(labels))


def _points(label: str, boards: Sequence[Board]) -> list[list[float]]:
    """An agent's α, mean utility and worst user by α, where it has runs; empty without any."""
    rows = ((board.variant.point["alpha"], board.row(label)) for board in boards)
    figures = [(alpha, row.figures) for alpha, row in rows if row is not None]
    points = [(alpha, f["mean_utility"].value, f["worst_user"].value) for alpha, f in figures]
    return list(map(list, zip(*points)))
