"""The fairest model in hindsight (paper eq. 2)."""

from owo_env.oracle.fairest import Solvable, fairest_model
from owo_env.oracle.newton import Fairest
from owo_env.oracle.piecewise import Certified
from owo_env.oracle.rounds import UnsolvedError

__all__ = ["Certified", "Fairest", "Solvable", "UnsolvedError", "fairest_model"]
