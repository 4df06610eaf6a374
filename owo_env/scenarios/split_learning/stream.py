"""A stream of split learning: the rounds of a server and its users."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from owo_env.scenarios.base import Stream
from owo_env.scenarios.split_learning.link import Setup, Users
from owo_env.scenarios.split_learning.server import Server

Floats = NDArray[np.floating]
Tensor = torch.Tensor

EVALUATION_BATCH = 256


class SplitStream(Stream):
    """One stream of split learning.

    Args:
        setup: The scenario's.
        rng: Gives the stream its seed, of which all draws are functions.
    """

    def __init__(self, setup: Setup, rng: np.random.Generator) -> None:
        self.setup = setup
        self.round = 0
        self.server = Server(setup.encoder, setup.device)
        self.users = Users(setup, int(rng.integers(2**63)))
        users, chunk = self.users.num_users, setup.users_per_pass
        self._chunks = [slice(k, min(k + chunk, users)) for k in range(0, users, chunk)]

    def open_round(self, options: Mapping[str, Any]) -> None:
        fresh = self.setup.heads == "reset" or options.get("reset_heads", False)
        self.users.open_round(self.round + 1, fresh)  # if it is refused, the stream stays
        self.round += 1

    def play(
        self, slot: int, model: Floats, weights: Floats, per_user: bool
    ) -> tuple[Sequence[float], Floats]:
        setup = self.setup
        self.server.load(model)
        self.users.start_slot()
        p = torch.from_numpy(weights.astype(model.dtype)).to(setup.device)
        rates = [setup.head_learning_rate] * len(weights)
        if setup.weights_scale_heads and not per_user:
            rates = [setup.head_learning_rate * p_k for p_k in weights.tolist()]
        judged = None
        if setup.feedback == "heldout":  # before anything learns from the slot
            judged = self._losses(slot, count=True)
        if per_user:
            losses, gradient = self._teach_each(slot, rates)
        else:
            self.server.start()
            passes = [self._teach(slot, c, p[c], rates[c]) for c in self._chunks]
            losses = torch.cat(passes) if len(passes) > 1 else passes[0]
            gradient = self.server.gradient.cpu().numpy().copy()
        return [setup.l_max - loss for loss in judged or losses.tolist()], gradient

    def evaluate(self, model: Floats) -> Floats:
        """Utilities (m, K) of ``model`` under the users' present heads."""
        present = self.server.model
        self.server.load(model)
        losses = [self._losses(slot) for slot in range(self.setup.num_slots)]
        self.server.load(present)
        return self.setup.l_max - np.array(losses)

    def slot_info(self) -> dict[str, Any]:
        """Bytes over the link in the slot just played, each (K,).

        ``bytes_down`` and ``bytes_up`` are split learning's own traffic; ``bytes_inputs`` the raw
        inputs that went up beside it, where users have no front layers of their own.
        """
        return {name: np.array(count) for name, count in self.users.traffic.items()}

    def round_info(self) -> dict[str, Any]:
        """Loss and accuracy (K,) on validation data with true labels, where tasks have them.

        They judge the last model played with the heads as they are now. Accuracy is there only
        if all labels are classes and all outputs have one score a class.
        """
        if not self.users.validation_size(0):
            return {}
        judged = np.array([self._validated(k) for k in range(self.users.num_users)])
        info = {"validation_loss": judged[:, 0].copy()}
        if not np.isnan(judged[:, 1]).any():
            info["validation_accuracy"] = judged[:, 1].copy()
        return info

    def state_dict(self) -> dict[str, Any]:
        return {"round": self.round, "users": self.users.state_dict()}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        self.round = int(state["round"])
        self.users.load_state_dict(state["users"])

    def _teach(self, slot: int, members: slice, p: Tensor, rates: Sequence[float]) -> Tensor:
        """One pass for some users: features down, ∂ℓ/∂feature up; their losses (U,)."""
        users = self.users
        sent = users.send(members, slot)
        features = self.server.forward(sent, return_gradient=users.own_front)
        features = features.view(len(p), -1, *features.shape[1:])
        losses, upward = users.answer(members, features, rates)
        back = self.server.backward(upward, p)
        if back is not None:
            users.receive(members, back, rates)
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
        part, infer = self.setup.feedback, self.server.infer
        return [
            self.users.judge(k, part, slot, infer, count)[0] for k in range(self.users.num_users)
        ]

    def _validated(self, k: int) -> Floats:
        """A user's loss and accuracy on its validation data."""
        size, totals = self.users.validation_size(k), np.zeros(2)
        for start in range(0, size, EVALUATION_BATCH):
            items = range(start, min(start + EVALUATION_BATCH, size))
            found = self.users.judge(k, "validation", items, self.server.infer, count=False)
            totals += np.array(found) * len(items)
        return totals / size
