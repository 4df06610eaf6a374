"""The radio link of split learning (Fig. 1): what crosses it between server and users.

Up go a job's inputs, or with ``split="u"`` the front layers' output; down come features; up goes
∂ℓ_k/∂feature, and with ``split="u"`` the front layers' gradient comes down. Labels, losses, heads
and front layers never leave the users.
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

from owo_env.scenarios.split_learning.draws import Draw, generator, seed_of
from owo_env.scenarios.split_learning.heads import Loss, Modules, make_heads, make_modules
from owo_env.scenarios.split_learning.tasks import (
    Task,
    TaskStream,
    batch_of,
    batch_order,
    size_of,
    task_of,
)

Tensor = torch.Tensor

TRAFFIC = ("bytes_up", "bytes_down", "bytes_inputs")


@dataclass(frozen=True, eq=False)
class Setup:
    """What a stream knows of its scenario; see there."""

    encoder: nn.Module
    head: Modules
    front: Modules | None
    tasks: Sequence[TaskStream]
    losses: Sequence[Loss]
    corrupt: Callable[[Tensor, int, int, int], Tensor]
    num_slots: int
    l_max: float
    batch_size: int
    head_learning_rate: float
    heads: str
    weights_scale_heads: bool
    feedback: str
    users_per_pass: int
    device: torch.device


class Users(ABC):
    """K users as the server meets them, and the bytes that cross the link.

    A call speaks of the users ``members``, who lie side by side; a tensor has what is theirs in
    turn. Where the users are is a subclass's matter.

    Args:
        num_users: K.
        own_front: Whether users keep first layers, and so their raw inputs, for themselves.

    Attributes:
        traffic: Bytes of each user, by the names in ``TRAFFIC``, since :meth:`start_slot`.
    """

    def __init__(self, num_users: int, own_front: bool) -> None:
        self.num_users, self.own_front = num_users, own_front
        self.start_slot()

    def start_slot(self) -> None:
        """Count bytes from nothing."""
        self.traffic = {name: [0] * self.num_users for name in TRAFFIC}

    def send(self, members: slice, slot: int) -> Tensor:
        """What goes up for the users' jobs of a slot, (U·B, …)."""
        return self._counted_inputs(members, self._send(members, slot))

    def answer(
        self, members: slice, features: Tensor, rates: Sequence[float]
    ) -> tuple[Tensor, Tensor]:
        """The users' losses (U,) and ∂ℓ_k/∂feature (U, B, …); then their heads take a step.

        Args:
            members: Which users.
            features: What comes down for what they sent last, (U, B, …).
            rates: Each user's step size, on its own loss alone.
        """
        losses, upward = self._answer(members, features, rates)
        self._count(members, "bytes_down", features)
        self._count(members, "bytes_up", upward)
        return losses, upward

    def receive(self, members: slice, gradient: Tensor, rates: Sequence[float]) -> None:
        """Let front layers take a step; ``gradient`` is ∂ℓ_k/∂sent, (U·B, …)."""
        self._count(members, "bytes_down", gradient)
        self._receive(members, gradient, rates)

    def judge(
        self, user: int, part: str, at: int | range, infer: Callable[[Tensor], Tensor], count: bool
    ) -> tuple[float, float]:
        """A user's loss and accuracy (nan where it has no meaning); nothing learns.

        Args:
            user: Which.
            part: Of its task: ``"train"``, ``"heldout"`` or ``"validation"``.
            at: The slot whose batch it is, or the items of the validation data.
            infer: The server: from what was sent to features.
            count: Whether the bytes belong to the slot.
        """
        member = slice(user, user + 1)
        sent = self._show(user, part, at)
        features = infer(sent)
        if count:
            self._counted_inputs(member, sent)
            self._count(member, "bytes_down", features)
        return self._judge(user, features)

    def _counted_inputs(self, members: slice, sent: Tensor) -> Tensor:
        self._count(members, "bytes_up" if self.own_front else "bytes_inputs", sent)
        return sent

    def _count(self, members: slice, name: str, crossing: Tensor) -> None:
        users = range(members.start, members.stop)
        for k in users:
            self.traffic[name][k] += crossing.nbytes // len(users)

    @abstractmethod
    def open_round(self, number: int, fresh: bool) -> None:
        """Take on the tasks of a round, ``fresh`` with new heads and front layers.

        Raises:
            ValueError: A task does not fit; the users then stay where they are.
        """

    @abstractmethod
    def validation_size(self, user: int) -> int:
        """How many items of validation data a user has in this round; 0 without any."""

    @abstractmethod
    def _send(self, members: slice, slot: int) -> Tensor: ...

    @abstractmethod
    def _answer(
        self, members: slice, features: Tensor, rates: Sequence[float]
    ) -> tuple[Tensor, Tensor]: ...

    @abstractmethod
    def _receive(self, members: slice, gradient: Tensor, rates: Sequence[float]) -> None: ...

    @abstractmethod
    def _show(self, user: int, part: str, at: int | range) -> Tensor: ...

    @abstractmethod
    def _judge(self, user: int, features: Tensor) -> tuple[float, float]: ...

    @abstractmethod
    def state_dict(self) -> dict[str, Any]:
        """What the users carry from round to round."""

    @abstractmethod
    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on from ``state``."""


class LocalUsers(Users):
    """Users in this process; the heads of those who are served together lie side by side.

    Args:
        setup: The scenario's.
        seed: Of the stream: all draws depend on it, the round and what they are for.
    """

    def __init__(self, setup: Setup, seed: int) -> None:
        super().__init__(len(setup.tasks), setup.front is not None)
        self.setup, self.seed = setup, seed
        self._labels: list[Tensor] = []  # of what was sent last
        self._sent: list[Tensor] = []  # with the front layers' graph
        self._fresh_modules(0)

    def open_round(self, number: int, fresh: bool) -> None:
        tasks = [task_of(tasks, number, self.seed) for tasks in self.setup.tasks]
        given = [task.validation is not None for task in tasks]
        if any(given) != all(given):
            raise ValueError(
                f"round {number}: either every user's task has validation data or none"
            )
        orders = [self._orders(k, task, number) for k, task in enumerate(tasks)]
        if fresh:
            self._fresh_modules(number)
        self.tasks, self.orders, self.round = tasks, orders, number

    def validation_size(self, user: int) -> int:
        data = self.tasks[user].validation
        return 0 if data is None else size_of(data)

    def _fresh_modules(self, number: int) -> None:
        """New heads and front layers, drawn for a round."""
        setup, users = self.setup, self.num_users
        heads = make_modules(setup.head, users, seed_of(Draw.HEADS, self.seed, number))
        self.heads = make_heads(heads, setup.losses, setup.device)
        self.fronts: list[nn.Module] = []
        if setup.front is not None:
            fronts = make_modules(setup.front, users, seed_of(Draw.FRONTS, self.seed, number))
            self.fronts = [front.to(setup.device).eval() for front in fronts]

    def _orders(self, user: int, task: Task, number: int) -> dict[str, NDArray[np.integer]]:
        """Which items of a part of the task make up each slot's batch, (m, B)."""
        setup, rng = self.setup, generator(Draw.ORDER, self.seed, number, user)
        orders = {}
        for part in ("train", "heldout") if setup.feedback == "heldout" else ("train",):
            where, data = f"the task of user {user} in round {number}", getattr(task, part)
            if data is None:
                raise ValueError(f"feedback='heldout': {where} has no heldout data")
            size, batch = size_of(data), setup.batch_size
            if batch > size:
                raise ValueError(
                    f"batch_size={batch}: must be at most {size}: {where} has no more {part} data"
                )
            orders[part] = batch_order(rng, size, batch, setup.num_slots)
        return orders

    def batch(self, user: int, part: str, at: int | range) -> tuple[Tensor, Tensor]:
        """Inputs (B, …) and labels (B, …); those of a slot's job as the adversary leaves them."""
        items = np.asarray(at) if isinstance(at, range) else self.orders[user][part][at]
        inputs, labels = batch_of(getattr(self.tasks[user], part), items)
        inputs, labels = inputs.to(self.setup.device), labels.to(self.setup.device)
        if part == "train" and isinstance(at, int):
            labels = self.setup.corrupt(labels, user, at, self.round)
        return inputs, labels

    def _send(self, members: slice, slot: int) -> Tensor:
        users = range(members.start, members.stop)
        inputs, labels = zip(*(self.batch(k, "train", slot) for k in users))
        self._labels = list(labels)
        if not self.fronts:
            return torch.cat(inputs)
        self._sent = [self.fronts[k](x) for k, x in zip(users, inputs)]
        return torch.cat([sent.detach() for sent in self._sent])

    def _answer(
        self, members: slice, features: Tensor, rates: Sequence[float]
    ) -> tuple[Tensor, Tensor]:
        return self.heads.answer(members, features, self._labels, rates)

    def _receive(self, members: slice, gradient: Tensor, rates: Sequence[float]) -> None:
        fronts = self.fronts[members]
        for front, sent, part, rate in zip(
            fronts, self._sent, gradient.chunk(len(fronts)), rates, strict=True
        ):
            sent.backward(part)
            with torch.no_grad():
                for p in front.parameters():
                    if p.grad is not None:
                        p.sub_(p.grad, alpha=rate)
                        p.grad = None
        self._sent = []

    @torch.no_grad()
    def _show(self, user: int, part: str, at: int | range) -> Tensor:
        inputs, labels = self.batch(user, part, at)
        self._labels = [labels]
        return self.fronts[user](inputs) if self.fronts else inputs

    def _judge(self, user: int, features: Tensor) -> tuple[float, float]:
        (labels,) = self._labels
        loss, outputs = self.heads.judge(user, features, labels)
        return float(loss), _accuracy(outputs, labels)

    def state_dict(self) -> dict[str, Any]:
        fronts = [front.state_dict() for front in self.fronts]
        return {
            "seed": self.seed,
            "heads": _arrays(self.heads.state_dict()),
            "fronts": [_arrays(front) for front in fronts],
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        self.seed = int(state["seed"])
        self.heads.load_state_dict(_tensors(state["heads"]))
        for front, own in zip(self.fronts, state["fronts"], strict=True):
            front.load_state_dict(_tensors(own))


def _accuracy(outputs: Tensor, labels: Tensor) -> float:
    if labels.is_floating_point() or outputs.ndim != 2 or labels.ndim != 1:
        return float("nan")
    return float((outputs.argmax(1) == labels).float().mean())


def _arrays(tensors: Mapping[str, Tensor]) -> dict[str, Any]:
    return {name: t.detach().cpu().numpy().copy() for name, t in tensors.items()}


def _tensors(arrays: Mapping[str, Any]) -> dict[str, Tensor]:
    return {name: torch.from_numpy(np.array(array)) for name, array in arrays.items()}
