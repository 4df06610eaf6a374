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
        self._programs: dict[int, _Program] = {}  # by number of users

    def forward(self, gramian: PSDMatrix, /) -> Tensor:
        users, total = len(gramian), float(gramian.trace())
        mean = np.full(users, 1 / users)
        if total < ZERO:
            return gramian.new_zeros(users)
        left, roots, _ = np.linalg.svd(gramian.double().numpy() / total)
        factor = left * np.sqrt(roots)  # R, of G/tr G = R Rᵀ
        radius = self.c * float(np.linalg.norm(mean @ factor))
        if users not in self._programs:
            self._programs[users] = _Program(users)
        w = self._programs[users].least(factor, factor @ (mean @ factor), radius, self._settings)
        size = float(np.linalg.norm(w @ factor))
        return gramian.new_tensor(mean + radius / size * w if size >= ZERO else 0 * mean)


class _Program:
    """The cone program for a number of users; from slot to slot only its numbers change.

    In (w, t): 1ᵀw = 1; w ≥ 0; (t, Rᵀw) in the second-order cone.
    """

    def __init__(self, users: int) -> None:
        rows = np.zeros((2 + 2 * users, users + 1))
        rows[0, :users] = 1
        rows[1 : 1 + users, :users] = -np.eye(users)
        rows[1 + users, users] = -1
        rows[2 + users :, :users] = 1  # where −Rᵀ goes
        self.rows = csc_matrix(rows)
        # A column of w has 2 entries above its R's.
        self.entries = np.arange(users)[:, None] * (users + 2) + 2 + np.arange(users)
        self.right = np.append(1.0, np.zeros(1 + 2 * users))
        self.nothing = csc_matrix((users + 1, users + 1))
        self.cones = [
            clarabel.ZeroConeT(1),
            clarabel.NonnegativeConeT(users),
            clarabel.SecondOrderConeT(users + 1),
        ]

    def least(
        self, factor: Floats, slope: Floats, radius: float, settings: clarabel.DefaultSettings
    ) -> Floats:
        """The w of the simplex with the least ⟨slope, w⟩ + radius ‖Rᵀ w‖, (K,).

        Raises:
            ArithmeticError: Clarabel has none.
        """
        self.rows.data[self.entries] = -factor
        cost = np.append(slope, radius)
        solver = clarabel.DefaultSolver(
            self.nothing, cost, self.rows, self.right, self.cones, settings
        )
        found = solver.solve()
        if found.status not in (clarabel.SolverStatus.Solved, clarabel.SolverStatus.AlmostSolved):
            raise ArithmeticError(f"CAGrad's program: Clarabel says {found.status}")
        return np.array(found.x[: len(slope)])


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
