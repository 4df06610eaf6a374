"""The physics of a least-squares slot, written once for numbers and for arrays.

``Number`` below is a Python float (one user of one environment) or an array (K, N) of the users of
N environments in lock-step: the same expressions in the same order, hence the same bits. Data lie
with the users and features first and the environments last, so that each expression runs over
contiguous memory.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.floating]
Mask = NDArray[np.bool_]
Number = Any
Numbers = Any  # a sequence of d numbers, or an array (d, N) or (d, K, N)
UserSlot = Sequence[Any]
Loss = tuple[Number, Number, Numbers]  # the loss, and two factors of its descent direction
Error = Callable[..., Loss]


def squared_error(theta: Numbers, x: Numbers, y: Number) -> Loss:
    """One sample: the loss (y − θᵀx)², descending along 2(y − θᵀx) times x."""
    pairs = zip(theta, x)
    theta_1, x_1 = next(pairs)
    residual = y - theta_1 * x_1  # an array of its own, which the steps below may write to
    for theta_j, x_j in pairs:
        residual -= theta_j * x_j
    loss = residual * residual
    residual *= 2.0
    return loss, residual, x


def quadratic_error(theta: Numbers, H: Any, b: Numbers, s: Number) -> Loss:
    """Many samples in one: the loss θᵀHθ − 2bᵀθ + s, descending along 2 times b − Hθ."""
    loss = s
    descent = []
    for theta_j, row, b_j in zip(theta, H, b):
        pull = b_j
        for theta_i, h in zip(theta, row):
            pull = pull - theta_i * h
        loss = loss - theta_j * (pull + b_j)
        descent.append(pull)
    return loss, 2.0, descent


def play_users(
    error: Error, users: Sequence[UserSlot], theta: list[float], p: list[float] | None, l_max: Any
) -> tuple[list[float], list]:
    """Utilities l_max_k − ℓ_k and Σ_k p_k ∇u_k, or with ``p=None`` the list of ∇u_k, in floats.

    Plain loops: they cost the least.
    """
    utilities = []
    gradients: list = []
    for k, user in enumerate(users):
        loss, slope, descent = error(theta, *user)
        utilities.append(l_max[k] - loss)
        if p is None:
            gradients.append([slope * x_j for x_j in descent])
            continue
        slope = p[k] * slope
        if k == 0:
            for x_j in descent:
                gradients.append(slope * x_j)
        else:
            for j, x_j in enumerate(descent):
                gradients[j] += slope * x_j
    return utilities, gradients


def play_batch(
    error: Error, slot: Sequence[Floats], theta: Floats, p: Floats | None, l_max: Any
) -> tuple[Floats, Floats]:
    """:func:`play_users` in N environments, all users at once.

    Args:
        error: The slot data's loss.
        slot: Its arguments, (..., K, N) each.
        theta: Models, (d, N).
        p: Priorities, (K, N), or None.
        l_max: The utility of loss 0, a number or (K, 1).

    Returns:
        Utilities (K, N), and Σ_k p_k ∇u_k (d, N), or with ``p=None`` the ∇u_k (d, K, N).
    """
    loss, slope, descent = error(theta, *slot)
    descent = np.asarray(descent)
    if p is None:
        return l_max - loss, slope * descent
    slope = p * slope
    gradient = slope[0] * descent[:, 0]
    for k in range(1, len(p)):
        gradient += slope[k] * descent[:, k]
    return l_max - loss, gradient


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

    def __post_init__(self) -> None:
        self.x, self.y = doubles(self.x, self.y)

    @property
    def arrays(self) -> tuple[Floats, ...]:
        return self.x, self.y

    def moments(self, active: Mask | None = None) -> tuple[Floats, ...]:
        """Means over slots of xxᵀ, xy and y²: (rounds, d, d, K, N), (rounds, d, K, N), …

        Args:
            active: Which slots a user has a job in, (rounds, m, K, N); None: all.
        """
        x, y = self.x.swapaxes(0, 1), self.y.swapaxes(0, 1)
        return (
            mean_slots((x_i[:, :, None] * x_i[:, None] for x_i in x), len(x), active),
            mean_slots((x_i * y_i[:, None] for x_i, y_i in zip(x, y)), len(x), active),
            mean_slots((y_i * y_i for y_i in y), len(x), active),
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

    def __post_init__(self) -> None:
        self.H, self.b, self.s = doubles(self.H, self.b, self.s)

    @property
    def arrays(self) -> tuple[Floats, ...]:
        return self.H, self.b, self.s

    def moments(self, active: Mask | None = None) -> tuple[Floats, ...]:
        """Means over slots of H, b and s, of those that are ``active``."""
        m = self.H.shape[1]
        return tuple(mean_slots(iter(array.swapaxes(0, 1)), m, active) for array in self.arrays)


SlotData = Samples | Quadratics


def doubles(*arrays: NDArray[Any]) -> list[Floats]:
    """In double precision, whatever was drawn: products of small whole numbers would overflow.

    Raises:
        ValueError: They are complex or no numbers, or a mask marks one as missing.
    """
    for array in map(np.asanyarray, arrays):
        if array.dtype.kind not in "biuf" or np.ma.is_masked(array):
            raise ValueError(
                f"draw() gives samples of type {array.dtype}, or some that are missing: must be "
                "real numbers, all there; a Measured scenario may have complex ones"
            )
    return [np.asarray(array, np.float64) for array in arrays]


def slot_of(data: SlotData, r: Any, i: Any, n: Any = None) -> list[Floats]:
    """One slot as ``data.error`` takes it, arrays (..., K, N).

    Args:
        data: A block of rounds.
        r: The row of the round, one for all environments or an array of one each.
        i: The slot, counted from 0; likewise.
        n: The environments' indices where ``r`` or ``i`` are arrays.
    """
    if n is None:
        return [array[r, i] for array in data.arrays]
    return [np.moveaxis(array[r, i, ..., n], 0, -1) for array in data.arrays]


def mapped(change: Callable[..., NDArray[Any]], *parts: SlotData) -> SlotData:
    """Data of the same kind, each array made by ``change`` of the parts' own."""
    about = {name: change(*(part.about[name] for part in parts)) for name in parts[0].about}
    arrays = (change(*same) for same in zip(*(part.arrays for part in parts)))
    kind: Callable[..., SlotData] = type(parts[0])
    return kind(*arrays, about)


def mean_slots(slots: Iterator[Floats], m: int, active: Mask | None = None) -> Floats:
    """The mean over m slots in explicit order, so that no batch size changes its bits.

    Args:
        slots: Values (rounds, …, K, N) of each slot.
        m: How many there are.
        active: Whose values count, (rounds, m, K, N), 0 where nobody's do; None: all.
    """
    if active is None:
        total = next(slots).copy()
        for values in slots:
            total += values
        mean: Floats = total / m
        return mean
    counts = np.maximum(active.sum(axis=1), 1)
    total = None
    for values, there in zip(slots, active.swapaxes(0, 1)):
        total = np.zeros_like(values) if total is None else total
        total += values * _spread(there, values.ndim)
    assert total is not None
    return total / _spread(counts, total.ndim)


def _spread(array: NDArray[Any], axes: int) -> NDArray[Any]:
    """(rounds, K, N) → (rounds, 1, …, K, N) of so many axes."""
    return array.reshape(array.shape[0], *[1] * (axes - 3), *array.shape[1:])
