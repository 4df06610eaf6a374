"""The fairest model in hindsight (paper eq. 2) for least squares: a batched projected Newton method.

A round's mean utilities are ū_k(θ) = l_max − (θᵀH_kθ − 2b_kᵀθ + s_k), so the cost of a solve does
not depend on the number of slots. Many rounds are solved side by side. Every operation is
elementwise with sums over users and dimensions in explicit order, and a solved round is taken out,
so that a round's result has the same bits alone as in any batch.
"""

import functools
import operator
from collections.abc import Iterable
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import ArrayLike, NDArray

from owo_env import checks
from owo_env.fairness import extended_terms, fairness, fairness_gradient

Floats = NDArray[np.floating]
Bools = NDArray[np.bool_]

MAX_ITERATIONS = 200
MAX_HALVINGS = 40
TOLERANCE = 1e-11  # of the KKT residual, in units of the round's largest coefficient
UNSOLVED = 1e-8  # a residual above this is an error, in the same units
TIE_BREAK = 1e-12  # strength ε of the pull towards the anchor, in the same units
SETTLED = 1e-3  # no coordinate's last step may be longer: a tie is felt by its step alone
NEAR_BOUND = 1e-2  # largest width of the strip along a bound that may count as the bound itself
ARMIJO = 1e-4
ROUND_OFF = 1e-14


