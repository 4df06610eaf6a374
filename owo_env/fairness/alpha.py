"""α-fairness, eq. 1: from the sum of utilities (α = 0) over proportional fairness to max-min."""

from __future__ import annotations

import functools
import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from owo_env import checks
from owo_env.fairness.notion import Smooth, sum_users

Floats = NDArray[np.floating]

HUGE = 1e300  # stands for what is beyond a float: 0 times it is 0
DECADES = 250  # powers of utilities up to 10^±250 leave room for what is made of them
NEAR_ONE = 1e-3  # where the "−1" of f_α would cancel


def utility_terms(u: Floats, alpha: float) -> Floats:
    """f_α(u) = (u^{1−α} − 1)/(1−α), or log u at α = 1, element by element for u > 0."""
    if alpha == 1:
        return np.log(u)
    if abs(alpha - 1) < NEAR_ONE:
        return np.expm1((1 - alpha) * np.log(u)) / (1 - alpha)
    return (u ** (1 - alpha) - 1) / (1 - alpha)


def checked(alpha: object) -> float:
    """α as a float.

    Raises:
        ValueError: It is no finite number ≥ 0; for ∞ the message says which notion that is.
    """
    if str(alpha).lower() in ("inf", ".inf", "infinity", "∞"):
        raise ValueError(f'alpha={alpha!r}: is max-min fairness: use fairness="max-min" instead')
    return checks.number("alpha", alpha, low=0.0)


