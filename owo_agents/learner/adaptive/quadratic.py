"""Minimizers of many small quadratics over a box, streams last.

½θᵀAθ − bᵀθ with A positive definite, for arrays A (d, d, …) and b (d, …).
"""

from __future__ import annotations

import numpy as np

from owo_agents.agent import Floats
from owo_env.oracle.elimination import solve_positive

SWEEPS = 6
"""Of Gauss–Seidel where the unconstrained minimizer leaves the box."""


def minimize(
    matrix: Floats, right: Floats, start: Floats, bounds: tuple[float, float] | None
) -> Floats:
    """argmin over the box of ½θᵀAθ − bᵀθ.

    Args:
        matrix: A (d, d, …).
        right: b (d, …).
        start: Where Gauss–Seidel starts, in the box; (d, …).
        bounds: (low, high) of every coordinate, or None.

    Returns:
        θ (d, …): exact where it lies inside, else after :data:`SWEEPS` sweeps.
    """
    theta = solve_positive(matrix.copy(), right)
    if bounds is None:
        return theta
    low, high = bounds
    outside = ((theta < low) | (theta > high)).any(axis=0)
    if outside.any():
        A, b = matrix[:, :, outside], right[:, outside]
        found = start[:, outside]
        for _ in range(SWEEPS):
            for j in range(len(found)):
                rest = b[j].copy()
                for k in range(len(found)):
                    if k != j:
                        rest -= A[j, k] * found[k]
                found[j] = np.clip(rest / A[j, j], low, high)
        theta[:, outside] = found
    return theta
