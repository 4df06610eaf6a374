"""Online-learning rivals: other ways to choose priorities from the utilities seen."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from typing_extensions import Unpack

from owo_agents.agent import Floats
from owo_agents.learner.learner import Learner
from owo_agents.learner.methods import Parts, compose
from owo_agents.learner.weighting import Dual, Weighting, checked_total
from owo_agents.rivals.per_user import Effective, PerUser
from owo_env import checks
from owo_env.fairness import sum_users
from owo_env.problem import Problem


class FollowTheLeader(Weighting):
    """p = (mean utility of the round so far)^−α, within W: the best dual variable in hindsight.

    It minimizes Σ_j Ψ(w, θ_j) over the slots j ≤ i played; the round's first slot takes the
    centre utility's, as the dual step does.

    Raises:
        ValueError: The notion's dual is not strongly convex.
    """

    carried = ()

    def __init__(self, problem: Problem) -> None:
        super().__init__(problem)
        if not problem.fairness.modulus:
            raise ValueError(
                f"agent 'ftl': with {problem.fairness} Ψ is linear in the priorities, and to "
                "follow the leader there has a regret that grows with every slot; owo-fmtl and "
                "hedge are valid"
            )

    def begin_round(self, batch: tuple[int, ...]) -> Floats:
        self._sum: Floats | float = 0.0
        return super().begin_round(batch)

    def update(self, p: Floats, utilities: Floats, slot: int) -> Floats:
        self._sum = self._sum + utilities
        _, u_max = self.problem.fairness.bounds
        return self.problem.fairness.priorities(np.minimum(self._sum / slot, u_max))


class Hedge(Weighting):
    """Exponential weights over users, towards the worst: p ∝ exp(−λ Σ_j u_j), restarted a round.

    Freund and Schapire (1997): max-min fairness by a zero-sum game, which knows no α.

    Args:
        problem: The problem.
        sharpness: λ > 0; default √(8 ln K/m)/(u_max − u_min), of the user with the widest.
        total: Σ_k p_k; default K·((u_min + u_max)/2)^−α, where OWO-FMTL starts.
    """

    carried = ()

    def __init__(
        self, problem: Problem, sharpness: float | None = None, total: float | None = None
    ) -> None:
        super().__init__(problem)
        u_min, u_max = problem.fairness.bounds
        if sharpness is None:
            most = math.sqrt(8 * math.log(problem.num_users) / problem.num_slots)
            sharpness = most / np.max(u_max - u_min)
        self.sharpness = checks.number("sharpness", sharpness, low=0.0, open_low=True)
        self.total = checked_total(problem, total)
        self.start = np.full(problem.num_users, self.total / problem.num_users)

    def update(self, p: Floats, utilities: Floats, slot: int) -> Floats:
        lead = utilities - utilities.min(axis=-1, keepdims=True)
        raised = np.maximum(p, np.finfo(float).tiny) * np.exp(-self.sharpness * lead)
        return raised * (self.total / sum_users(raised))[..., None]


class DualCarried(Dual):
    """The dual step of eq. 9 over the whole stream: neither p nor the slot index restarts.

    Args:
        problem: The problem.
        initial_weights: The priorities of the first slot, K; default the centre utility's.
        constants: As of ``owo-fmtl``.
    """

    carried = ("slots", "p", "z")
    slots = 0
    p: Floats | None = None
    z: Any = None

    def begin_round(self, batch: tuple[int, ...]) -> Floats:
        return super().begin_round(batch) if self.p is None else self.p

    def update(self, p: Floats, utilities: Floats, slot: int) -> Floats:
        self.slots += 1
        self.p = super().update(p, utilities, self.slots)
        return self.p


class SlotFair(PerUser):
    """Ascent on Σ_i F(u_i(θ)), fairness within each slot: Σ_k u_ik^−α ∇u_ik.

    The myopic alternative to eq. 1, which asks fairness of the round's mean utilities only.
    """

    carried = PerUser.carried

    def combine(self, gradients: Floats, utilities: Floats) -> tuple[Floats, Floats]:
        weights = self.problem.fairness.priorities(utilities)
        weighted = weights[..., None].astype(gradients.dtype) * gradients
        return sum_users(np.swapaxes(weighted, -1, -2)), weights


def slot_fair(problem: Problem, **parts: Unpack[Parts]) -> Learner:
    """Ascent on each slot's own fairness; see :class:`SlotFair`."""
    return compose(Effective(problem), learner=SlotFair, **parts)
