"""CAGrad with its small cone program handed to Clarabel as it is, and not built anew by cvxpy."""

from __future__ import annotations

import clarabel
import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csc_matrix
from torch import Tensor
from torchjd.aggregation import GramianWeightedAggregator, Weighting
from torchjd.linalg import PSDMatrix

Floats = NDArray[np.float64]

ZERO = 1e-4  # TorchJD's norm_eps, of the gradients and of what they combine to: less is nothing


class _Cone(Weighting[PSDMatrix]):
    """TorchJD's ``CAGradWeighting``: the same program to the same solver."""

    def __init__(self, c: float) -> None:
        super().__init__()
        self.c = c
        self._settings = clarabel.DefaultSettings()
        self._settings.verbose = False

    def forward(self, gramian: PSDMatrix, /) -> Tensor:
        users, total = len(gramian), float(gramian.trace())
        mean = np.full(users, 1 / users)
        if total < ZERO:
            return gramian.new_zeros(users)
        left, roots, _ = np.linalg.svd(gramian.double().numpy() / total)
        factor = left * np.sqrt(roots)  # R, of G/tr G = R Rᵀ
        radius = self.c * float(np.linalg.norm(mean @ factor))
        w = self._least(factor, factor @ (mean @ factor), radius)
        size = float(np.linalg.norm(w @ factor))
        return gramian.new_tensor(mean + radius / size * w if size >= ZERO else 0 * mean)

    def _least(self, factor: Floats, slope: Floats, radius: float) -> Floats:
        """The w of the simplex with the least ⟨slope, w⟩ + radius ‖Rᵀ w‖, (K,).

        Raises:
            ArithmeticError: Clarabel has none.
        """
        users = len(slope)
        # Variables (w, t): 1ᵀw = 1; w ≥ 0; (t, Rᵀw) in the second-order cone.
        rows = np.zeros((2 + 2 * users, users + 1))
        rows[0, :users] = 1
        rows[1 : 1 + users, :users] = -np.eye(users)
        rows[1 + users, users] = -1
        rows[2 + users :, :users] = -factor.T
        right = np.zeros(len(rows))
        right[0] = 1
        cones = [
            clarabel.ZeroConeT(1),
            clarabel.NonnegativeConeT(users),
            clarabel.SecondOrderConeT(users + 1),
        ]
        nothing = csc_matrix((users + 1, users + 1))
        cost = np.append(slope, radius)
        solver = clarabel.DefaultSolver(
            nothing, cost, csc_matrix(rows), right, cones, self._settings
        )
        found = solver.solve()
        if found.status not in (clarabel.SolverStatus.Solved, clarabel.SolverStatus.AlmostSolved):
            raise ArithmeticError(f"CAGrad's program: Clarabel says {found.status}")
        return np.array(found.x[:users])


class CAGrad(GramianWeightedAggregator):
    """TorchJD's ``CAGrad``, Liu et al. (NeurIPS 2021), Algorithm 1.

    Args:
        c: ≥ 0, the radius of the ball around the mean gradient, in its norm; 0.4 is its authors'.

    Raises:
        ValueError: c < 0.
    """

    def __init__(self, c: float = 0.4) -> None:
        if not c >= 0:
            raise ValueError(f"c={c}: must be ≥ 0")
        super().__init__(_Cone(c))
