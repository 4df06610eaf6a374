"""Rounds of least squares without units: what is solved, and the batches it is solved in.

A round is solved in z = Dθ, D² the diagonal of Σ_k H_k: then nothing depends on the units of its
columns, and a length is measured against its targets. What is below calls z the model.
"""

import functools
import operator
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from typing import Any, Generic, TypeVar

import numpy as np
from numpy.typing import NDArray

from owo_env.fairness import Fairness, Smooth

Floats = NDArray[np.floating]
Notion = TypeVar("Notion", bound=Fairness)

NARROW = 1e-4  # a Θ that is narrower than this, in units of the targets, counts as this wide
UNSOLVED = 1e-8  # above this what is left to gain, in units of the round, is an error
FAR = 1e5  # size of a model, in units of the targets, with rounding of 1e-6 in a utility
DEPENDENT, TINY = 1e-9, 1e-4  # what counts as a reason where no model is found


class UnsolvedError(ArithmeticError):
    """No fairest model was found in a round of a batch.

    Attributes:
        index: The round's place in the batch, from 0.
        why: What is known of the reason.
    """

    def __init__(self, index: int, why: str) -> None:
        super().__init__(index, why)
        self.index, self.why = index, why

    def __str__(self) -> str:
        return f"no fairest model found for round {self.index} of the batch: {self.why}"


@dataclass(frozen=True, eq=False)
class Points:
    """Models (d, N), their ū (K, N), and half its gradient, b − Hθ (d, K, N)."""

    model: Floats
    utilities: Floats
    residual: Floats


@dataclass(frozen=True, eq=False)
class Rounds(Generic[Notion]):
    """Problems in scaled coordinates, last in every array.

    Attributes:
        scale: D, 1 where a column is zero; (d, N).
        size: The length of a model that matters beside the targets (or the anchor), (N,).
        unit: The same, or Θ's width where that is smaller, (N,).
        bounds: Θ as the cube [low, high]^d in the coordinates of θ.
        shares: What each user's term of a smooth F is multiplied by, (K, N); None: 1.
        l_max: A number, or (K, N) where users' differ.
    """

    scale: Floats
    H: Floats
    b: Floats
    s: Floats
    size: Floats
    unit: Floats
    anchor: Floats
    low: Floats
    high: Floats
    bounds: tuple[float, float]
    l_max: Any
    fairness: Notion
    shares: Floats | None = None

    def shared(self, terms: Floats) -> Floats:
        """What belongs to the users' terms of F, (K, N), with their shares."""
        return terms if self.shares is None else self.shares * terms

    def project(self, model: Floats) -> Floats:
        """The nearest point of Θ."""
        return np.minimum(np.maximum(model, self.low), self.high)

    def apply(self, model: Floats) -> Floats:
        """H_kθ, shape (d, K, N)."""
        return sum_up(self.H[:, j] * model[j] for j in range(len(model)))

    def at(self, model: Floats) -> Points:
        residual = self.b - self.apply(model)
        gain = sum_up(model[i] * (self.b[i] + residual[i]) for i in range(len(model)))
        return Points(model, (self.l_max - self.s) + gain, residual)

    def residual(self, model: Floats, ascent: Floats) -> Floats:
        """The KKT residual (N,): how far a step along the ascent direction leads within Θ."""
        return largest(self.project(model + ascent) - model)

    def theta(self, model: Floats) -> Floats:
        """θ of z = Dθ, at Θ's very bounds where z is at its own."""
        low, high = self.bounds
        theta = (model / self.scale).clip(low, high)
        return np.where(model <= self.low, low, np.where(model >= self.high, high, theta))


Batch = TypeVar("Batch", bound=Any)  # a dataclass of arrays, with rounds on the last axis


def scaled(
    H: Floats,
    b: Floats,
    s: Floats,
    anchor: Floats,
    bounds: tuple[float, float],
    l_max: Any,
    fairness: Notion,
) -> Rounds[Notion]:
    """The problems in z = Dθ."""
    (low, high), diagonal = bounds, np.arange(len(b))
    power = sum_users(H[diagonal, diagonal])
    seen = power > 0
    scale = np.sqrt(np.where(seen, power, 1.0))
    start = scale * anchor[:, None]
    size = np.maximum(np.sqrt(largest(s)), largest(start * seen))
    size = np.where(size > 0, size, 1.0)
    width = largest(np.where(seen, scale * (high - low), 0.0))
    return Rounds(
        scale=scale,
        H=H / scale[:, None, None] / scale[:, None],
        b=b / scale[:, None],
        s=s,
        size=size,
        unit=np.maximum(np.minimum(size, width), NARROW * size),
        anchor=start,
        low=scale * low,
        high=scale * high,
        bounds=bounds,
        l_max=l_max if np.ndim(l_max) == 0 else np.repeat(l_max[:, None], s.shape[-1], 1),
        fairness=fairness,
    )


def refuse_unsolved(
    rounds: Rounds, models: Floats, error: Floats, what: Callable[[int], str]
) -> None:
    """Raise UnsolvedError for the first round whose model is not good, or too far away to tell.

    Args:
        rounds: The N problems.
        models: What was found, (d, N).
        error: What is left to gain, in units of the round, (N,).
        what: How that is said of a round.
    """
    far = largest(models) / rounds.size
    for worst in np.flatnonzero(~(error <= UNSOLVED) | (far > FAR))[:1].tolist():
        why = f"{what(worst)} ({rounds.fairness})"
        if error[worst] <= UNSOLVED:
            why = f"it cancels terms of {far[worst]:.0e} times the targets, and rounding remains"
        raise UnsolvedError(worst, why + _reason(take(rounds, np.array([worst]))))


def _reason(round_: Rounds) -> str:
    """What may be wrong with a single round that could not be solved."""
    gram = sum_users(round_.H)[..., 0]
    values, vectors = np.linalg.eigh(gram)
    if len(gram) > 1 and values[0] < DEPENDENT * values[-1]:
        i, j = sorted(np.argsort(-np.abs(vectors[:, 0]))[:2].tolist())
        return (
            f"; columns {i} and {j} of its features (counted from 0) are all but dependent: "
            "centre them, or leave one out"
        )
    u_min, l_max = np.broadcast_arrays(round_.fairness.bounds[0], np.ravel(round_.l_max))
    k = int(np.argmin(u_min / l_max))
    if isinstance(round_.fairness, Smooth) and u_min[k] < TINY * l_max[k]:
        return (
            f"; utility_bounds[0]={u_min[k]:g} is tiny beside l_max={l_max[k]:g}: raise it, "
            "F is all but broken there"
        )
    return ""


def take(batch: Batch, which: NDArray[np.integer]) -> Batch:
    """The given members of a batch."""
    arrays = {n: a[..., which] for n, a in vars(batch).items() if isinstance(a, np.ndarray)}
    return replace(batch, **arrays)


def put(batch: Batch, where: NDArray[np.integer], other: Batch, which: NDArray[np.integer]) -> None:
    """Overwrite members of a batch by the given members of another, which may hold more."""
    for name, array in vars(batch).items():
        array[..., where] = vars(other)[name][..., which]


def sum_up(terms: Iterable[Floats]) -> Floats:
    """Their sum, in order."""
    return functools.reduce(operator.add, terms)


def sum_users(values: Floats) -> Floats:
    """Σ_k over the last axis but one, in order."""
    return sum_up(values[..., k, :] for k in range(values.shape[-2]))


def largest(values: Floats) -> Floats:
    """The largest absolute value over the first axis; NaN if one is."""
    found: Floats = np.maximum.reduce(np.abs(values))
    return found
