"""All rounds of one stream at once, where the start of each is known before any is played.

With the exact oracle x_t depends on θ*_1 … θ*_{t−1}, hence on the data alone: only the m slots of
a round follow one another, and T rounds are played as T streams of a vector environment. The
records are those of :func:`owo_agents.play`, bit for bit, many times sooner.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Sequence
from typing import Any

import gymnasium as gym
import numpy as np
from gymnasium.utils import seeding
from gymnasium.vector import AutoresetMode, VectorEnv
from numpy.typing import NDArray

from owo_agents.agent import Agent
from owo_agents.initialization import Initialization
from owo_agents.learner import Learner
from owo_agents.model_step import GradientAscent
from owo_agents.play import RoundRecord
from owo_agents.play import play as play_in_turn
from owo_agents.registry import attribute
from owo_agents.weighting import Constant, Dual, Normalized, Weighting
from owo_env import AIRANVectorEnv
from owo_env.scenarios.least_squares import LeastSquares, RoundBuffer
from owo_env.scenarios.slots import SlotData, mapped

Array = NDArray[Any]

MOST_ROUNDS = 4096  # their data are in memory together


def possible(env: gym.Env[Any, Any], agent: Agent, rounds: int) -> bool:
    """Whether :func:`play` can play this: nothing but x_t is carried, and that needs only θ*."""
    return (
        type(agent) is Learner
        and agent.target == "exact"
        and type(agent.step) is GradientAscent
        and _forgets(agent.weighting)
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
        ValueError: Not :func:`possible`.
        AgentError: As in :func:`owo_agents.play`.
    """
    if not possible(env, agent, rounds):
        raise ValueError(
            f"agent {type(agent).__name__}: cannot be played side by side: it needs a scalar "
            f"least-squares environment with hindsight, at most {MOST_ROUNDS} rounds, and an "
            "agent that carries nothing but its start"
        )
    scenario = _Rounds(attribute(env, "scenario"), rounds)
    wide = AIRANVectorEnv(rounds, scenario, autoreset_mode=AutoresetMode.DISABLED)
    starts = _Starts(agent.initialization, scenario)
    learner = Learner(agent.weighting, agent.step, starts, target="exact")
    (batch,) = play_in_turn(wide, learner, 1, seed, certify)
    columns = (list(getattr(batch, f.name)) for f in dataclasses.fields(RoundRecord)[1:-1])
    extras = (dict(zip(batch.extras, values)) for values in zip(*batch.extras.values()))
    for record in zip(range(1, rounds + 1), *columns, extras):
        yield RoundRecord(*record)


def _forgets(weighting: Weighting) -> bool:
    """Whether a weighting starts every round alike."""
    if type(weighting) is Normalized:
        return _forgets(weighting.inner)
    return type(weighting) is Constant or (
        type(weighting) is Dual and weighting.step_index == "slot"
    )


class _Rounds(LeastSquares):
    """The first rounds of one stream of another scenario, as the one round of as many streams."""

    name = "side-by-side"
    summary = "rounds of one stream as streams"

    def __init__(self, inner: LeastSquares, rounds: int) -> None:
        super().__init__(inner.problem, inner.l_max)
        self.inner, self.rounds = inner, 1
        self.rounds_per_block, self.streams_per_draw = 1, rounds

    def buffer(self, seeds: Sequence[int | None], hindsight: bool) -> RoundBuffer:
        """The rounds of the stream of the first seed."""
        rng, _ = seeding.np_random(seeds[0])
        self.laid = RoundBuffer(self, [rng] * len(seeds), hindsight)
        return self.laid

    def draw(
        self, rngs: Sequence[np.random.Generator], first_round: NDArray[np.integer]
    ) -> SlotData:
        firsts = np.arange(1, len(rngs) + 1, self.inner.rounds_per_block)
        blocks = self.inner.draw([rngs[0]] * len(firsts), firsts)  # of one stream, in turn

        def laid(array: Array) -> Array:
            """(rounds of a block, …, blocks) → (1, …, rounds of all)."""
            rounds = np.moveaxis(array, 0, -1).reshape(*array.shape[1:-1], -1)
            return np.ascontiguousarray(rounds[None, ..., : len(rngs)])

        return mapped(blocks, laid)


class _Starts(Initialization):
    """x_t of every round at once: what ``inner`` makes of the θ* of the rounds before."""

    def __init__(self, inner: Initialization, scenario: _Rounds) -> None:
        super().__init__(inner.problem)
        self.inner, self.scenario = inner, scenario

    def start(self, batch: tuple[int, ...]) -> Array:
        assert self.scenario.laid.model is not None
        return self.inner.starts(self.scenario.laid.model[0].T)

    def update(self, target: Array) -> None:
        """Done already."""

    def _next(self, x: Any, target: Any) -> Any:
        raise NotImplementedError