@dataclass(frozen=True, eq=False)
class Fairest:
    """The fairest models of B rounds.

    Attributes:
        model: θ*, shape (B, d).
        utilities: ū(θ*), shape (B, K).
        fairness: F_α(ū(θ*)), shape (B,).
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
    """Rounds being solved, last in memory (N): H (d, d, K, N), b (d, K, N), s (K, N), scale (N,).

    The remaining fields hold for all rounds.
    """

    H: Floats
    b: Floats
    s: Floats
    scale: Floats
    l_max: float
    alpha: float
    u_min: float
    low: float
    high: float
    anchor: Floats

    def take(self, which: NDArray[np.integer]) -> "_Rounds":
        """The rounds of the given indices."""
        return replace(
            self,
            H=self.H[..., which],
            b=self.b[..., which],
            s=self.s[..., which],
            scale=self.scale[which],
        )

    def project(self, model: Floats) -> Floats:
        """The nearest point of Θ."""
        return np.minimum(np.maximum(model, self.low), self.high)

    def utilities(self, model: Floats) -> tuple[Floats, Floats]:
        """ū (K, N) of models (d, N), and half its gradient, b − Hθ (d, K, N)."""
        residual = self.b - _sum(self.H[:, j] * model[j] for j in range(len(model)))
        gain = _sum(model[i] * (self.b[i] + residual[i]) for i in range(len(model)))
        return (self.l_max - self.s) + gain, residual

    def priorities(self, utilities: Floats) -> tuple[Floats, Floats]:
        """The worst user's utility (N,), and p (K, N) with utilities in units of it.

        In these units neither priorities nor differences of F get lost for a large α.
        """
        unit = np.maximum(np.minimum.reduce(utilities), self.u_min)
        return unit, fairness_gradient(utilities / unit, self.alpha, self.u_min / unit)

    def objective(self, model: Floats, utilities: Floats, unit: Floats, pull: Floats) -> Floats:
        """F_α in units of ``unit``, in units of utility, less the pull; (N,)."""
        terms = extended_terms(utilities / unit, self.alpha, self.u_min / unit)
        away = model - self.anchor
        return unit * _sum(terms) - pull / 2 * _sum(away * away)


def fairest_model(
    H: ArrayLike,
    b: ArrayLike,
    s: ArrayLike,
    *,
    l_max: float,
    alpha: float,
    u_min: float,
    bounds: tuple[float, float] | None,
    anchor: ArrayLike,
) -> Fairest:
    """Maximize F_α(ū(θ)) over Θ for B rounds, F_α continued along its tangent below ``u_min``.

    Where θ* is not unique, the one nearest to ``anchor`` is taken, to about three digits, by a pull
    of ε Σp ‖θ − anchor‖²/2.

    Args:
        H: Mean xxᵀ of each user, positive semidefinite, shape (B, K, d, d).
        b: Mean xy, shape (B, K, d).
        s: Mean y², shape (B, K).
        l_max: The utility of a perfect prediction.
        alpha: The fairness parameter α ≥ 0.
        u_min: The utility below which F_α is its tangent; positive.
        bounds: Θ as the cube [low, high]^d; None means unbounded.
        anchor: The point that ties are broken towards, shape (d,); where the search starts.

    Raises:
        ValueError: An argument has a wrong shape, is not finite or outside its domain.
        ArithmeticError: A round could not be solved.
    """
    rounds = _checked(H, b, s, l_max, alpha, u_min, bounds, anchor)
    model, iterations = _solve(rounds)
    utilities, residual = rounds.utilities(model)
    _, priorities = rounds.priorities(utilities)
    ascent = 2 * _sum_users(priorities * residual) / _sum(priorities)
    kkt = _largest(rounds.project(model + ascent) - model)
    if not (kkt <= UNSOLVED * rounds.scale).all():
        worst = int(np.argmax(np.where(np.isnan(kkt), np.inf, kkt)))
        raise ArithmeticError(
            f"no fairest model found for round {worst} of the batch: KKT residual {kkt[worst]:.1e} "
            f"after {iterations[worst]} iterations (alpha={alpha}, u_min={u_min})"
        )
    batch_first = np.ascontiguousarray(utilities.T)
    return Fairest(
        model=np.ascontiguousarray(model.T),
        utilities=batch_first,
        fairness=fairness(batch_first, alpha, u_min),
        kkt=kkt,
        iterations=iterations,
    )


def _checked(
    H: ArrayLike,
    b: ArrayLike,
    s: ArrayLike,
    l_max: float,
    alpha: float,
    u_min: float,
    bounds: tuple[float, float] | None,
    anchor: ArrayLike,
) -> _Rounds:
    """The arguments of :func:`fairest_model`, validated and laid out with rounds last."""
    arrays = {"H": np.asarray(H, float), "b": np.asarray(b, float), "s": np.asarray(s, float)}
    anchor = np.asarray(anchor, float)
    if arrays["b"].ndim != 3:
        raise ValueError(f"b has shape {arrays['b'].shape}: must be (B, K, d)")
    B, K, d = arrays["b"].shape
    for name, shape in {"H": (B, K, d, d), "s": (B, K)}.items():
        if arrays[name].shape != shape:
            raise ValueError(f"{name} has shape {arrays[name].shape}: must be {shape}, as b has")
    if anchor.shape != (d,):
        raise ValueError(f"anchor has shape {anchor.shape}: must be ({d},)")
    for name, array in {**arrays, "anchor": anchor}.items():
        if not np.isfinite(array).all():
            raise ValueError(f"{name}: must be finite")
    low, high = (-np.inf, np.inf) if bounds is None else bounds
    if bounds is not None:
        checks.number("bounds[0]", low)
        checks.number("bounds[1]", high, low=low, open_low=True)
    H_last, b_last, s_last = (np.ascontiguousarray(a.T) for a in arrays.values())
    return _Rounds(
        H=H_last,
        b=b_last,
        s=s_last,
        scale=np.maximum(np.abs(H_last).max((0, 1, 2)), np.abs(b_last).max((0, 1))),
        l_max=checks.number("l_max", l_max),
        alpha=checks.number("alpha", alpha, low=0.0),
        u_min=checks.number("u_min", u_min, low=0.0, open_low=True),
        low=float(low),
        high=float(high),
        anchor=anchor[:, None],
    )


def _solve(rounds: _Rounds) -> tuple[Floats, NDArray[np.int64]]:
    """Models (d, N) and the number of Newton steps (N,), however far they came."""
    models = np.repeat(rounds.project(rounds.anchor), rounds.scale.size, axis=1)
    iterations = np.zeros(rounds.scale.size, np.int64)
    index = np.arange(rounds.scale.size)
    model, rounds_left = models.copy(), rounds
    for _ in range(MAX_ITERATIONS):
        if not index.size:
            break
        model, solved = _newton(rounds_left, model)
        models[:, index] = model
        iterations[index] += 1
        if solved.any():
            left = np.flatnonzero(~solved)
            index, model, rounds_left = index[left], model[:, left], rounds_left.take(left)
    return models, iterations


def _newton(rounds: _Rounds, model: Floats) -> tuple[Floats, Bools]:
    """One projected Newton step with Bertsekas's ε-active set (SIAM J. Control 20(2), 1982).

    Returns the next models (d, N) and whether they are final (N,).
    """
    utilities, residual = rounds.utilities(model)
    unit, priorities = rounds.priorities(utilities)
    total = _sum(priorities)
    pull = TIE_BREAK * rounds.scale * total
    gradient = 2 * _sum_users(priorities * residual) + pull * (rounds.anchor - model)
    kkt = _largest(rounds.project(model + gradient / total) - model)

    strip = np.minimum(kkt, NEAR_BOUND)
    active = ((model <= rounds.low + strip) & (gradient < 0)) | (
        (model >= rounds.high - strip) & (gradient > 0)
    )
    bend = rounds.alpha * priorities / np.maximum(utilities, rounds.u_min)
    bend = np.where(utilities > rounds.u_min, 4 * bend, 0.0)
    hessian = _hessian(rounds.H, residual, 2 * priorities, bend, pull)
    direction = _solve_positive(hessian, gradient, ~active)
    stepped = _search(rounds, model, utilities, unit, pull, gradient, direction, active)
    settled = _largest(stepped - model) <= SETTLED * (1 + _largest(model))
    return stepped, (kkt <= TOLERANCE * rounds.scale) & settled


def _search(
    rounds: _Rounds,
    model: Floats,
    utilities: Floats,
    unit: Floats,
    pull: Floats,
    gradient: Floats,
    direction: Floats,
    active: Bools,
) -> Floats:
    """The models after Armijo's step along the projection arc; a round without one stays put."""
    start = rounds.objective(model, utilities, unit, pull)
    slack = ROUND_OFF * (np.abs(start) + unit + abs(rounds.l_max))
    slope = _sum(np.where(active, 0.0, gradient * direction))
    result, index, step = model.copy(), np.arange(unit.size), np.ones(unit.size)
    for _ in range(MAX_HALVINGS):
        arc = rounds.project(model + step * direction)
        bound_part = _sum(np.where(active, gradient * (arc - model), 0.0))
        value = rounds.objective(arc, rounds.utilities(arc)[0], unit, pull)
        good = value - start >= ARMIJO * (step * slope + bound_part) - slack
        result[:, index[good]] = arc[:, good]
        if good.all():
            break
        bad = np.flatnonzero(~good)
        rounds, index, step = rounds.take(bad), index[bad], step[bad] / 2
        model, gradient, direction = model[:, bad], gradient[:, bad], direction[:, bad]
        start, slack, slope, unit = start[bad], slack[bad], slope[bad], unit[bad]
        pull, active = pull[bad], active[:, bad]
    return result