@dataclass(frozen=True)
class AlphaFair(Smooth):
    """F_α(u) = Σ_k f_α(u_k), with the tangent of f_α below u_min.

    P is the box [1/u_max^α, 1/u_min^α] of every user; at α = 0 it is the point 1.

    Args:
        num_users: K.
        utility_bounds: (u_min, u_max), 0 < u_min < u_max; each a number, or K.
        alpha: α ≥ 0; 0 sums utilities, 1 is proportional, ∞ would be the notion ``max-min``.
        constants: ``"corrected"``, or ``"paper"`` for the printed strong convexity u_min^{1+1/α}/α
            and G_W, with which bound (10) can fail where u_min < 1 < α.

    Raises:
        ValueError: An argument is outside its domain.
    """

    num_users: int
    utility_bounds: tuple[Any, Any]
    alpha: float = 1.0
    constants: str = "corrected"
    name: ClassVar[str] = "alpha"
    proven: ClassVar[bool] = True  # type: ignore[misc]

    def __post_init__(self) -> None:
        users = checks.whole("num_users", self.num_users, low=1)
        for name, value in (
            ("num_users", users),
            ("utility_bounds", checks.utility_bounds(self.utility_bounds, users)),
            ("alpha", checked(self.alpha)),
        ):
            object.__setattr__(self, name, value)
        checks.one_of("constants", self.constants, ("corrected", "paper"))
        u_min, u_max = map(np.log10, self.bounds)
        self._check_power("u_min", -self.alpha, -self.alpha * np.min(u_min))
        if self.constants == "paper" and self.alpha > 0:
            most_min, most_max = np.abs(u_min).max(), np.abs(u_max).max()
            self._check_power("u_min", 1 + 1 / self.alpha, (1 + 1 / self.alpha) * most_min)
            self._check_power("u_max", -1 / self.alpha, most_max / self.alpha)

    def _check_power(self, name: str, power: float, decades: float) -> None:
        """Raise ValueError if a power of a bound has so many decades that it is no float."""
        if decades > DECADES:
            raise ValueError(
                f"alpha={self.alpha:g} with utility_bounds={self.utility_bounds}: {name} to the "
                f"power {power:g} is out of a float's range ({decades:.0f} decades, at most "
                f"{DECADES}); give utilities in a unit in which they are near 1"
            )

    def __str__(self) -> str:
        return f"α = {self.alpha:g}"

    @functools.cached_property
    def most(self) -> float:
        high = self._box[1]
        return self.num_users * high if np.ndim(high) == 0 else float(sum_users(high))

    @functools.cached_property
    def start(self) -> Floats:
        """((u_min + u_max)/2)^−α each; cannot be written to."""
        u_min, u_max = self.bounds
        return np.broadcast_to(((u_min + u_max) / 2) ** -self.alpha, self.num_users)

    @property
    def total(self) -> float:
        if self.start.strides == (0,):  # all alike
            return self.num_users * float(self.start[0])
        return float(sum_users(self.start))

    @functools.cached_property
    def _box(self) -> tuple[Any, Any]:
        """The ends of P: numbers, or (K,) where users' bounds differ."""
        u_min, u_max = self.bounds
        return u_max**-self.alpha, u_min**-self.alpha

    @functools.cached_property
    def priority_bounds(self) -> tuple[float, float]:
        low, high = self._box
        return (low, high) if np.ndim(low) == np.ndim(high) == 0 else (np.min(low), np.max(high))

    @property
    def priority_box(self) -> tuple[Floats, Floats]:
        low, high = self._box
        return np.full(self.num_users, low), np.full(self.num_users, high)

    def value(self, u: Floats, above: bool = False) -> Floats:
        return sum_users(utility_terms(u, self.alpha) if above else self.terms(u))

    def value_of(self, means: Sequence[float]) -> float:
        u_min = self.utility_bounds[0]
        if self.alpha == 1 and isinstance(u_min, float) and min(means) >= u_min:
            terms = map(np.log, means)  # number by number it is faster
        else:
            terms = self.terms(np.array(means)).tolist()
        value = 0.0
        for term in terms:
            value += float(term)
        return value

    def terms(self, u: Floats) -> Floats:
        """f_α, continued below u_min along its tangent: finite and concave everywhere."""
        u_min, _ = self.bounds
        inside = np.maximum(u, u_min)
        terms = utility_terms(inside, self.alpha)
        if (inside == u).all():
            return terms
        return terms + (u - inside) * np.asarray(u_min, float) ** -self.alpha

    def relative_priorities(self, u: Floats) -> Floats:
        inside = np.maximum(u, self.bounds[0])
        return (inside / inside.min(axis=-1, keepdims=True)) ** -self.alpha

    def change(self, u: Floats, change: Floats) -> Floats:
        u_min, _ = self.bounds
        inside = np.maximum(u, u_min)
        worst = inside.min(axis=-1, keepdims=True)
        moved = np.maximum(u - inside + change, u_min - inside)
        # From the lower end, where f_α is steep: else the growth would be ∞ times 0.
        lower = inside + np.minimum(moved, 0.0)
        growth = np.log1p(np.abs(moved) / lower)
        if self.alpha != 1:
            growth = np.expm1((1 - self.alpha) * growth) / (1 - self.alpha)
            growth *= (lower / worst) ** (1 - self.alpha)
        growth = worst * np.copysign(growth, moved)
        below = change - moved
        if below.any():
            growth += np.minimum((u_min / worst) ** -self.alpha, HUGE) * below
        return growth

    def priorities(self, u: Floats) -> Floats:
        """u^−α, constant below u_min."""
        return np.maximum(u, self.bounds[0]) ** -self.alpha

    def bend(self, u: Floats, p: Floats) -> Floats:
        above = u > self.bounds[0]
        return self.alpha * np.where(above, p / np.where(above, u, 1.0), 0.0)

    def surplus(self, u: Floats, p: Floats) -> Floats:
        """For α > 1 the log of Σ u^{1−α} is convex: (α−1)/Σpu; 0 if a user is below u_min."""
        if self.alpha <= 1:
            return super().surplus(u, p)
        above = (u >= self.bounds[0]).all(axis=-1)
        return np.where(above, (self.alpha - 1) / np.where(above, sum_users(p * u), 1.0), 0.0)

    def raised(self, u_min: Any) -> AlphaFair:
        u_max = np.maximum(self.bounds[1], 2 * u_min)
        return replace(self, utility_bounds=(u_min, u_max))

    def conjugate_terms(self, p: Floats) -> Floats:
        """[α p^{1−1/α} − 1]/(1−α), and −log p − 1 at α = 1: the −1 is per user."""
        alpha = self.alpha
        inside = p == 1 if alpha == 0 else (p > 0) | ((p == 0) & (alpha > 1))
        p = np.where(inside, p, 1.0)
        with np.errstate(over="ignore", under="ignore"):
            if alpha == 0:
                terms = -p
            elif alpha == 1:
                terms = -np.log(p) - 1
            elif abs(alpha - 1) < NEAR_ONE:
                terms = alpha * np.expm1((alpha - 1) / alpha * np.log(p)) / (1 - alpha) - 1
            else:
                terms = (alpha * p ** (1 - 1 / alpha) - 1) / (1 - alpha)
        return np.where(inside, terms, np.inf)

    def dual_gradient(self, p: Floats, u: Floats) -> Floats:
        """g^w = ∇_w Ψ = p^{−1/α} − u for α > 0."""
        if self.alpha == 1:
            return 1 / p - u
        return p ** (-1 / self.alpha) - u

    @functools.cached_property
    def modulus(self) -> float:
        """The strong convexity of Ψ in w on W, u_min^{1+α}/α; infinite where W is a point."""
        return float(np.min(self._moduli))

    @functools.cached_property
    def _moduli(self) -> Any:
        """That of each user: a number where they are alike, else (K,)."""
        if self.alpha == 0:
            return math.inf
        power = self.alpha if self.constants == "corrected" else 1 / self.alpha
        return self.bounds[0] ** (1 + power) / self.alpha

    @functools.cached_property
    def first_step(self) -> Any:
        """γ_1, each user's by its own modulus: a number where they are alike, else (K,)."""
        return 1 / self._moduli

    def project(self, z: Floats) -> Floats:
        return z.clip(*self._box)

    def move(self, z: Floats, p: Floats, u: Floats, slot: Any, num_slots: int) -> Floats:
        """A step γ_i = α/(u_min^{1+α} i) along −g^w, with each user's own u_min."""
        if self.alpha == 0:
            return p
        moved = self.dual_gradient(p, u)
        moved *= self.first_step / slot
        moved += p
        return moved

    def described(self) -> dict[str, Any]:
        return {"name": self.name, "alpha": self.alpha}

    @property
    def dual_gradient_bound(self) -> float:
        """G_W ≥ ‖g^w‖ on W: √K (u_max − u_min), or √Σ_k (u_max − u_min)_k².

        The paper prints √K max{u_min^(−1/α) − u_min, u_max − u_max^(−1/α)}.
        """
        span = self._spans
        if np.ndim(span):
            return float(np.sqrt(sum_users(span**2)))
        return float(self.num_users**0.5 * span)

    @functools.cached_property
    def _spans(self) -> Any:
        """What bounds |g_k^w|: a number where it is alike, else (K,)."""
        u_min, u_max = self.bounds
        if self.constants == "corrected":
            return u_max - u_min
        root = 1 / self.alpha if self.alpha > 0 else math.inf
        return np.maximum(u_min**-root - u_min, u_max - u_max**-root)

    def with_constants(self, constants: str) -> AlphaFair:
        return replace(self, constants=constants)

    def dual_bound(self, num_slots: int) -> float:
        """G_W² (1 + log m)/(2 modulus); users whose bounds differ add up, each with its own."""
        if np.ndim(self._moduli) or np.ndim(self._spans):
            each = np.broadcast_to(self._spans**2 / (2 * self._moduli), self.num_users)
            return float(sum_users(each)) * (1 + math.log(num_slots))
        return self.dual_gradient_bound**2 / (2 * self.modulus) * (1 + math.log(num_slots))
