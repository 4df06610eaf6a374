"""The figures of one run that leaderboards compare: one definition each, over all rounds."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from owo_agents.benchmark.run.results import Result
from owo_agents.benchmark.suite import vocabulary
from owo_env.fairness import jain_index
from owo_env.figure import Figure
from owo_env.scenarios import registry as scenarios

Floats = NDArray[np.floating]

# What is not the mean of an entry: key of a figure → of a run.
_OF_A_RUN: dict[str, Callable[[Result], float | None]] = {
    "fairness": lambda r: float(r.fairness.mean()),
    "regret": lambda r: None if r.regret is None else float(r.regret.mean()),
    "worst_user": lambda r: float(r.utilities.min(axis=1).mean()),
    "mean_utility": lambda r: float(r.utilities.mean()),
    "gap": lambda r: float(np.ptp(r.utilities, axis=1).mean()),
    "jain": lambda r: float(jain_index(r.utilities).mean()),
    "total_weight": lambda r: float(r.weights.sum(axis=1).mean()),
    "below_u_min": lambda r: float((r.utilities < np.array(r.problem["utility_bounds"][0])).mean()),
    "slots_per_second": lambda r: r.slots_per_second,
}


@dataclass(frozen=True)
class Metric:
    """One column.

    Attributes:
        key: For files.
        title: For people.
        meaning: One line for the report.
        of: The figure of a run, or None where it has none.
        better: +1 higher is better, −1 lower is better, 0 neither.
        digits: Decimals shown.
    """

    key: str
    title: str
    meaning: str
    of: Callable[[Result], float | None]
    better: int = 0
    digits: int = 3


def user_classes(result: Result) -> list[str]:
    """What users are told apart by: their class where the scenario names it, else their index."""
    classes = result.extras.get("user_class")
    if classes is None:
        return [f"user {k + 1}" for k in range(result.utilities.shape[1])]
    return sorted(set(classes.ravel().tolist()))


def by_class(result: Result, values: Floats) -> dict[str, Floats]:
    """Per-user values (T, K) as one series (T,) for each class, averaged over its users."""
    classes = result.extras.get("user_class")
    if classes is None:
        return {name: values[:, k] for k, name in enumerate(user_classes(result))}
    found = {}
    for name in user_classes(result):
        mine = (classes == name) & ~np.isnan(values)
        count, total = mine.sum(axis=1), np.where(mine, values, 0.0).sum(axis=1)
        found[name] = np.where(count > 0, total / np.maximum(count, 1), np.nan)
    return found


def metrics_of(results: Sequence[Result]) -> list[Metric]:
    """The columns that a table of these runs has: those that some run has a figure for."""
    names = sorted({name for result in results for name in user_classes(result)})
    cells = [result.cell for result in results]
    agents = dict.fromkeys(cell.agent for cell in cells)
    columns, own = [], vocabulary.own_metrics(key for result in results for key in result.extras)
    for scenario in dict.fromkeys(cell.scenario for cell in cells):
        declared = vocabulary.figures(scenario, agents)
        known = {figure.reads for figure in declared}
        for figure in [*declared, *(metric for metric in own if metric.reads not in known)]:
            figure = replace(figure, title=titled(figure, results))
            columns += [_metric(figure, name) for name in (names if figure.per_user else [""])]
    distinct = {metric.key: metric for metric in columns}.values()
    return [m for m in distinct if any(m.of(result) is not None for result in results)]


def _metric(figure: Figure, name: str) -> Metric:
    """The column of a figure; of one user or class where it has a name."""
    of = _OF_A_RUN.get(figure.key, functools.partial(_mean, figure, name))
    key, title, meaning = figure.key, figure.title, figure.meaning
    if name:
        key, title, meaning = f"{key} {name}", f"{title} {name}".strip(), f"{meaning} of {name}"
        meaning += f", mean of the last {figure.last} rounds" if figure.last else ""
    return Metric(key, title, meaning, of, figure.better, figure.digits)


def _mean(figure: Figure, name: str, result: Result) -> float | None:
    """The mean over the rounds in which there is one, in the figure's form; None without any."""
    series = series_of(result, figure.reads)
    if series is None or series.ndim != 1 + figure.per_user or series.dtype.kind not in "fiub":
        return None
    values = by_class(result, series).get(name) if figure.per_user else series
    known = np.array([]) if values is None else values[-figure.last :]
    known = known[np.isfinite(known)]
    if not len(known):
        return None
    mean = formed(figure, result, known.mean())
    return float(mean) if np.isfinite(mean) else None


def formed(figure: Figure, result: Result, values: Any) -> Any:
    """Values that a figure reads in the form in which it is shown; NaN where they have none."""
    if figure.form == "root":
        scale = result.problem.get("error_unit", ("", np.nan))[1]
        return scale * np.sqrt(np.maximum(values, 0.0))
    if figure.form == "dB":
        with np.errstate(invalid="ignore", divide="ignore"):
            return np.where(values > 0, 10 * np.log10(values), np.nan)
    return values / result.problem["num_slots"] if figure.form == "share" else values


def titled(figure: Figure, results: Sequence[Result]) -> str:
    """A figure's title, with the unit of its errors."""
    if figure.form != "root":
        return figure.title
    unit = next((result.problem.get("error_unit", [""])[0] for result in results), "")
    return f"{figure.title} {unit}".strip()


def series_of(result: Result, reads: str) -> Floats | None:
    """What a figure is read from, (T,) or (T, K)."""
    if reads == "utilities":
        return result.utilities
    if reads == "loss":
        l_max = _l_max(result)
        if l_max is None:
            return None
        jobs = result.extras.get("active_slots", 1)  # without a job there is no loss
        return np.where(np.asarray(jobs) > 0, np.asarray(l_max) - result.utilities, np.nan)
    return result.extras.get(reads)


def _l_max(result: Result) -> float | Sequence[float] | None:
    """l_max of a run's problem; results of before have it in their settings, or by default."""
    if "l_max" in result.problem:
        return result.problem["l_max"]  # type: ignore[no-any-return]
    default = inspect.signature(scenarios.find(result.cell.scenario)).parameters.get("l_max")
    return result.cell.settings.get("l_max", default and default.default)  # type: ignore[no-any-return]
