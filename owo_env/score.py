"""The tally of a round: sums of utilities → means → F, violations, and what ``info`` says of them.

Twice, with the same bits: in plain numbers for one stream, where they cost less than arrays of a
few, and in arrays for N streams.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from owo_env.fairness import Fairness

Floats = NDArray[np.floating]
Mask = NDArray[np.bool_]
Best = tuple[Floats, Any] | None  # θ* and F there, where hindsight has them

DIVERGED = 1.0  # widths of [u_min, u_max] below u_min: that far no sound user's utility falls


def told(
    means: Floats, fairness: Any, violations: Any, more: Mapping[str, Any], best: Best
) -> dict[str, Any]:
    """What ``info`` says at a round's end; ``more`` is the scenario's."""
    about = {"violations": violations, "mean_utilities": means, "fairness": fairness, **more}
    if best is not None:
        model, fairest = best
        about |= {"fairest_model": model, "fairest_fairness": fairest, "regret": fairest - fairness}
    return about


class Score:
    """The tally of one stream.

    Attributes:
        slot: Slots counted in this round.
        fairness: F of the mean utilities so far; 0 before the first slot.
        violations: Utilities of the round outside [u_min, u_max].
    """

    def __init__(self, fairness: Fairness) -> None:
        self._notion = fairness
        self._bounds = list(zip(*(b.tolist() for b in _each(fairness))))
        self._last: Sequence[float] = ()  # the utilities of the last slot, and its number
        self._last_slot = 0
        self.open_round()

    def open_round(self) -> None:
        """Start from nothing."""
        self.slot, self.fairness, self.violations = 0, 0.0, 0
        self._sums = [0.0] * self._notion.num_users

    def add(self, utilities: Sequence[float]) -> float:
        """Count a slot; by how much F of the means grew.

        Raises:
            FloatingPointError: A utility is not finite; the slot then counts for nobody.
        """
        slot, outside = self.slot + 1, 0
        sums: list[float] = []
        means: list[float] = []
        for u_k, before, (u_min, u_max) in zip(utilities, self._sums, self._bounds):
            if not u_min <= u_k <= u_max:
                if not math.isfinite(u_k):
                    told = f"the utility of user {len(sums)} is {u_k}{self.diverged(len(sums))}"
                    raise FloatingPointError(told)
                outside += 1
            sum_k = before + u_k
            sums.append(sum_k)
            means.append(sum_k / slot)
        before = self.fairness
        self.slot, self._sums = slot, sums
        self._last, self._last_slot = utilities, slot
        self.violations += outside
        self.fairness = self._notion.value_of(means)
        return self.fairness - before

    def diverged(self, user: int | None = None) -> str:
        """Who has led there, in words; "" of nobody.

        Users share a model: the first whose figure is not finite need not be the one.

        Args:
            user: Whose utility is not finite; None where the model is not.
        """
        return _diverged(self._notion, self._last, self._last_slot, user)

    def info(self, more: Mapping[str, Any], best: Best) -> dict[str, Any]:
        """What ``info`` says at the round's end: ``more`` by the scenario; ``best`` θ* and F."""
        means = np.array([total / max(self.slot, 1) for total in self._sums])
        return told(means, self.fairness, self.violations, more, best)


def _each(fairness: Fairness) -> list[Floats]:
    """u_min and u_max of each user, (K,) both."""
    return [np.broadcast_to(np.asarray(b, float), fairness.num_users) for b in fairness.bounds]


def _diverged(fairness: Fairness, last: Sequence[float], slot: int, user: int | None) -> str:
    """Who lay farthest below u_min in the last slot that was finite."""
    if not len(last):
        return ""
    u_min, u_max = _each(fairness)
    below = (u_min - np.asarray(last, float)) / (u_max - u_min)
    worst = int(np.argmax(below))
    if below[worst] <= DIVERGED:
        if user is None:
            return ""
        worst = user
    return (
        f"; user {worst} diverged: its last finite utility was {last[worst]:.4g}, in slot {slot}, "
        f"and u_min is {u_min[worst]:g} (l_max, utility_bounds and learning rates may be given "
        "user by user)"
    )


