"""What a notion of fairness buys and costs: a curve for each agent, with the oracle's beside it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from owo_agents.benchmark.figures.leaderboard import Board
from owo_agents.benchmark.report.charts import Chart, Panel, Series
from owo_agents.benchmark.suite.values import words
from owo_env.fairness import price_of_fairness

ORACLE = "oracle"
_AXES = {"alpha": "α", "fairness": "notion of fairness"}  # what may vary, and what it is called


def frontier(boards: Sequence[Board]) -> Chart | None:
    """Worst user against mean utility, one point per α or notion, and the price of fairness by α.

    The price is the share of the summed utility that is lost against the oracle at α = 0; there is
    none without that.

    Args:
        boards: Of one experiment; None is drawn unless α, or the notion, and nothing else varies
            among them.
    """
    keys = {tuple(board.variant.point) for board in boards}
    if len(boards) < 2 or len(keys) > 1 or (key := next(iter(keys))) not in {(k,) for k in _AXES}:
        return None
    axis = key[0]
    boards = sorted(boards, key=_by_alpha if axis == "alpha" else _by_utility)
    labels = boards[0].experiment.agents
    points = {label: found for label in labels if (found := _points(label, axis, boards))}
    curves = {label: Series(label, mean, worst) for label, (_, mean, worst) in points.items()}
    told = ORACLE if ORACLE in curves else next(iter(curves))  # says which point is which
    names = [words(board.variant.point[axis]) for board in boards]
    if axis == "alpha":
        names = [f"{board.variant.point[axis]:g}" for board in boards]
    if len(curves[told].x) == len(names):
        first = f"α={names[0]}" if axis == "alpha" else names[0]
        curves[told] = replace(curves[told], notes=[first, *names[1:]])
    titles = boards[0].title_of("mean_utility"), boards[0].title_of("worst_user")
    title = f"Worst user against mean utility, by {_AXES[axis]}"
    panels = [Panel(title, *titles, list(curves.values()))]
    if axis == "alpha" and ORACLE in points and points[ORACLE][0][0] == 0:
        best = [points[ORACLE][1][0]]
        prices = [
            Series(label, alpha, price_of_fairness(np.array(mean)[:, None], best).tolist())
            for label, (alpha, mean, _) in points.items()
        ]
        panels.append(Panel("Price of fairness", "alpha", "share of summed utility lost", prices))
    caption = (
        f"{_AXES[axis]}: {', '.join(names)}, beside the points; means over rounds and seeds. "
        "The oracle plays the fairest model in hindsight."
    )
    return Chart("frontier", "Frontier", caption, panels, list(labels))


def _by_alpha(board: Board) -> float:
    return float(board.variant.point["alpha"])


def _by_utility(board: Board) -> float:
    """From the most efficient notion to the most equal one, by the oracle if it has played."""
    row = board.row(ORACLE) or board.rows[0]
    return -row.figures["mean_utility"].value


def _points(label: str, axis: str, boards: Sequence[Board]) -> list[list[float]]:
    """An agent's α or notion, mean utility and worst user, where it has runs; maybe empty."""
    rows = ((board.variant.point[axis], board.row(label)) for board in boards)
    figures = [(point, row.figures) for point, row in rows if row is not None]
    points = [(point, f["mean_utility"].value, f["worst_user"].value) for point, f in figures]
    return list(map(list, zip(*points)))
