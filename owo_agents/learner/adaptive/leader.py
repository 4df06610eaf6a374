"""The dual by follow-the-leader, which starts a round where the rounds before have been."""

from __future__ import annotations

from typing import Any

import numpy as np

from owo_agents.agent import Floats
from owo_agents.learner.weighting import Dual, Weighting
from owo_env.problem import Problem


class Leader(Weighting):
    """p = ∂F/∂u at the mean utilities of the round so far, clipped to their bounds.

    The first slot takes those at the mean over the rounds before, in round 1 the centre's.
    """

    carried = ("rounds", "served")
    rounds = 0
    served: Any = None  # v, the running mean of mean utilities, (..., K)

    def begin_round(self, batch: tuple[int, ...]) -> Floats:
        self._sum = np.zeros((*batch, self.problem.num_users))
        self._slot = 0
        if self.served is None:
            return super().begin_round(batch)
        return priorities_at(self.problem, self.served)

    def update(self, p: Floats, utilities: Floats, slot: int) -> Floats:
        self._sum, self._slot = self._sum + utilities, slot
        return priorities_at(self.problem, self._sum / slot)

    def end_round(self) -> None:
        if not self._slot:  # a round of which nothing was heard
            return
        self.rounds += 1
        means = self._sum / self._slot
        v = means if self.served is None else self.served
        self.served = v + (means - v) / self.rounds


def priorities_at(problem: Problem, utilities: Floats) -> Floats:
    """∂F/∂u at utilities (..., K), none above u_max."""
    return problem.fairness.priorities(np.minimum(utilities, problem.fairness.bounds[1]))


def dual_of(problem: Problem, leader: type[Weighting] = Leader) -> Weighting:
    """The dual by the leader; where that is no valid step (ordered notions) by the notion's own."""
    return leader(problem) if problem.fairness.modulus else Dual(problem)
