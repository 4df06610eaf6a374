"""OWO-FMTL's dual weights as a drop-in TorchJD scalarizer, for any PyTorch multi-task loop.

from owo_agents.scalarizer import DualScalarizer

scalarizer = DualScalarizer(2, max_loss=3.3, utility_bounds=(1.0, 3.3))
...
scalarizer(losses).backward()  # Σ_k p_k ℓ_k
scalarizer.update(losses)      # eq. 9; scalarizer.reset() where a round begins

What a round is in a loop of one's own, and how to choose the two numbers:
docs/guide/existing-loop.md and docs/guide/scale-of-a-loss.md.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from owo_agents.agent import Floats
from owo_env import checks
from owo_env.checks import Each
from owo_env.extras import pip_line
from owo_env.fairness import AlphaFair, Fairness, Smooth, make_fairness
from owo_env.fairness.notion import as_number

try:
    from torchjd import Stateful
    from torchjd.scalarization import Scalarizer
except ImportError as error:
    raise ImportError(
        f"DualScalarizer is a TorchJD scalarizer ({error}): {pip_line('mtl')}"
    ) from error


FEWEST = 8  # slots of a round by which priorities that do not move are judged
NEVER = 128  # slots without a reset after which they are looked at anyway


class DualScalarizer(Scalarizer, Stateful):
    """Σ_k p_k ℓ_k with priorities p that :meth:`update` moves by the dual step, eq. 9.

    The step and its constants are those of :class:`owo_agents.learner.weighting.Dual`, in float64
    on the utilities u_k = max_loss − ℓ_k.

    Args:
        shape: The shape of the losses, or their number K ≥ 2.
        max_loss: l_max, the loss of a task without the system; a number, or K where the losses'
            scales differ.
        utility_bounds: (u_min, u_max) of the dual space, 0 < u_min < max_loss ≤ u_max; each a
            number, or K.
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
        max_loss: Each,
        utility_bounds: tuple[Each, Each],
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
        self.max_loss = checks.each("max_loss", max_loss, users, low=low, high=high, open_low=True)
        if num_slots is None and not self.fairness.modulus:
            raise ValueError(f"num_slots: {self.fairness} needs it, the losses between two resets")
        self.num_slots = 1 if num_slots is None else checks.whole("num_slots", num_slots, low=1)
        self.register_buffer("priorities", torch.empty(size, dtype=torch.float32))
        if not self.fairness.modulus:
            self.register_buffer("unprojected", torch.empty(size, dtype=torch.float32))
        self.register_buffer("slot", torch.zeros((), dtype=torch.int64))
        self._last: Floats | None = None  # the last utilities
        self._warned = False
        self.reset()

    def forward(self, values: Tensor | Sequence[Tensor], /) -> Tensor:
        """Σ_k p_k ℓ_k; a scalar to call ``backward`` on, before or after :meth:`update`.

        Args:
            values: The losses, a tensor or a list of K numbers as tensors.

        Raises:
            ValueError: The losses are of another shape.
        """
        values = self._checked(values)
        return (self.priorities.clone() * values).sum()  # update() may come before backward()

    @torch.no_grad()
    def update(self, values: Tensor | Sequence[Tensor], /) -> None:
        """Move the priorities by the losses just seen, for the next slot.

        Args:
            values: As of :meth:`forward`.

        Raises:
            ValueError: The losses are of another shape.
            FloatingPointError: A loss is not finite; the priorities stay as they are.
        """
        values = self._checked(values)
        if not bool(values.isfinite().all()):
            raise FloatingPointError(self._diverged(_array(values)))
        self.slot += 1
        utilities, slot = as_number(self.max_loss) - _array(values.detach()), int(self.slot)
        self._last = utilities
        p, z = _array(self.priorities), _array(getattr(self, "unprojected", self.priorities))
        z = self.fairness.move(z, p, utilities, slot, self.num_slots)
        p = self.fairness.project(z)
        self._fill(z, p)
        self._watch(p)
        if slot == NEVER:
            self._warn_of_pinned()

    @torch.no_grad()
    def reset(self) -> None:
        """A round begins: the centre utility's priorities, slot 0.

        It warns, once, of a priority that sat at one of its ends for half of the round or more.
        """
        self._warn_of_pinned()
        self._end = self._stuck = np.zeros(self.fairness.num_users, int)
        self._fill(self.fairness.start, self.fairness.start)
        self.slot.zero_()

    def _fill(self, z: Floats, p: Floats) -> None:
        self.priorities.copy_(torch.tensor(p).reshape(self.priorities.shape))
        if hasattr(self, "unprojected"):
            self.unprojected.copy_(torch.tensor(z).reshape(self.priorities.shape))

    def _checked(self, values: Tensor | Sequence[Tensor]) -> Tensor:
        """The losses as one tensor."""
        if not isinstance(values, Tensor):
            values = torch.stack(list(values)).reshape(-1)
            if len(values) == self.priorities.numel():
                values = values.view_as(self.priorities)
        if values.shape != self.priorities.shape:
            raise ValueError(
                f"values has shape {tuple(values.shape)}: must be {tuple(self.priorities.shape)}"
            )
        return values

    def _diverged(self, losses: Floats) -> str:
        """Whose loss is not finite, and what was known of it last."""
        k = int(np.flatnonzero(~np.isfinite(losses))[0])
        told = f"the loss of user {k} is {losses[k]} in slot {int(self.slot) + 1}"
        if self._last is None:
            return f"{told}: losses must be finite"
        u_min, u_max = self.fairness.bounds
        below = (u_min - self._last) / (u_max - u_min)
        worst = int(np.argmax(below)) if below.max() > 1 else k
        return f"{told}; user {worst} diverged: its last finite utility was {self._last[worst]:.4g}"

    def _watch(self, p: Floats) -> None:
        """Count for how many slots each priority has sat at the same end of its range."""
        low, high = self.fairness.priority_box
        end = np.where(p >= high, 1, np.where(p <= low, -1, 0))
        self._stuck = np.where(end == 0, 0, np.where(end == self._end, self._stuck + 1, 1))
        self._end = end

    def _warn_of_pinned(self) -> None:
        slots, notion = int(self.slot), self.fairness
        judged = isinstance(notion, Smooth) and notion.modulus < np.inf  # P is no point
        if self._warned or not judged or slots < FEWEST or 2 * self._stuck.max() < slots:
            return
        self._warned, k = True, int(np.argmax(self._stuck))
        last = np.nan if self._last is None else self._last[k]
        best, u_min = (
            np.broadcast_to(b, notion.num_users)[k] for b in (self.max_loss, notion.bounds[0])
        )
        end, other = ("largest", "below") if self._end[k] > 0 else ("least", "above")
        warnings.warn(
            f"the priority of user {k} sat at its {end} for the last {self._stuck[k]} of {slots} "
            f"slots: its utility, {last:.4g} in the last one, lies {other} what its "
            f"utility_bounds expect (max_loss={best:g}, u_min={u_min:g}), and a priority at an end "
            "weighs nothing up. Give max_loss and utility_bounds user by user, in each loss's own "
            "scale: docs/guide/scale-of-a-loss.md",
            stacklevel=3,
        )

    def get_extra_state(self) -> dict[str, Any]:
        """What a state is of: bounds and notion, in plain values."""
        return {
            "max_loss": np.array(self.max_loss).tolist(),
            "utility_bounds": [np.array(b).tolist() for b in self.fairness.utility_bounds],
            "fairness": str(self.fairness),
        }

    def set_extra_state(self, state: Mapping[str, Any]) -> None:
        """Refuse a state of other bounds: its priorities would mean something else.

        Raises:
            ValueError: It is one; the message says in what they differ.
        """
        for name, own in self.get_extra_state().items():
            if state.get(name, own) != own:
                raise ValueError(
                    f"the state is of {name}={state[name]}, this scalarizer has {name}={own}"
                )

    def _load_from_state_dict(self, state_dict: dict[str, Any], prefix: str, *args: Any) -> None:
        state_dict.setdefault(f"{prefix}_extra_state", {})  # a state of before says nothing
        super()._load_from_state_dict(state_dict, prefix, *args)

    def __repr__(self) -> str:
        low, high = self.fairness.utility_bounds
        return (
            f"DualScalarizer(shape={tuple(self.priorities.shape)}, max_loss={_short(self.max_loss)}"
            f", utility_bounds=({_short(low)}, {_short(high)}), {self.fairness})"
        )


def _short(value: Any) -> str:
    return f"{value:g}" if np.ndim(value) == 0 else f"[{', '.join(f'{v:g}' for v in value)}]"


def _array(values: Tensor) -> Floats:
    return values.detach().double().cpu().numpy().ravel()
