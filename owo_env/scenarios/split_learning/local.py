"""Users who live in this process, with the heads of those who are served together side by side."""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from owo_env.scenarios.split_learning import memory
from owo_env.scenarios.split_learning.draws import Draw, generator, quick_seed_of, seed_of
from owo_env.scenarios.split_learning.heads import (
    IGNORED,
    ModuleHeads,
    Modules,
    make_heads,
    make_modules,
)
from owo_env.scenarios.split_learning.link import (
    BACK,
    FEATURES,
    SENT,
    UPWARD,
    Infer,
    Setup,
    Users,
)
from owo_env.scenarios.split_learning.metrics import measured
from owo_env.scenarios.split_learning.modes import warn_of_resting
from owo_env.scenarios.split_learning.surroundings import may_draw, reseed
from owo_env.scenarios.split_learning.tasks import (
    Task,
    batch_of,
    batch_order,
    size_of,
    task_of,
)
from owo_env.scenarios.split_learning.wire import pack

Tensor = torch.Tensor

EVALUATION_BATCH = 256


class LocalUsers(Users):
    """Users of this process.

    Args:
        setup: The scenario's.
        seed: Of the stream.
        here: Which of the K are here, side by side; default all. Of others nothing is kept, and
            nobody may speak.
    """

    def __init__(self, setup: Setup, seed: int, here: range | None = None) -> None:
        super().__init__(setup, seed)
        self.here = range(self.num_users) if here is None else here
        self._slot = 0
        self._labels: Sequence[Tensor] = []  # of what was sent last
        self._sent: list[Tensor] = []  # with the front layers' graph
        self.fresh_modules(0)
        if setup.mode is None:
            warn_of_resting("head", self._own_heads())
            warn_of_resting("front", self.fronts)

    def open_round(self, number: int, fresh: bool) -> None:
        tasks = {k: self._task(k, number) for k in self.here}
        if len({task.validation is None for task in tasks.values()}) > 1:
            raise ValueError(
                f"round {number}: either every user's task has validation data or none"
            )
        orders = {k: self._orders(k, task, number) for k, task in tasks.items()}
        if fresh:
            self.fresh_modules(number)
        self.tasks, self.orders, self.round = tasks, orders, number
        self.draws = {draw for draw, who in self._strangers() if any(map(may_draw, who))}

    def validation_size(self, user: int) -> int:
        """How many items of validation data a user has in this round; 0 without any."""
        data = self.tasks[user].validation
        return 0 if data is None else size_of(data)

    def trial(self) -> Tensor:
        return self.send(slice(self.here.start, self.here.start + 1), 0)[1]

    def start_slot(self, slot: int) -> None:
        self._slot = slot
        self._count_anew()

    def send(self, members: slice, slot: int) -> tuple[list[int], Tensor]:
        users = range(members.start, members.stop)
        inputs, self._labels = zip(*(self.batch(k, "train", slot) for k in users))
        self._slot = slot
        if self.own_front:
            self._sent = [self._through_front(k, x) for k, x in zip(users, inputs)]
            inputs = tuple(sent.detach() for sent in self._sent)
        sent = self._crossed(self.sent_as, members, torch.cat(inputs), SENT)
        return list(range(len(users))), sent

    def answer(
        self, members: slice, features: Tensor, rates: Sequence[float]
    ) -> tuple[Tensor, Tensor]:
        features = self._crossed("bytes_down", members, features, FEATURES)
        losses, upward = self.heads.answer(
            self._places(members), features, self._labels, rates, self._before_head
        )
        return losses, self._crossed("bytes_up", members, upward, UPWARD)

    def receive(self, members: slice, gradient: Tensor, rates: Sequence[float]) -> None:
        gradient = self._crossed("bytes_down", members, gradient, BACK)
        parts = gradient.chunk(len(self._sent))
        for front, sent, part, rate in zip(
            self.fronts[self._places(members)], self._sent, parts, rates, strict=True
        ):
            sent.backward(part)
            with torch.no_grad():
                for p in front.parameters():
                    if p.grad is not None:
                        p.sub_(p.grad, alpha=rate)
                        p.grad = None
        self._sent = []

    def judge(self, part: str, slot: int, infer: Infer, count: bool) -> list[float]:
        return [self.judged(k, part, slot, infer, count)[0] for k in self.here]

    def validate(self, infer: Infer) -> Sequence[Mapping[str, float]]:
        if not self.validation_size(self.here.start):
            return []
        return [self.validated(k, infer) for k in self.here]

    def validated(self, user: int, infer: Infer) -> dict[str, float]:
        """A user's ``loss`` and ``accuracy`` on its validation data, and its metrics.

        Raises:
            ValueError: No item has a label, or a metric fails.
        """
        size, totals, counted = self.validation_size(user), np.zeros(2), 0
        seen: list[tuple[Tensor, Tensor]] | None = [] if self.setup.metrics else None
        for start in range(0, size, EVALUATION_BATCH):
            items = range(start, min(start + EVALUATION_BATCH, size))
            *found, counts = self.judged(user, "validation", items, infer, seen=seen)
            if counts:
                totals += np.array(found) * counts
                counted += counts
        if not counted:
            raise ValueError(
                f"round {self.round}: the validation data of user {user} have no label but "
                f"{IGNORED}"
            )
        where = f"of user {user} in round {self.round}"
        metrics = measured(self.setup.metrics, user, where, seen) if seen else {}
        loss, accuracy = (totals / counted).tolist()
        return {"loss": loss, "accuracy": accuracy, **metrics}

    @torch.no_grad()
    def judged(
        self,
        user: int,
        part: str,
        at: int | range,
        infer: Infer,
        count: bool = False,
        seen: list[tuple[Tensor, Tensor]] | None = None,
    ) -> tuple[float, float, int]:
        """A user's loss, its accuracy (nan where it has no meaning), and how many items they are
        means of; nothing learns.

        Args:
            user: Which.
            part: Of its task: ``"train"``, ``"heldout"`` or ``"validation"``.
            at: The slot whose batch it is, or the items of the validation data.
            infer: The server.
            count: Whether the bytes belong to the slot.
            seen: Outputs and labels are added to it, for metrics.
        """
        place = user - self.here.start
        inputs, labels = self.batch(user, part, at)
        sent = inputs
        if self.own_front:
            self.reseed(Draw.FRONT, user, part, at)
            if self.setup.trains:
                self.fronts[place].eval()
            sent = self.fronts[place](inputs)
        alone = slice(user, user + 1)
        crossed = partial(self._crossed, part=part, at=at)
        sent = crossed(self.sent_as if count else None, alone, sent, SENT)
        features = infer(user, sent, part, at)
        features = crossed("bytes_down" if count else None, alone, features, FEATURES)
        self.reseed(Draw.HEAD, user, part, at)
        loss, outputs = self.heads.judge(place, features, labels)
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
        return {
            "seed": self.seed,
            "heads": memory.as_arrays(self.heads.state_dict()),
            "fronts": [memory.as_arrays(memory.tensors(front)) for front in self.fronts],
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        self.seed = int(state["seed"])
        self.heads.load_state_dict(memory.as_tensors(state["heads"]))
        for front, own in zip(self.fronts, state["fronts"], strict=True):
            memory.restore(front, memory.as_tensors(own))

    def modules(self) -> list[nn.Module]:
        return [*self._own_heads(), *self.fronts]

    def exported(self) -> tuple[list[nn.Module], list[nn.Module]]:
        return self.heads.modules(), [copy.deepcopy(front).eval() for front in self.fronts]

    def fresh_modules(self, number: int) -> None:
        """New heads and front layers, drawn for a round."""
        setup = self.setup
        heads = self._made(Draw.HEADS, number, setup.head)
        losses = [setup.losses[k] for k in self.here]
        self.heads = make_heads(heads, losses, setup.device, setup.trains)
        self.fronts: list[nn.Module] = []
        if setup.front is not None:
            fronts = self._made(Draw.FRONTS, number, setup.front)
            self.fronts = [front.to(setup.device).eval() for front in fronts]

    def _made(self, draw: Draw, number: int, source: Modules) -> list[nn.Module]:
        """Modules of those who are here: each is drawn after those of the users before it."""
        seed, mine = seed_of(draw, self.seed, number), slice(self.here.start, self.here.stop)
        return make_modules(source, self.num_users, seed, self.setup.dtype)[mine]

    def _places(self, members: slice) -> slice:
        """Where members are among those who are here."""
        return slice(members.start - self.here.start, members.stop - self.here.start)

    def _before_head(self, place: int) -> None:
        self.reseed(Draw.HEAD, place + self.here.start, "train", self._slot)

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
        front = self.fronts[user - self.here.start]
        if self.setup.trains:
            front.train()
        sent: Tensor = front(inputs)
        return sent

    def _strangers(self) -> list[tuple[Draw, list[Any]]]:
        """Whose code may be somebody's own in each step of a slot."""
        setup = self.setup
        parts = [part for task in self.tasks.values() for part in vars(task).values()]
        data = [part for part in parts if part is not None]
        collate = [] if setup.collate is None else [setup.collate]
        return [
            (Draw.DATA, [*data, *collate, setup.corrupt]),
            (Draw.FRONT, self.fronts),
            (Draw.ENCODER, [setup.encoder]),
            (Draw.HEAD, [*self._own_heads(), *(setup.losses[k] for k in self.here)]),
        ]

    def _crossed(
        self,
        name: str | None,
        members: slice,
        tensor: Tensor,
        leg: int,
        part: str = "train",
        at: int | range | None = None,
    ) -> Tensor:
        """What arrives of the members' tensors, which lie side by side; its bytes are counted.

        Args:
            name: How they are counted; None does not.
            members: Whose.
            tensor: (U·B, …) or (U, B, …).
            leg: Which of what crosses.
            part: Of the task it speaks.
            at: Of which data; None of the slot's.
        """
        users, wire = range(members.start, members.stop), self.setup.wire
        if wire is None or not tensor.is_floating_point():
            if name is not None:
                for k in users:
                    self.traffic[name][k] += tensor.nbytes // len(users)
            return tensor
        at, arrived = self._slot if at is None else at, []
        for k, own in zip(users, tensor.chunk(len(users))):
            packed = pack(own, wire, partial(self.dither, k, part, at, leg))
            arrived.append(packed.tensor())
            if name is not None:
                self.traffic[name][k] += len(packed.data)
        return torch.cat(arrived).to(tensor.device)

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
