"""The network form of `owo-adaptive` as an optimizer, for any PyTorch loop.

from owo_agents.optimizer import Adaptive

optimizer = Adaptive(encoder.parameters())
...
optimizer.zero_grad()
scalarizer(losses).backward()  # Σ_k p_k ℓ_k
optimizer.step()
...
optimizer.end_round()  # where a round ends: the next starts where it is best to
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn.utils import parameters_to_vector, vector_to_parameters

from owo_agents.learner.adaptive.network import STARTS, AdaptiveStep, MixedStarts

_PARTS = ("steps", "starts")


class Adaptive(torch.optim.Optimizer):
    """Steps that nobody tunes, by :class:`owo_agents.learner.adaptive.network.AdaptiveStep`.

    One step size holds for all parameters together; the arithmetic runs on the CPU. Without
    :meth:`end_round` training simply goes on.

    Args:
        params: The shared parameters, of one floating dtype.
        starts: The outer loops to mix at the end of a round, the one trusted most first.

    Raises:
        ValueError: No parameters, several groups of them, or an unknown start.
    """

    def __init__(self, params: Iterable[Tensor], starts: tuple[str, ...] = STARTS) -> None:
        super().__init__(params, {})
        if len(self.param_groups) > 1:
            raise ValueError("params: one group, since one step size holds for all")
        origin = _numpy(parameters_to_vector(self._params))
        self.steps, self.starts = AdaptiveStep(origin), MixedStarts(starts)
        self.starts.begin(origin)

    @property
    def _params(self) -> list[Tensor]:
        return self.param_groups[0]["params"]

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> float | None:  # type: ignore[override]
        """Move along the gradients of a loss; a parameter without one counts as still.

        Raises:
            FloatingPointError: A gradient is not finite; nothing has moved.
        """
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        grads = [torch.zeros_like(p) if p.grad is None else p.grad for p in self._params]
        gradient = -_numpy(parameters_to_vector(grads))
        if not np.isfinite(gradient).all():
            raise FloatingPointError("a gradient is not finite; the parameters stay as they are")
        self.starts.update(gradient)
        self._place(self.steps.update(_numpy(parameters_to_vector(self._params)), gradient))
        return loss

    @torch.no_grad()
    def end_round(self) -> None:
        """A round is over: go to where the next one starts."""
        model = _numpy(parameters_to_vector(self._params))
        self.starts.end(model)
        self.steps.end_round(self.starts.going_on)
        self._place(self.starts.begin(model))

    def state_dict(self) -> dict[str, Any]:
        """PyTorch's, and what the steps have learned."""
        return {
            **super().state_dict(),
            **{n: _tensors(getattr(self, n).state_dict()) for n in _PARTS},
        }

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Go on from a state; the parameters are the model's own to load."""
        own = {name: state_dict[name] for name in _PARTS}
        super().load_state_dict({k: v for k, v in state_dict.items() if k not in own})
        for name, state in own.items():
            getattr(self, name).load_state_dict(_arrays(state))

    def _place(self, vector: Any) -> None:
        like = self._params[0]
        vector_to_parameters(torch.from_numpy(vector).to(like.device, like.dtype), self._params)


def _numpy(vector: Tensor) -> Any:
    return vector.detach().cpu().numpy().copy()


def _tensors(state: Mapping[str, Any]) -> dict[str, Any]:
    """Arrays as tensors, which ``torch.load`` trusts."""
    return {
        key: _tensors(value)
        if isinstance(value, Mapping)
        else torch.from_numpy(np.array(value))
        if isinstance(value, np.ndarray | np.generic)
        else value
        for key, value in state.items()
    }


def _arrays(state: Mapping[str, Any]) -> dict[str, Any]:
    return {
        key: _arrays(value)
        if isinstance(value, Mapping)
        else value.numpy()
        if isinstance(value, Tensor)
        else value
        for key, value in state.items()
    }
