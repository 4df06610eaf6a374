"""What reaches the server of the users' answers: filled where lost, late, and coarse.

Arrays have the streams last; N streams may stand at different slots.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from owo_env.fairness import sum_users

Floats = NDArray[np.floating]
Integers = NDArray[np.integer]
Mask = NDArray[np.bool_]


def levels(values: Floats, bits: int, dither: Floats) -> tuple[Floats, Floats]:
    """Values as numbers of steps, 0 … 2^b − 1, and their size s, which :func:`at_levels` undoes.

    Args:
        values: (d, …).
        bits: b ≥ 1.
        dither: Uniform numbers in [0, 1), of the same shape.
    """
    size = np.abs(values).max(axis=0)
    places = (values + size) / _step(size, bits)
    below = np.floor(places)
    return below + (dither < places - below), size


def at_levels(numbers: Floats, size: Floats, bits: int) -> Floats:
    """What stands at these numbers of steps, counted from −s."""
    return (numbers * _step(size, bits) - size).clip(-size, size)


def _step(size: Floats, bits: int) -> Floats:
    return np.where(size > 0, 2 * size / (2.0**bits - 1), 1.0)


def rounded(gradients: Floats, bits: int, dither: Floats) -> Floats:
    """Each user's gradient on 2^b − 1 steps of [−s, s], s its largest entry in size.

    An entry is rounded up with probability the fraction, so that its mean is exact, and the
    largest is kept; the variance is at most ¼ step² an entry.

    Args:
        gradients: ∇u_k, (d, …).
        bits: b ≥ 1.
        dither: Uniform numbers in [0, 1), of the same shape.
    """
    numbers, size = levels(gradients, bits, dither)
    return at_levels(numbers, size, bits)


class Filling:
    """Utilities as the server sees them: of who is not heard, the mean of what was heard of it.

    Args:
        shape: (K, N).
        centre: What stands for a user of whom nothing was heard in the round yet, (1, 1) or (K, 1).
    """

    def __init__(self, shape: tuple[int, int], centre: Floats) -> None:
        self._sums, self._counts, self._centre = np.zeros(shape), np.zeros(shape), centre

    def open_rounds(self, which: Integers) -> None:
        """Nothing was heard yet in the rounds of the streams ``which``."""
        self._sums[:, which] = self._counts[:, which] = 0.0

    def add(self, utilities: Floats, heard: Mask, live: Mask) -> Floats:
        """Utilities (K, N) as they are seen where ``heard`` (K, N) in the streams ``live`` (N,)."""
        new = heard if live.all() else heard & live
        self._sums += np.where(new, utilities, 0.0)
        self._counts += new
        means = self._sums / np.maximum(self._counts, 1.0)
        filled = np.where(self._counts > 0, means, self._centre)
        return np.where(heard, utilities, filled)

    def before(self, utilities: Floats, arrived: Mask) -> Floats:
        """The same where nothing is ever lost, but some has not ``arrived`` yet."""
        return np.where(arrived, utilities, self._centre)


class Late:
    """Gradients under way: D slots of them.

    Args:
        delay: D ≥ 1.
        shape: (d, K, N).
    """

    def __init__(self, delay: int, shape: tuple[int, int, int]) -> None:
        self._ring, self._everyone = np.zeros((delay, *shape)), np.arange(shape[-1])

    def exchange(self, slot: int | Integers, gradients: Floats, live: Mask) -> Floats:
        """Send the slot's gradients (d, K, N), and take those that arrive: of D slots before."""
        at: Any = slot % len(self._ring)
        if isinstance(slot, int) and live.all():
            arrived = self._ring[at].copy()
            self._ring[at] = gradients
            return arrived
        at = np.broadcast_to(at, live.shape)
        arrived = np.moveaxis(self._ring[at, ..., self._everyone], 0, -1).copy()
        n = self._everyone[live]
        self._ring[at[live], ..., n] = np.moveaxis(gradients[..., live], -1, 0)
        return arrived


def delivered(gradients: Floats, heard: Mask, weights: Floats | None) -> Floats:
    """Σ_k p_k ∇u_k (d, N) over who is heard, or, without weights p (K, N), each ∇u_k (d, K, N)."""
    if weights is None:
        return np.where(heard, gradients, 0.0)
    return sum_users(np.moveaxis(np.where(heard, weights * gradients, 0.0), 1, -1))
