"""Fairness: what is made of the users' mean utilities, and its dual (paper §II–III)."""

from owo_env.fairness.alpha import AlphaFair
from owo_env.fairness.contract import Contract
from owo_env.fairness.measures import fairness, jain_index, price_of_fairness
from owo_env.fairness.named import make_fairness, registry
from owo_env.fairness.notion import Fairness, Smooth, sum_users
from owo_env.fairness.ordered import Ordered

__all__ = [
    "AlphaFair",
    "Contract",
    "Fairness",
    "Ordered",
    "Smooth",
    "fairness",
    "jain_index",
    "make_fairness",
    "price_of_fairness",
    "registry",
    "sum_users",
]
