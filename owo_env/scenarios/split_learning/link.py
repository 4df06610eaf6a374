"""The radio link of split learning (Fig. 1): what crosses it between server and users.

Up go a job's inputs, or with ``split="u"`` the front layers' output; down come features; up goes
∂ℓ_k/∂feature, and with ``split="u"`` the front layers' gradient comes down. Labels, heads and
front layers never leave the users; of a loss its value does.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from owo_env.scenarios.split_learning.draws import Draw, generator, quick_seed_of
from owo_env.scenarios.split_learning.heads import Loss, Modules
from owo_env.scenarios.split_learning.metrics import Metric
from owo_env.scenarios.split_learning.surroundings import reseed
from owo_env.scenarios.split_learning.tasks import PARTS, Collate, TaskStream

Tensor = torch.Tensor
Infer = Callable[[int, Tensor, str, int | range], Tensor]
"""The server as a judge: of a user, what it sent, and of which data, to features."""

TRAFFIC = ("bytes_up", "bytes_down", "bytes_inputs")
SENT, FEATURES, UPWARD, BACK = range(4)
"""What crosses: up, down, up and down again."""


@dataclass(frozen=True, eq=False)
class Setup:
    """What a stream knows of its scenario; see there."""

    encoder: nn.Module
    head: Modules
    front: Modules | None
    tasks: Sequence[TaskStream]
    collate: Collate | None
    metrics: Mapping[str, Sequence[Metric | None]]
    losses: Sequence[Loss]
    corrupt: Callable[[Tensor, int, int, int], Tensor]
    num_slots: int
    l_max: Sequence[float]
    batch_size: int
    head_learning_rate: Sequence[float]
    heads: str
    weights_scale_heads: bool
    feedback: str
    mode: str | None
    users_per_pass: int
    device: torch.device
    dtype: torch.dtype
    wire: str | None
    about: Callable[[int, int], Mapping[str, NDArray[Any]]]

    @property
    def trains(self) -> bool:
        """Whether modules learn in ``train`` mode."""
        return self.mode == "train"


class Users(ABC):
    """K users as the server meets them, and the bytes that cross the link.

    A call speaks of the users ``members``, who lie side by side; a tensor has what is theirs in
    turn. They live in this process (:class:`~owo_env.scenarios.split_learning.local.LocalUsers`)
    or anywhere else: the stream does not know. Who is elsewhere may be missing.

    Args:
        setup: The scenario's.
        seed: Of the stream: all draws depend on it, the round and what they are for.

    Attributes:
        num_users: K.
        own_front: Whether users keep first layers, and so their raw inputs, for themselves.
        draws: Who in a slot may draw from the global generators: these are to be forked then, and
            are started anew for each user in turn.
        traffic: Bytes of each user, by the names in ``TRAFFIC``, since :meth:`start_slot`.
    """

    def __init__(self, setup: Setup, seed: int) -> None:
        self.setup, self.seed = setup, seed
        self.num_users, self.own_front = len(setup.tasks), setup.front is not None
        self.sent_as = "bytes_up" if self.own_front else "bytes_inputs"  # how it is counted
        self.round = 0
        self.draws: set[Draw] = set()
        self._count_anew()

    @abstractmethod
    def open_round(self, number: int, fresh: bool) -> None:
        """Take on the tasks of a round, ``fresh`` with new heads and front layers.

        Raises:
            ValueError: A task does not fit; the users then stay where they are.
        """

    @abstractmethod
    def trial(self) -> Tensor:
        """What a user may send, (B, …), to try the encoder on."""

    @abstractmethod
    def start_slot(self, slot: int) -> None:
        """Begin a slot; bytes are counted from nothing."""

    @abstractmethod
    def send(self, members: slice, slot: int) -> tuple[list[int], Tensor]:
        """Who of the members, by their places among them, sent for their jobs, and what,
        (U·B, …)."""

    @abstractmethod
    def answer(
        self, members: slice, features: Tensor, rates: Sequence[float]
    ) -> tuple[Tensor, Tensor]:
        """Losses (U,) and ∂ℓ_k/∂feature (U, B, …) of those who sent; then their heads take a step.

        Of who went missing since, the loss is NaN and the gradient 0.

        Args:
            members: Which users.
            features: What comes down for what they sent last, (U, B, …).
            rates: The step size of each who sent, on its own loss alone.
        """

    @abstractmethod
    def receive(self, members: slice, gradient: Tensor, rates: Sequence[float]) -> None:
        """Let front layers take a step; ``gradient`` is ∂ℓ_k/∂sent, (U·B, …)."""

    @abstractmethod
    def judge(self, part: str, slot: int, infer: Infer, count: bool) -> list[float]:
        """Every user's loss on a slot's batch; nothing learns. NaN of who is missing.

        Args:
            part: Of the tasks: ``"train"`` or ``"heldout"``.
            slot: Whose batch it is.
            infer: The server.
            count: Whether the bytes belong to the slot.
        """

    @abstractmethod
    def validate(self, infer: Infer) -> Sequence[Mapping[str, float]]:
        """Every user's ``loss``, ``accuracy`` and metrics on its validation data, if there are."""

    @abstractmethod
    def state_dict(self) -> dict[str, Any]:
        """What the users carry from round to round."""

    @abstractmethod
    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on from ``state``."""

    def modules(self) -> list[nn.Module]:
        """Those of the users' own modules that are here."""
        return []

    def exported(self) -> tuple[list[nn.Module], list[nn.Module]]:
        """Copies of the heads and front layers that are here."""
        return [], []

    def reseed(self, draw: Draw, user: int, part: str, at: int | range) -> None:
        """Before something draws: make that a function of the user, and of which data it sees."""
        if draw in self.draws:
            key = self.seed, self.round, user, PARTS.index(part), _first(at)
            reseed(quick_seed_of(draw, *key), self.setup.device)

    def dither(self, user: int, part: str, at: int | range, leg: int) -> np.random.Generator:
        """What decides which way entries are rounded that cross for a user."""
        which = user, PARTS.index(part), _first(at), leg
        return generator(Draw.WIRE, self.seed, self.round, *which)

    def _count_anew(self) -> None:
        self.traffic = {name: [0] * self.num_users for name in TRAFFIC}


def _first(at: int | range) -> int:
    """A slot, or the first item of some."""
    return at.start if isinstance(at, range) else at
