"""The RAN server's side of split learning (Fig. 1)."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

Floats = NDArray[np.floating]
Tensor = torch.Tensor


class Server:
    """The RAN server: it holds the shared encoder, and nothing of any user but statistics.

    The encoder runs in ``eval`` mode (no dropout, batch norm with frozen statistics). With
    ``trains_for`` it learns in ``train`` mode and is judged in ``eval`` mode, and each user has
    a copy of all in it that is not θ, such as running statistics.

    Args:
        encoder: Copied; its trainable parameters, flattened in order, are the model θ.
        device: Where it computes.
        trains_for: How many users have a copy of their own; 0 for one that rests.

    Attributes:
        gradient: −Σ p_k ∂ℓ_k/∂θ gathered since :meth:`start`, on the device; (d,).
    """

    def __init__(self, encoder: nn.Module, device: torch.device, trains_for: int = 0) -> None:
        one = copy.deepcopy(encoder).to(device).eval()
        shared = {id(p): p for p in one.parameters()}  # the copies' are the very same
        others = [copy.deepcopy(one, dict(shared)) for _ in range(trains_for - 1)]
        self.trains = trains_for > 0
        self._take([one, *others])

    def _take(self, encoders: Sequence[nn.Module]) -> None:
        """Make parameters and gradients windows of two flat vectors."""
        self.encoders, self.encoder = encoders, encoders[0]
        parameters = [p for p in self.encoder.parameters() if p.requires_grad]
        flat = torch.cat([p.detach().reshape(-1) for p in parameters])
        self.theta, self.gradient = flat, torch.zeros_like(flat)
        at = 0
        for p in parameters:
            window = slice(at, at + p.numel())
            p.data = self.theta[window].view_as(p)
            p.grad = self.gradient[window].view_as(p)
            at += p.numel()
        self._host = self.theta.cpu()  # the same memory where the device is the CPU
        self._sent: Tensor | None = None
        self._received: Tensor | None = None

    def __getstate__(self) -> dict[str, Any]:
        """For copies: no window survives one, so that each makes its own."""
        return {"trains": self.trains, "encoders": copy.deepcopy(self.encoders)}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.trains = state["trains"]
        self._take(state["encoders"])

    @property
    def model(self) -> Floats:
        """A copy of θ, (d,)."""
        return self.theta.cpu().numpy().copy()

    def load(self, model: Floats) -> None:
        """Take θ for the passes to come."""
        np.copyto(self._host.numpy(), model)
        if self._host is not self.theta:
            self.theta.copy_(self._host)

    def meet(self, user: int) -> None:
        """Serve ``user`` (the first, if more) next, with its statistics if it has its own."""
        if self.trains:
            self.encoder = self.encoders[user]

    def start(self) -> None:
        """Forget the gradient gathered so far."""
        self.gradient.zero_()

    def forward(self, inputs: Tensor, return_gradient: bool = False) -> Tensor:
        """Features of the inputs (n, …), cut from the graph: what goes down to the users.

        Args:
            inputs: Of one or more users, one after the other.
            return_gradient: Whether :meth:`backward` shall give ∂/∂inputs.
        """
        if self.trains:
            self.encoder.train()
        self._received = inputs.detach().requires_grad_() if return_gradient else inputs
        # A copy, which a first layer may overwrite: it may not where gradients are asked for.
        self._sent = self._features(self._received.clone() if return_gradient else inputs)
        return self._sent.detach()

    def backward(self, upward: Tensor, weights: Tensor) -> Tensor | None:
        """Scale each user's ∂ℓ_k/∂feature by −p_k and backpropagate it into ``gradient``.

        Args:
            upward: What the U users of the last :meth:`forward` sent up, (U, B, …).
            weights: Their p_k, (U,).

        Returns:
            If asked for by ``return_gradient``, ∂ℓ_k/∂inputs (U·B, …): unweighted again, and
            zero for a user with p_k = 0 (or next to it), from whom the server learns nothing.
        """
        assert self._sent is not None and self._received is not None
        scale = -weights.view(-1, *[1] * (upward.ndim - 1))
        torch.autograd.backward(self._sent, (upward * scale).reshape(self._sent.shape))
        back = self._received.grad if self._received.requires_grad else None
        self._sent = self._received = None
        if back is None:
            return None
        least = torch.finfo(weights.dtype).tiny  # below, 1/p may be infinite
        undone = torch.where(weights >= least, -1 / weights, 0.0).repeat_interleave(
            len(back) // len(weights)
        )
        return back * undone.view(-1, *[1] * (back.ndim - 1))

    @torch.no_grad()
    def infer(self, inputs: Tensor) -> Tensor:
        """Features without a trace, for judging a model."""
        if self.trains:
            self.encoder.eval()
        return self._features(inputs)

    def _features(self, inputs: Tensor) -> Tensor:
        features = self.encoder(inputs)
        if not isinstance(features, Tensor) or len(features) != len(inputs):
            found = getattr(features, "shape", type(features).__name__)
            raise TypeError(
                f"encoder gives {found} for inputs {tuple(inputs.shape)}: must be one tensor with "
                "the inputs' first axis"
            )
        return features
