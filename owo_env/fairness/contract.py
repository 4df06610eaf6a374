"""α-fairness under a contract: user by user a weight, something to fall back on, a floor."""

from __future__ import annotations

import functools
import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from owo_env import checks
from owo_env.fairness.alpha import AlphaFair, utility_terms
from owo_env.fairness.notion import Fairness, Smooth, sum_users

Floats = NDArray[np.floating]
Each = checks.Each


@dataclass(frozen=True)
class Contract(AlphaFair):
    """F(u) = Σ_k f_k(u_k): c f_α(u − d) above a floor r, and a steep quadratic below it.

    The marginal utility f' is c (u − d)^−α where u ≥ r and c [q + s (r − u)] from there down to
    u_min, with q = (r − d)^−α; below u_min F goes on along its tangent. P is the box of the users'
    marginals over [u_min, u_max]. Without any of the four this is :class:`AlphaFair`.

    The floor is missed by (multiplier − q)/s, the price of one that may be out of reach; s raises
    the largest priority, which the step size pays for.

    Args:
        num_users, utility_bounds, alpha: As of α-fairness.
        constants: Only ``"corrected"``.
        weights: c > 0. With α = 1, weighted proportional fairness.
        disagreement: d < u_min, what a user has without the system. With α = 1, Nash bargaining.
        floor: r < u_max; default none, which is u_min.
        penalty: s ≥ 0, in 1/utility.

    Raises:
        ValueError: An argument is outside its domain.
    """

    weights: Each = 1.0
    disagreement: Each = 0.0
    floor: Each | None = None
    penalty: float = 0.0

    def __post_init__(self) -> None:
        super().__post_init__()
        checks.one_of("constants", self.constants, ("corrected",))
        (u_min, u_max), users = self.bounds, self.num_users
        floor = self.utility_bounds[0] if self.floor is None else self.floor
        limits: tuple[tuple[str, Each, dict[str, Any]], ...] = (
            ("weights", self.weights, {"low": 0.0, "open_low": True}),
            ("disagreement", self.disagreement, {"high": u_min, "open_high": True}),
            ("floor", floor, {"high": u_max, "open_high": True}),
        )
        for name, value, allowed in limits:
            object.__setattr__(self, name, checks.one_each(name, value, users, **allowed))
        penalty = checks.number("penalty", self.penalty, low=0.0)
        object.__setattr__(self, "penalty", penalty)
        ends = [np.min(u_min - self._d), np.max(u_max - self._d)]
        decades = abs(np.log10(ends)).max()
        self._check_power("u − disagreement", -self.alpha, self.alpha * float(decades))

    def _asked(self) -> dict[str, tuple[float, ...]]:
        """Weights, disagreement and floor, each only where it asks for something."""
        nothing = {"weights": 1.0, "disagreement": 0.0, "floor": self.utility_bounds[0]}
        given = {name: getattr(self, name) for name in nothing}
        return {n: v for n, v in given.items() if (np.array(v) != nothing[n]).any()}

    def __str__(self) -> str:
        parts = [super().__str__()]
        for name, values in self._asked().items():
            shown = values if len(set(values)) > 1 else values[:1]
            parts.append(f"{name} {':'.join(f'{value:g}' for value in shown)}")
        return ", ".join(parts)

    def described(self) -> dict[str, Any]:
        asked = {name: list(values) for name, values in self._asked().items()}
        penalty = {"penalty": self.penalty} if self.penalty else {}
        return {**super().described(), **asked, **penalty}

    # The constants of the formulas, (K,).

    @functools.cached_property
    def _c(self) -> Floats:
        return np.asarray(self.weights)

    @functools.cached_property
    def _d(self) -> Floats:
        return np.asarray(self.disagreement)

    @functools.cached_property
    def _r(self) -> Floats:
        """The floor; one below u_min binds nobody."""
        return np.maximum(np.asarray(self.floor), self.bounds[0])

    @functools.cached_property
    def _q(self) -> Floats:
        """The marginal utility at the floor, over c."""
        return (self._r - self._d) ** -self.alpha

    @functools.cached_property
    def _p_high(self) -> Floats:
        return self._c * (self._q + self.penalty * (self._r - self.bounds[0]))

    # P.

    @functools.cached_property
    def priority_box(self) -> tuple[Floats, Floats]:
        return self._c * (self.bounds[1] - self._d) ** -self.alpha, self._p_high

    @functools.cached_property
    def priority_bounds(self) -> tuple[float, float]:
        low, high = self.priority_box
        return float(low.min()), float(high.max())

    @functools.cached_property
    def most(self) -> float:
        return float(sum_users(self._p_high))

    @functools.cached_property
    def start(self) -> Floats:
        """The marginals at the centre utility, user by user; cannot be written to."""
        p = self.priorities(np.full(self.num_users, sum(self.bounds) / 2))
        return np.frombuffer(p.tobytes())

    @property
    def total(self) -> float:
        return float(sum_users(self.start))

    def project(self, z: Floats) -> Floats:
        return z.clip(*self.priority_box)

    # F.

    def value(self, u: Floats, above: bool = False) -> Floats:
        return sum_users(self.terms(u))

    def value_of(self, means: Sequence[float]) -> float:
        return float(self.value(np.array(means)))

    def terms(self, u: Floats) -> Floats:
        u_min, r = self.bounds[0], self._r
        short = r - u.clip(u_min, r)
        terms = utility_terms(np.maximum(u, r) - self._d, self.alpha)
        terms = self._c * (terms - (self._q + self.penalty / 2 * short) * short)
        return terms + self._p_high * np.minimum(u - u_min, 0.0)

    def priorities(self, u: Floats) -> Floats:
        """The marginal utilities, constant below u_min."""
        short = self._r - u.clip(self.bounds[0], self._r)
        return self._c * ((np.maximum(u, self._r) - self._d) ** -self.alpha + self.penalty * short)

    def relative_priorities(self, u: Floats) -> Floats:
        p = self.priorities(u)
        return p / p.max(axis=-1, keepdims=True)

    def change(self, u: Floats, change: Floats) -> Floats:
        u_min, r, alpha = self.bounds[0], self._r, self.alpha
        # How far each of the three pieces is gone along: they add up to the change.
        floored, inside = u.clip(u_min, r), np.maximum(u, r)
        short = (u - floored + change).clip(u_min - floored, r - floored)
        above = np.maximum(u - inside + change, r - inside)
        below = np.where(
            u < u_min, np.minimum(change, u_min - u), np.minimum(u - u_min + change, 0)
        )
        lower = inside + np.minimum(above, 0.0) - self._d  # the steep end
        growth = np.log1p(np.abs(above) / lower)
        if alpha != 1:
            growth = np.expm1((1 - alpha) * growth) / (1 - alpha) * lower ** (1 - alpha)
        growth = np.copysign(growth, above)
        growth += short * (self._q + self.penalty * (r - floored - short / 2))
        growth = self._c * growth + self._p_high * below
        return growth / self.priorities(u).max(axis=-1, keepdims=True)

    def bend(self, u: Floats, p: Floats) -> Floats:
        u_min, r = self.bounds[0], self._r
        curved = self.alpha / (np.maximum(u, r) - self._d)
        steep = self.penalty / (self._q + self.penalty * (r - u.clip(u_min, r)))
        return p * np.where(u > r, curved, np.where(u > u_min, steep, 0.0))

    def surplus(self, u: Floats, p: Floats) -> Floats:
        """As of α-fairness, in u − d; none known with a floor."""
        if self.alpha <= 1 or (self._r > self.bounds[0]).any():
            return Smooth.surplus(self, u, p)
        above = (u >= self.bounds[0]).all(axis=-1)
        over = np.maximum(u, self._r) - self._d
        return np.where(above, (self.alpha - 1) / sum_users(p * over), 0.0)

    def raised(self, u_min: Any) -> Contract:
        u_max = np.maximum(self.bounds[1], 2 * u_min)
        return replace(self, utility_bounds=(u_min, u_max))

    # Its dual.

    def conjugate_terms(self, p: Floats) -> Floats:
        """Of p/c, c times that of α-fairness less pd; beyond the floor's q the quadratic's."""
        scaled = p / self._c
        floored = self._r > self.bounds[0]
        curved = np.where(floored, np.minimum(scaled, self._q), scaled)
        excess = np.where(floored, scaled - curved, 0.0)
        terms = super().conjugate_terms(curved) - self._d * curved
        if self.penalty > 0:
            terms = terms + excess * (excess / (2 * self.penalty) - self._r)
        else:
            terms = np.where(excess > 0, np.inf, terms)
        return self._c * terms

    def dual_gradient(self, p: Floats, u: Floats) -> Floats:
        """g^w = u(p) − u, with u(p) where the marginal utility is p."""
        scaled = p / self._c
        if self.alpha == 0:
            wanted = self._r
        else:
            wanted = self._d + np.minimum(scaled, self._q) ** (-1 / self.alpha)
        if self.penalty > 0:
            wanted = wanted - np.maximum(scaled - self._q, 0.0) / self.penalty
        return wanted - u

    @functools.cached_property
    def moduli(self) -> Floats:
        """σ_k, the strong convexity of Ψ in each user's w, (K,); infinite where W is a point."""
        steepest = self.alpha * (self._r - self._d) ** (-self.alpha - 1)
        floored = self._r > self.bounds[0]
        steepest = np.where(floored, np.maximum(steepest, self.penalty), steepest)
        with np.errstate(divide="ignore"):
            return 1 / (self._c * steepest)

    @functools.cached_property
    def modulus(self) -> float:
        return float(self.moduli.min())

    def move(self, z: Floats, p: Floats, u: Floats, slot: Any, num_slots: int) -> Floats:
        """A step 1/(σ_k i) along −g^w, each user with a modulus of his own."""
        return p + self.dual_gradient(p, u) / (self.moduli * slot)

    def with_constants(self, constants: str) -> Contract:
        Fairness.with_constants(self, constants)
        return self

    def dual_bound(self, num_slots: int) -> float:
        """Σ_k (u_max − u_min)²/(2σ_k) (1 + log m)."""
        u_min, u_max = self.bounds
        if np.ndim(u_max - u_min) == 0:
            spread = (u_max - u_min) ** 2 * (0.5 / self.moduli).sum()
        else:
            spread = ((u_max - u_min) ** 2 * (0.5 / self.moduli)).sum()
        return float(spread * (1 + math.log(num_slots)))
