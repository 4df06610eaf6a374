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
        initial_model: x_1 ∈ Θ, shape (d,); its dtype is that of models and gradients. A copy that
            cannot be written to, since all agents of a problem start from it.
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
        for name, low in (("num_users", 2), ("dim", 1), ("num_slots", 1)):
            self._keep(name, checks.whole(name, getattr(self, name), low=low))
        self._keep("alpha", checks.number("alpha", self.alpha, low=0.0))
        self._keep("utility_bounds", checks.utility_bounds(self.utility_bounds))
        if self.model_bounds is not None:
            if len(self.model_bounds) != 2:
                raise ValueError(f"model_bounds={self.model_bounds!r}: must be a pair (low, high)")
            left = checks.number("model_bounds[0]", self.model_bounds[0])
            right = checks.number("model_bounds[1]", self.model_bounds[1], low=left, open_low=True)
            self._keep("model_bounds", (left, right))
        self._keep("initial_model", self._start())

    def _keep(self, name: str, value: object) -> None:
        """Set a field of the frozen instance to its checked value."""
        object.__setattr__(self, name, value)

    def _start(self) -> NDArray[np.floating]:
        x = np.array(self.initial_model)
        if x.dtype.kind != "f":
            x = x.astype(float)  # else all models would be whole numbers
        if x.shape != (self.dim,):
            raise ValueError(f"initial_model has shape {x.shape}: must be ({self.dim},)")
        low, high = self.model_bounds or (-np.inf, np.inf)
        for j in np.flatnonzero(~(np.isfinite(x) & (low <= x) & (x <= high)))[:1]:
            raise ValueError(
                f"initial_model is {x[j]} at index {j}: must be finite and in [{low:g}, {high:g}]"
            )
        x.setflags(write=False)
        return x

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
