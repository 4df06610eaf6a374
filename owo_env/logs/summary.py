"""What was read of a log, what was left out, and what the simplest predictions cost."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from owo_env.figure import spoken
from owo_env.logs.cells import Floats

BEYOND = 0.9  # of users' rounds that the simplest prediction serves well enough to be proposed for
REACH = 3.0  # u_max over u_min


@dataclass(frozen=True)
class Predictions:
    """What the simplest predictions cost, as root mean squared errors in the target's own unit.

    Attributes:
        rounds: How many rounds of users were looked at.
        mean: Predicting the mean of all.
        last: Predicting that the target stays as it is.
    """

    rounds: int
    mean: float
    last: float


@dataclass(frozen=True)
class Summary:
    """What became of a log.

    Attributes:
        source: What was read.
        rows: How many rows.
        dropped: Rows that were left out, by why.
        disorder: Rows that came after a later one of their user, and were put in order.
        missing: The share of each column's cells that say nothing.
        users: How many users are in the log.
        played: How many of them are in a round.
        rounds: T.
        slots: m.
        places: K.
        dim: d.
        period: Of a slot, in s.
        step: The median time between a user's rows in the log, in s.
        rule: Who plays in which round.
        absent: The share of places and slots in which nobody has figures.
        unused: The share of the users' complete slots that are in no round.
        held: The share of the figures played that are held over a gap.
        target: The target's name.
        unit: Its unit; empty where nobody said.
        scale: The standard deviation of the target, in its unit: a loss of 1 is this error squared.
        predictions: Of all, and of each class, the simplest ones.
        l_max: What is proposed.
        utility_bounds: What is proposed.
        zones: Time zones in which the log speaks.
    """

    source: str
    rows: int
    dropped: dict[str, int]
    disorder: int
    missing: dict[str, float]
    users: int
    played: int
    rounds: int
    slots: int
    places: int
    dim: int
    period: float
    step: float
    rule: str
    absent: float
    unused: float
    held: float
    target: str
    unit: str
    scale: float
    predictions: dict[str, Predictions]
    l_max: float
    utility_bounds: tuple[float, float]
    zones: list[str] = field(default_factory=list)

    def lines(self) -> list[str]:
        """It in words, a line a fact."""
        low, high = self.utility_bounds
        unit = f" {self.unit}" if self.unit else ""
        gone = [f"{count:,} {why}" for why, count in self.dropped.items()]
        empty = [f"{name} {share:.2%}" for name, share in self.missing.items() if share > 0]
        lines = [
            f"read: {self.rows:,} rows of {self.users} users in {self.source}, "
            f"one every {spoken(self.step)} (median)",
            f"left out: {'; '.join(gone) or 'no row'}; put in order: {self.disorder:,}",
            f"missing: {', '.join(empty) or 'no cell'}",
            f"trace: {self.rounds:,} rounds of {self.slots} slots of {spoken(self.period)}, "
            f"{self.places} users at a time ({self.played} in all), d = {self.dim}",
            f"who plays: {self.rule}",
            f"absent: {self.absent:.1%} of the slots of these {self.places} places",
            f"not played: {self.unused:.1%} of the slots for which a user has all figures",
            f"held over gaps: {self.held:.2%} of the figures played",
        ]
        if len(self.zones) > 1:
            lines.append(f"times: in the zones {', '.join(self.zones)}, put on one clock")
        for name, found in self.predictions.items():
            lines.append(
                f"error of {self.target}, {name}: {found.mean:.4g}{unit} where its mean is "
                f"predicted, {found.last:.4g}{unit} where its last value is"
            )
        worst = f"{self.scale * (self.l_max - low) ** 0.5:.4g}{unit}"
        lines.append(
            f"proposed: l_max={self.l_max:g}, utility_bounds=({low:g}, {high:g}): u_min is an "
            f"error of {worst}, to which the better of the two keeps in {BEYOND:.0%} of users' "
            f"rounds; u_max, {REACH:g} times that, an error of 0"
        )
        return lines

    def __str__(self) -> str:
        return "\n".join(self.lines())


def by_round(values: Floats, active: NDArray[np.bool_]) -> Floats:
    """Their mean over the slots in which a user has figures, (T, K); NaN without any."""
    count = active.sum(axis=1)
    total = np.where(active, values, 0.0).sum(axis=1)
    return np.where(count > 0, total / np.maximum(count, 1), np.nan)


def predictions(
    targets: Floats,
    now: Floats,
    active: NDArray[np.bool_],
    classes: NDArray[np.str_] | None,
    scale: float,
) -> dict[str, Predictions]:
    """The simplest predictions' errors, of all users and by class.

    Args:
        targets: Standardized, (T, m, K).
        now: The target's value when the prediction is made, likewise.
        active: Where there is one, likewise.
        classes: (T, K), or None.
        scale: Of the target.
    """
    mean, last = (by_round(e**2, active) for e in (targets, targets - now))
    there = active.any(axis=1)

    def of(which: NDArray[np.bool_]) -> Predictions:
        which = which & there
        found = (float(scale * np.sqrt(losses[which].mean())) for losses in (mean, last))
        return Predictions(int(which.sum()), *found)

    everyone = {"all": of(np.ones(mean.shape, bool))}
    if classes is None:
        return everyone
    return everyone | {str(name): of(classes == name) for name in np.unique(classes[there])}


def proposed(
    targets: Floats, now: Floats, active: NDArray[np.bool_]
) -> tuple[float, tuple[float, float]]:
    """l_max and (u_min, u_max) from the simplest predictions.

    The better of the two predictions serves ``BEYOND`` of the users' rounds at a loss of at most
    some w. That loss is to be u_min, a loss of 0 u_max = l_max, and their ratio ``REACH``: so
    l_max = w·REACH/(REACH − 1).

    Args:
        targets: Standardized, (T, m, K).
        now: The target's value when the prediction is made, likewise.
        active: Where there is one, likewise.
    """
    there = active.any(axis=1)
    losses = [by_round(e**2, active)[there] for e in (targets, targets - now)]
    better = min(losses, key=lambda loss: float(loss.mean()))
    worst = float(np.quantile(better, BEYOND)) or float(better.max())
    u_min = rounded(worst / (REACH - 1))
    u_max = float(f"{REACH * u_min:.4g}")
    return u_max, (u_min, u_max)


def rounded(value: float) -> float:
    """To two digits."""
    return float(f"{value:.1e}")
