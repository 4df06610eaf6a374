"""A stream of split learning: the rounds of a server and its users."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from owo_env.scenarios.base import Stream
from owo_env.scenarios.split_learning import memory
from owo_env.scenarios.split_learning.draws import Draw
from owo_env.scenarios.split_learning.export import Exported
from owo_env.scenarios.split_learning.link import Setup, Users
from owo_env.scenarios.split_learning.local import LocalUsers
from owo_env.scenarios.split_learning.modes import mixes_users
from owo_env.scenarios.split_learning.server import Server
from owo_env.scenarios.split_learning.surroundings import may_draw, position, surroundings

Floats = NDArray[np.floating]
Tensor = torch.Tensor

MakeUsers = Callable[[Setup, int], Users]


class SplitStream(Stream):
    """One stream of split learning.

    Args:
        setup: The scenario's.
        rng: Gives the stream its seed, of which all draws are functions.
        users: Where they are: of the setup and the seed.
    """

    def __init__(
        self, setup: Setup, rng: np.random.Generator, users: MakeUsers = LocalUsers
    ) -> None:
        self.setup = setup
        self.round = 0
        with surroundings(setup.dtype, setup.device, draws=False):
            self.server = self._new_server()
            self.users = users(setup, int(rng.integers(2**63)))
        self._chunks: list[slice] = []  # who is served in one pass; known with the first data
        self._busy: Sequence[bool] | None = None  # who has a job, where a link says so

    def open_round(self, options: Mapping[str, Any]) -> None:
        fresh = self.setup.heads == "reset" or options.get("reset_heads", False)
        with surroundings(self.setup.dtype, self.setup.device, draws=True):
            self.users.open_round(self.round + 1, fresh)  # if it is refused, the stream stays
            self._chunks = self._chunks or self._served_together()
        self.round += 1

    def begin_slot(self, active: NDArray[np.bool_]) -> None:
        """Heads and front layers of users without a job stay as they are, and send nothing."""
        self._busy = active.tolist()

    def play(
        self, slot: int, model: Floats, weights: Floats, per_user: bool
    ) -> tuple[Sequence[float], Floats]:
        with surroundings(self.setup.dtype, self.setup.device, bool(self.users.draws)):
            return self._play(slot, model, weights, per_user)

    def _play(
        self, slot: int, model: Floats, weights: Floats, per_user: bool
    ) -> tuple[Sequence[float], Floats]:
        setup = self.setup
        self.server.load(model)
        self.users.start_slot(slot)
        p = torch.from_numpy(weights.copy()).to(setup.device, setup.dtype)
        rates = list(setup.head_learning_rate)
        if setup.weights_scale_heads and not per_user:
            rates = [rate * p_k for rate, p_k in zip(rates, weights.tolist())]
        if self._busy is not None:
            rates = [rate if busy else 0.0 for rate, busy in zip(rates, self._busy)]
        judged = None
        if setup.feedback == "heldout":  # before anything learns from the slot
            with memory.kept(*self._modules()):
                judged = self._losses(slot, count=True)
        if per_user:
            losses, gradient = self._teach_each(slot, rates)
        else:
            self.server.start()
            passes = [self._teach(slot, c, p[c], rates[c]) for c in self._chunks]
            losses = torch.cat(passes) if len(passes) > 1 else passes[0]
            gradient = self.server.gradient.cpu().numpy().copy()
        each = zip(setup.l_max, judged or losses.tolist())
        return [l_max - loss for l_max, loss in each], gradient

    def evaluate(self, model: Floats) -> Floats:
        """Utilities (m, K) of ``model`` under the users' present heads."""
        present = self.server.model
        self.server.load(model)
        with self._judging():
            losses = [self._losses(slot) for slot in range(self.setup.num_slots)]
        self.server.load(present)
        return np.array(self.setup.l_max) - np.array(losses)

    def slot_info(self) -> dict[str, Any]:
        """Bytes over the link in the slot just played, each (K,).

        ``bytes_down`` and ``bytes_up`` are split learning's own traffic; ``bytes_inputs`` the raw
        inputs that went up beside it, where users have no front layers of their own.
        """
        sent = 1 if self._busy is None else np.array(self._busy, int)
        return {name: np.array(count) * sent for name, count in self.users.traffic.items()}

    def round_info(self) -> dict[str, Any]:
        """Loss, accuracy and the metrics (K,) on validation data with true labels, if there are.

        They judge the last model played with the heads as they are now. Accuracy is NaN of users
        whose labels are no classes, or whose outputs have not one score a class.
        """
        with self._judging():
            found = self.users.validate(self._infer)
        about = dict(self.setup.about(self.round, self.users.seed))
        if not found:
            return about
        names = ["loss", "accuracy", *self.setup.metrics]
        info = {name: np.array([figures[name] for figures in found]) for name in names}
        if np.isnan(info["accuracy"]).all():
            del info["accuracy"]
        return {f"validation_{name}": values for name, values in info.items()} | about

    def air(self) -> Mapping[str, NDArray[Any]]:
        about = self.setup.about(self.round, self.users.seed)
        return {name: values[None] for name, values in about.items()}

    def export(self, model: Floats | None) -> Exported:
        """The modules as they are now; with ``model`` for θ, by default the last one played."""
        present = self.server.model
        self.server.load(present if model is None else model)
        one = [copy.deepcopy(encoder).eval() for encoder in self.server.encoders]
        self.server.load(present)
        encoders = one if len(one) > 1 else one * self.users.num_users
        return Exported(encoders, *self.users.exported())

    def state_dict(self) -> dict[str, Any]:
        carried = [memory.moved(one, self.setup.encoder) for one in self.server.encoders]
        return {
            "round": self.round,
            "users": self.users.state_dict(),
            "encoders": [memory.as_arrays(one) for one in carried],
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        self.round = int(state["round"])
        with surroundings(self.setup.dtype, self.setup.device, draws=False):
            self.users.load_state_dict(state["users"])
            self.server = self._new_server()
            for one, carried in zip(self.server.encoders, state.get("encoders", [])):
                memory.restore(one, memory.as_tensors(carried))

    @contextmanager
    def _judging(self) -> Iterator[None]:
        setup, draws = self.setup, bool(self.users.draws)
        with surroundings(setup.dtype, setup.device, draws), memory.kept(*self._modules()):
            yield

    def _new_server(self) -> Server:
        setup = self.setup
        return Server(setup.encoder, setup.device, len(setup.tasks) if setup.trains else 0)

    def _modules(self) -> list[nn.Module]:
        return [*self.server.encoders, *self.users.modules()]

    def _served_together(self) -> list[slice]:
        """Users in passes, as many as may be; one by one where the encoder tells them apart."""
        users, chunk = self.users.num_users, self.setup.users_per_pass
        if self.setup.trains or mixes_users(self.server.encoder) or self._encoder_draws():
            chunk = 1
        return [slice(k, min(k + chunk, users)) for k in range(0, users, chunk)]

    @torch.no_grad()
    def _encoder_draws(self) -> bool:
        """Whether it does on a user's job, by a trial that leaves no trace."""
        if not may_draw(self.setup.encoder):
            return False
        with memory.kept(*self._modules()):
            sent = self.users.trial()
            before = position(self.setup.device)
            self.server.infer(sent)
        return position(self.setup.device) != before

    def _teach(self, slot: int, members: slice, p: Tensor, rates: Sequence[float]) -> Tensor:
        """One pass for some users: features down, ∂ℓ/∂feature up; their losses (U,)."""
        users, count = self.users, len(p)
        who, sent = users.send(members, slot)
        if len(who) < count:  # NaN is the loss of who is missing
            everyone = torch.full((count,), torch.nan, dtype=p.dtype, device=p.device)
            if not who:
                return everyone
            p, rates = p[who], [rates[place] for place in who]
        self.server.meet(members.start)
        users.reseed(Draw.ENCODER, members.start, "train", slot)
        features = self.server.forward(sent, return_gradient=users.own_front)
        features = features.view(len(p), -1, *features.shape[1:])
        losses, upward = users.answer(members, features, rates)
        back = self.server.backward(upward, p)
        if back is not None:
            users.receive(members, back, rates)
        if len(who) < count:
            everyone[who] = losses
            return everyone
        return losses

    def _teach_each(self, slot: int, rates: Sequence[float]) -> tuple[Tensor, Floats]:
        """One pass a user with p_k = 1: losses (K,) and each user's own gradient (K, d)."""
        theta, losses = self.server.theta, []
        one, each = theta.new_ones(1), theta.new_empty(self.users.num_users, len(theta))
        for k, row in enumerate(each):
            self.server.start()
            losses.append(self._teach(slot, slice(k, k + 1), one, rates[k : k + 1]))
            row.copy_(self.server.gradient)
        return torch.cat(losses), each.cpu().numpy()

    def _losses(self, slot: int, count: bool = False) -> list[float]:
        """Every user's loss on the data of a slot that utilities are measured on."""
        return self.users.judge(self.setup.feedback, slot, self._infer, count)

    def _infer(self, user: int, sent: Tensor, part: str, at: int | range) -> Tensor:
        """The server as a judge."""
        self.server.meet(user)
        self.users.reseed(Draw.ENCODER, user, part, at)
        return self.server.infer(sent)