def _hessian(H: Floats, residual: Floats, p: Floats, bend: Floats, pull: Floats) -> Floats:
    """Σ_k p_k H_k + bend_k r_k r_kᵀ + pull I, shape (d, d, N)."""
    bent = bend * residual
    hessian = _sum_users(p * H + bent[:, None] * residual[None])
    diagonal = np.arange(len(hessian))
    hessian[diagonal, diagonal] += pull
    return hessian


def _solve_positive(matrix: Floats, right: Floats, free: Bools) -> Floats:
    """Solve the free rows and columns of positive definite systems, the rest by its diagonal.

    Gaussian elimination without pivoting, which is stable for these; it overwrites ``matrix``
    (d, d, N), and returns (d, N).
    """
    d = len(right)
    diagonal = matrix[np.arange(d), np.arange(d)]
    matrix *= free[:, None] & free[None]
    matrix[np.arange(d), np.arange(d)] = diagonal
    solution = right.copy()
    for j in range(d - 1):
        factor = matrix[j + 1 :, j] / matrix[j, j]
        matrix[j + 1 :, j + 1 :] -= factor[:, None] * matrix[j, j + 1 :]
        solution[j + 1 :] -= factor * solution[j]
    for j in reversed(range(d)):
        solution[j] /= matrix[j, j]
        solution[:j] -= matrix[:j, j] * solution[j]
    return solution


def _sum(terms: Iterable[Floats]) -> Floats:
    """Their sum, in order."""
    return functools.reduce(operator.add, terms)


def _sum_users(values: Floats) -> Floats:
    """Σ_k over the last axis but one, in order."""
    return _sum(values[..., k, :] for k in range(values.shape[-2]))


def _largest(values: Floats) -> Floats:
    """The largest absolute value over the first axis; NaN if one is."""
    return np.maximum.reduce(np.abs(values))
