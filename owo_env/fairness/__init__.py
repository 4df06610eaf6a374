"""Fairness: what is made of the users' mean utilities, and its dual (paper §II–III)."""

from owo_env.fairness.alpha import AlphaFair
from owo_env.fairness.measures import fairness, jain_index, price_of_fairness
from owo_env.fairness.notion import Fairness, Smooth, sum_users

__all__ = [
    "AlphaFair",
    "Fairness",
    "Smooth",
    "fairness",
    "jain_index",
    "price_of_fairness",
    "sum_users",
]
