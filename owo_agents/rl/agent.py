"""A trained policy as an agent: it weighs the users, the rest is OWO-FMTL's."""

from __future__ import annotations

from typing import Any

from typing_extensions import Unpack

from owo_agents.agent import Floats
from owo_agents.learner.learner import Learner
from owo_agents.learner.methods import Parts, compose
from owo_agents.learner.weighting import Weighting
from owo_agents.rl.control import RoundView
from owo_agents.rl.policy import Policy, fitting
from owo_env.problem import Problem


class Learned(Weighting):
    """Priorities by a policy that sees what :class:`owo_agents.WeightControl` shows.

    Args:
        problem: The problem.
        policy: From observations (..., 3K + 1) to actions (..., K) in [−1, 1].
    """

    carried = ()

    def __init__(self, problem: Problem, policy: Any) -> None:
        super().__init__(problem)
        self.policy = policy
        self.view = RoundView(problem)

    def begin_round(self, batch: tuple[int, ...]) -> Floats:
        self.view.begin_round(batch)
        return self._decide()

    def update(self, p: Floats, utilities: Floats, slot: int) -> Floats:
        self.view.add(utilities, p, slot)
        return self._decide()

    def forgetful(self) -> bool:
        """Not to be played side by side: matrix products have other bits in a batch."""
        return False

    def _decide(self) -> Floats:
        return self.view.map.priorities(self.policy(self.view.observe()))


def learned(problem: Problem, *, path: str | None = None, **parts: Unpack[Parts]) -> Learner:
    """An agent whose weights a trained policy chooses.

    Args:
        problem: The problem.
        path: The policy: its file, the folder of ``owo train-rl``, or the name of a shipped one;
            default the shipped one that fits.
        parts: As for :func:`owo_agents.learner.methods.compose`.

    Raises:
        ValueError: No such file, no policy, or one of another K, α, dimension or utility bounds.
    """
    policy = Policy.load(fitting(problem) if path is None else path)
    policy.check(problem)
    return compose(Learned(problem, policy), **parts)
