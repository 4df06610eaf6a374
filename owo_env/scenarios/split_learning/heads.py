"""The users' side of the split: local heads, and the losses that only they can compute.

Users do not interact: each call speaks of a run of them side by side.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping, Sequence
from typing import Any, cast

import torch
from torch import nn
from torch.nn import functional as F

from owo_env.scenarios.split_learning import memory
from owo_env.scenarios.split_learning.surroundings import seeded

Tensor = torch.Tensor
Loss = Callable[[Tensor, Tensor], Tensor]
Modules = Callable[[], nn.Module] | Sequence[nn.Module]
"""One module a user: K ready ones (which are copied), or a function that makes one."""
Before = Callable[[int], None]
"""Called with a user's index before its head computes: what it draws is then a function of that."""

IGNORED = -100  # the label that F.cross_entropy leaves out of the mean


class ModuleHeads:
    """Any modules and losses, user by user through autograd.

    Args:
        heads: K modules, which are taken over (in ``eval`` mode) and trained in place.
        losses: K functions (outputs, labels) → mean loss ≥ 0.
        device: Where they compute.
        trains: Whether they learn in ``train`` mode.
    """

    def __init__(
        self,
        heads: Sequence[nn.Module],
        losses: Sequence[Loss],
        device: torch.device,
        trains: bool = False,
    ) -> None:
        self.heads = [head.to(device).eval() for head in heads]
        self.losses = list(losses)
        self.trains = trains
        self.parameters = [[p for p in head.parameters() if p.requires_grad] for head in self.heads]

    def answer(
        self,
        users: slice,
        features: Tensor,
        labels: Sequence[Tensor],
        rates: Sequence[float],
        before: Before = lambda user: None,
    ) -> tuple[Tensor, Tensor]:
        """The users' losses (U,) and ∂ℓ_k/∂feature (U, B, …); then every head takes its step.

        Args:
            users: Which users.
            features: What the server sent down, (U, B, …).
            labels: The users' own, U tensors (B, …).
            rates: Each user's step size, on its own loss alone.
            before: What is to be done before each user's turn.
        """
        members = range(len(self.heads))[users]
        received = [f.requires_grad_() for f in features.detach().unbind()]
        losses = [self._loss(k, f, y, before) for k, f, y in zip(members, received, labels)]
        own = [p for k in members for p in self.parameters[k]]
        own_rates = [rate for k, rate in zip(members, rates) for _ in self.parameters[k]]
        # One call for all: no loss depends on another user's head or features.
        gradients = torch.autograd.grad(losses, [*received, *own], allow_unused=True)
        upward = [torch.zeros_like(f) if g is None else g for f, g in zip(received, gradients)]
        with torch.no_grad():
            for parameter, gradient, rate in zip(own, gradients[len(received) :], own_rates):
                if gradient is not None:
                    parameter.sub_(gradient, alpha=rate)
        return torch.stack(losses).detach(), torch.stack(upward)

    def _loss(self, user: int, features: Tensor, labels: Tensor, before: Before) -> Tensor:
        before(user)
        if self.trains:
            self.heads[user].train()
        # A copy, which a head's first layer may overwrite.
        return self.losses[user](self.heads[user](features.clone()), labels)

    @torch.no_grad()
    def judge(self, user: int, features: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
        """One user's loss () and outputs (B, …) without learning; features (B, …)."""
        if self.trains:
            self.heads[user].eval()
        outputs = self.heads[user](features)
        return self.losses[user](outputs, labels), outputs

    def modules(self) -> list[nn.Module]:
        """Copies of the heads, which nobody else trains."""
        return [copy.deepcopy(head).eval() for head in self.heads]

    def state_dict(self) -> dict[str, Tensor]:
        """The heads' tensors themselves, not copies."""
        return memory.tensors(nn.ModuleList(self.heads))

    def load_state_dict(self, state: Mapping[str, Tensor]) -> None:
        """Take over the values of tensors that :meth:`state_dict` gave."""
        memory.restore(nn.ModuleList(self.heads), state)


class LinearHeads:
    """:class:`ModuleHeads` of linear classifiers with cross-entropy, at once and in closed form.

    With logits z = Wf + b, ∂ℓ/∂z = (softmax(z) − onehot(y))/B. It does what autograd does on K
    ``nn.Linear`` modules, in a handful of batched calls.

    Args:
        heads: K ``nn.Linear`` of one shape.
        device: Where they compute.
    """

    def __init__(self, heads: Sequence[nn.Linear], device: torch.device) -> None:
        self.weight = torch.stack([head.weight.detach() for head in heads]).to(device)
        self.bias = torch.stack([head.bias.detach() for head in heads]).to(device)
        self._windows: dict[tuple[int, int], tuple[Tensor, Tensor, Tensor]] = {}

    def __getstate__(self) -> dict[str, Any]:
        """For copies: no window survives one, so that each makes its own."""
        return {**vars(self), "_windows": {}}

    def answer(
        self,
        users: slice,
        features: Tensor,
        labels: Sequence[Tensor],
        rates: Sequence[float],
        before: Before | None = None,
    ) -> tuple[Tensor, Tensor]:
        """:meth:`ModuleHeads.answer`; TypeError for labels that are no classes."""
        if any(y.dtype is not torch.int64 or y.ndim != 1 for y in labels):
            raise TypeError(
                f"labels are {labels[0].dtype} {tuple(labels[0].shape)}: F.cross_entropy on linear "
                "heads needs int64 classes (B,); for other targets give the loss as a function of "
                "your own"
            )
        weight, across, bias = self._window(users)
        log_p = torch.baddbmm(bias, features, across).log_softmax(2)
        losses, slope = _cross_entropy(log_p, torch.stack(list(labels)).unsqueeze(2))
        upward = torch.bmm(slope, weight)
        rate = rates[0]
        if any(other != rate for other in rates):
            slope, rate = slope * slope.new_tensor(rates)[:, None, None], 1.0
        weight.baddbmm_(slope.mT, features, alpha=-rate)
        bias.sub_(slope.sum(1, keepdim=True), alpha=rate)
        return losses, upward

    def _window(self, users: slice) -> tuple[Tensor, Tensor, Tensor]:
        """Views of some users' W, Wᵀ and b (U, 1, …), kept: each slot asks for the same ones."""
        key = users.start, users.stop
        if key not in self._windows:
            weight = self.weight[users]
            self._windows[key] = weight, weight.mT, self.bias[users].unsqueeze(1)
        return self._windows[key]

    @torch.no_grad()
    def judge(self, user: int, features: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
        """:meth:`ModuleHeads.judge`."""
        logits = torch.addmm(self.bias[user], features, self.weight[user].mT)
        return F.cross_entropy(logits, labels), logits

    def modules(self) -> list[nn.Module]:
        """:meth:`ModuleHeads.modules`."""
        made: list[nn.Module] = []
        for weight, bias in zip(self.weight, self.bias):
            head = nn.Linear(weight.shape[1], len(bias), device="meta", dtype=weight.dtype)
            head.weight, head.bias = nn.Parameter(weight.clone()), nn.Parameter(bias.clone())
            made.append(head.eval())
        return made

    def state_dict(self) -> dict[str, Tensor]:
        """:meth:`ModuleHeads.state_dict`."""
        return {"weight": self.weight, "bias": self.bias}

    def load_state_dict(self, state: Mapping[str, Tensor]) -> None:
        """:meth:`ModuleHeads.load_state_dict`."""
        self.weight.copy_(state["weight"])
        self.bias.copy_(state["bias"])


def _cross_entropy(log_p: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
    """Means (U,) over the labels that count, and their slopes in the logits (U, B, C).

    Args:
        log_p: Logarithms of the classes' probabilities, (U, B, C); overwritten.
        labels: Classes or ``IGNORED``, (U, B, 1).
    """
    try:
        if log_p.device.type == "cpu":  # where a label that is no class is an error, to be caught
            losses = log_p.gather(2, labels).mean((1, 2)).neg_()
            slope = log_p.exp_().scatter_(2, labels, -1.0, reduce="add")
            return losses, slope.div_(labels.shape[1])
    except RuntimeError:  # to look for such labels in each slot would cost a hundredth of its time
        pass
    counts = labels != IGNORED
    labels, size = labels.where(counts, 0), counts.sum(1, keepdim=True)
    losses = log_p.gather(2, labels).where(counts, 0).div(size).sum((1, 2)).neg_()
    slope = log_p.exp_().scatter_(2, labels, -1.0, reduce="add").div_(size)
    return losses, slope.where(counts, 0)


def make_modules(
    source: Modules, count: int, seed: int, dtype: torch.dtype = torch.float32
) -> list[nn.Module]:
    """``count`` fresh modules: a function is called under ``seed``, given ones are copied.

    Raises:
        ValueError: A shape is not known yet.
    """
    if isinstance(source, Sequence):
        return [copy.deepcopy(module) for module in source]
    with seeded(seed, dtype):
        made = [source() for _ in range(count)]
    for module in made:
        refuse_lazy("a function of modules gives", module)
    return made


def refuse_lazy(what: str, module: nn.Module) -> None:
    """Raise ValueError for layers that learn their shape from the first batch."""
    if any(map(nn.parameter.is_lazy, [*module.parameters(), *module.buffers()])):
        raise ValueError(
            f"{what} a {type(module).__name__} with a lazy layer, whose shape is not known yet: "
            "pass a batch through it first, or give the sizes"
        )


def make_heads(
    heads: Sequence[nn.Module],
    losses: Sequence[Loss],
    device: torch.device,
    trains: bool = False,
) -> LinearHeads | ModuleHeads:
    """The fast form of linear classifiers of one shape, all learning; else the general one."""
    linear = all(type(head) is nn.Linear and head.bias is not None for head in heads)
    if (
        linear
        and len({head.weight.shape for head in heads}) == 1
        and all(p.requires_grad for head in heads for p in head.parameters())
        and all(loss is F.cross_entropy for loss in losses)
    ):
        return LinearHeads(cast(Sequence[nn.Linear], heads), device)
    return ModuleHeads(heads, losses, device, trains)
