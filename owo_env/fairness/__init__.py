"""Fairness: what is made of the users' mean utilities, and its dual (paper §II–III)."""

from owo_env.fairness.alpha import (
    CONSTANTS,
    conjugate,
    conjugate_terms,
    dual_gradient,
    dual_modulus,
    extended_change,
    extended_terms,
    fairness,
    fairness_gradient,
    jain_index,
    price_of_fairness,
    saddle,
    sum_users,
    total,
    utility_terms,
)

__all__ = [
    "CONSTANTS",
    "conjugate",
    "conjugate_terms",
    "dual_gradient",
    "dual_modulus",
    "extended_change",
    "extended_terms",
    "fairness",
    "fairness_gradient",
    "jain_index",
    "price_of_fairness",
    "saddle",
    "sum_users",
    "total",
    "utility_terms",
]
