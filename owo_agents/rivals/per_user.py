"""The base of methods that make their direction from every user's own gradient."""

from __future__ import annotations

from abc import abstractmethod
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from owo_agents.agent import Floats, Observation
from owo_agents.learner.learner import Learner
from owo_agents.learner.weighting import Weighting
from owo_env.figure import Figure

FALLBACKS = Figure(
    "fallbacks",
    "fallbacks",
    "share of slots in which the method's solver failed, and its stand-in was played",
    better=-1,
    reads="fallbacks",
    form="share",
)


class Effective(Weighting):
    """The weights that a method gave the users' gradients in the slot before, for the record.

    With ``gradients="per_user"`` an action's weights shape nothing. Playing the effective ones
    makes Σp mean what it means elsewhere; they lag a slot, and negative ones count as 0.
    """

    carried = ("weights",)
    weights: Floats | None = None

    def begin_round(self, batch: tuple[int, ...]) -> Floats:
        if self.weights is None:
            self.weights = super().begin_round(batch)
        return self.weights

    def update(self, p: Floats, utilities: Floats, slot: int) -> Floats:
        return self.begin_round(p.shape[:-1])


class PerUser(Learner):
    """A learner that combines the users' gradients ∇u_k itself, after it has seen them."""

    gradients: ClassVar[str | None] = "per_user"
    carried = Learner.carried
    weighting: Effective
    heard: NDArray[np.integer] | None = None
    """Whose feedback arrived in the slot, (..., K), 0 or 1; None: everybody's."""

    @abstractmethod
    def combine(self, gradients: Floats, utilities: Floats) -> tuple[Floats, Floats]:
        """The ascent direction (..., d) and the weights (..., K) that made it.

        Where users are not :attr:`heard` their gradients are 0 and their utilities the mean of
        what was heard of them.

        Args:
            gradients: ∇u_k of the slot just played, (..., K, d).
            utilities: u_k of that slot, (..., K).
        """

    def direction(self, obs: Observation) -> Floats:
        self.heard = obs.get("heard")
        direction, weights = self.combine(obs["gradients"], obs["utilities"])
        self.weighting.weights = np.maximum(weights, 0.0)
        return direction
