"""Estimates over seeds: interquartile mean, bootstrap, paired comparison.

The choices are those of Agarwal et al., "Deep Reinforcement Learning at the Edge of the
Statistical Precipice" (NeurIPS 2021). Seeds lie on axis 0; further axes (rounds of a curve) are
carried along. A single seed has no interval, and says so with None.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.floating]
Statistic = Callable[..., Floats]


@dataclass(frozen=True)
class Estimate:
    """A figure with its percentile bootstrap interval; ``low`` is None for a single seed."""

    value: float
    low: float | None
    high: float | None
    seeds: int


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


def interval(values: Floats, statistic: Statistic = iqm) -> tuple[Floats, Floats] | None:
    """The 95% percentile bootstrap interval, each end of shape (...); None of a single seed."""
    if len(values) < 2:
        return None
    low, high = np.quantile(bootstrap(values, statistic), [0.025, 0.975], axis=0)
    return low, high


def estimate(values: Sequence[float] | Floats) -> Estimate:
    """The interquartile mean over seeds, with its 95% interval."""
    values = np.asarray(values, float)
    ends = interval(values) or (None, None)
    low, high = (None if end is None else float(end) for end in ends)
    return Estimate(float(iqm(values)), low, high, len(values))


def paired_difference(scores: Mapping[int, float], baseline: Mapping[int, float]) -> Estimate:
    """Scores minus the baseline's at the same seeds: what the common data cancel is gone.

    Raises:
        ValueError: The two share no seed.
    """
    shared = sorted(scores.keys() & baseline.keys())
    if not shared:
        raise ValueError(f"no common seed: {sorted(scores)} against {sorted(baseline)}")
    return estimate([scores[seed] - baseline[seed] for seed in shared])


def _wins(x: Floats, y: Floats) -> Floats:
    """The share of pairs with x > y over the last axes of x (..., S) and y (..., R)."""
    x, y = x[..., :, None], y[..., None, :]
    return np.asarray(((x > y) + 0.5 * (x == y)).mean(axis=(-2, -1)))


def probability_of_improvement(
    scores: Sequence[float] | Floats, baseline: Sequence[float] | Floats
) -> Estimate:
    """P(a run scores higher than a run of the baseline), ties half, over all pairs of seeds."""
    x, y = np.asarray(scores, float), np.asarray(baseline, float)
    value = float(_wins(x, y))
    if len(x) < 2 or len(y) < 2:
        return Estimate(value, None, None, len(x))
    draws = _wins(*(bootstrap(v, lambda u, axis: u, seed=i) for i, v in enumerate((x, y))))
    low, high = np.quantile(draws, [0.025, 0.975]).tolist()
    return Estimate(value, low, high, len(x))
