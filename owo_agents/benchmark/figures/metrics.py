"""The figures of one run that leaderboards compare: one definition each, over all rounds."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from owo_agents.benchmark.run.results import Result
from owo_env.fairness import jain_index
from owo_env.scenarios.csi_prediction import L_MAX

Floats = NDArray[np.floating]

LAST = 20
"""Rounds over which a validation figure is averaged (the paper's Fig. 4 looks at the end)."""


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
        mine = classes == name
        count = np.maximum(mine.sum(axis=1), 1)
        found[name] = np.where(mine.any(axis=1), (values * mine).sum(axis=1) / count, np.nan)
    return found


def share_of_slots(result: Result, name: str) -> float | None:
    """What an agent counted per round, as a share of the slots; None where it does not count it."""
    counts = result.extras.get(name)
    return None if counts is None else float(counts.mean()) / result.problem["num_slots"]


def below_u_min(result: Result) -> float:
    """The share of (round, user) mean utilities under u_min: 0 if the constants were honest."""
    return float((result.utilities < result.problem["utility_bounds"][0]).mean())


_COMMON = (
    Metric(
        "fairness",
        "fairness",
        "mean over rounds of F_α at the round's mean utilities (eq. 1)",
        lambda r: float(r.fairness.mean()),
        +1,
        4,
    ),
    Metric(
        "regret",
        "regret",
        "mean over rounds of F_α at the fairest model in hindsight minus F_α reached (eq. 2)",
        lambda r: None if r.regret is None else float(r.regret.mean()),
        -1,
        4,
    ),
    Metric(
        "worst_user",
        "worst user",
        "mean over rounds of the lowest of the users' mean utilities",
        lambda r: float(r.utilities.min(axis=1).mean()),
        +1,
    ),
    Metric(
        "mean_utility",
        "mean utility",
        "mean over rounds and users of the mean utility",
        lambda r: float(r.utilities.mean()),
        +1,
    ),
    Metric(
        "gap",
        "gap",
        "mean over rounds of the highest minus the lowest of the users' mean utilities",
        lambda r: float(np.ptp(r.utilities, axis=1).mean()),
        -1,
    ),
    Metric(
        "jain",
        "Jain",
        "mean over rounds of Jain's index of the users' mean utilities; 1 is equal",
        lambda r: float(jain_index(r.utilities).mean()),
        +1,
        4,
    ),
    Metric(
        "total_weight",
        "Σp",
        "mean over rounds of the summed priorities: it scales the step of the shared model",
        lambda r: float(r.weights.sum(axis=1).mean()),
    ),
    Metric(
        "below_u_min",
        "below u_min",
        "share of (round, user) mean utilities under u_min, where the theory says nothing",
        below_u_min,
        -1,
    ),
    Metric(
        "fallbacks",
        "fallbacks",
        "share of slots in which the method's solver failed, and its stand-in was played",
        lambda r: share_of_slots(r, "fallbacks"),
        -1,
    ),
    Metric(
        "unsolved",
        "unsolved",
        "share of slots in which FairGrad's weights miss its own equation by more than 1e-6",
        lambda r: share_of_slots(r, "unsolved"),
        -1,
    ),
)

SPEED = Metric(
    "slots_per_second",
    "slots/s",
    "slots played per second in one thread, oracle and agent included; rounds whose starts are "
    "known beforehand are played side by side; depends on the machine",
    lambda r: r.slots_per_second,
    0,
    0,
)


WHOLE = {metric.key: metric.better for metric in (*_COMMON, SPEED)}
"""Key → direction of the metrics of a whole run."""

OF_A_USER = {"utility": +1, "nmse_db": -1, "validation_loss": -1, "validation_accuracy": +1}
"""What the keys of metrics of one user or class begin with → direction; its name follows."""


def _known_mean(series: Floats | None, last: int = 0) -> float | None:
    """The mean of the last rounds (0: of all) in which the class was there; None without any."""
    known = np.array([]) if series is None else series[-last:][np.isfinite(series[-last:])]
    return float(known.mean()) if len(known) else None


def _user_metric(name: str) -> Metric:
    def of(result: Result) -> float | None:
        return _known_mean(by_class(result, result.utilities).get(name))

    return Metric(f"utility {name}", name, f"mean utility of {name}", of, +1)


def _nmse_metric(name: str) -> Metric:
    def of(result: Result) -> float | None:
        series = by_class(result, result.utilities).get(name)
        if result.cell.scenario != "csi-prediction" or series is None:
            return None
        loss = result.cell.settings.get("l_max", L_MAX) - float(np.nanmean(series))
        return 10 * float(np.log10(loss))

    meaning = f"mean NMSE of {name} in dB: of the predicted channel, relative to its power"
    return Metric(f"nmse_db {name}", f"NMSE dB {name}", meaning, of, -1, 2)


def _last_metric(key: str, name: str, better: int) -> Metric:
    title = key.replace("_", " ")

    def of(result: Result) -> float | None:
        values = result.extras.get(key)
        if values is None or values.ndim != 2:
            return None
        return _known_mean(by_class(result, values).get(name), LAST)

    meaning = f"{title} of {name}, mean of the last {LAST} rounds"
    return Metric(f"{key} {name}", f"{title} {name}", meaning, of, better)


def metrics_of(results: Sequence[Result]) -> list[Metric]:
    """The columns that a table of these runs has: those that some run has a figure for."""
    names = sorted({name for result in results for name in user_classes(result)})
    columns = [*_COMMON[:2], *map(_user_metric, names), *_COMMON[2:], *map(_nmse_metric, names)]
    for key, better in (("validation_loss", -1), ("validation_accuracy", +1)):
        columns += [_last_metric(key, name, better) for name in names]
    columns.append(SPEED)
    return [m for m in columns if any(m.of(result) is not None for result in results)]
