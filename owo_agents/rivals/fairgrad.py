"""FairGrad on a Gramian of unit scale, so that its solver's tolerance means the same everywhere."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from torch import Tensor
from torchjd.aggregation import FairGradWeighting, GramianWeightedAggregator, Weighting
from torchjd.linalg import PSDMatrix

Floats = NDArray[np.float64]

STEPS, EXACT = 60, 1e-10  # Newton's, and the residual at which he is done


def newton(gramian: Floats, alpha: float) -> Floats | None:
    """The w > 0 with G w = w^{−1/α}, (K,); None where it is not found soon, or there is none.

    It is where ½ wᵀG w − Σ_k φ(w_k) is least, with φ'(w) = w^{−1/α}: strictly convex, so that
    Newton's steps, cut until it falls enough, come there from anywhere.
    """
    power = -1 / alpha

    def value(w: Floats) -> float:
        gained = np.log(w) if alpha == 1 else w ** (1 + power) / (1 + power)
        return float(w @ gramian @ w / 2 - gained.sum())

    size = np.diag(gramian)
    if not (size > 0).all():
        return None
    w = size ** (-alpha / (1 + alpha))  # what it is where gradients are orthogonal
    for _ in range(STEPS):
        wanted = w**power
        miss = gramian @ w - wanted
        if np.abs(miss).max() <= EXACT * wanted.max():
            return w
        try:
            step = -np.linalg.solve(gramian - np.diag(power * wanted / w), miss)
        except np.linalg.LinAlgError:  # w is on its way to infinity
            return None
        length = min(1.0, 0.9 / max(float((-step / w).max()), 0.9))
        here, slope = value(w), float(miss @ step)
        while value(w + length * step) > here + 0.1 * length * slope and length > 1e-6:
            length /= 2
        w = w + length * step
    return None


class _UnitScale(Weighting[PSDMatrix]):
    """Solves G w = w^{−1/α} through G/t with t = tr G/K: w = t^{−α/(1+α)} w', exactly.

    By Newton, in a tenth of the time that TorchJD takes; where he does not come there, it is asked.
    """

    def __init__(self, alpha: float, max_iters: int) -> None:
        super().__init__()
        self.alpha = alpha
        self.inner = FairGradWeighting(alpha, max_iters)

    def forward(self, gramian: PSDMatrix, /) -> Tensor:
        scale = gramian.trace() / len(gramian)
        if self.alpha == 0 or scale == 0:
            return gramian.new_full((len(gramian),), 1 / len(gramian))
        found = newton((gramian / scale).double().numpy(), self.alpha)
        weights = self.inner(gramian / scale) if found is None else gramian.new_tensor(found)
        return weights * scale ** (-self.alpha / (1 + self.alpha))


class FairGrad(GramianWeightedAggregator):
    """TorchJD's ``FairGrad``, Ban and Ji (ICML 2024), eq. 4: GᵀG w = w^{−1/α}.

    Args:
        alpha: α ≥ 0; the weights are uniform at 0.
        max_iters: Of TorchJD's solver: where the equation has a solution 20 to 50 iterations
            find it; where it has none, as often with more users than parameters, TorchJD's own
            100·K would take half a second at K = 8.
    """

    def __init__(self, alpha: float, max_iters: int = 50) -> None:
        super().__init__(_UnitScale(alpha, max_iters))
        self.alpha = alpha

    def residual(self, jacobian: Tensor, weights: Tensor) -> float:
        """‖GᵀG w − w^{−1/α}‖∞ relative to w^{−1/α}; 0 at α = 0."""
        if self.alpha == 0:
            return 0.0
        wanted = weights ** (-1 / self.alpha)
        left = jacobian @ (weights @ jacobian)
        return float((left - wanted).abs().max() / wanted.abs().max())
