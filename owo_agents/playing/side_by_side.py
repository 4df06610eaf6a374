"""All rounds of one stream at once, where the start of each is known before any is played.

With the exact oracle x_t depends on θ*_1 … θ*_{t−1}, hence on the data alone: only the m slots of
a round follow one another, and T rounds are played like T streams. The records are those of
:func:`owo_agents.play`, bit for bit, many times sooner.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import gymnasium as gym
import numpy as np
from gymnasium.utils import seeding
from gymnasium.vector import VectorEnv
from numpy.typing import NDArray

from owo_agents.agent import Agent
from owo_agents.learner.initialization import INITIALIZATIONS
from owo_agents.learner.learner import Learner
from owo_agents.learner.model_step import GradientAscent
from owo_agents.learner.weighting import Constant, Dual, Normalized, Weighting
from owo_agents.playing.loop import AgentError, RoundRecord, certificate, name_of
from owo_agents.registry import attribute, problem_of
from owo_env import checks
from owo_env.fairness import extended_terms, sum_users
from owo_env.problem import Problem
from owo_env.scenarios.least_squares.base import LeastSquares
from owo_env.scenarios.least_squares.slots import SlotData, mapped, mean_slots, play_batch, slot_of

Array = NDArray[Any]

MOST_ROUNDS = 4096  # their data are in memory together


def possible(env: gym.Env[Any, Any], agent: Agent, rounds: int) -> bool:
    """Whether :func:`play` can play this: nothing but x_t is carried, and that needs only θ*."""
    return (
        type(agent) is Learner
        and agent.target == "exact"
        and type(agent.step) is GradientAscent
        and type(agent.initialization) in INITIALIZATIONS.values()
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
    checks.whole("rounds", rounds, low=1)
    if not possible(env, agent, rounds):
        raise ValueError(
            f"agent {type(agent).__name__}: cannot be played side by side: it needs a scalar "
            f"least-squares environment with hindsight, at most {MOST_ROUNDS} rounds, and an "
            "agent that carries nothing but its start"
        )
    scenario: LeastSquares = attribute(env, "scenario")
    data = _laid(scenario, rounds, seed)
    best, value = (found[0] for found in scenario.fairest(*data.moments()))
    starts = agent.initialization.starts(best.T)
    slots = list(_slots(scenario, agent, data, starts))
    problem = problem_of(env)
    utilities = mean_slots(slot.utilities for slot in slots)
    fairness = sum_users(extended_terms(utilities, problem.alpha, problem.utility_bounds[0]))
    extras: dict[str, Array] = {"violations": _violations(problem, slots)}
    extras |= {name: np.moveaxis(values[0], -1, 0) for name, values in data.about.items()}
    if certify:
        evaluated = np.stack(list(_replayed(scenario, data, best)), -2)
        _, weights, felt = (np.stack(values, -2) for values in zip(*slots))
        extras |= certificate(problem, agent, starts, best.T, weights, felt, evaluated)
    columns = (fairness, value - fairness, utilities, mean_slots(s.weights for s in slots))
    described = (dict(zip(extras, values)) for values in zip(*extras.values()))
    numbers = range(1, rounds + 1)
    for record in zip(numbers, *columns, slots[-1].model, described):
        yield RoundRecord(*record)


def _forgets(weighting: Weighting) -> bool:
    """Whether a weighting starts every round alike."""
    if type(weighting) is Normalized:
        return _forgets(weighting.inner)
    return type(weighting) is Constant or (
        type(weighting) is Dual and weighting.step_index == "slot"
    )


class _Slot(NamedTuple):
    """What was played in a slot of each of T rounds: (T, d), (T, K), and the utilities (T, K)."""

    model: Array
    weights: Array
    utilities: Array


def _laid(scenario: LeastSquares, rounds: int, seed: int) -> SlotData:
    """The first rounds of a stream as the one round of as many streams."""
    rng, _ = seeding.np_random(seed)
    firsts = np.arange(1, rounds + 1, scenario.rounds_per_block)
    if getattr(type(scenario).draw, "in_turn", False):
        blocks = [scenario.draw([rng] * len(firsts), firsts)]
    else:
        blocks = [scenario.draw([rng], firsts[i : i + 1]) for i in range(len(firsts))]

    def laid(*parts: Array) -> Array:
        """(rounds of a block, …, blocks) → (1, …, rounds of all)."""
        whole = parts[0] if len(parts) == 1 else np.concatenate(parts, -1)
        whole = np.moveaxis(whole, 0, -1).reshape(*whole.shape[1:-1], -1)
        return np.ascontiguousarray(whole[None, ..., :rounds])

    return mapped(laid, *blocks)


def _slots(
    scenario: LeastSquares, agent: Learner, data: SlotData, starts: Array
) -> Iterator[_Slot]:
    """Every slot of all rounds: the environment's physics, and the learner's two steps."""
    model, weights = starts, agent.weighting.start(starts.shape[:-1])
    for i in range(scenario.problem.num_slots):
        slot = slot_of(data, 0, i)
        u, gradient = play_batch(data.error, slot, model.T, weights.T, scenario.l_max)
        if not (np.isfinite(u).all() and np.isfinite(weights).all()):
            fine = np.isfinite(u).all(axis=0) & np.isfinite(weights).all(axis=1)
            t = int(np.flatnonzero(~fine)[0])
            raise AgentError(
                f"agent {name_of(agent)}: round {t + 1}, slot {i + 1}: priorities {weights[t]} and "
                f"utilities {u[:, t]} are not finite"
            )
        yield _Slot(model, weights, u.T)
        model = agent.step.update(model, gradient.T)
        weights = agent.weighting.update(weights, u.T, i + 1)


def _replayed(scenario: LeastSquares, data: SlotData, model: Array) -> Iterator[Array]:
    """Utilities (T, K) of each round's ``model``, (d, T), in every slot."""
    for i in range(scenario.problem.num_slots):
        yield play_batch(data.error, slot_of(data, 0, i), model, None, scenario.l_max)[0].T


def _violations(problem: Problem, slots: Sequence[_Slot]) -> Array:
    """How many utilities of each round lie outside [u_min, u_max], (T,)."""
    low, high = problem.utility_bounds
    outside = (((s.utilities < low) | (s.utilities > high)).sum(axis=-1) for s in slots)
    return np.sum(list(outside), axis=0)
