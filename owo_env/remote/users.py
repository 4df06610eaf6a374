"""Users elsewhere, as the stream meets them: it does not know that they are."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import torch

from owo_env.remote.protocol import Down
from owo_env.remote.seat import Key, Seat
from owo_env.remote.seats import Seats
from owo_env.remote.tensors import checked, heard, told
from owo_env.scenarios.split_learning.draws import Draw
from owo_env.scenarios.split_learning.link import BACK, FEATURES, Infer, Setup, Users
from owo_env.scenarios.split_learning.local import EVALUATION_BATCH
from owo_env.scenarios.split_learning.surroundings import may_draw
from owo_env.scenarios.split_learning.wire import Packed, pack

Tensor = torch.Tensor

EVALUATED = -1  # in place of a round: what an evaluation's messages are of
NOTHING = {"loss": float("nan"), "accuracy": float("nan")}


@dataclass(frozen=True)
class Input:
    """What a user sends for one item.

    Attributes:
        shape: Without the batch.
        dtype: Torch's name of it.
    """

    shape: tuple[int, ...]
    dtype: str

    @classmethod
    def of(cls, batch: Tensor) -> Input:
        """That of a batch."""
        return cls(tuple(batch.shape[1:]), str(batch.dtype).removeprefix("torch."))

    def zeros(self, count: int) -> Tensor:
        """A batch of nothing."""
        return torch.zeros(count, *self.shape, dtype=getattr(torch, self.dtype))


class RemoteUsers(Users):
    """Users who are where their data are.

    Args:
        setup: The scenario's.
        seed: Of the stream.
        seats: Where they sit.
        each: What each sends for an item.
        patience: Seconds to wait for all of them before the first round; None waits for ever.

    Attributes:
        there: Who was asked in the present slot, (K,).
        heard: Who of them answered, (K,).
        headers: Bytes of each user's messages in the slot beside tensors.
    """

    def __init__(
        self, setup: Setup, seed: int, seats: Seats, each: Input, patience: float | None = None
    ) -> None:
        super().__init__(setup, seed)
        self.seats, self._each, self._patience = seats, each, patience
        self.draws = {Draw.ENCODER} if may_draw(setup.encoder) else set()
        self._began = False
        self._asked = -1  # the slot in which jobs were asked for
        self._who: list[int] = []  # who sent in the present pass
        self._number = 0  # of evaluations
        self._nobody()

    def open_round(self, number: int, fresh: bool) -> None:
        seats = self.seats
        seats.open_round(number, self.seed, fresh)
        self.round, self._asked = number, -1
        if not self._began:
            seats.tell(f"waiting for {self.num_users} users at {seats.address}")
            seats.wait(lambda: all(map(seats.ready, seats.seats)), self._patience)
            self._began = True
        else:
            seats.wait(lambda: not any(map(seats.waits, seats.seats)), seats.deadline)
        with seats.changed:
            for seat in filter(seats.waits, seats.seats):
                seats.late(seat)

    def trial(self) -> Tensor:
        return self._each.zeros(self.setup.batch_size).to(self.setup.device)

    def start_slot(self, slot: int) -> None:
        seats = self.seats
        if not any(map(seats.ready, seats.seats)):
            seats.tell("nobody is there: waiting")
            seats.wait(lambda: any(map(seats.ready, seats.seats)), None)
        self._nobody()
        with seats.changed:
            self.there[:] = [seats.ready(seat) for seat in seats.seats]
        self._going = self.there.copy()

    def send(self, members: slice, slot: int) -> tuple[list[int], Tensor]:
        key = self.round, slot
        if self._asked != slot:
            self._asked = slot
            for k in np.flatnonzero(self._going).tolist():
                self._post(k, key, slot=dict(round=self.round, slot=slot))
        shape = self.setup.batch_size, *self._each.shape
        expect = partial(self._expected, f"what was sent for round {self.round}, slot {slot + 1},",
                         dtype=self._each.dtype, shape=shape)  # fmt: skip
        found = self._collected(members, "sent", key, lambda message: expect(message.tensor))
        self._who, sent = list(found), []
        for k, (message, tensor) in found.items():
            sent.append(tensor)
            self._count(self.sent_as, k, message, message.tensor)
            # Its parts of the slots before are on its disk.
            self.seats.seats[k].forget(lambda one: one < key)
        if not sent:
            return [], self.trial()
        places = [k - members.start for k in self._who]
        return places, torch.cat(sent).to(self.setup.device)

    def answer(
        self, members: slice, features: Tensor, rates: Sequence[float]
    ) -> tuple[Tensor, Tensor]:
        key = self.round, self._asked
        at = dict(round=self.round, slot=self._asked)
        if not torch.isfinite(features).all():
            raise FloatingPointError("the shared model's features are not finite")
        for k, own, rate in zip(self._who, features, rates):
            packed = self._packed(own, k, "train", self._asked, FEATURES)
            self._count("bytes_down", k, None, packed)
            self._post(k, key, features=dict(**at, tensor=told(packed), rate=rate))
        what = f"the answer of round {self.round}, slot {self._asked + 1},"
        dtype = str(features.dtype).removeprefix("torch.")
        expect = partial(self._answered, what, dtype=dtype, shape=tuple(features.shape[1:]))
        found = self._collected(self._who, "answer", key, expect)
        losses = torch.full((len(self._who),), torch.nan, dtype=features.dtype)
        upward = torch.zeros(features.shape, dtype=features.dtype)
        if len(found) == len(self._who):
            upward = torch.stack([tensor for _, tensor in found.values()])
        for place, k in enumerate(self._who):
            if k in found:
                message, upward[place] = found[k]
                losses[place] = message.loss
                self._count("bytes_up", k, message, message.upward)
                self._learned(k)
        return losses.to(self.setup.device), upward.to(self.setup.device)

    def receive(self, members: slice, gradient: Tensor, rates: Sequence[float]) -> None:
        at = dict(round=self.round, slot=self._asked)
        parts = gradient.chunk(len(self._who))
        for k, part, rate in zip(self._who, parts, rates):
            if self.heard[k]:
                packed = self._packed(part, k, "train", self._asked, BACK)
                self._count("bytes_down", k, None, packed)
                message = dict(**at, tensor=told(packed), rate=rate)
                self._post(k, (self.round, self._asked), gradient=message)

    def judge(self, part: str, slot: int, infer: Infer, count: bool) -> list[float]:
        users = self._going if count else [self.seats.ready(seat) for seat in self.seats.seats]
        found = self._evaluated(np.flatnonzero(users).tolist(), part, slot, infer, count)
        missing = [k + 1 for k in range(self.num_users) if k not in found]
        if missing and not count:
            raise ValueError(f"users {missing} are away: nobody else can judge on their data")
        return [found.get(k, NOTHING)["loss"] for k in range(self.num_users)]

    def validate(self, infer: Infer) -> Sequence[Mapping[str, float]]:
        users = [seat.user for seat in self.seats.seats if self.seats.ready(seat)]
        found = self._evaluated(users, "validation", 0, infer, False)
        self.validated = np.array([k in found for k in range(self.num_users)])
        if not any(found.values()):
            return []
        nothing = {**NOTHING, **dict.fromkeys(self.setup.metrics, float("nan"))}
        return [{**nothing, **found.get(k, {})} for k in range(self.num_users)]

    def state_dict(self) -> dict[str, Any]:
        return {"seed": self.seed, "heard": [list(seat.heard) for seat in self.seats.seats]}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        if "heard" not in state:
            raise ValueError("the checkpoint is of a run whose users were in its own process")
        self.seed = int(state["seed"])
        for seat, (number, slot) in zip(self.seats.seats, state["heard"], strict=True):
            seat.heard = int(number), int(slot)

    def began_again(self) -> list[int]:
        """How often each user came with new private parts since this was last asked, (K,)."""
        with self.seats.changed:
            found = [seat.began_again for seat in self.seats.seats]
            for seat in self.seats.seats:
                seat.began_again = 0
        return found

    def _nobody(self) -> None:
        self._count_anew()
        self.headers = [0] * self.num_users
        self.there = np.zeros(self.num_users, bool)
        self.heard = np.zeros(self.num_users, bool)
        self._going = self.there

    def _learned(self, user: int) -> None:
        """An answer was heard, which its user has on its disk."""
        self.heard[user] = True
        seat, key = self.seats.seats[user], (self.round, self._asked)
        seat.heard = self.round, self._asked + 1
        if not self.own_front:
            seat.forget(lambda one: one <= key)

    def _collected(
        self, users: slice | Sequence[int], kind: str, key: Key, check: Callable[[Any], Tensor]
    ) -> dict[int, tuple[Any, Tensor]]:
        """Messages and their tensors, in the users' order; who does not send such is refused."""
        among = range(users.start, users.stop) if isinstance(users, slice) else users
        asked = [k for k in among if self._going[k]]
        came = self.seats.collect(asked, [kind], _of_slot, key)
        found: dict[int, tuple[Any, Tensor]] = {}
        for k in asked:
            self._going[k] = k in came
            if k in came:
                message = came[k][1]
                try:
                    found[k] = message, check(message)
                except ValueError as error:
                    self._going[k] = False
                    self.seats.refuse(k, str(error))
        return found

    def _expected(
        self, what: str, tensor: Any, dtype: str | None = None, shape: Sequence[int] | None = None
    ) -> Tensor:
        return checked(what, heard(tensor), self.setup.wire, dtype, shape)

    def _answered(self, what: str, message: Any, **expected: Any) -> Tensor:
        if not np.isfinite(message.loss) or message.loss < 0:
            raise ValueError(f"{what} has loss {message.loss}: must be finite and ≥ 0")
        return self._expected(what, message.upward, **expected)

    def _evaluated(
        self, users: Iterable[int], part: str, slot: int, infer: Infer, count: bool
    ) -> dict[int, dict[str, float]]:
        """What users find of a part of their tasks, nothing learning; of those who answered."""
        self._number += 1
        key, found = (EVALUATED, self._number), {}
        pending = dict.fromkeys(users, 0)  # the batch that is to come of each
        for k in pending:
            self._post(k, key, evaluate=dict(number=self._number, part=part, slot=slot))
        while pending:
            came = self.seats.collect(pending, ["sent", "judged"], _of_evaluation, key)
            for k in list(pending):
                kind, message = came.get(k, ("", None))
                try:
                    if kind == "sent":
                        self._infer(k, pending[k], part, slot, message, infer, count)
                        pending[k] += 1
                        continue
                    if kind == "judged":
                        found[k] = {one.name: one.value for one in message.figures}
                        self._checked_figures(found[k])
                        self.seats.seats[k].script.clear()  # all of it is done
                except ValueError as error:
                    found.pop(k, None)
                    self.seats.refuse(k, str(error))
                del pending[k]
        if count:
            self._going &= [k in found for k in range(self.num_users)]
        return found

    def _infer(
        self, k: int, batch: int, part: str, slot: int, message: Any, infer: Infer, count: bool
    ) -> None:
        """Features of a batch that a user is to be judged on."""
        if message.batch != batch:  # said again by a user that came back
            return
        at = slot if part != "validation" else range(batch * EVALUATION_BATCH, 0)
        what = f"batch {batch} of {part} data"
        sent = self._expected(what, message.tensor, self._each.dtype)
        if tuple(sent.shape[1:]) != self._each.shape or len(sent) > self._most():
            raise ValueError(
                f"{what} has shape {tuple(sent.shape)}: must be at most "
                f"{self._most()} items of {self._each.shape}"
            )
        packed = self._packed(infer(k, sent.to(self.setup.device), part, at), k, part, at, FEATURES)
        if count:
            self._count(self.sent_as, k, message, message.tensor)
            self._count("bytes_down", k, None, packed)
        features = dict(round=EVALUATED, slot=self._number, tensor=told(packed))
        self._post(k, (EVALUATED, self._number), features=features)

    def _most(self) -> int:
        return max(EVALUATION_BATCH, self.setup.batch_size)

    def _checked_figures(self, figures: Mapping[str, float]) -> None:
        loss = figures.get("loss", 0.0)
        if not np.isfinite(loss) or loss < 0:
            raise ValueError(f"what was judged has loss {loss}: must be finite and ≥ 0")

    def _packed(self, tensor: Tensor, user: int, part: str, at: int | range, leg: int) -> Packed:
        return pack(tensor, self.setup.wire, partial(self.dither, user, part, at, leg))

    def _count(self, name: str, user: int, message: Any, tensor: Any) -> None:
        """Count what crossed, and what a message that came has beside it."""
        self.traffic[name][user] += len(tensor.data)
        if message is not None:
            self.headers[user] += message.ByteSize() - len(tensor.data)

    def _post(self, user: int, key: Key, **what: Any) -> None:
        content = Down(**what).SerializeToString()
        (said,) = what.values()
        self.headers[user] += len(content) - len(said.get("tensor", {}).get("data", b""))
        with self.seats.changed:
            seat: Seat = self.seats.seats[user]
            seat.post(key, content)


def _of_slot(message: Any) -> Key:
    return message.round, message.slot


def _of_evaluation(message: Any) -> Key:
    return (EVALUATED, message.number) if hasattr(message, "number") else _of_slot(message)
