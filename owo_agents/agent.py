"""The protocol between a learner at the RAN server and the environment."""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Any, ClassVar

from owo_env.problem import Problem

Observation = Mapping[str, Any]
Info = Mapping[str, Any]
Action = dict[str, Any]


class Agent(ABC):
    """A learner: it plays a shared model θ and priorities p in every slot.

    Only :meth:`act` must be written. Arrays carry the batch shape of ``obs["slot"]`` in front:
    () for one environment, (N,) for a vector of N streams in lock-step.

    Attributes:
        gradients: ``"weighted"`` or ``"per_user"``: which feedback the agent needs from the
            environment, or None if it reads no gradient and takes either.
        reset_options: Handed to ``env.reset(options=...)`` at each round by :func:`play`.
        problem: What the agent was made for.
        name: What messages call the agent; :func:`owo_agents.make` says how it was made.
    """

    gradients: ClassVar[str | None] = None
    reset_options: Mapping[str, Any] = {}
    name: str = ""

    def __init__(self, problem: Problem) -> None:
        self.problem = problem

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
        """What the agent tells of the round just ended; part of the record's ``extras``."""
        return {}

    def environment(self, env: Any) -> Any:
        """Where :func:`play` lets the agent play: ``env`` itself, or a wrapper of its own."""
        return env

    def state_dict(self) -> dict[str, Any]:
        """What the agent carries from round to round: arrays, numbers and strings."""
        return {}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on from ``state``, a result of :meth:`state_dict`."""
