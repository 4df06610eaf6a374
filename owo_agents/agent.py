"""The protocol between a learner at the RAN server and the environment."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from owo_agents.carrying import Carries
from owo_env import checks
from owo_env.figure import Figure
from owo_env.problem import Problem, attribute, problem_of
from owo_env.spaces import GRADIENTS

Observation = Mapping[str, Any]
Info = Mapping[str, Any]
Action = dict[str, Any]
Floats = NDArray[np.floating]

_FITS = ("num_users", "dim", "num_slots", "fairness", "model_bounds", "link")


def misfit(one: Problem, other: Problem) -> tuple[str, Any, Any] | None:
    """What an agent of one problem would do wrong in the other: a name and both values."""
    both = ((name, getattr(one, name), getattr(other, name)) for name in _FITS)
    return next((found for found in both if found[1] != found[2]), None)


class Agent(Carries, ABC):
    """A learner: it plays a shared model θ and priorities p in every slot.

    Only :meth:`act` must be written. Arrays carry the batch shape of ``obs["slot"]`` in front:
    () for one environment, (N,) for a vector of N streams in lock-step.

    Attributes:
        gradients: ``"weighted"`` or ``"per_user"``: which feedback the agent needs from the
            environment, or None if it reads no gradient and takes either.
        reset_options: Handed to ``env.reset(options=...)`` at each round.
        problem: What the agent was made for.
        name: What messages call the agent; :func:`owo_agents.make` says how it was made.
        figures: What its reports count or measure, for tables and claims.
        learning_rate: The constant step η of its gradient ascent, whose bound (6) can be
            certified; None where there is none.
    """

    gradients: ClassVar[str | None] = None
    reset_options: Mapping[str, Any] = {}
    figures: ClassVar[Sequence[Figure]] = ()
    name: str = ""
    learning_rate: float | None = None

    def __init__(self, problem: Problem) -> None:
        self.problem = problem

    def __str__(self) -> str:
        return self.name or type(self).__name__

    def environment(self, env: Any) -> Any:
        """Where the agent plays: ``env`` itself, or a wrapper of its own.

        Whoever plays calls it once before the first round.

        Raises:
            ValueError: The agent was made for another problem, or needs other gradients.
        """
        self.check(env)
        return env

    def begin_round(self, obs: Observation, info: Info) -> None:
        """A round opens; ``obs`` and ``info`` are those of ``env.reset``."""

    @abstractmethod
    def act(self, obs: Observation, info: Info) -> Action:
        """The action ``{"model": θ (..., d), "weights": p (..., K)}`` of the next slot.

        It changes nothing: calling it twice gives the same.
        """

    def learn(self, obs: Observation, info: Info) -> None:
        """Take in the feedback of the slot just played."""

    def end_round(self, obs: Observation, info: Info) -> None:
        """The round is over; ``info`` carries what hindsight reveals."""

    def report(self) -> Mapping[str, Any]:
        """What the agent tells of the round just ended; part of the record's ``extras``.

        An entry has the batch axes in front, if any; NaN is for what a round leaves undefined.
        """
        return {}

    def unshown(self) -> RuntimeError:
        """The error of an agent that plays without having been shown its environment."""
        return RuntimeError(
            f"agent {self} was never shown its environment: play by owo_agents.play, or with "
            "env = agent.environment(env) before the first round"
        )

    def check(self, env: Any) -> None:
        """Raise ValueError unless the agent was made for an environment like ``env``."""
        own = getattr(self, "problem", None)  # a class of somebody's own may have none
        if own is not None and (found := misfit(own, problem_of(env))):
            name, ours, theirs = found
            raise ValueError(
                f"agent {self} was made for {name}={ours!r}, the environment has "
                f"{name}={theirs!r}: make it for this one"
            )
        given = attribute(env, "gradients")
        if self.gradients not in (None, given):
            checks.one_of(f"gradients of agent {self}", self.gradients, GRADIENTS)
            raise ValueError(
                f"agent {self} needs gradients={self.gradients!r}, the environment gives "
                f"{given!r}: pass gradients={self.gradients!r} to gym.make"
            )