class Scores:
    """The tallies of N streams, which may stand at different slots; arrays have them last.

    Args:
        fairness: What is maximized.
        num_envs: N.
        place: Says where stream n stands, for errors.

    Attributes:
        slot, fairness, violations: As of :class:`Score`, (N,).
        in_step: Whether all streams stand at the same slot.
    """

    def __init__(self, fairness: Fairness, num_envs: int, place: Callable[[int], str]) -> None:
        self._notion, self._place = fairness, place
        self._u_min, self._u_max = (b[:, None] for b in _each(fairness))
        self._highest_min, self._lowest_max = self._u_min.max(), self._u_max.min()
        self._last: Floats | None = None
        self.slot, self.violations = np.zeros((2, num_envs), int)
        self.fairness: Floats = np.zeros(num_envs)
        self._sums: Floats = np.zeros((fairness.num_users, num_envs))
        self.in_step = self._above = True  # no utility of the present rounds came near u_min

    def open_rounds(self, mask: Mask) -> None:
        """Start from nothing where ``mask``, (N,)."""
        self._above |= bool(mask.all())
        for tally in (self.slot, self.violations, self.fairness, self._sums):
            np.copyto(tally, 0, where=mask)
        self.in_step = bool((self.slot == self.slot[0]).all())

    def add(self, u: Floats, live: Mask | None = None) -> Floats:
        """Count a slot (K, N) of every stream (where ``live``); by how much F grew, (N,).

        Raises:
            FloatingPointError: A utility is not finite; it names the stream and the user.
        """
        low = self._checked(u, live)
        slot, sums = self.slot + 1, self._sums + u
        self._above = self._above and low > self._highest_min * (1 + 1e-9)  # so are all means
        value = self._notion.value((sums / (slot[0] if self.in_step else slot)).T, self._above)
        return self._settled(slot, sums, value, live)

    def _checked(self, u: Floats, live: Mask | None) -> float:
        """Look at a slot's utilities and count violations; the lowest comes back."""
        low, high = extremes(u)
        if not (math.isfinite(low) and math.isfinite(high)):
            k, n = np.argwhere(~np.isfinite(u))[0].tolist()
            place = ": ".join(filter(None, [self._place(n), f"the utility of user {k}"]))
            raise FloatingPointError(f"{place} is {u[k, n]}{self.diverged(n, k)}")
        self._last = u
        if low < self._highest_min or high > self._lowest_max:
            outside = ((u < self._u_min) | (u > self._u_max)).sum(axis=0)
            self.violations = self.violations + (outside if live is None else outside * live)
        return low

    def diverged(self, n: int, user: int | None = None) -> str:
        """:meth:`Score.diverged` of stream ``n``."""
        last = () if self._last is None else self._last[:, n].tolist()
        return _diverged(self._notion, last, int(self.slot[n]), user)

    def _settled(self, slot: Any, sums: Floats, value: Floats, live: Mask | None) -> Floats:
        """Take the tally of a slot where ``live``; by how much F grew."""
        if live is not None:
            slot = np.where(live, slot, self.slot)
            sums = np.where(live, sums, self._sums)
            value = np.where(live, value, self.fairness)
        grown = value - self.fairness
        self.slot, self._sums, self.fairness = slot, sums, value
        return grown

    def means(self, ended: Mask) -> Floats:
        """Mean utilities (n, K) of the streams ``ended``."""
        return (self._sums[:, ended] / np.maximum(self.slot[ended], 1)).T

    def info(self, ended: Mask, more: Mapping[str, Any], best: Best) -> dict[str, Any]:
        """:meth:`Score.info` of the n streams whose rounds ``ended``; zeros for the others."""
        means, fairness = self.means(ended), self.fairness[ended]
        about = told(means, fairness, self.violations[ended], more, best)
        return {name: spread(values, ended) for name, values in about.items()}


def spread(values: Any, where: Mask) -> NDArray[Any]:
    """The values (n, …) at the n places where the mask is True, zeros (empty texts) elsewhere."""
    values = np.asarray(values)
    if where.all():
        return values
    whole = np.zeros((len(where), *values.shape[1:]), values.dtype)
    whole[where] = values
    return whole


def extremes(values: Floats) -> tuple[float, float]:
    """The smallest and the largest number, NaN if there is one; sooner than by ``min``, ``max``."""
    flat = values.ravel("K")
    return flat[flat.argmin()], flat[flat.argmax()]
