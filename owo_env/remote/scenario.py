"""Split learning whose users join over a link: masks are what happened, not what was drawn."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from owo_env.fairness import Fairness
from owo_env.link.feedback import Filling
from owo_env.link.settings import Link
from owo_env.link.streams import feedback_age
from owo_env.problem import Problem
from owo_env.remote.hosted import Hosted
from owo_env.remote.seats import Seats
from owo_env.remote.tensors import HEADER
from owo_env.remote.users import Input, RemoteUsers
from owo_env.scenarios.base import Scenario
from owo_env.scenarios.split_learning.link import Setup
from owo_env.scenarios.split_learning.local import EVALUATION_BATCH, LocalUsers
from owo_env.scenarios.split_learning.scenario import SplitLearning
from owo_env.scenarios.split_learning.server import Server
from owo_env.scenarios.split_learning.stream import SplitStream
from owo_env.scenarios.split_learning.surroundings import surroundings

Floats = NDArray[np.floating]


@dataclass(frozen=True)
class RealLink(Link):
    """A link that is there: who is heard over it shows, and nothing says beforehand how often.

    So learners know the masks, and take the steps that they take where everybody is heard.
    """

    idles = True
    loses = True
    uneven = False


class Remote(Scenario):
    """A scenario of split learning, played with users who join.

    Args:
        inner: The scenario.
        seats: Where users sit.
        each: What each sends for an item.
        patience: Seconds to wait for all of them before the first round; None waits for ever.

    Attributes:
        seats: They.
        address: ``host:port``.
        over: Why the run is over, as users are told when the port is closed; None where it is
            not: they wait for the server to come back.
    """

    proven = True  # what users answer is theirs

    def __init__(
        self, inner: SplitLearning, seats: Seats, each: Input, patience: float | None = None
    ) -> None:
        self.inner, self.name = inner, inner.name  # type: ignore[misc]
        self.seats, self.address = seats, seats.address
        self.over: str | None = None
        self.user_classes = inner.user_classes
        self.problem = replace(inner.problem, link=RealLink())
        self._users = partial(RemoteUsers, seats=seats, each=each, patience=patience)

    @property
    def class_names(self) -> Sequence[str]:
        return self.inner.class_names

    def stream(self, rng: np.random.Generator, fairness: Fairness | None) -> RemoteStream:
        return RemoteStream(self.inner.setup, rng, self._users, self.problem)


class RemoteStream(SplitStream):
    """One stream of it.

    A user counts in the slots in which it was heard: what it did not tell, nobody knows.

    Args:
        setup: The scenario's.
        rng: Gives the stream its seed.
        users: Makes the users.
        problem: The scenario's, with the link.
    """

    users: RemoteUsers

    def __init__(self, setup: Setup, rng: np.random.Generator, users: Any, problem: Problem):
        super().__init__(setup, rng, users)
        centre = np.reshape(sum(problem.fairness.bounds) / 2, (-1, 1))
        self._filling = Filling((problem.num_users, 1), centre)
        self._shape, self._slot = (problem.num_slots, problem.num_users), 0
        self._live = np.ones(1, bool)
        self._seen: Mapping[str, NDArray[Any]] = {}

    def open_round(self, options: Mapping[str, Any]) -> None:
        super().open_round(options)
        self._there, self._heard = np.zeros((2, *self._shape), bool)
        self._filling.open_rounds(np.zeros(1, int))

    def play(
        self, slot: int, model: Floats, weights: Floats, per_user: bool
    ) -> tuple[Sequence[float], Floats]:
        felt, gradient = super().play(slot, model, weights, per_user)
        there, heard = self.users.there, self.users.heard
        self._there[slot], self._heard[slot] = there, heard
        seen = self._filling.add(np.array(felt, float)[:, None], heard[:, None], self._live)
        masks = {"active": there.astype(np.int8), "heard": heard.astype(np.int8)}
        self._seen = {"utilities": seen[:, 0], **masks}
        return felt, gradient

    def active(self, slot: int) -> NDArray[np.bool_]:
        return self._heard[slot]

    def feedback(self) -> Mapping[str, NDArray[Any]]:
        return self._seen

    def slot_info(self) -> dict[str, Any]:
        return {**super().slot_info(), "bytes_headers": np.array(self.users.headers)}

    def round_info(self) -> dict[str, Any]:
        judged = super().round_info()
        return {
            **judged,
            "active_slots": self._there.sum(axis=0),
            "heard_slots": self._heard.sum(axis=0),
            "feedback_age": feedback_age(self._heard[None], 0)[0],
            "validated": self.users.validated.astype(int),
            "began_again": np.array(self.users.began_again()),
        }


def input_of(scenario: SplitLearning) -> Input:
    """What its users send for an item: as it says itself, or as its own data have it."""
    if isinstance(scenario, Hosted):
        return Input(scenario.input_shape, scenario.input_dtype)
    setup = scenario.setup
    with surroundings(setup.dtype, setup.device, draws=True):
        users = LocalUsers(replace(setup, wire=None), 0, range(0, 1))
        users.open_round(1, fresh=False)
        return Input.of(users.trial())


def largest_message(setup: Setup, each: Input) -> int:
    """The bytes that a message of a user of this scenario can have.

    Raises:
        ValueError: The encoder does not take what users are to send.
    """
    try:
        features = Server(setup.encoder, setup.device).infer(
            each.zeros(setup.batch_size).to(setup.device)
        )
    except (RuntimeError, IndexError) as error:
        raise ValueError(
            f"encoder: does not take {each.dtype} inputs of shape {each.shape} ({error})"
        ) from error
    inputs = max(setup.batch_size, EVALUATION_BATCH) * each.zeros(1).nbytes
    return max(inputs, features.nbytes) + HEADER
