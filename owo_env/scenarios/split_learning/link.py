"""The radio link of split learning (Fig. 1): what crosses it between server and users.

Up go a job's inputs, or with ``split="u"`` the front layers' output; down come features; up goes
∂ℓ_k/∂feature, and with ``split="u"`` the front layers' gradient comes down. Labels, losses, heads
and front layers never leave the users.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from owo_env.scenarios.split_learning import memory
from owo_env.scenarios.split_learning.draws import Draw, generator, quick_seed_of, seed_of
from owo_env.scenarios.split_learning.heads import (
    IGNORED,
    Loss,
    ModuleHeads,
    Modules,
    make_heads,
    make_modules,
)
from owo_env.scenarios.split_learning.metrics import Metric
from owo_env.scenarios.split_learning.modes import warn_of_resting
from owo_env.scenarios.split_learning.surroundings import may_draw, reseed
from owo_env.scenarios.split_learning.tasks import (
    PARTS,
    Collate,
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

    @property
    def trains(self) -> bool:
        """Whether modules learn in ``train`` mode."""
        return self.mode == "train"


class Users:
    """K users as the server meets them, and the bytes that cross the link.

    A call speaks of the users ``members``, who lie side by side; a tensor has what is theirs in
    turn. Here they live in this process, with the heads of those who are served together side by
    side; users elsewhere would answer the same calls.

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
        self.round, self._slot = 0, 0
        self.draws: set[Draw] = set()
        self._labels: Sequence[Tensor] = []  # of what was sent last
        self._sent: list[Tensor] = []  # with the front layers' graph
        self._sent_as = "bytes_up" if self.own_front else "bytes_inputs"  # how it is counted
        self._fresh_modules(0)
        if setup.mode is None:
            warn_of_resting("head", self._own_heads())
            warn_of_resting("front", self.fronts)
        self.start_slot()

    def open_round(self, number: int, fresh: bool) -> None:
        """Take on the tasks of a round, ``fresh`` with new heads and front layers.

        Raises:
            ValueError: A task does not fit; the users then stay where they are.
        """
        tasks = [self._task(k, number) for k in range(self.num_users)]
        if len({task.validation is None for task in tasks}) > 1:
            raise ValueError(
                f"round {number}: either every user's task has validation data or none"
            )
        orders = [self._orders(k, task, number) for k, task in enumerate(tasks)]
        if fresh:
            self._fresh_modules(number)
        self.tasks, self.orders, self.round = tasks, orders, number
        self.draws = {draw for draw, who in self._strangers() if any(map(may_draw, who))}

    def reseed(self, draw: Draw, user: int, part: str, at: int | range) -> None:
        """Before something draws: make that a function of the user, and of which data it sees."""
        if draw in self.draws:
            first = at.start if isinstance(at, range) else at
            key = self.seed, self.round, user, PARTS.index(part), first
            reseed(quick_seed_of(draw, *key), self.setup.device)

    def validation_size(self, user: int) -> int:
        """How many items of validation data a user has in this round; 0 without any."""
        data = self.tasks[user].validation
        return 0 if data is None else size_of(data)

    def start_slot(self) -> None:
        """Count bytes from nothing."""
        self.traffic = {name: [0] * self.num_users for name in TRAFFIC}

    def send(self, members: slice, slot: int) -> Tensor:
        """What goes up for the users' jobs of a slot, (U·B, …)."""
        users = range(members.start, members.stop)
        inputs, self._labels = zip(*(self.batch(k, "train", slot) for k in users))
        self._slot = slot
        if self.own_front:
            self._sent = [self._through_front(k, x) for k, x in zip(users, inputs)]
            inputs = tuple(sent.detach() for sent in self._sent)
        return self._counted(self._sent_as, members, torch.cat(inputs))

    def answer(
        self, members: slice, features: Tensor, rates: Sequence[float]
    ) -> tuple[Tensor, Tensor]:
        """The users' losses (U,) and ∂ℓ_k/∂feature (U, B, …); then their heads take a step.

        Args:
            members: Which users.
            features: What comes down for what they sent last, (U, B, …).
            rates: Each user's step size, on its own loss alone.
        """
        self._counted("bytes_down", members, features)
        losses, upward = self.heads.answer(
            members, features, self._labels, rates, self._before_head
        )
        return losses, self._counted("bytes_up", members, upward)

    def receive(self, members: slice, gradient: Tensor, rates: Sequence[float]) -> None:
        """Let front layers take a step; ``gradient`` is ∂ℓ_k/∂sent, (U·B, …)."""
        self._counted("bytes_down", members, gradient)
        parts = gradient.chunk(len(self._sent))
        for front, sent, part, rate in zip(
            self.fronts[members], self._sent, parts, rates, strict=True
        ):
            sent.backward(part)
            with torch.no_grad():
                for p in front.parameters():
                    if p.grad is not None:
                        p.sub_(p.grad, alpha=rate)
                        p.grad = None
        self._sent = []

    @torch.no_grad()
    def judge(
        self,
        user: int,
        part: str,
        at: int | range,
        infer: Callable[[Tensor], Tensor],
        count: bool,
        seen: list[tuple[Tensor, Tensor]] | None = None,
    ) -> tuple[float, float, int]:
        """A user's loss, its accuracy (nan where it has no meaning), and how many items they are
        means of; nothing learns.

        Args:
            user: Which.
            part: Of its task: ``"train"``, ``"heldout"`` or ``"validation"``.
            at: The slot whose batch it is, or the items of the validation data.
            infer: The server: from what was sent to features.
            count: Whether the bytes belong to the slot.
            seen: Outputs and labels are added to it, for metrics.
        """
        inputs, labels = self.batch(user, part, at)
        sent = inputs
        if self.own_front:
            self.reseed(Draw.FRONT, user, part, at)
            if self.setup.trains:
                self.fronts[user].eval()
            sent = self.fronts[user](inputs)
        self.reseed(Draw.ENCODER, user, part, at)
        features = infer(sent)
        if count:
            self._counted(self._sent_as, slice(user, user + 1), sent)
            self._counted("bytes_down", slice(user, user + 1), features)
        self.reseed(Draw.HEAD, user, part, at)
        loss, outputs = self.heads.judge(user, features, labels)
        if seen is not None:
            seen.append((outputs, labels))
        return float(loss), *_accuracy(outputs, labels)

    def batch(self, user: int, part: str, at: int | range) -> tuple[Tensor, Tensor]:
        """Inputs (B, …) and labels (B, …); those of a slot's job as the adversary leaves them."""
        items = np.asarray(at) if isinstance(at, range) else self.orders[user][part][at]
        self.reseed(Draw.DATA, user, part, at)
        inputs, labels = batch_of(getattr(self.tasks[user], part), items, self.setup.collate)
        inputs, labels = inputs.to(self.setup.device), labels.to(self.setup.device)
        if part == "train" and isinstance(at, int):
            labels = self.setup.corrupt(labels, user, at, self.round)
        return inputs, labels

    def state_dict(self) -> dict[str, Any]:
        """What the users carry from round to round."""
        return {
            "seed": self.seed,
            "heads": memory.as_arrays(self.heads.state_dict()),
            "fronts": [memory.as_arrays(memory.tensors(front)) for front in self.fronts],
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on from ``state``."""
        self.seed = int(state["seed"])
        self.heads.load_state_dict(memory.as_tensors(state["heads"]))
        for front, own in zip(self.fronts, state["fronts"], strict=True):
            memory.restore(front, memory.as_tensors(own))

    def modules(self) -> list[nn.Module]:
        """The users' own modules."""
        return [*self._own_heads(), *self.fronts]

    def _before_head(self, user: int) -> None:
        self.reseed(Draw.HEAD, user, "train", self._slot)

    def _own_heads(self) -> list[nn.Module]:
        return self.heads.heads if isinstance(self.heads, ModuleHeads) else []

    def _task(self, user: int, number: int) -> Task:
        """A user's task, whose function may draw."""
        reseed(quick_seed_of(Draw.TASK, self.seed, number, user), self.setup.device)
        setup = self.setup
        return task_of(setup.tasks[user], number, self.seed, user, setup.collate, setup.batch_size)

    def _through_front(self, user: int, inputs: Tensor) -> Tensor:
        """What a user's front layers make of its inputs."""
        self.reseed(Draw.FRONT, user, "train", self._slot)
        if self.setup.trains:
            self.fronts[user].train()
        sent: Tensor = self.fronts[user](inputs)
        return sent

    def _strangers(self) -> list[tuple[Draw, list[Any]]]:
        """Whose code may be somebody's own in each step of a slot."""
        setup = self.setup
        data = [data for task in self.tasks for data in vars(task).values() if data is not None]
        collate = [] if setup.collate is None else [setup.collate]
        return [
            (Draw.DATA, [*data, *collate, setup.corrupt]),
            (Draw.FRONT, self.fronts),
            (Draw.ENCODER, [setup.encoder]),
            (Draw.HEAD, [*self._own_heads(), *setup.losses]),
        ]

    def _counted(self, name: str, members: slice, crossing: Tensor) -> Tensor:
        """The tensor, whose bytes are equal shares of the users'."""
        users = range(members.start, members.stop)
        for k in users:
            self.traffic[name][k] += crossing.nbytes // len(users)
        return crossing

    def _fresh_modules(self, number: int) -> None:
        """New heads and front layers, drawn for a round."""
        setup, users = self.setup, self.num_users
        seed = seed_of(Draw.HEADS, self.seed, number)
        heads = make_modules(setup.head, users, seed, setup.dtype)
        self.heads = make_heads(heads, setup.losses, setup.device, setup.trains)
        self.fronts: list[nn.Module] = []
        if setup.front is not None:
            seed = seed_of(Draw.FRONTS, self.seed, number)
            fronts = make_modules(setup.front, users, seed, setup.dtype)
            self.fronts = [front.to(setup.device).eval() for front in fronts]

    def _orders(self, user: int, task: Task, number: int) -> dict[str, NDArray[np.integer]]:
        """Which items of a part of the task make up each slot's batch, (m, B)."""
        setup, rng = self.setup, generator(Draw.ORDER, self.seed, number, user)
        where, orders = f"the task of user {user} in round {number}", {}
        for part in dict.fromkeys(("train", setup.feedback)):
            data = getattr(task, part)
            if data is None:
                raise ValueError(f"feedback='heldout': {where} has no heldout data")
            size, batch = size_of(data), setup.batch_size
            if batch > size:
                raise ValueError(
                    f"batch_size={batch}: must be at most {size}: {where} has no more {part} data"
                )
            orders[part] = batch_order(rng, size, batch, setup.num_slots)
        return orders


def _accuracy(outputs: Tensor, labels: Tensor) -> tuple[float, int]:
    """The share of right answers (or nan), and how many items count."""
    if labels.is_floating_point() or outputs.ndim != 2 or labels.ndim != 1:
        return float("nan"), len(labels)
    counts = labels != IGNORED
    return float((outputs.argmax(1) == labels)[counts].float().mean()), int(counts.sum())
