"""The fairest model of least squares under an ordered notion: a primal–dual interior point.

With D_j = ω_j − ω_{j+1} the notion is F = ω_K Σu + Σ_{j<K} D_j max_t [j t − Σ_k (t − u_k)_+], so
each layer j with D_j > 0 has a level t_j and, for every user, a z_jk ≥ 0 above t_j − u_k. All that
must be positive stands in one array, ``slack``, and the multipliers of the same in ``dual``:

    s_jk = z_jk − t_j + u_k  with λ_jk;    z_jk  with κ_jk = D_j − λ_jk;
    θ_i − low, high − θ_i  with theirs, where Θ is bounded.

The priorities are p_k = ω_K + Σ_j λ_jk, and whatever they are, their projection on P bounds what is
left to gain: what is returned is certified. As in Newton's method every operation is elementwise,
sums are in explicit order, and a solved round is taken out.
"""

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from owo_env.fairness import AlphaFair, Ordered, Smooth
from owo_env.oracle import newton
from owo_env.oracle.elimination import solve_positive
from owo_env.oracle.rounds import (
    UNSOLVED,
    Points,
    Rounds,
    put,
    refuse_unsolved,
    sum_up,
    sum_users,
    take,
)

Floats = NDArray[np.floating]
Bools = NDArray[np.bool_]
Integers = NDArray[np.int64]

MAX_ITERATIONS = 60
GOAL = 1e-12  # of the gap, in units of the round
PATIENCE = 5  # steps in which a gap that will do has not become less: it is left as it is
DAMPED = 1e-14  # by so much a step is, lest a pivot be lost in rounding
PULL = 1e-12  # ε towards the anchor
NO_PULL = 1e-15  # just enough to solve with
INSIDE, WIDTH, BARRIER = 0.02, 0.3, 0.1  # where the search starts: off the bounds, slacks, μ
TO_THE_EDGE = 0.995  # of the longest step that leaves all positive
LEAST, MOST = 1e-6, 0.8  # of the complementarity that a step aims at
STALLED, CENTRED = 0.7, 0.5  # where a gap falls to no less than this, the next step is centred
ABSENT, DEPENDENT = 1e-6, 1e-9  # a priority, a pivot that count as 0 where ties are looked for
GIVEN = 1e-10  # what the nearest of tied models may cost, in units of the round
NOTHING = 1e-13  # a layer thinner than this is left out
CHUNK = 1 << 17  # numbers that are worked on at a time, so that they stay in the cache


@dataclass(frozen=True, eq=False)
class Certified:
    """The fairest models of B rounds, each with its proof.

    Attributes:
        model: θ*, shape (d, B).
        utilities: ū(θ*), shape (K, B).
        fairness: F(ū(θ*)), shape (B,).
        gap: By how much F could at most be larger elsewhere in Θ, shape (B,).
        priorities: The p̂ in P that prove it, since F(u) ≤ p̂ᵀu; shape (K, B).
        iterations: Steps of the interior point, shape (B,).
    """

    model: Floats
    utilities: Floats
    fairness: Floats
    gap: Floats
    priorities: Floats
    iterations: Integers


@dataclass(frozen=True, eq=False)
class _Proof:
    """Models (d, N), the priorities (K, N) that bound what is left to gain, and that (N,)."""

    model: Floats
    priorities: Floats
    gap: Floats


