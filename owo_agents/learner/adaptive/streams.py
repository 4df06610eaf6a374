"""Arrays with the streams last, so that many small problems are one elementwise one."""

from __future__ import annotations

from typing import Any

import numpy as np

from owo_agents.agent import Action, Agent, Floats, Info, Observation
from owo_agents.learner import told
from owo_agents.learner.participation import Participation, weighed
from owo_env.fairness import sum_users
from owo_env.problem import problem_of


def streams_last(values: Any, axes: int) -> Floats:
    """(N, K, d) → (d, K, N), and (K, d) of one stream → (d, K, 1).

    Args:
        values: An array of an observation.
        axes: How many axes one stream's has.
    """
    array = np.asarray(values, float)
    return array.T if array.ndim > axes else array.T[..., None]


def sum_over(values: Floats, axis: int = 0) -> Floats:
    """The sum over an axis, in order: a batch has the bits of its members."""
    return sum_users(np.moveaxis(values, axis, -1))


class StreamsLast(Agent):
    """An agent that keeps its model as (d, N), whatever the batch.

    Attributes:
        model: θ that :meth:`act` plays, (d, N).
        weights: p that :meth:`act` plays, (..., K).
    """

    model: Floats
    weights: Floats
    participation: Participation | None = None
    _batch: tuple[int, ...]
    _slot: int | None = None  # none before the first round

    def check(self, env: Any) -> None:
        super().check(env)
        if not problem_of(env).hindsight:
            raise ValueError(
                f"agent {self} learns from θ*_t, which this environment does not reveal "
                "(hindsight=False): make it for this one"
            )

    def act(self, obs: Observation, info: Info) -> Action:
        if self._slot is None:
            raise RuntimeError(f"agent {self}: begin_round(obs, info) comes before act")
        weights = weighed(self.participation, self.weights)
        model = self.problem.project(self.model.T.astype(self.problem.initial_model.dtype))
        return {"model": model.reshape(*self._batch, self.problem.dim), "weights": weights}

    def learn(self, obs: Observation, info: Info) -> None:
        if self._slot is None:
            raise RuntimeError(f"agent {self}: begin_round(obs, info) comes before learn")
        told.check(self, obs)
        self._slot += 1
