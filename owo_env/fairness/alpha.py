"""α-fairness, its conjugate and the saddle function of the primal-dual method (paper §II–III).

Every formula is written over the last axis, the users; leading axes are batches. Sums over users
run in explicit order, so that a batch gives the same bits as its members one by one.
"""

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray

from owo_env import checks

Floats = NDArray[np.floating]

CONSTANTS = ("corrected", "paper")


def sum_users(values: Floats) -> Floats:
    """Σ_k over the last axis, in order, whatever the memory layout."""
    total = values[..., 0]
    for k in range(1, values.shape[-1]):
        total = total + values[..., k]
    return total


def utility_terms(u: Floats, alpha: float) -> Floats:
    """f_α(u) = (u^{1−α} − 1)/(1−α), or log u at α = 1, element by element for u > 0."""
    if alpha == 1:
        return np.log(u)
    return (u ** (1 - alpha) - 1) / (1 - alpha)


def extended_terms(u: Floats, alpha: float, u_min: ArrayLike) -> Floats:
    """f_α, continued below ``u_min`` along its tangent: finite and concave everywhere."""
    inside = np.maximum(u, u_min)
    terms = utility_terms(inside, alpha)
    if (inside == u).all():
        return terms
    return terms + (u - inside) * np.asarray(u_min, float) ** -alpha


def extended_change(u: Floats, change: Floats, alpha: float, u_min: float) -> Floats:
    """``extended_terms(u + change) − extended_terms(u)``, without their cancellation."""
    inside = np.maximum(u, u_min)
    moved = np.maximum(u - inside + change, u_min - inside)
    growth = np.log1p(moved / inside)
    if alpha != 1:
        growth = np.expm1((1 - alpha) * growth) / (1 - alpha)
    straight: Floats = (change - moved) * float(u_min**-alpha)
    return inside ** (1 - alpha) * growth + straight


def fairness(u: ArrayLike, alpha: float, u_min: float | None = None) -> Floats:
    """F_α(u) = Σ_k f_α(u_k), eq. 1.

    Args:
        u: Utilities, shape (..., K).
        alpha: α ≥ 0; 0 sums utilities, 1 is proportional, ∞ would be max-min fairness.
        u_min: Below it F_α goes on along its tangent (what the dual with w ∈ W computes);
            None asks for positive utilities.

    Returns:
        Shape (...).

    Raises:
        ValueError: α < 0, ``u`` is not finite, or not positive where ``u_min`` is None.
    """
    checks.number("alpha", alpha, low=0.0)
    u = np.asarray(u, float)
    if not np.isfinite(u).all():
        raise ValueError("u: utilities must be finite")
    if u_min is not None:
        return sum_users(extended_terms(u, alpha, u_min))
    if (u <= 0).any():
        raise ValueError(f"u: utilities must be positive, the smallest is {u.min():g}")
    return sum_users(utility_terms(u, alpha))


def total(means: Sequence[float], alpha: float, u_min: float) -> float:
    """F_α of one vector of mean utilities, extended below ``u_min``: the bits of a batch's."""
    value = 0.0
    if alpha == 1 and min(means) >= u_min:
        for u_k in means:  # numpy's logarithm: number by number it is faster
            value += float(np.log(u_k))
    else:
        for term in extended_terms(np.array(means), alpha, u_min).tolist():
            value += term
    return value


def fairness_gradient(u: Floats, alpha: float, u_min: float) -> Floats:
    """∂F_α/∂u_k = u_k^{−α}, constant below ``u_min``: the priorities that are best against u."""
    return np.maximum(u, u_min) ** -alpha


def conjugate_terms(p: Floats, alpha: float) -> Floats:
    """The terms of (−F_α)*(w) at w = −p, element by element; at α = 0, where p is 1, that is −1."""
    if alpha == 0:
        return -p
    if alpha == 1:
        return -np.log(p) - 1
    return (alpha * p ** (1 - 1 / alpha) - 1) / (1 - alpha)


def conjugate(p: ArrayLike, alpha: float) -> Floats:
    """(−F_α)*(w) at w = −p, shape (..., K) → (...).

    α = 0 has W = {−1}, where the conjugate of −Σ (u_k − 1) is −K.

    Raises:
        ValueError: α < 0, a priority is not positive, or differs from 1 at α = 0.
    """
    checks.number("alpha", alpha, low=0.0)
    p = np.asarray(p, float)
    if not (p > 0).all():
        raise ValueError(f"p: priorities must be positive and finite, got {p}")
    if alpha == 0 and (p != 1).any():
        raise ValueError(f"p: at alpha=0 every priority is 1, got {p}")
    return sum_users(conjugate_terms(p, alpha))


def saddle(p: Floats, u: Floats, alpha: float) -> Floats:
    """Ψ(w, θ) = (−F_α)*(w) − wᵀu(θ), eq. 3, at w = −p; both shape (..., K)."""
    return conjugate(p, alpha) + sum_users(np.asarray(p) * np.asarray(u))


def dual_gradient(p: Floats, u: Floats, alpha: float) -> Floats:
    """g^w = ∇_w Ψ = p^{−1/α} − u, below eq. 9; zero at α = 0, where W is a point."""
    if alpha == 0:
        return np.zeros_like(p)
    if alpha == 1:
        return 1 / p - u
    return p ** (-1 / alpha) - u


def dual_modulus(alpha: float, u_min: float, constants: str = "corrected") -> float:
    """The strong convexity of Ψ in w on W; its reciprocal is the first dual step.

    Args:
        alpha: α ≥ 0; at 0 W is a point, and the modulus infinite.
        u_min: The lower utility bound.
        constants: ``"corrected"``: u_min^{1+α}/α; ``"paper"``: u_min^{1+1/α}/α, which for
            u_min < 1 < α is too large.
    """
    checks.one_of("constants", constants, CONSTANTS)
    if alpha == 0:
        return math.inf
    return float(u_min ** (1 + (alpha if constants == "corrected" else 1 / alpha)) / alpha)


def jain_index(u: ArrayLike) -> Floats:
    """Jain's index (Σu)²/(K Σu²) ∈ [1/K, 1] of utilities (..., K); 1 when all are equal."""
    u = np.asarray(u, float)
    return sum_users(u) ** 2 / (u.shape[-1] * sum_users(u * u))


def price_of_fairness(u: ArrayLike, u_efficient: ArrayLike) -> Floats:
    """(Σ u_efficient − Σ u) / Σ u_efficient: the share of summed utility that fairness costs.

    Args:
        u: Utilities (..., K) of the fair model.
        u_efficient: Utilities (..., K) of the model that maximizes their sum (α = 0).
    """
    best = sum_users(np.asarray(u_efficient, float))
    return (best - sum_users(np.asarray(u, float))) / best
