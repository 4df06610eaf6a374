"""A stream of split learning: the rounds of a server and K users, and the link between them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray

from owo_env.scenarios.base import Stream
from owo_env.scenarios.split_learning.heads import make_heads, make_modules
from owo_env.scenarios.split_learning.link import Server, User
from owo_env.scenarios.split_learning.tasks import Task, batch_order, size_of, task_of

if TYPE_CHECKING:
    from owo_env.scenarios.split_learning.scenario import SplitLearning

Floats = NDArray[np.floating]
Items = NDArray[np.integer]  # which items of a data set make up each slot's batch, (m, B)
Tensor = torch.Tensor

EVALUATION_BATCH = 256
_TRAFFIC = ("bytes_up", "bytes_down", "bytes_inputs")

# What a draw is for: every draw is a function of (stream's seed, round, purpose).
_ORDER, _HEADS, _FRONT = range(3)


class SplitStream(Stream):
    """One stream of split learning: a server, K users, and the link between them.

    All draws are functions of a seed drawn from ``rng``, the round and what they are for: the
    stream's state is that seed, the round's number and the users' modules.
    """

    def __init__(self, scenario: SplitLearning, rng: np.random.Generator) -> None:
        self.scenario = scenario
        self.problem = scenario.problem
        self.seed = int(rng.integers(2**63))
        self.round = 0
        self.server = Server(scenario.encoder, scenario.device)
        self._fresh_modules()
        users, chunk = self.problem.num_users, scenario.users_per_pass
        self._chunks = [slice(k, min(k + chunk, users)) for k in range(0, users, chunk)]
        self._per_user: Tensor | None = None  # (K, d), made when first asked for

    def open_round(self, options: Mapping[str, Any]) -> None:
        work = self._work(self.round + 1)  # if it is refused, the stream stays where it is
        self.round += 1
        if self.scenario.heads == "reset" or options.get("reset_heads", False):
            self._fresh_modules()
        for user, (task, order, heldout) in zip(self.users, work, strict=True):
            user.open_round(task, order, heldout)

    def play(
        self, slot: int, model: Floats, weights: Floats, per_user: bool
    ) -> tuple[Sequence[float], Floats]:
        self.server.load(model)
        self._bytes = [[0] * self.problem.num_users for _ in _TRAFFIC]
        p = torch.from_numpy(weights.astype(model.dtype)).to(self.scenario.device)
        rate = self.scenario.head_learning_rate
        rates = [rate] * len(weights)
        if self.scenario.weights_scale_heads and not per_user:
            rates = [rate * p_k for p_k in weights.tolist()]
        judged = self._heldout(slot) if self.scenario.feedback == "heldout" else None
        if per_user:
            losses, gradient = self._teach_each(slot, rates)
        else:
            self.server.start()
            passes = [self._teach(slot, c, p[c], rates[c]) for c in self._chunks]
            losses = torch.cat(passes) if len(passes) > 1 else passes[0]
            gradient = self.server.gradient.cpu().numpy().copy()
        l_max = self.scenario.l_max
        return [l_max - loss for loss in (losses if judged is None else judged).tolist()], gradient

    def evaluate(self, model: Floats) -> Floats:
        """Utilities (m, K) of ``model`` under the users' present heads."""
        present = self.server.model
        self.server.load(model)
        losses = [
            [
                self._judge(k, *self._evaluation_batch(k, slot))[0]
                for k in range(self.problem.num_users)
            ]
            for slot in range(self.problem.num_slots)
        ]
        self.server.load(present)
        return self.scenario.l_max - np.array(losses)

    def slot_info(self) -> dict[str, Any]:
        """Bytes over the link in the slot just played, each (K,).

        ``bytes_down`` and ``bytes_up`` are split learning's own traffic; ``bytes_inputs`` the raw
        inputs that went up beside it, where users have no front layers of their own.
        """
        return {name: np.array(count) for name, count in zip(_TRAFFIC, self._bytes)}

    def round_info(self) -> dict[str, Any]:
        """Loss and accuracy (K,) on validation data with true labels, where tasks have them.

        They judge the last model played with the heads as they are now. Accuracy is there only
        if all labels are classes and all outputs have one score a class.
        """
        if self.users[0].task.validation is None:
            return {}
        judged = np.array([self._validate(k) for k in range(self.problem.num_users)])
        info = {"validation_loss": judged[:, 0].copy()}
        if not np.isnan(judged[:, 1]).any():
            info["validation_accuracy"] = judged[:, 1].copy()
        return info

    def state_dict(self) -> dict[str, Any]:
        fronts = {
            f"{k}.{name}": tensor.detach().cpu().numpy().copy()
            for k, user in enumerate(self.users)
            if user.front is not None
            for name, tensor in user.front.state_dict().items()
        }
        heads = {name: t.cpu().numpy().copy() for name, t in self.heads.state_dict().items()}
        return {
            "seed": self.seed,
            "round": self.round,
            "heads": heads,
            "fronts": fronts,
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        self.seed, self.round = int(state["seed"]), int(state["round"])
        self.heads.load_state_dict(_tensors(state["heads"], ""))
        for k, user in enumerate(self.users):
            if user.front is not None:
                user.front.load_state_dict(_tensors(state["fronts"], f"{k}."))

    def _fresh_modules(self) -> None:
        """New heads and front layers, drawn for the present round."""
        s, users = self.scenario, self.problem.num_users
        head_seed, front_seed = (
            int(_generator(self.seed, self.round, purpose).integers(2**63))
            for purpose in (_HEADS, _FRONT)
        )
        self.heads = make_heads(make_modules(s.head, users, head_seed), s.losses, s.device)
        fronts: list[Any] = [None] * users
        if s.front is not None:
            fronts = make_modules(s.front, users, front_seed)
        self.users = [User(front, s.device) for front in fronts]

    def _work(self, number: int) -> list[tuple[Task, Items, Items | None]]:
        """Each user's task of round ``number``, and the items of its slots: train and held out."""
        tasks = [task_of(tasks, number, self.seed) for tasks in self.scenario.tasks]
        given = [task.validation is not None for task in tasks]
        if any(given) != all(given):
            raise ValueError(
                f"round {number}: either every user's task has validation data or none"
            )
        work: list[tuple[Task, Items, Items | None]] = []
        for k, task in enumerate(tasks):
            rng = _generator(self.seed, number, _ORDER, k)
            where = f"the task of user {k} in round {number}"
            order, heldout = self._order(rng, where, "train", task.train), None
            if self.scenario.feedback == "heldout":
                heldout = self._order(rng, where, "heldout", task.heldout)
            work.append((task, order, heldout))
        return work

    def _order(self, rng: np.random.Generator, where: str, part: str, data: Any) -> Items:
        if data is None:
            raise ValueError(f"feedback='heldout': {where} has no heldout data")
        size, batch = size_of(data), self.scenario.batch_size
        if batch > size:
            raise ValueError(
                f"batch_size={batch}: must be at most {size}: {where} has no more {part} data"
            )
        return batch_order(rng, size, batch, self.problem.num_slots)

    def _teach(self, slot: int, members: slice, p: Tensor, rates: Sequence[float]) -> Tensor:
        """One pass for some users: features down, ∂ℓ/∂feature up; their losses (U,)."""
        users = self.users[members]
        inputs, labels = zip(*(self._job(k, slot) for k in _numbers(members)))
        sent = torch.cat([user.send(x) for user, x in zip(users, inputs)])
        local = self.scenario.front is not None
        features = self.server.forward(sent, return_gradient=local)
        features = features.view(len(users), -1, *features.shape[1:])
        losses, upward = self.heads.answer(members, features, labels, rates)
        back = self.server.backward(upward, p)
        self._count(members, down=features, up=upward, inputs=None if local else sent)
        if back is not None:
            self._count(members, down=back, up=sent)
            for user, gradient, rate in zip(users, back.chunk(len(users)), rates):
                user.receive(gradient, rate)
        return losses

    def _teach_each(self, slot: int, rates: Sequence[float]) -> tuple[Tensor, Floats]:
        """One pass a user with p_k = 1: losses (K,) and each user's own gradient (K, d)."""
        theta = self.server.theta
        if self._per_user is None:
            self._per_user = theta.new_empty(self.problem.num_users, self.problem.dim)
        one, losses = theta.new_ones(1), []
        for k, row in enumerate(self._per_user):
            self.server.start()
            losses.append(self._teach(slot, slice(k, k + 1), one, rates[k : k + 1]))
            row.copy_(self.server.gradient)
        return torch.cat(losses), self._per_user.cpu().numpy().copy()

    def _job(self, k: int, slot: int) -> tuple[Tensor, Tensor]:
        """A user's batch in a slot, with the adversary's labels."""
        inputs, labels = self.users[k].batch(slot)
        return inputs, self.scenario.corrupt(labels, k, slot, self.round)

    def _evaluation_batch(self, k: int, slot: int) -> tuple[Tensor, Tensor]:
        if self.scenario.feedback == "heldout":
            return self.users[k].heldout_batch(slot)
        return self._job(k, slot)

    def _heldout(self, slot: int) -> Tensor:
        """Losses (K,) on held-out data, before anything learns from the slot."""
        losses = []
        for k in range(self.problem.num_users):
            losses.append(self._judge(k, *self.users[k].heldout_batch(slot), count=True)[0])
        return torch.tensor(losses, dtype=torch.float64)

    def _judge(
        self, k: int, inputs: Tensor, labels: Tensor, count: bool = False
    ) -> tuple[float, float]:
        """A user's loss and accuracy (nan where it has no meaning); nothing learns."""
        sent = self.users[k].show(inputs)
        features = self.server.infer(sent)
        if count:
            local = self.scenario.front is not None
            traffic = {"up": sent} if local else {"inputs": sent}
            self._count(slice(k, k + 1), down=features, **traffic)
        loss, outputs = self.heads.judge(k, features, labels)
        return float(loss), _accuracy(outputs, labels)

    def _validate(self, k: int) -> tuple[float, float]:
        user = self.users[k]
        size = size_of(user.task.validation)  # type: ignore[arg-type]
        totals = np.zeros(2)
        for start in range(0, size, EVALUATION_BATCH):
            part = np.arange(start, min(start + EVALUATION_BATCH, size))
            totals += np.array(self._judge(k, *user.validation_batch(part))) * len(part)
        loss, accuracy = totals / size
        return loss, accuracy

    def _count(
        self,
        members: slice,
        up: Tensor | None = None,
        down: Tensor | None = None,
        inputs: Tensor | None = None,
    ) -> None:
        users = _numbers(members)
        for count, sent in zip(self._bytes, (up, down, inputs)):
            if sent is not None:
                share = sent.nbytes // len(users)
                for k in users:
                    count[k] += share


def _generator(*key: int) -> np.random.Generator:
    return np.random.default_rng(key)


def _numbers(members: slice) -> range:
    return range(members.start, members.stop)


def _accuracy(outputs: Tensor, labels: Tensor) -> float:
    if labels.is_floating_point() or outputs.ndim != 2 or labels.ndim != 1:
        return float("nan")
    return float((outputs.argmax(1) == labels).float().mean())


def _tensors(arrays: Mapping[str, Any], mark: str) -> dict[str, Tensor]:
    """The arrays whose names begin with ``mark``, without it, as tensors."""
    return {
        name[len(mark) :]: torch.from_numpy(np.array(array))
        for name, array in arrays.items()
        if name.startswith(mark)
    }
