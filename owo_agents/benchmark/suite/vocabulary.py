"""What suites and reports call things: charts, and the figures of a run."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable

from owo_agents.registry import resolve
from owo_env.figure import Figure
from owo_env.scenarios import registry as scenarios

CHARTS = (
    *("progress", "map", "accumulated", "ranking", "users", "errors"),
    *("validation", "trade-off", "weights", "learned"),
)
"""Charts of a leaderboard that ``charts`` may name."""

LAST = 20
"""Rounds over which a validation figure is averaged (the paper's Fig. 4 looks at the end)."""

_MEAN = "mean over rounds of"

COMMON = (
    Figure("fairness", "fairness", f"{_MEAN} F_α at the round's mean utilities (eq. 1)", +1, 4),
    Figure(
        "regret",
        "regret",
        f"{_MEAN} F_α at the fairest model in hindsight minus F_α reached (eq. 2)",
        -1,
        4,
    ),
    Figure("utility", "", "mean utility, l_max − loss,", +1, reads="utilities", per_user=True),
    Figure("worst_user", "worst user", f"{_MEAN} the lowest of the users' mean utilities", +1),
    Figure("mean_utility", "mean utility", "mean over rounds and users of the mean utility", +1),
    Figure("gap", "gap", f"{_MEAN} the highest minus the lowest of the users' mean utilities", -1),
    Figure("jain", "Jain", f"{_MEAN} Jain's index of the users' mean utilities; 1 is equal", +1, 4),
    Figure(
        "total_weight",
        "Σp",
        f"{_MEAN} the summed priorities: it scales the step of the shared model",
    ),
    Figure(
        "below_u_min",
        "below u_min",
        "share of (round, user) mean utilities under u_min, where the theory says nothing",
        -1,
    ),
)
VALIDATION = tuple(
    Figure(key, title, title, better, reads=key, per_user=True, last=LAST)
    for key, title, better in (
        ("validation_loss", "validation loss", -1),
        ("validation_accuracy", "validation accuracy", +1),
    )
)
ON_AIR = (
    Figure(
        "active",
        "active",
        "share of slots in which there was a job,",
        reads="active_slots",
        per_user=True,
        form="share",
    ),
    Figure(
        "heard",
        "heard",
        "share of slots whose feedback arrived,",
        +1,
        reads="heard_slots",
        per_user=True,
        form="share",
    ),
    Figure(
        "age",
        "age",
        "how many slots ago the slot was that feedback last told of,",
        -1,
        digits=1,
        reads="feedback_age",
        per_user=True,
    ),
)
"""What links do; runs without one have none."""


OWN = "validation_"


def own_metrics(extras: Iterable[str]) -> list[Figure]:
    """Of the metrics of somebody's own that runs report, in order."""
    known = {figure.reads for figure in VALIDATION}
    named = [key for key in dict.fromkeys(extras) if key.startswith(OWN) and key not in known]
    return [
        Figure(key, title, title, reads=key, per_user=True, last=LAST)
        for key, title in ((key, key.replace("_", " ")) for key in named)
    ]


SPEED = Figure(
    "slots_per_second",
    "slots/s",
    "slots played per second in one thread, oracle and agent included; rounds whose starts are "
    "known beforehand are played side by side; depends on the machine",
    digits=0,
)


def figures(scenario: str, agents: Iterable[str]) -> list[Figure]:
    """Every figure that runs may have, in the order of columns.

    Args:
        scenario: A scenario's name; what it declares is among them.
        agents: Agents' names, likewise.
    """
    declared: list[Figure] = []
    for find, name in [*((resolve, agent) for agent in agents), (scenarios.find, scenario)]:
        with contextlib.suppress(ValueError, ImportError):  # somebody's own, which is not here
            declared += getattr(find(name), "figures", ())
    return list(dict.fromkeys((*COMMON, *declared, *VALIDATION, *ON_AIR, SPEED)))
