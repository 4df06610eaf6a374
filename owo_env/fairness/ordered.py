"""Ordered notions: the worse off a user, the larger his share. Max-min, CVaR, generalized Gini."""

from __future__ import annotations

import functools
import itertools
import math
import warnings
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from owo_env import checks
from owo_env.fairness.notion import Fairness, sum_users

Floats = NDArray[np.floating]

IN_P = 1e-9  # rounding of priorities that count as in P


@dataclass(frozen=True)
class Ordered(Fairness):
    """F(u) = Σ_j ω_j u_(j) with u_(1) ≤ u_(2) ≤ … and ω_1 ≥ ω_2 ≥ … ≥ 0, Σω = 1.

    Its conjugate is 0 on P, the permutahedron of ω (the convex hull of its permutations), so that
    its dual is not strongly convex and is played by dual averaging. It is linear below u_min as
    well as above.

    Args:
        num_users: K.
        utility_bounds: (u_min, u_max), each a number, or K.
        omega: ω, K numbers; they are scaled to the sum 1.
        settings: What ``fairness=`` takes to make it, where it is known by another name.

    Raises:
        ValueError: An argument is outside its domain.
    """

    num_users: int
    utility_bounds: tuple[Any, Any]
    omega: Sequence[float]
    settings: dict[str, Any] = field(default_factory=dict, compare=False)
    limit: ClassVar[float] = 1.0  # Σp is Σω in every slot, so 2 is where it begins to oscillate
    proven: ClassVar[bool] = True  # type: ignore[misc]

    def __post_init__(self) -> None:
        users = checks.whole("num_users", self.num_users, low=1)
        omega = checks.one_each("weights", list(self.omega), users, low=0.0)
        for j, (larger, smaller) in enumerate(itertools.pairwise(omega)):
            if smaller > larger:
                raise ValueError(
                    f"weights[{j + 1}]={smaller:g}: must be at most weights[{j}]={larger:g}, since "
                    "the first is the worst user's"
                )
        if not sum(omega):
            raise ValueError(f"weights={list(omega)}: at least one must be positive")
        for name, value in (
            ("num_users", users),
            ("utility_bounds", checks.utility_bounds(self.utility_bounds, users)),
            ("omega", tuple(weight / sum(omega) for weight in omega)),
        ):
            object.__setattr__(self, name, value)

    def __str__(self) -> str:
        given = self.described()
        return " ".join([given.pop("name"), *(f"{k}={_short(v)}" for k, v in given.items())])

    def described(self) -> dict[str, Any]:
        return dict(self.settings) or {"name": "gini", "weights": list(self.omega)}

    @functools.cached_property
    def _omega(self) -> Floats:
        return np.array(self.omega)

    @functools.cached_property
    def _prefix(self) -> Floats:
        """0, ω_1, ω_1 + ω_2, …, (K + 1,)."""
        return np.concatenate([[0.0], np.cumsum(self._omega)])

    @property
    def most(self) -> float:
        return 1.0

    @functools.cached_property
    def start(self) -> Floats:
        """The centre of P, 1/K each; cannot be written to."""
        return np.broadcast_to(1 / self.num_users, self.num_users)

    @property
    def priority_bounds(self) -> tuple[float, float]:
        return self.omega[-1], self.omega[0]

    def value(self, u: Floats, above: bool = False) -> Floats:
        return sum_users(np.sort(u, axis=-1) * self._omega)

    def value_of(self, means: Sequence[float]) -> float:
        value = 0.0
        for weight, u_k in zip(self.omega, sorted(means)):
            value += weight * u_k
        return value

    def priorities(self, u: Floats) -> Floats:
        """To each user the mean of ω over the places of those who are as well off."""
        own, others = u[..., :, None], u[..., None, :]
        worse, no_better = (others < own).sum(axis=-1), (others <= own).sum(axis=-1)
        return (self._prefix[no_better] - self._prefix[worse]) / (no_better - worse)

    def conjugate_terms(self, p: Floats) -> Floats:
        """0 in P, infinite outside it."""
        most = np.cumsum(-np.sort(-p, axis=-1), axis=-1)  # of the j largest
        low = (most <= self._prefix[1:] + IN_P).all(axis=-1)
        inside = low & (np.abs(most[..., -1] - 1) <= IN_P)
        return np.where(inside[..., None], np.zeros(p.shape), np.inf)

    def project(self, z: Floats) -> Floats:
        """Π_P, by isotonic regression of the sorted z − ω (K² numbers a stream).

        The fit is v_j = min_{a ≤ j} max_{b ≥ j} of the means over a … b.
        """
        order = np.argsort(-z, axis=-1, kind="stable")
        ranked = np.take_along_axis(z, order, axis=-1)
        sums = np.cumsum(ranked - self._omega, axis=-1)
        before = np.concatenate([np.zeros((*z.shape[:-1], 1)), sums[..., :-1]], axis=-1)
        places = np.arange(self.num_users)
        length = places - places[:, None] + 1  # of a … b
        means = (sums[..., None, :] - before[..., :, None]) / np.where(length > 0, length, 1)
        means = np.where(length > 0, means, -np.inf)
        highest = np.maximum.accumulate(means[..., ::-1], axis=-1)[..., ::-1]
        fit = np.where(length > 0, highest, np.inf).min(axis=-2)
        found = np.empty_like(ranked)
        np.put_along_axis(found, order, ranked - fit, axis=-1)
        return found.clip(self.omega[-1], self.omega[0])

    @functools.cached_property
    def radius(self) -> float:
        """R = ‖ω − ω̄‖, the distance of P's corners from its centre."""
        return float(np.sqrt(sum_users((self._omega - 1 / self.num_users) ** 2)))

    @property
    def dual_gradient_bound(self) -> float:
        """G = √K (u_max − u_min)/2 ≥ ‖u − c‖, c the centre of all that utilities may be."""
        u_min, u_max = self.bounds
        if np.ndim(u_max - u_min) == 0:
            return float(self.num_users**0.5 * (u_max - u_min) / 2)
        far = np.maximum(np.abs(u_min - self._centre), np.abs(u_max - self._centre))
        return float(np.sqrt(sum_users(far**2)))

    @functools.cached_property
    def _centre(self) -> float:
        """One for all users, since p is judged by p·(u − c) with Σp = 1."""
        u_min, u_max = self.bounds
        return (np.min(u_min) + np.max(u_max)) / 2

    @property
    def modulus(self) -> float:  # type: ignore[override]
        """0, or ∞ where P is a point."""
        return 0.0 if self.omega[0] > self.omega[-1] else math.inf

    def move(self, z: Floats, p: Floats, u: Floats, slot: Any, num_slots: int) -> Floats:
        """Dual averaging: z less γ(u − c) with γ = R/(G√m) and c the centre."""
        rate = self.radius / (self.dual_gradient_bound * math.sqrt(num_slots))
        return z - rate * (u - self._centre)

    def dual_bound(self, num_slots: int) -> float:
        """R G √m."""
        return self.radius * self.dual_gradient_bound * math.sqrt(num_slots)


