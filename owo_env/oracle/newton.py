"""The fairest model in hindsight (paper eq. 2) for least squares: a batched projected Newton.

A round's mean utilities are ū_k(θ) = l_max − (θᵀH_kθ − 2b_kᵀθ + s_k), so the cost of a solve does
not depend on the number of slots. Many rounds are solved side by side. Every operation is
elementwise, with sums over users and dimensions in explicit order, and a solved round is taken out,
so that a round's result has the same bits alone as in any batch.
"""

import functools
import operator
from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import TypeVar

import numpy as np
from numpy.typing import ArrayLike, NDArray

from owo_env import checks
from owo_env.fairness import Smooth

Floats = NDArray[np.floating]
Bools = NDArray[np.bool_]

MAX_ITERATIONS = 500  # of a million rounds with m = 1 … 8 the slowest takes 37
SHORTER = [0.5 ** np.arange(i, i + 8) for i in range(1, 41, 8)]  # step lengths, tried 8 by 8
TOLERANCE = 1e-11  # of the KKT residual, in units of the round's largest coefficient
UNSOLVED = 1e-8  # a residual above this is an error, in the same units
FIRST_PULL, NEXT_PULL, LAST_PULL = 1e-4, 1e-4, 1e-12  # ε towards the anchor, in the same units
SETTLED = 1e-3  # relative length of a step that is left untaken at the end
NEAR_BOUND = 1e-2  # largest width of the strip along a bound that may count as the bound itself
ARMIJO = 1e-4
ROUND_OFF = 4e-15


@dataclass(frozen=True, eq=False)
class Fairest:
    """The fairest models of B rounds.

    Attributes:
        model: θ*, shape (d, B).
        utilities: ū(θ*), shape (K, B).
        fairness: F(ū(θ*)), shape (B,).
        kkt: Largest entry of P_Θ(θ* + ∇F/Σp) − θ*, where p_k = ∂F/∂u_k; shape (B,).
        iterations: Newton steps taken, shape (B,).
    """

    model: Floats
    utilities: Floats
    fairness: Floats
    kkt: Floats
    iterations: NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class _Rounds:
    """The problems, last in every array; ``scale`` is the largest entry of H and b."""

    H: Floats
    b: Floats
    s: Floats
    scale: Floats
    anchor: Floats
    l_max: float
    fairness: Smooth
    low: float
    high: float

    def project(self, model: Floats) -> Floats:
        """The nearest point of Θ."""
        return np.minimum(np.maximum(model, self.low), self.high)

    def apply(self, model: Floats) -> Floats:
        """H_kθ, shape (d, K, N)."""
        return _sum(self.H[:, j] * model[j] for j in range(len(model)))

    def utilities(self, model: Floats) -> tuple[Floats, Floats, Floats]:
        """ū (K, N) of models (d, N), half its gradient b − Hθ (d, K, N), and p (K, N)."""
        residual = self.b - self.apply(model)
        gain = _sum(model[i] * (self.b[i] + residual[i]) for i in range(len(model)))
        utilities = (self.l_max - self.s) + gain
        return utilities, residual, self.fairness.priorities(utilities.T).T

    def residual(self, model: Floats, ascent: Floats) -> Floats:
        """The KKT residual (N,): how far a step along the ascent direction leads within Θ."""
        return _largest(self.project(model + ascent) - model)


@dataclass(frozen=True, eq=False)
class _Step:
    """Where a Newton step starts, and its direction; all with the rounds last."""

    model: Floats
    utilities: Floats
    residual: Floats
    gradient: Floats
    direction: Floats
    active: Bools
    total: Floats
    pull: Floats


_Batch = TypeVar("_Batch", _Rounds, _Step)


