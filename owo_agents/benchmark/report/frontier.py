"""What a notion of fairness buys and costs: a curve for each agent, with the oracle's beside it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from owo_agents.benchmark.figures.leaderboard import Board
from owo_agents.benchmark.report.chart import Chart, Panel, Series
from owo_agents.benchmark.suite.values import words
from owo_env.fairness import price_of_fairness

ORACLE = "oracle"
_AXES = {"alpha": "α", "fairness": "notion of fairness"}  # what may vary, and what it is called


def frontier(boards: Sequence[Board]) -> Chart | None:
    """Worst user against mean utility, one point per α or notion, and the price of fairness by α.

    There is a panel for each point of the rest of the grid. The price is the share of the summed
    utility that is lost against the oracle at α = 0; there is none without that.

    Args:
        boards: Of one experiment; None is drawn unless α, or the notion, varies among them.
    """
    axis = next((key for key in _AXES if _values(boards, key) > 1), None)
    if axis is None:
        return None
    groups: dict[str, list[Board]] = {}
    for board in boards:
        groups.setdefault(board.variant.without(axis).label, []).append(board)
    drawn = [(rest, group) for rest, group in groups.items() if len(group) > 1]
    panels = [_panel(rest, axis, group) for rest, group in drawn]
    panels += [price for rest, group in drawn if (price := _price(rest, axis, group))]
    values = dict.fromkeys(
        _name(board, axis) for _, group in drawn for board in _sorted(group, axis)
    )
    caption = (
        f"{_AXES[axis]}: {', '.join(values)}, beside the points; means over rounds and seeds. "
        "The oracle plays the fairest model in hindsight."
    )
    labels = list(boards[0].experiment.agents)
    return Chart("frontier", "Frontier", caption, panels, labels) if panels else None


def _values(boards: Sequence[Board], key: str) -> int:
    """How many values a key of the grid has."""
    return len({repr(board.variant.point.get(key)) for board in boards})


def _panel(rest: str, axis: str, boards: Sequence[Board]) -> Panel:
    boards = _sorted(boards, axis)
    points = _points(axis, boards)
    curves = {label: Series(label, mean, worst) for label, (_, mean, worst) in points.items()}
    told = ORACLE if ORACLE in curves else next(iter(curves))  # says which point is which
    names = [_name(board, axis) for board in boards]
    if len(curves[told].x) == len(names):
        first = f"α={names[0]}" if axis == "alpha" else names[0]
        curves[told] = replace(curves[told], notes=[first, *names[1:]])
    titles = boards[0].title_of("mean_utility"), boards[0].title_of("worst_user")
    title = rest or f"Worst user against mean utility, by {_AXES[axis]}"
    return Panel(title, *titles, list(curves.values()))


def _price(rest: str, axis: str, boards: Sequence[Board]) -> Panel | None:
    """The price of fairness by α; None without the oracle's runs at α = 0."""
    points = _points(axis, _sorted(boards, axis))
    if axis != "alpha" or ORACLE not in points or points[ORACLE][0][0] != 0:
        return None
    best = [points[ORACLE][1][0]]
    prices = [
        Series(label, alpha, price_of_fairness(np.array(mean)[:, None], best).tolist())
        for label, (alpha, mean, _) in points.items()
    ]
    title = ", ".join(filter(None, ["Price of fairness", rest]))
    return Panel(title, "alpha", "share of summed utility lost", prices)


def _sorted(boards: Sequence[Board], axis: str) -> list[Board]:
    return sorted(boards, key=_by_alpha if axis == "alpha" else _by_utility)


def _name(board: Board, axis: str) -> str:
    value = board.variant.point[axis]
    return f"{value:g}" if axis == "alpha" else words(value)


def _by_alpha(board: Board) -> float:
    return float(board.variant.point["alpha"])


def _by_utility(board: Board) -> float:
    """From the most efficient notion to the most equal one, by the oracle if it has played."""
    row = board.row(ORACLE) or board.rows[0]
    return -row.figures["mean_utility"].value


def _points(axis: str, boards: Sequence[Board]) -> dict[str, list[list[float]]]:
    """Each agent's α or notion, mean utility and worst user, where it has runs."""
    found = {}
    for label in boards[0].experiment.agents:
        rows = ((board.variant.point[axis], board.row(label)) for board in boards)
        figures = [(point, row.figures) for point, row in rows if row is not None]
        points = [(point, f["mean_utility"].value, f["worst_user"].value) for point, f in figures]
        if points:
            found[label] = list(map(list, zip(*points)))
    return found
