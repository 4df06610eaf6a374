"""The physics of a least-squares slot, written once for numbers and for arrays.

``Number`` below is a Python float (one environment) or an array (N,) of N environments in
lock-step: the same expressions in the same order, hence the same bits. Data lie with the users
and features first and the environments last, so that each expression runs over contiguous memory.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.floating]
Number = Any
Numbers = Any  # a sequence of d numbers, or an array (d, N)
UserSlot = Sequence[Any]


def squared_error(theta: Numbers, x: Numbers, y: Number) -> tuple[Number, list]:
    """One sample: the loss (y − θᵀx)² and its *descent* direction 2(y − θᵀx)x."""
    residual = y
    for theta_j, x_j in zip(theta, x):
        residual = residual - theta_j * x_j
    slope = 2.0 * residual
    return residual * residual, [slope * x_j for x_j in x]


def quadratic_error(
    theta: Numbers, H: Any, b: Numbers, s: Number
) -> tuple[Number, list]:
    """Many samples in one: the loss θᵀHθ − 2bᵀθ + s and its descent direction 2(b − Hθ)."""
    loss = s
    descent = []
    for theta_j, row, b_j in zip(theta, H, b):
        pull = b_j
        for theta_i, h in zip(theta, row):
            pull = pull - theta_i * h
        loss = loss - theta_j * (pull + b_j)
        descent.append(2.0 * pull)
    return loss, descent


def play_users(
    error: Any,
    users: Sequence[UserSlot],
    theta: Numbers,
    p: Numbers | None,
    l_max: float,
) -> tuple[list[Number], list]:
    """Utilities l_max − ℓ_k and Σ_k p_k ∇u_k, or with ``p=None`` the list of ∇u_k."""
    utilities = []
    gradients: list = []
    for k, user in enumerate(users):
        loss, ascent = error(theta, *user)
        utilities.append(l_max - loss)
        if p is None:
            gradients.append(ascent)
        elif k == 0:
            p_k = p[0]
            gradients = [p_k * a for a in ascent]
        else:
            p_k = p[k]
            gradients = [g + p_k * a for g, a in zip(gradients, ascent)]
    return utilities, gradients


@dataclass
class Samples:
    """One sample a slot and user, loss (y − θᵀx)².

    Attributes:
        x: Features, shape (rounds, m, d, K, N).
        y: Targets, shape (rounds, m, K, N).
        about: What else ``info`` tells at the end of a round; arrays (rounds, …, N).
    """

    x: Floats
    y: Floats
    about: dict[str, NDArray[Any]] = field(default_factory=dict)
    error = staticmethod(squared_error)

    @property
    def arrays(self) -> tuple[Floats, ...]:
        return self.x, self.y

    def moments(self) -> tuple[Floats, Floats, Floats]:
        """Means over slots of xxᵀ, xy and y²: (rounds, d, d, K, N), (rounds, d, K, N), …"""
        x, y = self.x, self.y
        return (
            mean_slots(x[:, i, :, None] * x[:, i, None, :] for i in range(x.shape[1])),
            mean_slots(x[:, i] * y[:, i, None] for i in range(x.shape[1])),
            mean_slots(y[:, i] * y[:, i] for i in range(x.shape[1])),
        )


@dataclass
class Quadratics:
    """Many samples a slot and user, reduced to the loss θᵀHθ − 2bᵀθ + s.

    Attributes:
        H: Mean of xxᵀ over a slot's samples, shape (rounds, m, d, d, K, N).
        b: Mean of xy, shape (rounds, m, d, K, N).
        s: Mean of y², shape (rounds, m, K, N).
        about: What else ``info`` tells at the end of a round; arrays (rounds, …, N).
    """

    H: Floats
    b: Floats
    s: Floats
    about: dict[str, NDArray[Any]] = field(default_factory=dict)
    error = staticmethod(quadratic_error)

    @property
    def arrays(self) -> tuple[Floats, ...]:
        return self.H, self.b, self.s

    def moments(self) -> tuple[Floats, Floats, Floats]:
        """Means over slots of H, b and s."""
        return (
            mean_slots(self.H[:, i] for i in range(self.H.shape[1])),
            mean_slots(self.b[:, i] for i in range(self.H.shape[1])),
            mean_slots(self.s[:, i] for i in range(self.H.shape[1])),
        )


SlotData = Samples | Quadratics


def users_at(data: SlotData, r: Any, i: Any, n: Any = None) -> list[UserSlot]:
    """Each user's slot as ``data.error`` takes it, arrays over the environments.

    Args:
        data: A block of rounds.
        r: The row of the round, one for all environments or an array of one each.
        i: The slot, counted from 0; likewise.
        n: The environments' indices where ``r`` or ``i`` are arrays.
    """
    if n is None:
        parts = [array[r, i] for array in data.arrays]
    else:
        parts = [np.moveaxis(array[r, i, ..., n], 0, -1) for array in data.arrays]
    return [tuple(part[..., k, :] for part in parts) for k in range(parts[-1].shape[-2])]


def mean_slots(values: Any) -> Floats:
    """The mean over slots in explicit order, so that no batch size changes its bits."""
    total, count = None, 0
    for value in values:
        total = value.copy() if total is None else np.add(total, value, out=total)
        count += 1
    assert total is not None
    return total / count
