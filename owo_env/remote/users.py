"""Users elsewhere, as the stream meets them: it does not know that they are."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import torch

from owo_env.remote.protocol import EVALUATED, Down, Key, Message, key_of
from owo_env.remote.seats import Seats
from owo_env.remote.tensors import checked, heard, told
from owo_env.scenarios.split_learning.draws import Draw
from owo_env.scenarios.split_learning.link import BACK, FEATURES, Infer, Setup, Users
from owo_env.scenarios.split_learning.local import EVALUATION_BATCH
from owo_env.scenarios.split_learning.surroundings import may_draw
from owo_env.scenarios.split_learning.wire import Packed, pack

Tensor = torch.Tensor

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
        self._slot = 0
        self._asked: dict[int, int] = {}  # the slot for which each user was asked last
        self._who: list[int] = []  # who sent in the present pass
        self._number = 0  # of evaluations
        self._nobody()

    def open_round(self, number: int, fresh: bool) -> None:
        seats = self.seats
        seats.open_round(number, self.seed, fresh)
        self.round, self._asked = number, {}
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
        self._slot = slot
        self._nobody()
        with seats.changed:
            self.there[:] = [seats.ready(seat) for seat in seats.seats]
        self._going = self.there.copy()

    def send(self, members: slice, slot: int) -> tuple[list[int], Tensor]:
        key = self.round, slot
        fresh = [k for k in np.flatnonzero(self._going).tolist() if self._asked.get(k) != slot]
        self._asked.update(dict.fromkeys(fresh, slot))
        self._post({k: dict(slot=dict(round=self.round, slot=slot)) for k in fresh})
        what = f"what was sent for round {self.round}, slot {slot + 1},"
        shape = self.setup.batch_size, *self._each.shape
        expected = partial(self._expected, what, self.sent_as, dtype=self._each.dtype, shape=shape)
        found = self._collected(members, "sent", key, expected)
        self._who = list(found)
        for k in self._who:  # its parts of the slots before are on its disk
            self.seats.seats[k].forget(lambda one: one < key)
        if not found:
            return [], self.trial()
        places = [k - members.start for k in self._who]
        return places, torch.cat([tensor for _, tensor in found.values()]).to(self.setup.device)

    def answer(
        self, members: slice, features: Tensor, rates: Sequence[float]
    ) -> tuple[Tensor, Tensor]:
        at = dict(round=self.round, slot=self._slot)
        if not torch.isfinite(features).all():
            raise FloatingPointError("the shared model's features are not finite")
        said: dict[int, dict[str, Any]] = {}
        for k, own, rate in zip(self._who, features, rates):
            packed = self._packed(own, k, "train", self._slot, FEATURES)
            self.traffic["bytes_down"][k] += len(packed.data)
            said[k] = dict(features=dict(**at, tensor=told(packed), rate=rate))
        self._post(said, then_next=not self.own_front)
        what = f"the answer of round {self.round}, slot {self._slot + 1},"
        dtype = str(features.dtype).removeprefix("torch.")
        expected = partial(self._answered, what, dtype=dtype, shape=tuple(features.shape[1:]))
        found = self._collected(self._who, "answer", (self.round, self._slot), expected)
        losses = torch.full((len(self._who),), torch.nan, dtype=features.dtype)
        upward = torch.zeros(features.shape, dtype=features.dtype)
        if len(found) == len(self._who):
            upward = torch.stack([tensor for _, tensor in found.values()])
        for place, k in enumerate(self._who):
            if k in found:
                content, upward[place] = found[k]
                losses[place] = content.loss
                self._learned(k)
        return losses.to(self.setup.device), upward.to(self.setup.device)

    def receive(self, members: slice, gradient: Tensor, rates: Sequence[float]) -> None:
        at, said = dict(round=self.round, slot=self._slot), {}
        for k, part, rate in zip(self._who, gradient.chunk(len(self._who)), rates):
            if self.heard[k]:
                packed = self._packed(part, k, "train", self._slot, BACK)
                self.traffic["bytes_down"][k] += len(packed.data)
                said[k] = dict(gradient=dict(**at, tensor=told(packed), rate=rate))
        self._post(said, then_next=True)

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
        self.seats.seats[user].heard = self.round, self._slot + 1

    def _collected(
        self,
        users: slice | Sequence[int],
        kind: str,
        key: Key,
        expected: Callable[[int, Message], Tensor],
    ) -> dict[int, tuple[Any, Tensor]]:
        """What users say, with its tensor, in their order; who does not say such is refused."""
        among = range(users.start, users.stop) if isinstance(users, slice) else users
        asked = [k for k in among if self._going[k]]
        came = self.seats.collect(asked, [kind], key)
        found: dict[int, tuple[Any, Tensor]] = {}
        for k in asked:
            self._going[k] = k in came
            if k in came:
                try:
                    found[k] = came[k].content, expected(k, came[k])
                except ValueError as error:
                    self._going[k] = False
                    self.seats.refuse(k, str(error))
        return found

    def _expected(
        self,
        what: str,
        counted: str | None,
        user: int,
        message: Message,
        dtype: str | None = None,
        shape: Sequence[int] | None = None,
    ) -> Tensor:
        """The tensor of a message, whose bytes are counted."""
        packed = heard(message.content.tensor)
        tensor = checked(what, packed, self.setup.wire, dtype, shape)
        if counted is not None:
            self.traffic[counted][user] += len(packed.data)
            self.headers[user] += message.size - len(packed.data)
        return tensor

    def _answered(self, what: str, user: int, message: Message, **expected: Any) -> Tensor:
        loss = message.content.loss
        if not np.isfinite(loss) or loss < 0:
            raise ValueError(f"{what} has loss {loss}: must be finite and ≥ 0")
        return self._expected(what, "bytes_up", user, message, **expected)

    def _evaluated(
        self, users: Iterable[int], part: str, slot: int, infer: Infer, count: bool
    ) -> dict[int, dict[str, float]]:
        """What users find of a part of their tasks, nothing learning; of those who answered."""
        self._number += 1
        key, found = (EVALUATED, self._number), {}
        pending = dict.fromkeys(users, 0)  # the batch that is to come of each
        asked = dict(evaluate=dict(number=self._number, part=part, slot=slot))
        self._post(dict.fromkeys(pending, asked))
        while pending:
            came = self.seats.collect(pending, ["sent", "judged"], key)
            for k in list(pending):
                message = came.get(k)
                try:
                    if message is not None and message.kind == "sent":
                        self._infer(k, pending[k], part, slot, message, infer, count)
                        pending[k] += 1
                        continue
                    if message is not None:
                        found[k] = {one.name: one.value for one in message.content.figures}
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
        self, k: int, batch: int, part: str, slot: int, message: Message, infer: Infer, count: bool
    ) -> None:
        """Features of a batch that a user is to be judged on."""
        if message.content.batch != batch:  # said again by a user that came back
            return
        at = slot if part != "validation" else range(batch * EVALUATION_BATCH, 0)
        what = f"batch {batch} of {part} data"
        counted = self.sent_as if count else None
        sent = self._expected(what, counted, k, message, self._each.dtype)
        if tuple(sent.shape[1:]) != self._each.shape or len(sent) > self._most():
            raise ValueError(
                f"{what} has shape {tuple(sent.shape)}: must be at most "
                f"{self._most()} items of {self._each.shape}"
            )
        packed = self._packed(infer(k, sent.to(self.setup.device), part, at), k, part, at, FEATURES)
        if count:
            self.traffic["bytes_down"][k] += len(packed.data)
        features = dict(round=EVALUATED, slot=self._number, tensor=told(packed))
        self._post({k: dict(features=features)})

    def _most(self) -> int:
        return max(EVALUATION_BATCH, self.setup.batch_size)

    def _checked_figures(self, figures: Mapping[str, float]) -> None:
        loss = figures.get("loss", 0.0)
        if not np.isfinite(loss) or loss < 0:
            raise ValueError(f"what was judged has loss {loss}: must be finite and ≥ 0")

    def _packed(self, tensor: Tensor, user: int, part: str, at: int | range, leg: int) -> Packed:
        return pack(tensor, self.setup.wire, partial(self.dither, user, part, at, leg))

    def _post(self, said: Mapping[int, Mapping[str, Any]], then_next: bool = False) -> None:
        """Send users their messages: all are ready before the first user wakes.

        Args:
            said: What each hears.
            then_next: Whether the next slot's job is to follow.
        """
        then = self._slot + 1
        then_next &= then < self.setup.num_slots
        ready = []
        for user, what in said.items():
            if then_next:
                self._asked[user] = then
                what = {name: {**about, "next": True} for name, about in what.items()}
            message = Down(**what)
            content = message.SerializeToString()
            (fields,) = what.values()
            self.headers[user] += len(content) - len(fields.get("tensor", {}).get("data", b""))
            key = key_of(getattr(message, message.WhichOneof("what")))
            ready.append((self.seats.seats[user], key, content))
        with self.seats.changed:
            for seat, key, content in ready:
                seat.post(key, content)
                if then_next:  # who comes back after the job was sent needs to hear of it alone
                    seat.script.append(((self.round, then), self._asking(then)))

    def _asking(self, slot: int) -> bytes:
        content: bytes = Down(slot=dict(round=self.round, slot=slot)).SerializeToString()
        return content
