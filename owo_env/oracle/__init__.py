"""The fairest model in hindsight (paper eq. 2)."""

from owo_env.oracle.newton import Fairest, UnsolvedError, fairest_model

__all__ = ["Fairest", "UnsolvedError", "fairest_model"]
