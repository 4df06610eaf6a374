"""Estimates over seeds: interquartile mean, bootstrap, paired comparison.

The choices are those of Agarwal et al., "Deep Reinforcement Learning at the Edge of the
Statistical Precipice" (NeurIPS 2021). Seeds lie on axis 0; further axes (rounds of a curve) are
carried along. A single seed has no interval, and neither has what is the same in every seed: an
interval of no width would speak of a spread that nobody drew. Both say so with None.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

SAME = "the same in every seed"
"""What stands where an interval would, if nothing varies between seeds."""

ROUND_OFF = 1e-12  # of a figure: sums in another order differ by less

Floats = NDArray[np.floating]
Statistic = Callable[..., Floats]


@dataclass(frozen=True)
class Estimate:
    """A figure with its percentile bootstrap interval; ``low`` is None where there is none."""

    value: float
    low: float | None
    high: float | None
    seeds: int

    @property
    def same(self) -> bool:
        """Whether there are seeds between which nothing varies."""
        return self.seeds > 1 and self.low is None


def iqm(values: Floats, axis: int = 0) -> Floats:
    """The interquartile mean: the mean without the ⌊n/4⌋ smallest and largest values.

    With fewer than four values that is the plain mean.
    """
    values = np.moveaxis(np.sort(values, axis=axis), axis, 0)
    cut = len(values) // 4
    return np.asarray(values[cut : len(values) - cut].mean(axis=0))


def bootstrap(
    values: Floats, statistic: Statistic = iqm, *, resamples: int = 2000, seed: int = 0
) -> Floats:
    """The statistic of ``resamples`` resamples, shape (resamples, ...).

    Args:
        values: Shape (seeds, ...); seeds are redrawn with replacement.
        statistic: Reduces ``axis``; the interquartile mean by default.
        resamples: How many resamples.
        seed: Decides the draws.

    Raises:
        ValueError: No seed, or a value that is not finite.
    """
    if len(values) == 0 or not np.isfinite(values).all():
        raise ValueError("values: must be those of at least one seed, and finite")
    rng = np.random.default_rng(seed)
    return statistic(values[rng.integers(len(values), size=(resamples, len(values)))], axis=1)


def same(values: Floats) -> bool:
    """Whether nothing varies between seeds, shape (seeds, ...), but for round-off."""
    return bool((np.ptp(values, axis=0) <= ROUND_OFF * np.abs(values).max(axis=0)).all())


def interval(values: Floats, statistic: Statistic = iqm) -> tuple[Floats, Floats] | None:
    """The 95% percentile bootstrap interval, each end of shape (...).

    None of a single seed, and where no value varies between seeds.
    """
    if len(values) < 2 or same(values):
        return None
    low, high = np.quantile(bootstrap(values, statistic), [0.025, 0.975], axis=0)
    return low, high


def estimate(values: Sequence[float] | Floats, statistic: Statistic = iqm) -> Estimate:
    """The statistic over seeds, by default the interquartile mean, with its 95% interval."""
    values = np.asarray(values, float)
    ends = interval(values, statistic) or (None, None)
    low, high = (None if end is None else float(end) for end in ends)
    return Estimate(float(statistic(values, axis=0)), low, high, len(values))


def paired_difference(scores: Mapping[int, float], baseline: Mapping[int, float]) -> Estimate:
    """Scores minus the baseline's at the same seeds: what the common data cancel is gone.

    Raises:
        ValueError: The two share no seed.
    """
    return estimate(_gains(scores, baseline))


def probability_of_improvement(
    scores: Mapping[int, float], baseline: Mapping[int, float]
) -> Estimate:
    """The share of common seeds at which the score is higher than the baseline's, ties half.

    Raises:
        ValueError: The two share no seed.
    """
    return estimate(0.5 + 0.5 * np.sign(_gains(scores, baseline)), np.mean)


def _gains(scores: Mapping[int, float], baseline: Mapping[int, float]) -> Floats:
    """Score minus baseline at every common seed; round-off counts as 0."""
    shared = sorted(scores.keys() & baseline.keys())
    if not shared:
        raise ValueError(f"no common seed: {sorted(scores)} against {sorted(baseline)}")
    mine, theirs = (np.array([one[seed] for seed in shared]) for one in (scores, baseline))
    gains = mine - theirs
    return np.where(np.abs(gains) <= ROUND_OFF * np.abs(theirs), 0.0, gains)
