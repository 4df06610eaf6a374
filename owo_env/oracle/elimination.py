"""Many small positive definite systems at once."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.floating]


def solve_positive(matrix: Floats, right: Floats) -> Floats:
    """A⁻¹b by Gaussian elimination without pivoting, which is stable for these matrices.

    Args:
        matrix: A (d, d, …), positive definite; it is overwritten.
        right: b (d, …).

    Returns:
        Shape (d, …).
    """
    d = len(right)
    solution: Floats = right.copy()
    for j in range(d - 1):
        factor = matrix[j + 1 :, j] / matrix[j, j]
        matrix[j + 1 :, j + 1 :] -= factor[:, None] * matrix[j, j + 1 :]
        solution[j + 1 :] -= factor * solution[j]
    for j in reversed(range(d)):
        solution[j] /= matrix[j, j]
        solution[:j] -= matrix[:j, j] * solution[j]
    return solution


def pulled(matrix: Floats, pull: Floats | float) -> Floats:
    """The matrix plus a diagonal, in place."""
    diagonal = np.arange(len(matrix))
    matrix[diagonal, diagonal] += pull
    return matrix
