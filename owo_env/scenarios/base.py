"""The scenario protocol: what an environment asks of a stream of rounds, and of N of them."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from owo_env.fairness import Fairness
from owo_env.figure import Figure
from owo_env.problem import Problem
from owo_env.scenarios.hindsight import fairest_of_stream

Floats = NDArray[np.floating]
Integers = NDArray[np.integer]
Mask = NDArray[np.bool_]
Generators = Sequence[np.random.Generator]


class Stream(ABC):
    """One stream of rounds with its users' state; the environment drives it.

    The order of calls is ``open_round``, then ``play`` once a slot for slots 0 … m−1, or as many
    as there is time for; ``evaluate`` and ``fairest`` at will until the next ``open_round``.

    Attributes:
        exact: Whether the utilities beside the model of ``fairest`` are known to be the model's;
            otherwise the environment asks ``evaluate`` for them.
    """

    exact: bool = False

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

    def fairest(self) -> tuple[Floats, Floats] | None:
        """θ* (d,) of eq. 2 for the present round and its mean utilities (K,); or None.

        Regret is measured against the utilities that ``evaluate`` gives for θ*.
        """
        return None

    def fairest_of_jobs(
        self, active: Mask, shares: Floats | None, fairness: Fairness
    ) -> tuple[Floats, Floats]:
        """θ* (rounds, d) of the present block, and utilities (rounds, K), if ``takes_jobs``.

        Args:
            active: Who has a job, (rounds, m, K); the mean is over a user's own jobs, and of one
                without any the utility is l_max.
            shares: What each user's term of F is multiplied by, (rounds, K); None: 1.
            fairness: What to maximize.
        """
        raise TypeError(f"{type(self).__name__} has no oracle that knows of jobs")

    def air(self) -> Mapping[str, NDArray[Any]]:
        """What a link may draw from in the present block of rounds, by the scenario's ``air``.

        ``snr_db``: mean SNRs in dB, (rounds, K); ``user_class``: names, (rounds, K); ``active``
        and ``heard``: masks, (rounds, m, K).
        """
        return {}

    def begin_slot(self, active: Mask) -> None:
        """A link tells who has a job in the slot to be played, (K,)."""

    def active(self, slot: int) -> Mask | None:
        """Who has a job in a slot of the present round, (K,); None: everybody."""
        return None

    def feedback(self) -> Mapping[str, NDArray[Any]]:
        """What an observation says instead of the utilities just felt, and beside them."""
        return {}

    def slot_info(self) -> dict[str, Any]:
        """Further entries of ``info`` after a slot, for example bytes on the air."""
        return {}

    def round_info(self) -> dict[str, Any]:
        """Further entries of ``info`` after a round's last slot, for example validation loss."""
        return {}

    def export(self, model: Floats | None) -> Any:
        """What was trained, to be taken home; with ``model`` for θ, or the last one played."""
        raise TypeError(f"{type(self).__name__} has no modules to export: its model is θ itself")

    def state_dict(self) -> dict[str, Any]:
        """What ``load_state_dict`` needs to go on from the end of this round, bit for bit."""
        raise TypeError(f"{type(self).__name__} cannot be checkpointed")

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on from the end of the round in which ``state`` was taken."""
        raise TypeError(f"{type(self).__name__} cannot be checkpointed")


class Batch(ABC):
    """N streams side by side; the vector environment drives them.

    They may stand at different rounds and slots. Arrays have the streams first, in whatever
    memory order is fast.

    Attributes:
        round: The number of each stream's present round, from 1; 0 before its first; (N,).
        exact: As for a stream.
    """

    round: Integers
    exact: bool = False

    @abstractmethod
    def restart(self, n: int, rng: np.random.Generator) -> None:
        """Start stream ``n`` anew from ``rng``; ``open_rounds`` then opens its round 1."""

    @abstractmethod
    def open_rounds(self, which: Integers, options: Mapping[str, Any]) -> None:
        """Draw the next round of the streams ``which``; options as for a stream."""

    @abstractmethod
    def play(
        self, slot: int | Integers, model: Floats, weights: Floats, per_user: bool, live: Mask
    ) -> tuple[Floats, Floats]:
        """:meth:`Stream.play` of every stream.

        Args:
            slot: 0 … m−1, one for all or one each.
            model: θ, (N, d).
            weights: p, (N, K).
            per_user: Whether to return every user's own gradient.
            live: The streams that are to play, (N,); the answer for others has no meaning.

        Returns:
            Utilities (N, K), and the gradients (N, d), or, with ``per_user``, (N, K, d): fresh
            arrays that the caller may keep.
        """

    @abstractmethod
    def evaluate(self, model: Floats) -> Floats:
        """Utilities (N, m, K) of the models (N, d) in the present rounds; changes nothing."""

    @abstractmethod
    def fairest(self, which: Integers) -> tuple[Floats, Floats] | None:
        """θ* (n, d) and mean utilities (n, K) of the n streams ``which``; or None."""

    def fairest_of_jobs(
        self, which: Integers, active: Mask, shares: Floats | None, fairness: Fairness
    ) -> tuple[Floats, Floats]:
        """:meth:`Stream.fairest_of_jobs` of the n streams ``which``, last in all arrays."""
        raise TypeError(f"{type(self).__name__} has no oracle that knows of jobs")

    def air(self, n: int) -> Mapping[str, NDArray[Any]]:
        """:meth:`Stream.air` of stream ``n``."""
        return {}

    def begin_slot(self, active: Mask) -> None:
        """:meth:`Stream.begin_slot`, (N, K)."""

    def active(self, slot: int | Integers) -> Mask | None:
        """:meth:`Stream.active`, (N, K); one slot for all, or one each."""
        return None

    def feedback(self) -> Mapping[str, NDArray[Any]]:
        """:meth:`Stream.feedback`, arrays (N, …)."""
        return {}

    def slot_info(self) -> dict[str, Any]:
        """:meth:`Stream.slot_info`, arrays (N, …); of streams that did not play, anything."""
        return {}

    @abstractmethod
    def round_info(self, which: Integers) -> dict[str, Any]:
        """:meth:`Stream.round_info` of the streams ``which``, arrays (n, …)."""


class Scenario(ABC):
    """A kind of stream: its constants, and how to start one.

    Attributes:
        name: The name that ``gym.make(..., scenario=name)`` takes.
        problem: The constants that a learner may know. Its ``fairness`` is what the environment
            takes where nobody says otherwise.
        user_classes: The class of each user, K names, for contracts by class; None where there
            are none, or users change places.
        rounds: How many rounds a stream has; None means without end.
        rounds_per_block: How many are drawn at a time.
        proven: Whether streams are known to depend on their generators alone. That of somebody's
            own scenario is seen when it is first used (``proof.py``), unless it says so itself.
        has_oracle: Whether its streams know the fairest model in hindsight.
        reset_options: What ``env.reset(options=…)`` may name beside ``reset_heads``.
        figures: What its runs are measured by beside utility, for tables and claims.
        air: What :meth:`Stream.air` of its streams tells.
        class_names: The names of its classes of users, for links by class.
        takes_delay: Whether a link may ask for users' own gradients of past slots.
        takes_jobs: Whether its oracle knows of users without jobs.
    """

    name: ClassVar[str]
    problem: Problem
    user_classes: Sequence[str] | None = None
    rounds: int | None = None
    rounds_per_block: int = 1
    proven: bool = False
    has_oracle: ClassVar[bool] = False
    reset_options: ClassVar[Sequence[str]] = ()
    figures: ClassVar[Sequence[Figure]] = ()
    air: Sequence[str] = ()
    takes_delay: ClassVar[bool] = True
    takes_jobs: bool = False

    @property
    def class_names(self) -> Sequence[str]:
        return list(dict.fromkeys(self.user_classes or ()))

    @abstractmethod
    def stream(self, rng: np.random.Generator, fairness: Fairness | None) -> Stream:
        """Start a stream.

        Args:
            rng: Where its every draw comes from.
            fairness: What θ* of hindsight is to maximize; None where nobody asks for it.
        """

    def batch(self, rngs: Generators, fairness: Fairness | None) -> Batch:
        """Start a stream from each generator."""
        return StreamByStream(self, rngs, fairness)


class StreamByStream(Batch):
    """The streams of any scenario, played one after the other.

    Attributes:
        streams: They.
    """

    exact = True  # each stream is looked at by itself

    def __init__(self, scenario: Scenario, rngs: Generators, fairness: Fairness | None) -> None:
        self._scenario, self._fairness = scenario, fairness
        self.streams = [scenario.stream(rng, fairness) for rng in rngs]
        self.round = np.zeros(len(rngs), int)

    def restart(self, n: int, rng: np.random.Generator) -> None:
        self.streams[n], self.round[n] = self._scenario.stream(rng, self._fairness), 0

    def open_rounds(self, which: Integers, options: Mapping[str, Any]) -> None:
        for n in which:
            self.streams[n].open_round(options)
            self.round[n] += 1

    def play(
        self, slot: int | Integers, model: Floats, weights: Floats, per_user: bool, live: Mask
    ) -> tuple[Floats, Floats]:
        slots = np.broadcast_to(slot, self.round.shape).tolist()
        played = {
            n: self.streams[n].play(slots[n], model[n], weights[n], per_user)
            for n in np.flatnonzero(live).tolist()
        }
        if not played:
            raise ValueError("live: no stream is to play")
        nothing = next(iter(played.values()))
        both = [played.get(n, nothing) for n in range(len(self.streams))]
        return np.array([u for u, _ in both], float), np.stack([g for _, g in both])

    def evaluate(self, model: Floats) -> Floats:
        return np.stack([s.evaluate(theta) for s, theta in zip(self.streams, model)])

    def fairest(self, which: Integers) -> tuple[Floats, Floats] | None:
        each = (fairest_of_stream(self._scenario, self.streams[n]) for n in which)
        found = [best for best in each if best is not None]
        if not found or len(found) < len(which):
            return None
        return np.stack([model for model, _ in found]), np.stack([u for _, u in found])

    def fairest_of_jobs(
        self, which: Integers, active: Mask, shares: Floats | None, fairness: Fairness
    ) -> tuple[Floats, Floats]:
        own = [None] * len(which) if shares is None else np.moveaxis(shares, -1, 0)
        found = [
            self.streams[n].fairest_of_jobs(mask, share, fairness)
            for n, mask, share in zip(which.tolist(), np.moveaxis(active, -1, 0), own)
        ]
        return np.stack([model for model, _ in found], -1), np.stack([u for _, u in found], -1)

    def air(self, n: int) -> Mapping[str, NDArray[Any]]:
        return self.streams[n].air()

    def begin_slot(self, active: Mask) -> None:
        for stream, own in zip(self.streams, active):
            stream.begin_slot(own)

    def slot_info(self) -> dict[str, Any]:
        return _stacked([stream.slot_info() for stream in self.streams])

    def round_info(self, which: Integers) -> dict[str, Any]:
        return _stacked([self.streams[n].round_info() for n in which])


def _stacked(infos: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """The entries that all have, stacked."""
    shared = [name for name in infos[0] if all(name in one for one in infos)]
    return {name: np.stack([one[name] for one in infos]) for name in shared}
