"""What a learner may know of a scenario before it plays."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from owo_env import checks


@dataclass(frozen=True, eq=False)
class Problem:
    """The constants of one fair online multi-task problem (paper §II).

    Attributes:
        num_users: K, the users who share the model; at least 2.
        dim: d, the parameters of the shared model.
        num_slots: m, the slots of a round.
        alpha: The fairness parameter α ≥ 0 of eq. 1.
        utility_bounds: (u_min, u_max) with 0 < u_min < u_max; they bound the dual space W.
        initial_model: x_1, shape (d,); its dtype is that of models and gradients.
        model_bounds: Θ as the cube [low, high]^d; None means unbounded.
        diameter: D_Θ, the largest distance within Θ; None means unknown.
        gradient_bound: G_Θ ≥ ‖Σ p_k ∇u_k‖ for priorities within W; None means unknown.
        smoothness: L, the Lipschitz constant of one user's loss gradient; None means unknown.
        hindsight: Whether the last ``info`` of a round reveals ``fairest_model`` (eq. 2).

    Raises:
        ValueError: A constant is outside its domain.
    """

    num_users: int
    dim: int
    num_slots: int
    alpha: float
    utility_bounds: tuple[float, float]
    initial_model: NDArray[np.floating]
    model_bounds: tuple[float, float] | None = None
    diameter: float | None = None
    gradient_bound: float | None = None
    smoothness: float | None = None
    hindsight: bool = False

    def __post_init__(self) -> None:
        checks.whole("num_users", self.num_users, low=2)
        checks.whole("dim", self.dim, low=1)
        checks.whole("num_slots", self.num_slots, low=1)
        checks.number("alpha", self.alpha, low=0.0)
        checks.utility_bounds(self.utility_bounds)
        if np.shape(self.initial_model) != (self.dim,):
            raise ValueError(
                f"initial_model has shape {np.shape(self.initial_model)}: must be ({self.dim},)"
            )
        if self.model_bounds is not None:
            low = checks.number("model_bounds[0]", self.model_bounds[0])
            checks.number("model_bounds[1]", self.model_bounds[1], low=low, open_low=True)

    @property
    def priority_bounds(self) -> tuple[float, float]:
        """The interval [1/u_max^α, 1/u_min^α] of a user's priority p = −w, w ∈ W."""
        u_min, u_max = self.utility_bounds
        return u_max**-self.alpha, u_min**-self.alpha

    @property
    def centre_priority(self) -> float:
        """((u_min + u_max)/2)^−α, the priority of the centre utility (math of eq. 9's start)."""
        return float((sum(self.utility_bounds) / 2) ** -self.alpha)

    def project(self, model: NDArray[np.floating]) -> NDArray[np.floating]:
        """The nearest model in Θ; shape (..., d)."""
        if self.model_bounds is None:
            return model
        return model.clip(*self.model_bounds)
