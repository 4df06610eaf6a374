"""The charts of a leaderboard."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from owo_agents.benchmark.figures import statistics
from owo_agents.benchmark.figures.leaderboard import Board
from owo_agents.benchmark.figures.metrics import (
    Metric,
    by_class,
    formed,
    series_of,
    titled,
    user_classes,
)
from owo_agents.benchmark.figures.statistics import SAME
from owo_agents.benchmark.report.chart import Chart, Panel, Series
from owo_agents.benchmark.report.sitemap import site_map
from owo_agents.benchmark.run.results import Result
from owo_agents.benchmark.suite import vocabulary
from owo_env.figure import Figure, spoken

Floats = NDArray[np.floating]

POINTS = 96
"""Points of a curve: enough for the eye, few enough for a file that is sent by mail."""


ZERO = 1e-9  # the oracle's regret is round-off


def charts_of(board: Board) -> list[Chart]:
    """The charts of one leaderboard, in reading order; see :attr:`Experiment.charts`."""
    chosen = board.experiment.charts
    if chosen is None:
        chosen = tuple(MAKERS) if len(board.experiment.variants) == 1 else ()
    made = (make(board) for name, make in MAKERS.items() if name in chosen)
    charts = [_timed(chart, board) for chart in made if chart.panels]
    return [_told(chart, board) for chart in charts] if board.same else charts


def _timed(chart: Chart, board: Board) -> Chart:
    """The chart, its axes saying how long a round is, where a slot has a length."""
    problem = board.results[0].problem
    if "slot_ms" not in problem:
        return chart
    label = f"round t, of {spoken(1e-3 * problem['slot_ms'] * problem['num_slots'])}"
    panels = [replace(p, x_label=label) if p.x_label == "round t" else p for p in chart.panels]
    return replace(chart, panels=panels)


def _told(chart: Chart, board: Board) -> Chart:
    """The chart, saying of which agents nothing varies between seeds."""
    everyone = len(board.same) == len(board.rows)
    title = f"{chart.title} ({SAME})" if everyone else chart.title
    who = f"{board.headline.title.capitalize()} {SAME}: {', '.join(board.same)}."
    return replace(chart, title=title, caption=f"{chart.caption} {who}")


def without_zeros(series: list[Series]) -> tuple[list[Series], str]:
    """Curves of regret less those that are zero throughout, as the oracle's, for logarithmic axes.

    Returns them and how a caption's sentence ends.
    """
    shown = [s for s in series if max(map(abs, s.y), default=0.0) > ZERO]
    names = [s.label for s in series if s not in shown]
    if not shown or not names:
        return series, "."
    return shown, f"; zero throughout, and not drawn: {', '.join(names)}."


def positive(series: Sequence[Series]) -> bool:
    """Whether logarithmic axes can show it."""
    return all(min([*s.x, *s.ys]) > 0 for s in series)


def _focused(title: str, y_label: str, series: list[Series]) -> Panel:
    """Curves by round, less the swings of their first sixteenth, which would flatten the rest."""
    values = [
        y
        for s in series
        for x, *ys in zip(s.x, s.y, s.low or s.y, s.high or s.y)
        if x >= s.x[-1] / 16
        for y in ys
    ]
    return Panel(title, "round t", y_label, series, y_limits=_widened(values))


def alike(panels: Sequence[Panel]) -> list[Panel]:
    """Panels of one quantity with the same range of y, so that users can be compared."""
    ranges: dict[str, list[float]] = {}
    for panel in panels:
        curves = [y for s in panel.series for y in s.ys]
        ranges.setdefault(panel.y_label, []).extend(panel.y_limits or curves)
    return [replace(p, y_limits=_widened(ranges[p.y_label])) for p in panels]


def _widened(values: Sequence[float]) -> tuple[float, float] | None:
    """The range of the values with a margin; None where they are all one, or none."""
    low, high = min(values, default=0.0), max(values, default=0.0)
    margin = 0.06 * (high - low)
    return (low - margin, high + margin) if margin > 0 else None


def _thin(rounds: int, log: bool) -> NDArray[np.intp]:
    """Indices of at most POINTS rounds, the last one among them; ``log``: denser at the start."""
    if rounds <= POINTS:
        return np.arange(rounds)
    space = np.geomspace if log else np.linspace
    return np.unique(space(1, rounds, POINTS).round().astype(int)) - 1


def _running_mean(values: Floats) -> Floats:
    return np.cumsum(values) / np.arange(1, len(values) + 1)


def _moving_mean(values: Floats) -> Floats:
    """Mean of the last ⌈T/16⌉ rounds, or of those there are; NaN where none has a figure."""
    window = max(1, -(-len(values) // 16))
    known = np.isfinite(values)
    sums = np.concatenate([[0.0], np.cumsum(np.where(known, values, 0.0))])
    counts = np.concatenate([[0], np.cumsum(known)])
    stop = np.arange(1, len(values) + 1)
    start = np.maximum(stop - window, 0)
    among = counts[stop] - counts[start]
    return np.where(among > 0, (sums[stop] - sums[start]) / np.maximum(among, 1), np.nan)


def _curve(
    label: str, runs: Sequence[Result], of: Callable[[Result], Floats], log: bool = False
) -> Series:
    """The interquartile mean over seeds of a curve, with its bootstrap band."""
    every = np.array([of(run) for run in runs])
    known = np.flatnonzero(np.isfinite(every).all(axis=0))  # a class may be absent for a while
    index = known[_thin(len(known), log)]
    values = every[:, index]
    ends = statistics.interval(values)
    low, high = (None, None) if ends is None else (end.tolist() for end in ends)
    return Series(label, (index + 1).tolist(), statistics.iqm(values).tolist(), low, high)


def _by_agent(board: Board, of: Callable[[Result], Floats], log: bool = False) -> list[Series]:
    """A curve for every agent, in the suite's order."""
    return [_curve(label, list(runs.values()), of, log) for label, runs in board.runs.items()]


