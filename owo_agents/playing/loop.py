"""The loop of an agent and an environment, and the record of each round.

The record is of what was played: it is taken before the agent sees the answer, whose arrays are
then the agent's own. Actions are copied on their way, and what an environment may keep (entries of
``info``) on its way back.
"""

from __future__ import annotations

import copy
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import gymnasium as gym
import numpy as np
from gymnasium.vector import AutoresetMode, VectorEnv
from numpy.typing import NDArray

from owo_agents.agent import Agent
from owo_env import checks, regret
from owo_env.classes import named
from owo_env.fairness import sum_users
from owo_env.problem import attribute, problem_of

Array = NDArray[Any]

PLAIN = frozenset((int, float, bool, str, type(None)))

# What a record has fields of its own for; the rest of a round's last info goes to ``extras``.
OWN = {"round", "slot", "mean_utilities", "fairness", "fairest_model", "fairest_fairness", "regret"}


class AgentError(RuntimeError):
    """An agent played something impossible; the message names agent, round and slot."""


@dataclass(frozen=True)
class RoundRecord:
    """What happened in one round; arrays have the batch axes (N,) in front, if any.

    Attributes:
        round: The round's number t, from 1.
        fairness: F_α of the round's mean utilities.
        regret: F_α at θ*_t less ``fairness``; None without hindsight.
        utilities: The round's mean utilities, (..., K).
        weights: The round's mean priorities, (..., K).
        model: The last θ played, (..., d).
        extras: What else the round's last info holds (violations, validation loss, …), and what
            the agent reports.
    """

    round: int
    fairness: Array
    regret: Array | None
    utilities: Array
    weights: Array
    model: Array
    extras: dict[str, Any] = field(default_factory=dict)


def play(
    env: gym.Env[Any, Any] | VectorEnv[Any, Any, Any],
    agent: Agent,
    rounds: int,
    seed: int | Sequence[int] | None = None,
    certify: bool = False,
) -> Iterator[RoundRecord]:
    """Play ``rounds`` rounds, yielding a record after each.

    Args:
        env: Scalar or vector; a vector environment must have ``autoreset_mode=DISABLED``, so
            that a round's last observation is the round's own.
        agent: Any agent; it keeps what it learned from earlier rounds.
        rounds: How many.
        seed: Starts the stream at round 1; None opens the stream's next round. A vector
            environment takes one for each stream as well, in a list or an array.
        certify: Put the terms of each round's certificate (:mod:`owo_env.regret`) into its
            ``extras``: ``primal_regret`` R^θ, ``dual_regret`` R^w and ``residual``, and, where
            the agent's step is a constant η > 0, ``primal_bound`` (6); a term that is infinite
            in some stream is left out.

    Raises:
        TypeError: ``agent`` is no :class:`owo_agents.Agent`.
        ValueError: ``rounds`` < 1 or more than the scenario has, ``seed`` is no whole number ≥ 0,
            the agent was made for another problem or needs gradients that ``env`` does not give,
            or ``certify`` where it reveals no fairest model.
        AgentError: The agent's action is not finite or outside the space, or a utility is not
            finite; the message names agent, round and slot.
        RuntimeError: A wrapper, such as Gymnasium's ``TimeLimit``, cut a round.
    """
    if not isinstance(agent, Agent):
        raise TypeError(f"agent={agent!r}: must be an owo_agents.Agent")
    check_rounds(env, rounds)
    mode = env.metadata.get("autoreset_mode")
    if isinstance(env, VectorEnv) and mode is not AutoresetMode.DISABLED:
        raise ValueError(
            f"env has autoreset_mode={mode}: play() needs AutoresetMode.DISABLED "
            "(gym.make_vec(..., autoreset_mode='Disabled'))"
        )
    if certify and not (problem_of(env).hindsight and hasattr(env.unwrapped, "evaluate")):
        raise ValueError(
            "certify=True: the environment reveals no fairest model to compare with, or is no "
            "native one (Gymnasium's Sync- and AsyncVectorEnv)"
        )
    return _rounds(agent.environment(env), agent, rounds, _seed(env, seed), certify)


def _seed(env: Any, seed: Any) -> Any:
    """``seed`` in the type that ``env.reset`` takes."""
    if isinstance(env, VectorEnv) and np.ndim(seed) == 1:
        return [checks.seed(f"seed[{n}]", one) for n, one in enumerate(seed)]
    return checks.seed("seed", seed)


def check_rounds(env: Any, rounds: int) -> None:
    """Raise ValueError unless ``rounds`` ≥ 1 and the scenario has as many."""
    checks.whole("rounds", rounds, low=1)
    most = getattr(attribute(env, "scenario"), "rounds", None)
    if most is not None and rounds > most:
        raise ValueError(f"rounds={rounds}: the scenario has only {most}")


def _rounds(env: Any, agent: Agent, rounds: int, seed: Any, certify: bool) -> Iterator[RoundRecord]:
    for t in range(rounds):
        options = dict(agent.reset_options)
        obs, info = env.reset(seed=seed if t == 0 else None, options=options)
        yield play_round(env, agent, obs, info, certify)


