"""OWO-FMTL's dual weights as a drop-in TorchJD scalarizer, for any PyTorch multi-task loop.

from owo_agents.scalarizer import DualScalarizer

scalarizer = DualScalarizer(2, max_loss=3.3, utility_bounds=(1.0, 3.3))
...
scalarizer(losses).backward()  # Σ_k p_k ℓ_k
scalarizer.update(losses)      # eq. 9; scalarizer.reset() where a round begins
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from owo_env import checks
from owo_env.fairness import AlphaFair

try:
    from torchjd import Stateful
    from torchjd.scalarization import Scalarizer
except ImportError as error:
    raise ImportError(
        f'DualScalarizer is a TorchJD scalarizer ({error}): pip install "airan-fairmtl[mtl]"'
    ) from error


class DualScalarizer(Scalarizer, Stateful):
    """Σ_k p_k ℓ_k with priorities p that :meth:`update` moves by the dual step, eq. 9.

    The step and its constants are those of :class:`owo_agents.learner.weighting.Dual`, on the
    utilities u_k = max_loss − ℓ_k.

    Args:
        shape: The shape of the losses, or their number K ≥ 2.
        max_loss: l_max, the loss of a task without the system.
        utility_bounds: (u_min, u_max) of the dual space, 0 < u_min < max_loss ≤ u_max.
        alpha: Fairness parameter α ≥ 0; at 0 priorities stay 1.

    Attributes:
        priorities: p, a buffer of the shape of the losses; float32, unless moved by ``to``.
        slot: Slots seen since the last :meth:`reset`, a buffer.

    Raises:
        ValueError: An argument is outside its domain.
    """

    priorities: Tensor
    slot: Tensor

    def __init__(
        self,
        shape: int | Sequence[int],
        max_loss: float,
        utility_bounds: tuple[float, float],
        alpha: float = 1.0,
    ) -> None:
        super().__init__()
        size = (shape,) if isinstance(shape, int) else tuple(shape)
        users = checks.whole("num_users", math.prod(size), low=2)
        self.fairness = AlphaFair(users, utility_bounds, alpha)
        low, high = self.fairness.utility_bounds
        self.max_loss = checks.number("max_loss", max_loss, low=low, high=high, open_low=True)
        self.register_buffer("priorities", torch.empty(size, dtype=torch.float32))
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
        utilities, slot = self.max_loss - values.detach(), self.slot.to(self.priorities.dtype)
        self.priorities.copy_(self.fairness.step(self.priorities, utilities, slot))

    @torch.no_grad()
    def reset(self) -> None:
        """A round begins: the centre utility's priorities, slot 0."""
        self.priorities.fill_(self.fairness.start[0])
        self.slot.zero_()

    def _check(self, values: Tensor) -> None:
        if values.shape != self.priorities.shape:
            raise ValueError(
                f"values has shape {tuple(values.shape)}: must be {tuple(self.priorities.shape)}"
            )

    def __repr__(self) -> str:
        low, high = self.fairness.utility_bounds
        return (
            f"DualScalarizer(shape={tuple(self.priorities.shape)}, max_loss={self.max_loss:g}, "
            f"utility_bounds=({low:g}, {high:g}), alpha={self.fairness.alpha:g})"
        )