def _of_class(name: str, reads: str) -> Callable[[Result], Floats]:
    """The moving mean of a result's series over one class of users."""
    return lambda result: _moving_mean(by_class(result, dict(result.series())[reads])[name])


def _progress(board: Board) -> Chart:
    series = _by_agent(board, lambda r: _running_mean(r.fairness))
    panels = [_focused("Fairness", "mean of rounds 1 … t", series)]
    title = "Fairness"
    caption = "Running means over rounds; bands are 95% bootstrap intervals over seeds."
    if all(run.regret is not None for run in board.results):
        series = _by_agent(board, lambda r: _running_mean(r.regret), log=True)  # type: ignore[arg-type]
        series, zero = without_zeros(series)
        regret = Panel("Regret", "round t", "mean of rounds 1 … t", series, log=positive(series))
        panels.insert(0, regret)
        title = "Regret and fairness"
        caption += " Regret is measured against the fairest model in hindsight" + zero
    return Chart("progress", title, caption, panels, list(board.runs))


def _accumulated(board: Board) -> Chart:
    """The paper's Fig. 3 (left); of use where a round's fairness grows as the model learns."""
    panels = []
    if all(run.regret is None for run in board.results):
        series = _by_agent(board, lambda r: np.cumsum(r.fairness))
        panels = [Panel("Accumulated fairness", "round t", "sum of rounds 1 … t", series)]
    caption = "Fairness summed over the rounds so far."
    return Chart("accumulated", "Accumulated fairness", caption, panels, list(board.runs))


def _ranking(board: Board) -> Chart:
    return ranking(board, board.headline)


def ranking(board: Board, metric: Metric) -> Chart:
    """The agents by one figure, best first where more or less of it is better."""
    rows = [row for row in board.rows if metric.key in row.figures]
    if metric is not board.headline:
        rows.sort(key=lambda row: -metric.better * row.figures[metric.key].value)
    figures = [(row.label, row.figures[metric.key]) for row in rows]
    series = [Series(a, [0.0], [f.value], _one(f.low), _one(f.high)) for a, f in figures]
    direction = {1: " (higher is better)", -1: " (lower is better)"}.get(metric.better, "")
    panel = Panel(f"Mean {metric.title}{direction}", metric.title, "", series, "bars")
    caption = "Interquartile mean over seeds with its 95% bootstrap interval."
    return Chart("ranking", f"Ranking by {metric.title}", caption, [panel], list(board.runs))


def _one(value: float | None) -> list[float] | None:
    return None if value is None else [value]


def _users(board: Board) -> Chart:
    panels = [
        _focused(name, "utility", _by_agent(board, _of_class(name, "utilities")))
        for name in _classes(board)
    ]
    caption = "Mean utility of each user (or class of users), moving mean of T/16 rounds."
    if l_max := board.results[0].problem.get("l_max"):
        caption += f" Utility is {l_max:g} less the loss."
    return Chart("users", "Utility by user", caption, alike(panels), list(board.runs))


