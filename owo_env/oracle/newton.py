"""The fairest model of least squares under a smooth notion: a batched projected Newton.

A round's mean utilities are ū_k(θ) = l_max − (θᵀH_kθ − 2b_kᵀθ + s_k), so the cost of a solve does
not depend on the number of slots. Many rounds are solved side by side, in coordinates of their own.
Every operation is elementwise, with sums over users and dimensions in explicit order, and a solved
round is taken out, so that a round's result has the same bits alone as in any batch.
"""

import math
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from owo_env.fairness import Smooth
from owo_env.oracle.elimination import solve_positive
from owo_env.oracle.rounds import (
    UNSOLVED,
    Points,
    Rounds,
    largest,
    put,
    refuse_unsolved,
    sum_up,
    sum_users,
    take,
)

Floats = NDArray[np.floating]
Bools = NDArray[np.bool_]

MAX_ITERATIONS = 500  # of a million rounds with m = 1 … 8 the slowest takes 37
SHORTER = [0.5 ** np.arange(i, i + 8) for i in range(1, 41, 8)]  # step lengths, tried 8 by 8
LONGEST = 1e3  # times Newton's step
TOLERANCE = 1e-11  # of the KKT residual, in units of the round
PULLED = 1e-10  # above this the pull is felt; in the same units
DEGREE = 4.0  # by this factor u_min is lowered to where it belongs, in rounds that resist
FIRST_PULL, NEXT_PULL, LAST_PULL = 1e-4, 1e-4, 1e-12  # ε towards the anchor
NO_PULL = 1e-15  # just enough to solve with
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
        kkt: Largest entry of P_Θ(z* + ∇F/Σp) − z*, where p_k = ∂F/∂u_k and z = Dθ, in units of the
            round (its targets, or Θ where that is smaller); shape (B,).
        iterations: Newton steps taken, shape (B,).
    """

    model: Floats
    utilities: Floats
    fairness: Floats
    kkt: Floats
    iterations: NDArray[np.int64]


def solve(rounds: Rounds[Smooth]) -> Fairest:
    """Maximize F, continued along its tangent below u_min.

    Where θ* is not unique, the one nearest to the anchor is taken, to about three digits, by a pull
    of ε Σp ‖D(θ − anchor)‖²/2.

    Raises:
        UnsolvedError: A round could not be solved.
    """
    models, iterations = ascend(rounds, rounds.project(rounds.anchor), FIRST_PULL)
    found, kkt = _judged(rounds, models)
    for solve_again, above in ((_unpulled, PULLED), (_by_degrees, UNSOLVED)):
        hard = np.flatnonzero(kkt > above)
        if hard.size:
            tried, more = solve_again(take(rounds, hard), models[:, hard])
            iterations[hard] += more
            better = _judged(take(rounds, hard), tried)[1] < kkt[hard]
            models[:, hard[better]] = tried[:, better]
            found, kkt = _judged(rounds, models)

    def what(n: int) -> str:
        return f"KKT residual {kkt[n]:.1e} after {iterations[n]} iterations"

    refuse_unsolved(rounds, models, kkt, what)
    value = rounds.fairness.value(found.utilities.T)
    if rounds.shares is not None:
        value = rounds.fairness.weighed(found.utilities.T, rounds.shares.T)
    return Fairest(rounds.theta(models), found.utilities, value, kkt, iterations)


def _judged(rounds: Rounds[Smooth], model: Floats) -> tuple[Points, Floats]:
    """What models are worth, and their KKT residual without pull, in units of the round.

    The residual is infinite where a figure is not finite.
    """
    at = rounds.at(model)
    p = rounds.shared(rounds.fairness.relative_priorities(at.utilities.T).T)
    ascent = 2 * sum_users(p * at.residual) / sum_up(p)
    kkt = rounds.residual(model, ascent) / rounds.unit
    return at, np.where(kkt >= 0, kkt, np.inf)


def _unpulled(rounds: Rounds[Smooth], models: Floats) -> tuple[Floats, NDArray[np.int64]]:
    """:func:`ascend` for rounds that are so ill-conditioned that even the weakest pull is felt."""
    return ascend(rounds, models, NO_PULL)


def _by_degrees(rounds: Rounds[Smooth], models: Floats) -> tuple[Floats, NDArray[np.int64]]:
    """:func:`ascend` with a u_min that comes down from l_max, each time from the last solution.

    Where many users are near a tiny u_min, F has as many edges, and no step gets past them.
    """
    models, pull = rounds.project(rounds.anchor), FIRST_PULL
    iterations = np.zeros(rounds.size.size, np.int64)
    u_min = rounds.fairness.bounds[0]
    l_max = rounds.l_max[:, 0] if np.ndim(rounds.l_max) else rounds.l_max
    degrees = max(0, math.ceil(math.log(max(np.max(l_max / u_min), 1.0), DEGREE)))
    for degree in reversed(range(degrees)):
        softer = rounds.fairness.raised(u_min * DEGREE**degree)
        models, more = ascend(replace(rounds, fairness=softer), models, pull)
        iterations, pull = iterations + more, NO_PULL
    return models, iterations


@dataclass(frozen=True, eq=False)
class _Step(Points):
    """Where a Newton step starts, its direction, and the length to try first."""

    gradient: Floats
    direction: Floats
    active: Bools
    total: Floats
    pull: Floats
    length: Floats


def ascend(rounds: Rounds[Smooth], start: Floats, pull: float) -> tuple[Floats, NDArray[np.int64]]:
    """Models (d, N) and the number of Newton steps (N,), however far they came.

    The pull starts at the given strength and weakens as a round converges: ties are broken while
    the problem is well conditioned, and what remains is a polish.
    """
    points = rounds.at(start)
    models, iterations = start.copy(), np.zeros(rounds.size.size, np.int64)
    index, strength = np.arange(iterations.size), np.full(iterations.size, pull)
    for _ in range(MAX_ITERATIONS):
        step = _newton(rounds, points, strength)
        ready = _ready(rounds, step, strength)
        solved = ready & (strength <= LAST_PULL)
        models[:, index] = step.model
        left = np.flatnonzero(~solved)
        if not left.size:
            break
        weaker = np.maximum(strength * NEXT_PULL, LAST_PULL)
        index, strength = index[left], np.where(ready, weaker, strength)[left]
        if left.size < ready.size:
            rounds, step = take(rounds, left), take(step, left)
        points = _search(rounds, step)
        iterations[index] += 1
    return models, iterations


def _newton(rounds: Rounds[Smooth], at: Points, strength: Floats) -> _Step:
    """The projected Newton step with Bertsekas's ε-active set (SIAM J. Control 20(2), 1982).

    It is Newton's in the free coordinates, in the active ones along the gradient. A free one that
    lies at a bound and is pushed through it by the others is held there, and the rest solved anew:
    else steps get so short that two faces can alternate for ever.
    """
    model, residual = at.model, at.residual
    p = rounds.shared(rounds.fairness.relative_priorities(at.utilities.T).T)
    total = sum_up(p)
    pull = strength * (rounds.size / rounds.unit) * total
    gradient = 2 * sum_users(p * residual) + pull * (rounds.anchor - model)
    strip = np.minimum(rounds.residual(model, gradient / total), NEAR_BOUND * rounds.unit)
    at_low, at_high = model <= rounds.low + strip, model >= rounds.high - strip

    def outward(ascent: Floats) -> Bools:
        return (at_low & (ascent < 0)) | (at_high & (ascent > 0))

    active = outward(gradient)
    bend = 4 * rounds.fairness.bend(at.utilities.T, p.T).T
    hessian = _hessian(rounds.H, residual, 2 * p, bend, pull)
    direction = _solve_free(hessian, gradient, ~active)
    held = np.zeros_like(active)
    for _ in range(len(model)):
        pushed = outward(direction) & ~active
        again = np.flatnonzero(pushed.any(axis=0))
        if not again.size:
            break
        held |= pushed
        still = held[:, again]
        free = ~(active[:, again] | still)
        solved = _solve_free(hessian[..., again], gradient[:, again], free)
        direction[:, again] = np.where(still, 0.0, solved)
    # Newton's step for φ(F), which is less bent, goes the same way but farther.
    bent = rounds.fairness.surplus(at.utilities.T, p.T) * sum_up(
        np.where(active, 0.0, gradient * direction)
    )
    length = 1 / np.maximum(1 - bent, 1 / LONGEST)
    return _Step(model, at.utilities, residual, gradient, direction, active, total, pull, length)


def _ready(rounds: Rounds[Smooth], step: _Step, strength: Floats) -> Bools:
    """Whether a round is solved for its present pull (N,).

    A tie shows in no residual, only in the length of the step.
    """
    kkt = rounds.residual(step.model, step.gradient / step.total)
    length = rounds.residual(step.model, step.direction)
    near = kkt <= np.maximum(strength, TOLERANCE) * rounds.unit
    return near & (length <= SETTLED * (rounds.unit + largest(step.model)))


def _search(rounds: Rounds[Smooth], step: _Step) -> Points:
    """The points after Armijo's step along the projection arc; a round without one stays put.

    The whole step is tried first; where it fails, several shorter ones are tried side by side.
    """
    found, good = _arc(rounds, step, step.length)
    index = np.flatnonzero(~good)
    if index.size:
        put(found, index, step, index)
    for lengths in SHORTER:
        if not index.size:
            break
        tried = np.repeat(index, len(lengths))
        shorter = step.length[tried] * np.tile(lengths, index.size)
        arc, good = _arc(take(rounds, tried), take(step, tried), shorter)
        good = good.reshape(index.size, len(lengths))
        some = good.any(axis=1)
        longest = np.flatnonzero(some) * len(lengths) + good.argmax(axis=1)[some]
        put(found, index[some], arc, longest)
        index = index[~some]
    return found


def _arc(rounds: Rounds[Smooth], step: _Step, length: Floats) -> tuple[Points, Bools]:
    """The points at the given lengths (N,) on the projection arc, and whether they will do.

    Utilities are carried along, so that rounding is the same all the way and no gain drowns in it.
    """
    model = rounds.project(step.model + length * step.direction)
    move = model - step.model
    bent = rounds.apply(move)
    change = sum_up(move[i] * (2 * step.residual[i] - bent[i]) for i in range(len(move)))
    gain = sum_up(rounds.shared(rounds.fairness.change(step.utilities.T, change.T).T))
    gain -= step.pull / 2 * sum_up(move * (2 * (step.model - rounds.anchor) + move))
    slack = ROUND_OFF * (largest(move) + ROUND_OFF * rounds.size)
    gain += slack * (rounds.size + largest(step.model)) * step.total
    free = np.minimum(length, 1.0) * step.direction
    promised = sum_up(step.gradient * np.where(step.active, move, free))
    points = Points(model, step.utilities + change, step.residual - bent)
    return points, gain >= ARMIJO * promised


def _hessian(H: Floats, residual: Floats, p: Floats, bend: Floats, pull: Floats) -> Floats:
    """Σ_k p_k H_k + bend_k r_k r_kᵀ + pull I, shape (d, d, N)."""
    bent = bend * residual
    hessian = sum_users(p * H + bent[:, None] * residual[None])
    diagonal = np.arange(len(hessian))
    hessian[diagonal, diagonal] += pull
    return hessian


def _solve_free(matrix: Floats, right: Floats, free: Bools) -> Floats:
    """Solve positive definite systems in their free rows, in the others by the diagonal; (d, N)."""
    diagonal = np.eye(len(right), dtype=bool)[..., None]
    return solve_positive(np.where(diagonal | (free[:, None] & free[None]), matrix, 0.0), right)
