"""The scenario protocol: what the environment asks of a stream of rounds."""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from owo_env.problem import Problem

Floats = NDArray[np.floating]


class Stream(ABC):
    """One stream of rounds with its users' state; the environment drives it.

    The order of calls is ``open_round``, then ``play`` once a slot for slots 0 … m−1, then
    ``evaluate`` and ``fairest`` at will until the next ``open_round``.
    """

    @abstractmethod
    def open_round(self, options: Mapping[str, Any]) -> None:
        """Draw the next round; ``options`` are those of the environment's ``reset``.

        ``options["reset_heads"]`` asks the users to start from fresh local heads; a scenario
        without heads has nothing to reset.
        """

    @abstractmethod
    def play(
        self, slot: int, model: Floats, weights: Floats, per_user: bool
    ) -> tuple[Sequence[float], Floats]:
        """Let the users run slot ``slot`` (counted from 0) on the shared model.

        Args:
            slot: 0 … m−1, in order.
            model: θ, shape (d,), already validated.
            weights: Priorities p, shape (K,), already validated.
            per_user: Whether to return every user's own gradient.

        Returns:
            The K utilities u_k(θ), and Σ_k p_k ∇u_k(θ) of shape (d,), or, with ``per_user``,
            the ∇u_k(θ) of shape (K, d): a fresh array that the caller may keep.
        """

    @abstractmethod
    def evaluate(self, model: Floats) -> Floats:
        """Utilities (m, K) of ``model`` in every slot of the present round; changes nothing."""

    def fairest(self) -> tuple[Floats, float] | None:
        """(θ*, F_α at θ*) of eq. 2 for the present round, or None without an exact oracle."""
        return None

    def slot_info(self) -> dict[str, Any]:
        """Further entries of ``info`` after a slot, for example bytes on the air."""
        return {}

    def round_info(self) -> dict[str, Any]:
        """Further entries of ``info`` after a round's last slot, for example validation loss."""
        return {}

    def state_dict(self) -> dict[str, Any]:
        """What ``load_state_dict`` needs to go on from the end of this round, bit for bit."""
        raise TypeError(f"{type(self).__name__} cannot be checkpointed")

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on from the end of the round in which ``state`` was taken."""
        raise TypeError(f"{type(self).__name__} cannot be checkpointed")


class Scenario(ABC):
    """A kind of stream: its constants, and how to start one.

    Attributes:
        name: The name that ``gym.make(..., scenario=name)`` takes.
        problem: The constants that a learner may know.
        rounds: How many rounds a stream has; None means without end.
    """

    name: ClassVar[str]
    problem: Problem
    rounds: int | None = None
    has_oracle: ClassVar[bool] = False

    @abstractmethod
    def stream(self, rng: np.random.Generator, hindsight: bool) -> Stream:
        """Start a stream whose every draw comes from ``rng``."""