def _errors(board: Board) -> Chart:
    """What losses are in a unit that people know, where the scenario says how."""
    panels = []
    for figure in vocabulary.figures(board.experiment.scenario, ()):
        if figure.reads != "loss" or not figure.per_user:
            continue
        for name in _classes(board):
            of = functools.partial(_error, figure, name)
            curves = [s for s in _by_agent(board, of) if s.x]
            if curves:
                panels.append(_focused(name, titled(figure, board.results), curves))
    caption = "Of each user (or class of users), moving mean of T/16 rounds; lower is better."
    return Chart("errors", "Error by user", caption, alike(panels), list(board.runs))


def _error(figure: Figure, name: str, result: Result) -> Floats:
    losses = series_of(result, figure.reads)
    nothing = np.full(result.rounds, np.nan)
    found = nothing if losses is None else by_class(result, losses).get(name, nothing)
    return np.asarray(formed(figure, result, _moving_mean(found)))


def _trade_off(board: Board) -> Chart:
    series = []
    for row in board.rows:
        x, y = row.figures["mean_utility"], row.figures["worst_user"]
        low, high, x_low, x_high = map(_one, (y.low, y.high, x.low, x.high))
        series.append(Series(row.label, [x.value], [y.value], low, high, x_low, x_high))
    titles = board.title_of("mean_utility"), board.title_of("worst_user")
    panel = Panel("Efficiency against equity", *titles, series, "points")
    caption = "Up and to the right is better for all; moving up at the cost of right is fairness."
    return Chart("trade-off", "Trade-off", caption, [panel], list(board.runs))


def _weights(board: Board) -> Chart:
    panels = []
    for label, by_seed in board.runs.items():
        runs = list(by_seed.values())
        if all(np.ptp(run.weights, axis=0).max() < 1e-9 for run in runs):
            continue  # constant: a line that says nothing
        series = [_curve(name, runs, _of_class(name, "weights")) for name in _classes(board)]
        panels.append(replace(_focused(label, "priority p", series), agent=label))
    caption = "Mean priority of each user by round, moving mean; constant weights are left out."
    return Chart("weights", "The weights' trajectory", caption, panels, _classes(board))


def _validation(board: Board) -> Chart:
    own = vocabulary.own_metrics(key for run in board.results for key in run.extras)
    panels = [
        Panel(name, "round t", figure.title, _by_agent(board, _of_class(name, figure.reads)))
        for figure in [*vocabulary.VALIDATION, *own]
        if all(figure.reads in run.extras for run in board.results)
        for name in _classes(board)
        if all(_has(run, name, figure.reads) for run in board.results)
    ]
    caption = "On held-out data with true labels at the end of each round, moving mean."
    return Chart("validation", "Validation", caption, alike(panels), list(board.runs))


def _has(run: Result, name: str, key: str) -> bool:
    """Whether users of a class have a figure in every round; of some it may mean nothing."""
    series = by_class(run, run.extras[key]).get(name)
    return series is not None and bool(np.isfinite(series).all())


def _learned(board: Board) -> Chart:
    """What agents report as ``group/name``: a panel for each group of an agent."""
    panels, labels = [], []
    for label, by_seed in board.runs.items():
        runs = list(by_seed.values())
        keys = [key for key in runs[0].extras if "/" in key]
        keys = [key for key in keys if all(np.ndim(run.extras.get(key, 0.0)) == 1 for run in runs)]
        for group in dict.fromkeys(key.partition("/")[0] for key in keys):
            own = [key for key in keys if key.startswith(f"{group}/")]
            series = [_curve(key.partition("/")[2], runs, _extra(key)) for key in own]
            panel = _focused(f"{label}: {group}", group, series)
            panels.append(replace(panel, agent=label))
            labels += [s.label for s in series]
    caption = "What an agent learned of its own settings, by round, moving mean."
    return Chart("learned", "Learned settings", caption, panels, list(dict.fromkeys(labels)))


def _extra(key: str) -> Callable[[Result], Floats]:
    return lambda result: _moving_mean(result.extras[key])


# By the names in vocabulary.CHARTS.
MAKERS: dict[str, Callable[[Board], Chart]] = {
    "progress": _progress,
    "map": site_map,
    "accumulated": _accumulated,
    "ranking": _ranking,
    "users": _users,
    "errors": _errors,
    "validation": _validation,
    "trade-off": _trade_off,
    "weights": _weights,
    "learned": _learned,
}


def _classes(board: Board) -> list[str]:
    return sorted({name for run in board.results for name in user_classes(run)})
