"""The base of methods that make their direction from every user's own gradient."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from owo_agents.agent import Observation
from owo_agents.learner.learner import Learner
from owo_agents.learner.weighting import Weighting

Floats = NDArray[np.floating]


class Effective(Weighting):
    """The weights that a method gave the users' gradients in the slot before, for the record.

    With ``gradients="per_user"`` an action's weights shape nothing. Playing the effective ones
    makes Σp mean what it means elsewhere; they lag a slot, and negative ones count as 0.
    """

    weights: Floats | None = None

    def start(self, batch: tuple[int, ...]) -> Floats:
        if self.weights is None:
            self.weights = np.full((*batch, self.problem.num_users), self.problem.centre_priority)
        return self.weights

    def update(self, p: Floats, utilities: Floats, slot: int) -> Floats:
        return self.start(p.shape[:-1])

    def state_dict(self) -> dict[str, Any]:
        return {} if self.weights is None else {"weights": self.weights.copy()}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        self.weights = np.array(state["weights"]) if state else None


class PerUser(Learner):
    """A learner that combines the users' gradients ∇u_k itself, after it has seen them."""

    gradients: ClassVar[str | None] = "per_user"
    weighting: Effective

    @abstractmethod
    def combine(self, gradients: Floats, utilities: Floats) -> tuple[Floats, Floats]:
        """The ascent direction (..., d) and the weights (..., K) that made it.

        Args:
            gradients: ∇u_k of the slot just played, (..., K, d).
            utilities: u_k of that slot, (..., K).
        """

    def direction(self, obs: Observation) -> Floats:
        direction, weights = self.combine(obs["gradients"], obs["utilities"])
        self.weighting.weights = np.maximum(weights, 0.0)
        return direction