def fairest_model(
    H: ArrayLike,
    b: ArrayLike,
    s: ArrayLike,
    *,
    fairness: Smooth,
    l_max: float,
    bounds: tuple[float, float] | None,
    anchor: ArrayLike,
) -> Fairest:
    """Maximize F(ū(θ)) over Θ for B rounds, F continued along its tangent below u_min.

    Where θ* is not unique, the one nearest to ``anchor`` is taken, to about three digits, by a pull
    of ε Σp ‖θ − anchor‖²/2.

    Args:
        H: Mean xxᵀ of each user, positive semidefinite, shape (d, d, K, B).
        b: Mean xy, shape (d, K, B).
        s: Mean y², shape (K, B).
        fairness: What to maximize.
        l_max: The utility of a perfect prediction.
        bounds: Θ as the cube [low, high]^d; None means unbounded.
        anchor: The point that ties are broken towards, shape (d,); where the search starts.

    Raises:
        ValueError: An argument has a wrong shape, is not finite or outside its domain.
        ArithmeticError: A round could not be solved.
    """
    H, b, s, anchor = (np.ascontiguousarray(array, float) for array in (H, b, s, anchor))
    _check_arrays(H, b, s, anchor)
    if fairness.num_users != len(s):
        raise ValueError(f"fairness is of {fairness.num_users} users: b is of {len(s)}")
    low, high = -np.inf, np.inf
    if bounds is not None:
        low = checks.number("bounds[0]", bounds[0])
        high = checks.number("bounds[1]", bounds[1], low=low, open_low=True)
    scale = np.maximum(np.abs(H).max((0, 1, 2)), np.abs(b).max((0, 1)))
    scale = np.where(scale > 0, scale, 1.0)
    start = np.repeat(anchor[:, None], scale.size, axis=1)
    l_max = checks.number("l_max", l_max)
    rounds = _Rounds(H, b, s, scale, start, l_max, fairness, low, high)
    model, iterations = _solve(rounds)
    utilities, residual, priorities = rounds.utilities(model)
    kkt = rounds.residual(model, 2 * _sum_users(priorities * residual) / _sum(priorities))
    for worst in np.flatnonzero(~(kkt <= UNSOLVED * rounds.scale))[:1]:
        raise ArithmeticError(
            f"no fairest model found for round {worst} of the batch: KKT residual {kkt[worst]:.1e} "
            f"after {iterations[worst]} iterations ({fairness})"
        )
    return Fairest(model, utilities, fairness.value(utilities.T), kkt, iterations)


def _check_arrays(H: Floats, b: Floats, s: Floats, anchor: Floats) -> None:
    """Raise ValueError unless the arguments of :func:`fairest_model` are finite and fit ``b``."""
    if b.ndim != 3 or 0 in b.shape[:2]:
        raise ValueError(f"b has shape {b.shape}: must be (d, K, B)")
    dim, users, rounds = b.shape
    for name, array, shape in (
        ("H", H, (dim, dim, users, rounds)),
        ("b", b, b.shape),
        ("s", s, (users, rounds)),
        ("anchor", anchor, (dim,)),
    ):
        if array.shape != shape:
            raise ValueError(f"{name} has shape {array.shape}: must be {shape}, as b is {b.shape}")
        if not np.isfinite(array).all():
            raise ValueError(f"{name}: must be finite")


def _solve(rounds: _Rounds) -> tuple[Floats, NDArray[np.int64]]:
    """Models (d, N) and the number of Newton steps (N,), however far they came.

    The pull starts strong and weakens as a round converges: ties are broken while the problem is
    well conditioned, and what remains is a polish.
    """
    models = rounds.project(rounds.anchor)
    iterations = np.zeros(rounds.scale.size, np.int64)
    index, strength = np.arange(iterations.size), np.full(iterations.size, FIRST_PULL)
    for _ in range(MAX_ITERATIONS):
        step = _newton(rounds, models[:, index], strength)
        ready = _ready(rounds, step, strength)
        left = np.flatnonzero(~(ready & (strength == LAST_PULL)))
        if not left.size:
            break
        weaker = np.maximum(strength * NEXT_PULL, LAST_PULL)
        index, strength = index[left], np.where(ready, weaker, strength)[left]
        if left.size < ready.size:
            rounds, step = _take(rounds, left), _take(step, left)
        models[:, index] = _search(rounds, step)
        iterations[index] += 1
    return models, iterations


def _newton(rounds: _Rounds, model: Floats, strength: Floats) -> _Step:
    """The projected Newton step with Bertsekas's ε-active set (SIAM J. Control 20(2), 1982).

    It is Newton's in the free coordinates, in the active ones along the gradient. A free one that
    lies at a bound and is pushed through it by the others is held there, and the rest solved anew:
    else steps get so short that two faces can alternate for ever.
    """
    utilities, residual, priorities = rounds.utilities(model)
    total = _sum(priorities)
    pull = strength * rounds.scale * total
    gradient = 2 * _sum_users(priorities * residual) + pull * (rounds.anchor - model)
    strip = np.minimum(rounds.residual(model, gradient / total), NEAR_BOUND)
    at_low, at_high = model <= rounds.low + strip, model >= rounds.high - strip

    def outward(ascent: Floats) -> Bools:
        return (at_low & (ascent < 0)) | (at_high & (ascent > 0))

    active = outward(gradient)
    bend = 4 * rounds.fairness.bend(utilities.T, priorities.T).T
    hessian = _hessian(rounds.H, residual, 2 * priorities, bend, pull)
    direction = _solve_positive(hessian, gradient, ~active)
    held = np.zeros_like(active)
    for _ in range(len(model)):
        pushed = outward(direction) & ~active
        again = np.flatnonzero(pushed.any(axis=0))
        if not again.size:
            break
        held |= pushed
        still = held[:, again]
        free = ~(active[:, again] | still)
        solved = _solve_positive(hessian[..., again], gradient[:, again], free)
        direction[:, again] = np.where(still, 0.0, solved)
    return _Step(model, utilities, residual, gradient, direction, active, total, pull)