def solve(rounds: Rounds[Ordered]) -> Certified:
    """Maximize F.

    Where θ* is not unique, the one nearest to the anchor is taken, to about three digits; where a
    user without priority would object to that, one near it, to about one.

    Raises:
        UnsolvedError: A round could not be solved.
    """
    dim, users, count = rounds.b.shape
    layers, plain = _Layers(rounds.fairness, dim), _without_units(rounds)
    found = _Proof(np.empty((dim, count)), np.empty((users, count)), np.empty(count))
    iterations = np.zeros(count, np.int64)
    size = max(1, CHUNK // (dim * users * max(1, len(layers.depth))))
    for first in range(0, count, size):
        chunk = np.arange(first, min(first + size, count))
        best, iterations[chunk] = _solve(take(plain, chunk), layers)
        put(found, chunk, best, np.arange(chunk.size))
    _break_ties(plain, found)
    models = found.model * rounds.unit

    def what(n: int) -> str:
        return f"a gap of {found.gap[n]:.1e} remains after {iterations[n]} iterations"

    refuse_unsolved(rounds, models, found.gap, what)
    utilities = rounds.at(models).utilities
    return Certified(
        model=rounds.theta(models),
        utilities=utilities,
        fairness=rounds.fairness.value(utilities.T),
        gap=found.gap * rounds.size * rounds.unit,
        priorities=found.priorities,
        iterations=iterations,
    )


def _without_units(rounds: Rounds[Ordered]) -> Rounds[Ordered]:
    """The rounds in lengths of ``unit`` and utilities of ``size`` times that, less l_max.

    F is homogeneous and grows by what is added to all utilities.
    """
    size, unit = rounds.size, rounds.unit
    return replace(
        rounds,
        H=rounds.H * (unit / size),
        b=rounds.b / size,
        s=rounds.s / (size * unit),
        anchor=rounds.anchor / unit,
        low=rounds.low / unit,
        high=rounds.high / unit,
        size=np.ones(size.shape),
        unit=np.ones(unit.shape),
        l_max=0.0,
    )


def _break_ties(rounds: Rounds[Ordered], found: _Proof) -> None:
    """Move models to the nearest one that maximizes p̂ᵀu, where many do and F stays what it is."""
    p = np.where(found.priorities > ABSENT, found.priorities, 0.0)
    H = sum_users(p * rounds.H)
    tied = np.flatnonzero(_singular(H))
    if not tied.size:
        return
    p, some, best = p[:, tied], take(rounds, tied), take(found, tied)
    together = {
        "H": sum_users(p * some.H)[:, :, None],
        "b": sum_users(p * some.b)[:, None],
        "s": sum_up(p * some.s)[None],
        "fairness": AlphaFair(1, some.fairness.utility_bounds, 0.0),
    }
    one: Rounds[Smooth] = Rounds(**{**vars(some), **together})
    models, _ = newton.ascend(one, some.project(some.anchor), newton.FIRST_PULL)
    nearest = _proof(some, some.at(models), best.priorities)
    good = np.flatnonzero(nearest.gap <= np.maximum(best.gap, GIVEN))
    put(found, tied[good], nearest, good)


def _singular(matrix: Floats) -> Bools:
    """Whether a column is all but a combination of those before it, by its pivot; (N,)."""
    diagonal = np.arange(len(matrix))
    size = matrix[diagonal, diagonal]
    solve_positive(matrix, np.zeros(size.shape))
    singular: Bools = np.logical_or.reduce(~(matrix[diagonal, diagonal] > DEPENDENT * size))
    return singular


class _Layers:
    """The layers of a notion, and where their figures stand in ``slack`` and ``dual``.

    Attributes:
        rest: ω_K, what every user has anyway.
        depth: D_j of the J layers, (J, 1).
        worst: j, how many users each looks at, (J,).
        shape: (J, K).
        dim: d.
    """

    def __init__(self, fairness: Ordered, dim: int) -> None:
        omega = np.array(fairness.omega)
        depth = omega[:-1] - omega[1:]
        kept = np.flatnonzero(depth > NOTHING)
        self.rest, self.depth, self.worst = omega[-1], depth[kept, None], kept + 1
        self.shape, self.dim = (kept.size, omega.size), dim

    def split(self, rows: Floats) -> tuple[Floats, Floats, Floats]:
        """Views of s, z (J, K, N) and the distances from the bounds (2 or 0, d, N)."""
        size, count = self.shape[0] * self.shape[1], rows.shape[-1]
        s, z = rows[: 2 * size].reshape(2, *self.shape, count)
        return s, z, rows[2 * size :].reshape(-1, self.dim, count)

    def join(self, s: Floats, z: Floats, walls: Floats) -> Floats:
        return np.concatenate([part.reshape(-1, walls.shape[-1]) for part in (s, z, walls)])


@dataclass(frozen=True, eq=False)
class _Iterate(Points):
    """Where the search stands: levels (J, N), slacks and multipliers (n, N).

    Attributes:
        gap: That of the step before, (N,).
        stale: Steps since it was least, (N,).
    """

    level: Floats
    slack: Floats
    dual: Floats
    gap: Floats
    stale: Integers


@dataclass(frozen=True, eq=False)
class _Move:
    """The changes of an iterate by a step of length 1."""

    model: Floats
    level: Floats
    slack: Floats
    dual: Floats


def _solve(rounds: Rounds[Ordered], layers: _Layers) -> tuple[_Proof, Integers]:
    """The best that was met on the way, and the number of steps (N,)."""
    at = _start(rounds, layers)
    best = replace(_proof(rounds, at, _priorities(layers, at)), gap=np.full(at.gap.shape, np.inf))
    index, iterations = np.arange(at.gap.size), np.zeros(at.gap.size, np.int64)
    for _ in range(MAX_ITERATIONS):
        found = _proof(rounds, at, _priorities(layers, at))
        better = found.gap < best.gap[index]
        put(best, index[better], found, np.flatnonzero(better))
        stalled = found.gap > STALLED * at.gap
        at = replace(at, gap=found.gap, stale=np.where(better, 0, at.stale + 1))
        least = best.gap[index]
        left = np.flatnonzero((least > GOAL) & ((at.stale < PATIENCE) | (least > UNSOLVED)))
        if not left.size:
            break
        if left.size < stalled.size:
            rounds, at = take(rounds, left), take(at, left)
            index, stalled = index[left], stalled[left]
        at = _step(rounds, layers, at, stalled)
        iterations[index] += 1
    return best, iterations


def _start(rounds: Rounds[Ordered], layers: _Layers) -> _Iterate:
    """The anchor, a little inside Θ, with levels at its ordered utilities."""
    bounded = np.isfinite(rounds.bounds[0])
    off = INSIDE * (rounds.high - rounds.low) if bounded else 0.0
    model = np.minimum(np.maximum(rounds.anchor, rounds.low + off), rounds.high - off)
    at = rounds.at(model)
    level = np.sort(at.utilities, axis=0)[layers.worst - 1]
    above = level[:, None] - at.utilities
    walls = np.stack([model - rounds.low, rounds.high - model])[: 2 * bounded]
    part = np.broadcast_to((layers.worst / layers.shape[1])[:, None, None], above.shape)
    depth = layers.depth[:, None]
    return _Iterate(
        **vars(at),
        level=level,
        slack=layers.join(np.maximum(-above, 0) + WIDTH, np.maximum(above, 0) + WIDTH, walls),
        dual=layers.join(depth * part, depth * (1 - part), BARRIER / walls),
        gap=np.full(model.shape[1], np.inf),
        stale=np.zeros(model.shape[1], np.int64),
    )


def _priorities(layers: _Layers, at: _Iterate) -> Floats:
    return sum_up([np.full(at.utilities.shape, layers.rest), *layers.split(at.dual)[0]])


def _proof(rounds: Rounds[Ordered], at: Points, priorities: Floats) -> _Proof:
    """What is left to gain is at most p̂ᵀu − F(u) and what p̂ᵀu can still gain within Θ."""
    p = rounds.fairness.project(priorities.T).T
    gap = sum_up(p * at.utilities) - rounds.fairness.value(at.utilities.T)
    gap += _left_to_gain(rounds, at.model, 2 * sum_users(p * at.residual), sum_users(p * rounds.H))
    return _Proof(at.model, p, np.where(gap >= 0, gap, np.where(gap < 0, 0.0, np.inf)))


def _left_to_gain(rounds: Rounds[Ordered], model: Floats, ascent: Floats, H: Floats) -> Floats:
    """A bound (N,) on gᵀδ − δᵀHδ over steps δ within Θ.

    It is the lesser of two: what the way to Θ's bounds would bring if H were 0; and that for the
    coordinates that are at a bound, with the most that the others could bring if Θ had none. From
    the second a pull takes next to nothing. (g lies in H's range, so a singular H is no trouble.)
    """
    room = np.where(ascent > 0, rounds.high - model, model - rounds.low)
    straight = np.where(ascent == 0, 0.0, np.abs(ascent) * room)
    diagonal = np.arange(len(H))
    held = straight < ascent**2 / (4 * H[diagonal, diagonal])
    free = np.where(held, 0.0, ascent)
    bent = sum_up(free * solve_positive(_pulled(H, NO_PULL), free)) / 4
    return np.fmin(sum_up(straight), sum_up(np.where(held, straight, 0.0)) + bent)


@dataclass(frozen=True, eq=False)
class _System:
    """What the predictor and the corrector of a step have in common.

    Attributes:
        slope: ∇u, (d, K, N).
        weight: W = dλ/d(t − u), (J, K, N), and its sums over the users, (J, N).
        mean: The mean of ∇u in each layer with weights W, (d, J, N).
        centred: ∇u less that, (d, J, K, N): Σ W∇u∇uᵀ would cancel.
        excess: s − (z − t + u), (J, K, N).
        lacking: jD_j − Σ_k λ_jk, (J, N).
        ascent: The right side, but for the targets, (d, N).
        matrix: The left side, (d, d, N).
    """

    slope: Floats
    weight: Floats
    total: Floats
    mean: Floats
    centred: Floats
    excess: Floats
    lacking: Floats
    ascent: Floats
    matrix: Floats


def _system(rounds: Rounds[Ordered], layers: _Layers, at: _Iterate) -> _System:
    s, z, walls = layers.split(at.slack)
    lower, upper, pushes = layers.split(at.dual)
    p, slope, pull = _priorities(layers, at), 2 * at.residual, PULL / len(at.utilities)
    weight = 1 / (s / lower + z / upper)
    total = sum_users(weight)
    mean = sum_users(weight * slope[:, None]) / total
    centred = slope[:, None] - mean[:, :, None]
    lacking = layers.worst[:, None] * layers.depth - sum_users(lower)
    matrix = _pulled(sum_users(2 * p * rounds.H), pull + (pushes / walls).sum(axis=0))
    for w, c in zip(_each(weight), _each(centred)):
        matrix += (w * c)[:, None] * c
    diagonal = np.arange(len(matrix))
    matrix[diagonal, diagonal] *= 1 + DAMPED
    ascent = sum_users(p * slope) + pull * (rounds.anchor - at.model)
    for j in range(len(lacking)):
        ascent += lacking[j] * mean[:, j]
    excess = s - (z - at.level[:, None] + at.utilities)
    return _System(slope, weight, total, mean, centred, excess, lacking, ascent, matrix)


def _direction(layers: _Layers, at: _Iterate, system: _System, target: Floats) -> _Move:
    """Newton's step to where each slack times its multiplier is ``target`` (n, N)."""
    s, z, walls = layers.split(at.slack)
    lower, upper, pushes = layers.split(at.dual)
    aim_s, aim_z, aim_walls = layers.split(target)
    sign = np.array([1.0, -1.0])[: len(walls), None, None]
    to_z = aim_z / upper - z
    wanted = aim_s / lower - s - to_z + system.excess
    up = (system.lacking - sum_users(system.weight * wanted)) / system.total
    moved = system.weight * (wanted + up[:, None])
    right = system.ascent + (sign * aim_walls / walls).sum(axis=0)
    for m, c in zip(_each(moved), _each(system.centred)):
        right += m * c
    model = solve_positive(system.matrix.copy(), right)
    change = moved - system.weight * _along(system.centred, model)
    level = up + _along(system.mean, model)
    dz = to_z + z / upper * change
    ds = dz - level[:, None] + _along(system.slope, model) - system.excess
    dwalls = sign * model
    dpushes = (aim_walls - pushes * dwalls) / walls - pushes
    slack, dual = layers.join(ds, dz, dwalls), layers.join(change, -change, dpushes)
    return _Move(model, level, slack, dual)


def _step(rounds: Rounds[Ordered], layers: _Layers, at: _Iterate, stalled: Bools) -> _Iterate:
    """Mehrotra's predictor and corrector; a plain step to the centre where the gap has stalled."""
    system = _system(rounds, layers, at)
    rows = max(1, len(at.slack))
    mean = _total(at.slack * at.dual) / rows
    tried = _direction(layers, at, system, np.zeros_like(at.slack))
    length = _length(at, tried)
    then = (at.slack + length * tried.slack) * (at.dual + length * tried.dual)
    share = np.clip((_total(then) / rows / mean) ** 3, LEAST, MOST)
    second = np.where(stalled, 0.0, length**2) * (tried.slack * tried.dual)
    target = np.where(stalled, CENTRED, share) * mean - second
    move = _direction(layers, at, system, target)
    length = _length(at, move)
    return replace(
        at,
        **vars(rounds.at(at.model + length * move.model)),
        level=at.level + length * move.level,
        slack=at.slack + length * move.slack,
        dual=at.dual + length * move.dual,
    )


def _length(at: _Iterate, move: _Move) -> Floats:
    """The longest step, up to 1, that leaves all slacks and multipliers positive; (N,)."""
    fall = [
        (-part / whole).max(axis=0, initial=0.0)
        for part, whole in ((move.slack, at.slack), (move.dual, at.dual))
    ]
    return np.minimum(1.0, TO_THE_EDGE / np.maximum(*fall))


def _pulled(matrix: Floats, pull: Floats | float) -> Floats:
    """The matrix plus a diagonal, in place."""
    diagonal = np.arange(len(matrix))
    matrix[diagonal, diagonal] += pull
    return matrix


def _along(slopes: Floats, model: Floats) -> Floats:
    """Σ_i slopes_i model_i."""
    return sum_up(slopes[i] * model[i] for i in range(len(model)))


def _each(values: Floats) -> list[Floats]:
    """Of every layer and user, from (..., J, K, N)."""
    layers, users = values.shape[-3:-1]
    return [values[..., j, k, :] for j in range(layers) for k in range(users)]


def _total(rows: Floats) -> Floats:
    """Their sum, 0 of none; (N,)."""
    return sum_up([np.zeros(rows.shape[-1]), *rows])
