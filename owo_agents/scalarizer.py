"""OWO-FMTL's dual weights as a drop-in TorchJD scalarizer, for any PyTorch multi-task loop.

from owo_agents.scalarizer import DualScalarizer

scalarizer = DualScalarizer(2, max_loss=3.3, utility_bounds=(1.0, 3.3))
...
scalarizer(losses).backward()  # Σ_k p_k ℓ_k
scalarizer.update(losses)      # eq. 9; scalarizer.reset() where a round begins
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from owo_agents.agent import Floats
from owo_env import checks
from owo_env.extras import pip_line
from owo_env.fairness import AlphaFair, Fairness, make_fairness

try:
    from torchjd import Stateful
    from torchjd.scalarization import Scalarizer
except ImportError as error:
    raise ImportError(
        f"DualScalarizer is a TorchJD scalarizer ({error}): {pip_line('mtl')}"
    ) from error


class DualScalarizer(Scalarizer, Stateful):
    """Σ_k p_k ℓ_k with priorities p that :meth:`update` moves by the dual step, eq. 9.

    The step and its constants are those of :class:`owo_agents.learner.weighting.Dual`, in float64
    on the utilities u_k = max_loss − ℓ_k.

    Args:
        shape: The shape of the losses, or their number K ≥ 2.
        max_loss: l_max, the loss of a task without the system.
        utility_bounds: (u_min, u_max) of the dual space, 0 < u_min < max_loss ≤ u_max.
        alpha: Fairness parameter α ≥ 0, default 1; at 0 priorities stay 1.
        fairness: Another notion, as ``gym.make`` takes it; users are the losses in order.
        num_slots: m, the slots between two resets, which ordered notions must know.

    Attributes:
        priorities: p, a buffer of the shape of the losses; float32, unless moved by ``to``.
        unprojected: What an ordered notion's dual step was projected from, another.
        slot: Slots seen since the last :meth:`reset`, a buffer.

    Raises:
        ValueError: An argument is outside its domain.
    """

    priorities: Tensor
    unprojected: Tensor
    slot: Tensor

    def __init__(
        self,
        shape: int | Sequence[int],
        max_loss: float,
        utility_bounds: tuple[float, float],
        alpha: float | None = None,
        fairness: str | Mapping[str, Any] | Fairness | None = None,
        num_slots: int | None = None,
    ) -> None:
        super().__init__()
        size = (shape,) if isinstance(shape, int) else tuple(shape)
        users = checks.whole("num_users", math.prod(size), low=2)
        if fairness is not None and alpha is not None:
            raise ValueError(f"alpha={alpha!r}: is short for a fairness; give one of the two")
        if fairness is None:
            fairness = AlphaFair(users, utility_bounds, 1.0 if alpha is None else alpha)
        self.fairness = make_fairness(fairness, users, utility_bounds)
        low, high = self.fairness.utility_bounds
        self.max_loss = checks.number("max_loss", max_loss, low=low, high=high, open_low=True)
        if num_slots is None and not self.fairness.modulus:
            raise ValueError(f"num_slots: {self.fairness} needs it, the losses between two resets")
        self.num_slots = 1 if num_slots is None else checks.whole("num_slots", num_slots, low=1)
        self.register_buffer("priorities", torch.empty(size, dtype=torch.float32))
        if not self.fairness.modulus:
            self.register_buffer("unprojected", torch.empty(size, dtype=torch.float32))
        self.register_buffer("slot", torch.zeros((), dtype=torch.int64))
        self.reset()

    def forward(self, values: Tensor, /) -> Tensor:
        """Σ_k p_k ℓ_k; a scalar to call ``backward`` on.

        Raises:
            ValueError: The losses are of another shape.
        """
        self._check(values)
        return (self.priorities.clone() * values).sum()  # update() may come before backward()

    @torch.no_grad()
    def update(self, values: Tensor, /) -> None:
        """Move the priorities by the losses just seen, for the next slot.

        Raises:
            ValueError: The losses are of another shape.
            FloatingPointError: A loss is not finite; the priorities stay as they are.
        """
        self._check(values)
        if not bool(values.isfinite().all()):
            raise FloatingPointError(f"losses must be finite, got {values.tolist()}")
        self.slot += 1
        utilities, slot = self.max_loss - _array(values.detach()), int(self.slot)
        p, z = _array(self.priorities), _array(getattr(self, "unprojected", self.priorities))
        z = self.fairness.move(z, p, utilities, slot, self.num_slots)
        self._fill(z, self.fairness.project(z))

    @torch.no_grad()
    def reset(self) -> None:
        """A round begins: the centre utility's priorities, slot 0."""
        self._fill(self.fairness.start, self.fairness.start)
        self.slot.zero_()

    def _fill(self, z: Floats, p: Floats) -> None:
        self.priorities.copy_(torch.tensor(p).reshape(self.priorities.shape))
        if hasattr(self, "unprojected"):
            self.unprojected.copy_(torch.tensor(z).reshape(self.priorities.shape))

    def _check(self, values: Tensor) -> None:
        if values.shape != self.priorities.shape:
            raise ValueError(
                f"values has shape {tuple(values.shape)}: must be {tuple(self.priorities.shape)}"
            )

    def __repr__(self) -> str:
        low, high = self.fairness.utility_bounds
        return (
            f"DualScalarizer(shape={tuple(self.priorities.shape)}, max_loss={self.max_loss:g}, "
            f"utility_bounds=({low:g}, {high:g}), {self.fairness})"
        )


def _array(values: Tensor) -> Floats:
    return values.double().cpu().numpy().ravel()
