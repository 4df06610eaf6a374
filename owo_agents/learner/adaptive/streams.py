"""Arrays with the streams last, so that many small problems are one elementwise one."""

from __future__ import annotations

from typing import Any

import numpy as np

from owo_agents.agent import Floats
from owo_env.fairness import sum_users


def streams_last(values: Any, axes: int) -> Floats:
    """(N, K, d) → (d, K, N), and (K, d) of one stream → (d, K, 1).

    Args:
        values: An array of an observation.
        axes: How many axes one stream's has.
    """
    array = np.asarray(values, float)
    return array.T if array.ndim > axes else array.T[..., None]


def sum_over(values: Floats, axis: int = 0) -> Floats:
    """The sum over an axis, in order: a batch has the bits of its members."""
    return sum_users(np.moveaxis(values, axis, -1))
