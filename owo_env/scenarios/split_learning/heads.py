"""The users' side of the split: local heads, and the losses that only they can compute.

Users do not interact: each call speaks of a run of them side by side.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import cast

import torch
from torch import nn
from torch.nn import functional as F

from owo_env.scenarios.split_learning.draws import torch_seed

Tensor = torch.Tensor
Loss = Callable[[Tensor, Tensor], Tensor]
Modules = Callable[[], nn.Module] | Sequence[nn.Module]
"""One module a user: K ready ones (which are copied), or a function that makes one."""


@contextmanager
def seeded(seed: int) -> Iterator[None]:
    """Torch modules built inside are a function of ``seed``; the global generator is restored."""
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(torch_seed(seed))
        yield


class ModuleHeads:
    """Any modules and losses, user by user through autograd.

    Args:
        heads: K modules, which are taken over (in ``eval`` mode) and trained in place.
        losses: K functions (outputs, labels) → mean loss ≥ 0.
        device: Where they compute.
    """

    def __init__(
        self, heads: Sequence[nn.Module], losses: Sequence[Loss], device: torch.device
    ) -> None:
        self.heads = [head.to(device).eval() for head in heads]
        self.losses = list(losses)
        self.parameters = [[p for p in head.parameters() if p.requires_grad] for head in self.heads]

    def answer(
        self, users: slice, features: Tensor, labels: Sequence[Tensor], rates: Sequence[float]
    ) -> tuple[Tensor, Tensor]:
        """The users' losses (U,) and ∂ℓ_k/∂feature (U, B, …); then every head takes its step.

        Args:
            users: Which users.
            features: What the server sent down, (U, B, …).
            labels: The users' own, U tensors (B, …).
            rates: Each user's step size, on its own loss alone.
        """
        members = range(len(self.heads))[users]
        received = [f.requires_grad_() for f in features.detach().unbind()]
        losses = [self.losses[k](self.heads[k](f), y) for k, f, y in zip(members, received, labels)]
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

    @torch.no_grad()
    def judge(self, user: int, features: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
        """One user's loss () and outputs (B, …) without learning; features (B, …)."""
        outputs = self.heads[user](features)
        return self.losses[user](outputs, labels), outputs

    def state_dict(self) -> dict[str, Tensor]:
        """The heads' tensors themselves, not copies."""
        return nn.ModuleList(self.heads).state_dict()

    def load_state_dict(self, state: Mapping[str, Tensor]) -> None:
        """Take over the values of tensors that :meth:`state_dict` gave."""
        nn.ModuleList(self.heads).load_state_dict(state)


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

    def answer(
        self, users: slice, features: Tensor, labels: Sequence[Tensor], rates: Sequence[float]
    ) -> tuple[Tensor, Tensor]:
        """:meth:`ModuleHeads.answer`; TypeError for labels that are no classes."""
        if any(y.dtype is not torch.int64 for y in labels):
            raise TypeError(
                f"labels are {labels[0].dtype}: F.cross_entropy on linear heads needs int64 "
                "classes; for other targets give the loss as a function of your own"
            )
        weight, across, bias = self._window(users)
        log_p = torch.baddbmm(bias, features, across).log_softmax(2)
        chosen = torch.stack(list(labels)).unsqueeze(2)
        losses = log_p.gather(2, chosen).mean((1, 2)).neg_()
        slope = log_p.exp_().scatter_(2, chosen, -1.0, reduce="add").div_(features.shape[1])
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

    def state_dict(self) -> dict[str, Tensor]:
        """:meth:`ModuleHeads.state_dict`."""
        return {"weight": self.weight, "bias": self.bias}

    def load_state_dict(self, state: Mapping[str, Tensor]) -> None:
        """:meth:`ModuleHeads.load_state_dict`."""
        self.weight.copy_(state["weight"])
        self.bias.copy_(state["bias"])


def make_modules(source: Modules, count: int, seed: int) -> list[nn.Module]:
    """``count`` fresh modules: a function is called under ``seed``, given ones are copied."""
    if isinstance(source, Sequence):
        return [copy.deepcopy(module) for module in source]
    with seeded(seed):
        return [source() for _ in range(count)]


def make_heads(
    heads: Sequence[nn.Module], losses: Sequence[Loss], device: torch.device
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
    return ModuleHeads(heads, losses, device)
