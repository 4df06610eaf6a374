"""Figures of fairness that are reported: of utilities, whatever was maximized."""

import numpy as np
from numpy.typing import ArrayLike, NDArray

from owo_env import checks
from owo_env.fairness.alpha import utility_terms
from owo_env.fairness.notion import sum_users

Floats = NDArray[np.floating]


def fairness(u: ArrayLike, alpha: float) -> Floats:
    """F_α(u) = Σ_k f_α(u_k), eq. 1, of positive utilities (..., K); shape (...).

    Raises:
        ValueError: α < 0, ``u`` is not finite or not positive, or F is beyond a float's range.
    """
    checks.number("alpha", alpha, low=0.0)
    u = np.asarray(u, float)
    if not np.isfinite(u).all():
        raise ValueError("u: utilities must be finite")
    if (u <= 0).any():
        raise ValueError(f"u: utilities must be positive, the smallest is {u.min():g}")
    with np.errstate(over="ignore"):
        terms = utility_terms(u, alpha)
    if not np.isfinite(terms).all():
        raise ValueError(
            f"alpha={alpha:g}: F of a utility of {u.min():g} is beyond a float's range"
        )
    return sum_users(terms)


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
