"""All rounds of a run side by side, where each round's start is known before any is played.

With the exact oracle x_t depends on θ*_1 … θ*_{t−1}, hence on the data alone: only the m slots of
a round follow one another, and T rounds are the one round of T streams. The agent plays them by
the same loop as any vector environment, and the records are those of :func:`owo_agents.play`, bit
for bit, many times sooner.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import gymnasium as gym
import numpy as np
from gymnasium.utils import seeding
from gymnasium.vector import AutoresetMode, VectorEnv

from owo_agents.agent import Agent
from owo_agents.learner.initialization import Initialization, Reset
from owo_agents.learner.learner import Learner
from owo_agents.playing.loop import AgentError, RoundRecord, play_round
from owo_env import checks
from owo_env.fairness import Fairness
from owo_env.problem import attribute
from owo_env.scenarios import Scenario, Stream
from owo_env.scenarios.base import Generators
from owo_env.scenarios.least_squares.base import LeastSquares
from owo_env.scenarios.least_squares.streams import Unrolled
from owo_env.vector_env import AIRANVectorEnv

MOST_ROUNDS = 4096  # their data are in memory together


def possible(env: gym.Env[Any, Any], agent: Agent, rounds: int) -> bool:
    """Whether :func:`play` can play this: nothing but x_t is carried, and that needs only θ*."""
    return (
        isinstance(agent, Learner)
        and agent.carried == Learner.carried
        and agent.target == "exact"
        and agent.weighting.forgetful()
        and agent.step.forgetful()
        and agent.initialization.carried == Initialization.carried
        and not isinstance(env, VectorEnv)
        and isinstance(attribute(env, "scenario"), LeastSquares)
        and rounds <= MOST_ROUNDS
    )


def play(
    env: gym.Env[Any, Any], agent: Learner, rounds: int, seed: int, certify: bool = False
) -> Iterator[RoundRecord]:
    """The records of ``owo_agents.play(env, agent, rounds, seed, certify)``.

    The environment itself is only read; the agent's initialization ends where it would have.

    Raises:
        ValueError: Not :func:`possible`, or the agent was made for another problem.
        AgentError: As in :func:`owo_agents.play`, or the agent's report has no entry a round.
    """
    checks.whole("rounds", rounds, low=1)
    seed = checks.whole("seed", seed, low=0)
    if not possible(env, agent, rounds):
        raise ValueError(
            f"agent {agent}: cannot be played side by side: it needs a scalar least-squares "
            f"environment with hindsight, at most {MOST_ROUNDS} rounds, and an agent that carries "
            "nothing but its start"
        )
    agent.environment(env)
    inner: Any = env.unwrapped
    streams = AIRANVectorEnv(
        rounds,
        _Rounds(inner.scenario, rounds, seed),
        gradients=inner.gradients,
        fairness=inner.problem.fairness,
        autoreset_mode=AutoresetMode.DISABLED,
    )
    obs, info = streams.reset()
    best = streams.fairest()
    assert best is not None
    initialization, known = agent.initialization, Reset(agent.problem)
    known.x = initialization.starts(best[0])
    agent.initialization = known
    try:
        record = play_round(streams, agent, obs, info, certify)
    finally:
        agent.initialization = initialization
    for name, values in record.extras.items():
        if not hasattr(values, "__len__") or len(values) != rounds:
            raise AgentError(
                f"agent {agent}: it reports {name}={values!r}: must have one entry for each of "
                f"the {rounds} streams that it plays, which is the shape of obs['slot']"
            )
    for t in range(rounds):
        own = {k: values[t] for k, values in vars(record).items() if k not in ("round", "extras")}
        extras = {k: values[t] for k, values in record.extras.items()}
        yield RoundRecord(round=t + 1, extras=extras, **own)


class _Rounds(Scenario):
    """The first rounds of a scenario's stream, each the one round of a stream of its own."""

    name = "rounds"
    has_oracle = True
    proven = True  # the scenario itself was looked at

    def __init__(self, scenario: LeastSquares, rounds: int, seed: int) -> None:
        self.problem, self._unrolled = scenario.problem, (scenario, rounds, seed)

    def stream(self, rng: np.random.Generator, fairness: Fairness | None) -> Stream:
        raise TypeError("these rounds are a batch")

    def batch(self, rngs: Generators, fairness: Fairness | None) -> Unrolled:
        scenario, rounds, seed = self._unrolled
        return Unrolled(scenario, seeding.np_random(seed)[0], rounds, fairness)