def _ready(rounds: _Rounds, step: _Step, strength: Floats) -> Bools:
    """Whether a round is solved for its present pull (N,).

    A tie shows in no residual, only in the length of the step.
    """
    kkt = rounds.residual(step.model, step.gradient / step.total)
    length = rounds.residual(step.model, step.direction)
    near = kkt <= np.maximum(strength, TOLERANCE) * rounds.scale
    return near & (length <= SETTLED * (1 + _largest(step.model)))


def _search(rounds: _Rounds, step: _Step) -> Floats:
    """The models after Armijo's step along the projection arc; a round without one stays put.

    The full step is tried first; where it fails, several shorter ones are tried side by side.
    """
    arc, good = _arc(rounds, step, np.ones_like(step.total))
    result, index = np.where(good, arc, step.model), np.flatnonzero(~good)
    for lengths in SHORTER:
        if not index.size:
            break
        tried = np.repeat(index, len(lengths))
        arc, good = _arc(_take(rounds, tried), _take(step, tried), np.tile(lengths, index.size))
        good = good.reshape(index.size, len(lengths))
        found = good.any(axis=1)
        longest = np.flatnonzero(found) * len(lengths) + good.argmax(axis=1)[found]
        result[:, index[found]] = arc[:, longest]
        index = index[~found]
    return result


def _arc(rounds: _Rounds, step: _Step, length: Floats) -> tuple[Floats, Bools]:
    """The points at the given lengths (N,) on the projection arc, and whether they will do."""
    arc = rounds.project(step.model + length * step.direction)
    move = arc - step.model
    promised = _sum(step.gradient * np.where(step.active, move, length * step.direction))
    return arc, _gain(rounds, step, move) >= ARMIJO * promised


def _gain(rounds: _Rounds, step: _Step, move: Floats) -> Floats:
    """What a move (d, N) adds to F less the pull, with round-off in its favour; (N,)."""
    bent = rounds.apply(move)
    change = _sum(move[i] * (2 * step.residual[i] - bent[i]) for i in range(len(move)))
    gain = _sum(rounds.fairness.change(step.utilities.T, change.T).T)
    away = 2 * (step.model - rounds.anchor) + move
    slack = ROUND_OFF * (_largest(move) + ROUND_OFF) * (1 + _largest(step.model))
    return gain - step.pull / 2 * _sum(move * away) + slack * step.total * rounds.scale


def _hessian(H: Floats, residual: Floats, p: Floats, bend: Floats, pull: Floats) -> Floats:
    """Σ_k p_k H_k + bend_k r_k r_kᵀ + pull I, shape (d, d, N)."""
    bent = bend * residual
    hessian = _sum_users(p * H + bent[:, None] * residual[None])
    diagonal = np.arange(len(hessian))
    hessian[diagonal, diagonal] += pull
    return hessian


def _solve_positive(matrix: Floats, right: Floats, free: Bools) -> Floats:
    """Solve positive definite systems (d, d, N) in their free rows, in the others by the diagonal.

    Gaussian elimination without pivoting, stable for these matrices; returns (d, N).
    """
    d = len(right)
    solution: Floats = right.copy()
    matrix = np.where(np.eye(d, dtype=bool)[..., None] | (free[:, None] & free[None]), matrix, 0.0)
    for j in range(d - 1):
        factor = matrix[j + 1 :, j] / matrix[j, j]
        matrix[j + 1 :, j + 1 :] -= factor[:, None] * matrix[j, j + 1 :]
        solution[j + 1 :] -= factor * solution[j]
    for j in reversed(range(d)):
        solution[j] /= matrix[j, j]
        solution[:j] -= matrix[:j, j] * solution[j]
    return solution


def _take(batch: _Batch, which: NDArray[np.integer]) -> _Batch:
    """The given members of a batch."""
    arrays = {n: a[..., which] for n, a in vars(batch).items() if isinstance(a, np.ndarray)}
    return replace(batch, **arrays)  # type: ignore[arg-type]


def _sum(terms: Iterable[Floats]) -> Floats:
    """Their sum, in order."""
    return functools.reduce(operator.add, terms)


def _sum_users(values: Floats) -> Floats:
    """Σ_k over the last axis but one, in order."""
    return _sum(values[..., k, :] for k in range(values.shape[-2]))


def _largest(values: Floats) -> Floats:
    """The largest absolute value over the first axis; NaN if one is."""
    largest: Floats = np.maximum.reduce(np.abs(values))
    return largest
