"""A user: what it does when the server speaks. It keeps data, labels, head and front layers."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray

from owo_env.remote.keeping import Disk, Kept, Parts
from owo_env.remote.protocol import EVALUATED, Message, Up
from owo_env.remote.tensors import checked, heard, told
from owo_env.scenarios.split_learning import memory
from owo_env.scenarios.split_learning.link import SENT, UPWARD, Setup
from owo_env.scenarios.split_learning.local import EVALUATION_BATCH, LocalUsers
from owo_env.scenarios.split_learning.surroundings import surroundings
from owo_env.scenarios.split_learning.wire import pack

Tensor = torch.Tensor
DRAWING = threading.Lock()  # modules are drawn from generators that all threads share


class Voice(Protocol):
    """A connection to the server."""

    def say(self, content: bytes) -> None:
        """Send a message."""

    def hear(self) -> Message:
        """Wait for one."""


class Moved(Exception):
    """The server has gone on, and does not wait for what was being done."""

    def __init__(self, message: Message) -> None:
        super().__init__(message.kind)
        self.message = message


class Member:
    """One user of a run.

    Args:
        setup: The scenario's, of which only the user's own entries count; floats cross as
            ``wire`` says, whatever is said there.
        welcome: What the server said of it.
        disk: Where the private parts are kept.
        kept: What is kept there.

    Attributes:
        kept: Where the private parts stand.
        learned: Slots learned from in this process.
    """

    def __init__(self, setup: Setup, welcome: Any, disk: Disk, kept: Kept) -> None:
        self._setup, self._disk = setup, disk
        self.user, self.kept, self.learned = int(welcome.user), kept, 0
        self._me = slice(self.user, self.user + 1)
        self._wire = welcome.wire or None
        self.meet(welcome)
        self._users: LocalUsers | None = None
        self._handlers: Mapping[str, Callable[[Voice, Any], None]] = {
            "round_opened": self._open_round,
            "slot": self._send,
            "features": self._answer,
            "gradient": self._receive,
            "evaluate": self._evaluate,
        }

    def meet(self, welcome: Any) -> None:
        """A server that may have been started again."""
        self._incarnation = welcome.incarnation
        self._sent: int | None = None  # the slot whose job was sent last on this connection
        if welcome.forget or not self.kept.run:
            self.kept, self._users = Kept(run=welcome.run), None

    @property
    def users(self) -> LocalUsers:
        """The user, once a round was opened."""
        if self._users is None:
            raise ValueError("the server speaks of a slot before it has opened a round")
        return self._users

    def do(self, voice: Voice, message: Message) -> None:
        """What a message asks for.

        Raises:
            ValueError: It asks for what cannot be, or the round's task does not fit.
            OSError: The private parts cannot be kept.
        """
        todo: Message | None = message
        while todo is not None:
            if todo.kind not in self._handlers:
                raise ValueError(f"the server says {todo.kind}, which has no meaning here")
            try:
                self._handlers[todo.kind](voice, todo.content)
                todo = None
            except Moved as moved:
                todo = moved.message

    def _open_round(self, voice: Voice, message: Any) -> None:
        kept, number, self._sent = self.kept, int(message.round), None
        with DRAWING, self._surroundings(draws=True):
            if self._users is None or self._users.seed != int(message.seed):
                here = range(self.user, self.user + 1)
                self._users = LocalUsers(self._setup, int(message.seed), here)
                if kept.parts:
                    self._load(kept.parts)
            again = kept.opened == number and kept.incarnation == self._incarnation
            if not again:
                if kept.opened == number:  # the server plays the round once more
                    self._load(kept.copy)
                    kept.round, kept.slot = kept.copied
                kept.copy, kept.copied = self._parts(), [kept.round, kept.slot]
                kept.pending, kept.answer = False, b""
            self._users.open_round(number, bool(message.fresh) and not again)
        kept.opened, kept.incarnation = number, self._incarnation
        self.kept.parts = self._parts()
        self._disk.write(self.kept)
        size = self._users.validation_size(self.user)
        self._say(voice, opened=dict(round=number, validation=size))

    def _send(self, voice: Voice, message: Any) -> None:
        self._send_once(voice, int(message.round), int(message.slot))

    def _send_once(self, voice: Voice, number: int, slot: int) -> None:
        known = self._position() >= (number, slot + 1)
        if self.kept.pending if known else slot != self._sent:
            self._send_job(voice, slot, known)

    def _send_job(self, voice: Voice, slot: int, known: bool) -> None:
        users = self.users
        with self._surroundings():
            if known:  # once more, for front layers' graph alone
                with memory.kept(*users.fronts):
                    users.send(self._me, slot)
            else:
                _, sent = users.send(self._me, slot)
        self._sent = slot
        if not known:
            tensor = self._told(sent, "train", slot, SENT)
            self._say(voice, sent=dict(round=users.round, slot=slot, tensor=tensor))

    def _answer(self, voice: Voice, message: Any) -> None:
        self._teach_head(voice, message)
        if message.next:
            self._send_once(voice, int(message.round), int(message.slot) + 1)

    def _receive(self, voice: Voice, message: Any) -> None:
        self._teach_front(message)
        if message.next:
            self._send_once(voice, int(message.round), int(message.slot) + 1)

    def _teach_head(self, voice: Voice, message: Any) -> None:
        users, slot = self.users, int(message.slot)
        if self._position() == (message.round, slot + 1) and self.kept.answer:
            voice.say(self.kept.answer)
            return
        if self._sent != slot or message.round != users.round:
            return  # of what the server has given up
        with self._surroundings():
            features = self._features(message)
            losses, upward = users.answer(self._me, features[None], [message.rate])
        tensor = self._told(upward[0], "train", slot, UPWARD)
        about = dict(round=message.round, slot=slot, loss=float(losses[0]))
        self.kept.round, self.kept.slot = int(message.round), slot + 1
        self.kept.pending = users.own_front
        self.kept.answer = Up(answer=dict(**about, tensor=tensor)).SerializeToString()
        self._sent = slot if users.own_front else None
        self._keep()
        voice.say(self.kept.answer)
        self.learned += 1

    def _teach_front(self, message: Any) -> None:
        slot = int(message.slot)
        at_hand = self._sent == slot and self.kept.pending
        if not at_hand or self._position() != (message.round, slot + 1):
            return
        gradient = self._tensor("the gradient", message.tensor)
        with self._surroundings():
            self.users.receive(self._me, gradient, [message.rate])
        self.kept.pending, self._sent = False, None
        self._keep()

    def _evaluate(self, voice: Voice, message: Any) -> None:
        users, number, part = self.users, int(message.number), str(message.part)
        infer = partial(self._inferred, voice, number)
        figures: dict[str, float] = {}
        with self._surroundings(), memory.kept(*users.modules()):
            if part != "validation":
                figures = {"loss": users.judged(self.user, part, int(message.slot), infer)[0]}
            elif users.validation_size(self.user):
                figures = users.validated(self.user, infer)
        told_ = [dict(name=name, value=value) for name, value in figures.items()]
        self._say(voice, judged=dict(number=number, figures=told_))

    def _inferred(
        self, voice: Voice, number: int, user: int, sent: Tensor, part: str, at: int | range
    ) -> Tensor:
        """The server as a judge: send, and wait for features."""
        batch = at.start // EVALUATION_BATCH if isinstance(at, range) else 0
        tensor = self._told(sent, part, at, SENT)
        self._say(voice, sent=dict(round=EVALUATED, slot=number, batch=batch, tensor=tensor))
        message = voice.hear()
        features = message.content
        if message.kind != "features" or (features.round, features.slot) != (EVALUATED, number):
            raise Moved(message)
        return self._features(features, len(sent))

    def _features(self, message: Any, count: int | None = None) -> Tensor:
        features = self._tensor("the features", message.tensor)
        expected = self._setup.batch_size if count is None else count
        if len(features) != expected:
            raise ValueError(f"the features are of {len(features)} items: must be {expected}")
        return features

    def _tensor(self, what: str, message: Any) -> Tensor:
        return checked(what, heard(message), self._wire).to(self._setup.device)

    def _told(self, tensor: Tensor, part: str, at: int | range, leg: int) -> dict[str, Any]:
        dither = partial(self.users.dither, self.user, part, at, leg)
        return told(pack(tensor, self._wire, dither))

    def _say(self, voice: Voice, **what: Any) -> None:
        voice.say(Up(**what).SerializeToString())

    def _position(self) -> tuple[int, int]:
        return self.kept.round, self.kept.slot

    def _surroundings(self, draws: bool = False) -> Any:
        setup = self._setup
        draws = draws or bool(self._users and self._users.draws)
        return surroundings(setup.dtype, setup.device, draws)

    def _keep(self) -> None:
        self.kept.parts = self._parts()
        self._disk.write_step(self.kept)

    def _parts(self) -> dict[str, NDArray[Any]]:
        """Copies of what the user's modules hold, by name."""
        state = self.users.state_dict()
        fronts = {f"front.{k}": v for one in state["fronts"] for k, v in one.items()}
        return {**{f"head.{k}": v for k, v in state["heads"].items()}, **fronts}

    def _load(self, parts: Parts) -> None:
        """Go on with what was kept.

        Raises:
            ValueError: It is of other modules.
        """
        here = {name: (v.shape, v.dtype) for name, v in self._parts().items()}
        there = {name: (v.shape, v.dtype) for name, v in parts.items()}
        if here != there:
            names = sorted(name for name in {*here, *there} if here.get(name) != there.get(name))
            raise ValueError(
                f"{self._disk.path} has other private parts than this user: {', '.join(names)} "
                "differ; give the head and front layers that it was made with, or --start-again"
            )
        both: dict[str, dict[str, NDArray[Any]]] = {"head": {}, "front": {}}
        for name, value in parts.items():
            kind, _, own = name.partition(".")
            both[kind][own] = np.array(value)
        fronts = [both["front"]] if self.users.fronts else []
        self.users.load_state_dict(
            {"seed": self.users.seed, "heads": both["head"], "fronts": fronts}
        )