def max_min(num_users: int, utility_bounds: tuple[Any, Any]) -> Ordered:
    """The worst user's utility: what α-fairness becomes as α → ∞."""
    omega = [1.0] + [0.0] * (num_users - 1)
    return Ordered(num_users, utility_bounds, omega, {"name": "max-min"})


def cvar(num_users: int, utility_bounds: tuple[Any, Any], share: float) -> Ordered:
    """The mean utility of the worst ``share`` β ∈ (0, 1] of the users (Rockafellar, Uryasev 2000).

    It is the concave relative of 3GPP's 5th-percentile user. With βK ≤ 1 it is max-min.
    """
    share = checks.number("share", share, low=0.0, high=1.0, open_low=True)
    many = share * num_users
    if many <= 1:
        warnings.warn(
            f"share={share:g} of {num_users} users is at most one user: this is max-min",
            stacklevel=2,
        )
    omega = [min(max(many - j, 0.0), 1.0) for j in range(num_users)]
    return Ordered(num_users, utility_bounds, omega, {"name": "cvar", "share": share})


def gini(
    num_users: int,
    utility_bounds: tuple[Any, Any],
    ratio: float | None = None,
    weights: Sequence[float] | None = None,
) -> Ordered:
    """Generalized Gini welfare, ω_j ∝ ``ratio``^(j−1), or any ``weights`` that do not increase.

    ω_j ∝ 2^−j is usual in fair reinforcement learning (Siddique, Weng, Zimmer 2020); a small ratio
    comes near leximin, which is no continuous function of u and cannot be offered itself.
    """
    if ratio is not None and weights is not None:
        raise ValueError(f"ratio={ratio!r}: stands for weights; give one of the two")
    if weights is not None:
        return Ordered(num_users, utility_bounds, list(weights))
    ratio = checks.number("ratio", 0.5 if ratio is None else ratio, low=0.0, high=1.0)
    omega = [ratio**j for j in range(num_users)]
    return Ordered(num_users, utility_bounds, omega, {"name": "gini", "ratio": ratio})


def _short(value: Any) -> str:
    if isinstance(value, list):
        return ":".join(f"{one:.3g}" for one in value)
    return f"{value:g}"
