"""The fairest model in hindsight as a reference: what regret 0 looks like."""

from __future__ import annotations

from typing import Any

import numpy as np

from owo_agents.agent import Action, Agent, Info, Observation
from owo_env.problem import Problem


class Oracle(Agent):
    """Plays θ*_t of eq. 2 throughout round t, which no learner can know: its regret is 0.

    Its utilities by α are the frontier that learners are measured against.

    Raises:
        ValueError: The environment has no exact oracle, or hindsight is off.
    """

    carried = ()

    def __init__(self, problem: Problem) -> None:
        super().__init__(problem)
        if not problem.hindsight:
            raise ValueError("agent 'oracle': the environment reveals no fairest model")
        self._env: Any = None

    def environment(self, env: Any) -> Any:
        if not hasattr(env.unwrapped, "fairest"):
            raise ValueError(
                "agent 'oracle' needs a native environment, not Gymnasium's Sync- or AsyncVectorEnv"
            )
        self._env = env.unwrapped
        return super().environment(env)

    def begin_round(self, obs: Observation, info: Info) -> None:
        if self._env is None:
            raise self.unshown()
        batch, start = np.shape(obs["slot"]), self.problem.fairness.start
        self.model = self._env.fairest()[0]
        self.weights = np.broadcast_to(start, (*batch, len(start))).copy()

    def act(self, obs: Observation, info: Info) -> Action:
        return {"model": self.model.copy("K"), "weights": self.weights.copy("K")}