def play_round(
    env: Any, agent: Agent, obs: Mapping[str, Any], info: Mapping[str, Any], certify: bool
) -> RoundRecord:
    """Play the round that ``env.reset`` has opened; ``obs`` and ``info`` are its answer."""
    num_slots, weights = problem_of(env).num_slots, np.zeros(())
    played: dict[str, list[Array]] = defaultdict(list)
    shown = own(info)
    agent.begin_round(obs, shown)
    for slot in range(1, num_slots + 1):
        action = own(agent.act(obs, shown))
        try:
            obs, _, terminated, truncated, info = env.step(action)
        except (ValueError, FloatingPointError) as error:
            raise AgentError(f"agent {agent}: {error}") from error
        if slot < num_slots and (_any(terminated) or _any(truncated)):
            raise RuntimeError(_cut(info, slot, num_slots))
        weights = weights + np.asarray(action["weights"], float)
        if certify:
            told = {**action, "utilities": obs["utilities"], "p": getattr(agent, "weights", None)}
            for name, values in told.items():
                played[name].append(own(values))
        shown = own(info)
        agent.learn(obs, shown)
        if certify:
            played["delivered"].append(own(getattr(agent, "delivered", None)))
    agent.end_round(obs, own(info))
    extras = {k: own(v) for k, v in info.items() if k not in OWN and not k.startswith("_")}
    extras = named(extras, problem_of(env).class_names) | own(dict(agent.report()))
    if certify:
        extras |= _certificate(env, agent, played, info["fairest_model"])
    return RoundRecord(
        round=int(np.ravel(info["round"])[0]),
        fairness=np.asarray(info["fairness"]),
        regret=np.asarray(info["regret"]) if "regret" in info else None,
        utilities=info["mean_utilities"],
        weights=weights / num_slots,
        model=np.array(action["model"]),
        extras=extras,
    )


def own(value: Any) -> Any:
    """A copy that shares no memory, of what an agent is shown, plays or reports."""
    kind = type(value)
    if kind is dict:
        copied = {}
        for name, one in value.items():  # without a call for what is most often in it
            kind = type(one)
            if kind in PLAIN:
                copied[name] = one
            else:
                numbers = kind is np.ndarray and not one.dtype.hasobject
                copied[name] = one.copy("K") if numbers else own(one)
        return copied
    if kind is list or kind is tuple:
        return kind(map(own, value))
    return value.detach().clone() if hasattr(value, "detach") else copy.deepcopy(value)


def _any(ended: Any) -> bool:
    """Whether it is true of the environment, or of any of a batch."""
    return ended is not False and bool(np.count_nonzero(ended))


def _cut(info: Mapping[str, Any], slot: int, num_slots: int) -> str:
    """What is wrong where an environment ends a round before its last slot."""
    return (
        f"round {np.ravel(info['round'])[0]} was cut after slot {slot} of {num_slots}: a wrapper "
        "(Gymnasium's TimeLimit, or max_episode_steps of gym.make) ends it early, and play() "
        "needs whole rounds: take the wrapper off"
    )


def _certificate(
    env: Any, agent: Agent, played: Mapping[str, Sequence[Array]], best: Array
) -> dict[str, Array]:
    """The terms of the round just ended, those that are finite.

    Args:
        env: It evaluates the fairest model.
        agent: Who played; its learning rate is read.
        played: Slot by slot: model and weights played, the utilities that were seen, and, of an
            agent that tells, its priorities p and what its gradients were multiplied by.
        best: θ*_t, (..., d).
    """
    problem, fairest = problem_of(env), env.unwrapped.evaluate(best)
    weights = np.stack(played["weights"], -2)
    if problem.link is not None:
        found = _over_link(env, played, weights, fairest)
    else:
        found = regret.certify(problem, weights, np.stack(played["utilities"], -2), fairest)
    names = "primal_regret", "dual_regret", "residual", *(("missed",) if problem.link else ())
    terms = {name: np.asarray(getattr(found, name)) for name in names}
    rate = agent.learning_rate
    if rate and problem.gradient_bound is not None and problem.link is None:
        distance = np.sqrt(sum_users((played["model"][0] - best) ** 2))
        terms["primal_bound"] = regret.primal_bound(problem, rate, distance)
    return {name: term for name, term in terms.items() if np.isfinite(term).all()}


def _over_link(
    env: Any, played: Mapping[str, Sequence[Array]], weights: Array, fairest: Array
) -> regret.Certificate:
    """The certificate of a round over a link.

    The feedback of slot i meets the priorities of slot i + D; for that of the last D slots, which
    never arrives, those of the last slot stand.
    """
    problem = problem_of(env)
    active, heard, utilities = env.unwrapped.on_air()
    m, late = problem.num_slots, problem.link.delay  # type: ignore[union-attr]
    arrives = np.minimum(np.arange(m) + late, m - 1)
    known = all(p is not None and np.shape(p) == weights.shape[:-2] + weights.shape[-1:]
                for p in played["p"])  # fmt: skip
    p = np.stack(played["p"], -2) if known else weights
    told = [d for d in played["delivered"] if d is not None]
    delivered = np.stack(told, -2) if len(told) == m else weights[..., arrives, :]
    if len(told) == m:
        delivered = delivered[..., arrives, :]
    delivered = delivered * heard
    masks = active if problem.link.idles else None  # type: ignore[union-attr]
    return regret.certify(problem, p[..., arrives, :], utilities, fairest, masks, delivered)
