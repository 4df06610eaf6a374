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
    outside = np.flatnonzero(((theta < low) | (theta > high)).any(axis=0))
    if outside.size:
        d = len(theta)
        A, b, found = (
            values.reshape(*shape, -1).take(outside, axis=-1)
            for values, shape in ((matrix, (d, d)), (right, (d,)), (start, (d,)))
        )
        theta.reshape(d, -1)[:, outside] = _sweep(A, b, found, low, high)
    return theta


def _sweep(A: Floats, b: Floats, found: Floats, low: float, high: float) -> Floats:
    """Gauss–Seidel over the box, in place of ``A`` and ``found``."""
    diagonal = A[range(len(A)), range(len(A))]
    A, b = np.divide(A, diagonal[:, None], out=A), b / diagonal
    step = np.empty(b.shape[1:])
    for _ in range(SWEEPS):
        for j, rest in enumerate(b.copy()):
            for k in range(len(b)):
                if k != j:
                    rest -= np.multiply(A[j, k], found[k], out=step)
            found[j] = np.minimum(np.maximum(rest, low, out=rest), high, out=rest)
    return found
