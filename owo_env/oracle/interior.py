"""An interior point of an ordered notion: where it starts, and Mehrotra's step.

With D_j = ω_j − ω_{j+1} the notion is F = ω_K Σu + Σ_{j<K} D_j max_t [j t − Σ_k (t − u_k)_+], so
each layer j with D_j > 0 has a level t_j and, for every user, a z_jk ≥ 0 above t_j − u_k. All that
must be positive stands in one array, ``slack``, and the multipliers of the same in ``dual``:

    s_jk = z_jk − t_j + u_k  with λ_jk;    z_jk  with κ_jk = D_j − λ_jk;
    θ_i − low, high − θ_i  with theirs, where Θ is bounded.

The priorities are p_k = ω_K + Σ_j λ_jk.
"""

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from owo_env.fairness import Ordered
from owo_env.oracle.elimination import pulled, solve_positive
from owo_env.oracle.rounds import Points, Rounds, sum_up, sum_users

Floats = NDArray[np.floating]
Bools = NDArray[np.bool_]
Integers = NDArray[np.int64]

INSIDE, WIDTH, BARRIER = 0.02, 0.3, 0.1  # where the search starts: off the bounds, slacks, μ
DAMPED = 1e-14  # by so much a step is, lest a pivot be lost in rounding
PULL = 1e-12  # ε towards the anchor
TO_THE_EDGE = 0.995  # of the longest step that leaves all positive
LEAST, MOST = 1e-6, 0.8  # of the complementarity that a step aims at
CENTRED = 0.5  # of the mean complementarity, what a step to the centre aims at
NOTHING = 1e-13  # a layer thinner than this is left out


class Layers:
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
class Iterate(Points):
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


def start(rounds: Rounds[Ordered], layers: Layers) -> Iterate:
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
    return Iterate(
        **vars(at),
        level=level,
        slack=layers.join(np.maximum(-above, 0) + WIDTH, np.maximum(above, 0) + WIDTH, walls),
        dual=layers.join(depth * part, depth * (1 - part), BARRIER / walls),
        gap=np.full(model.shape[1], np.inf),
        stale=np.zeros(model.shape[1], np.int64),
    )


def priorities_of(layers: Layers, at: Iterate) -> Floats:
    return sum_up([np.full(at.utilities.shape, layers.rest), *layers.split(at.dual)[0]])


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


def _system(rounds: Rounds[Ordered], layers: Layers, at: Iterate) -> _System:
    s, z, walls = layers.split(at.slack)
    lower, upper, pushes = layers.split(at.dual)
    p, slope, pull = priorities_of(layers, at), 2 * at.residual, PULL / len(at.utilities)
    weight = 1 / (s / lower + z / upper)
    total = sum_users(weight)
    mean = sum_users(weight * slope[:, None]) / total
    centred = slope[:, None] - mean[:, :, None]
    lacking = layers.worst[:, None] * layers.depth - sum_users(lower)
    matrix = pulled(sum_users(2 * p * rounds.H), pull + (pushes / walls).sum(axis=0))
    for w, c in zip(_each(weight), _each(centred)):
        matrix += (w * c)[:, None] * c
    diagonal = np.arange(len(matrix))
    matrix[diagonal, diagonal] *= 1 + DAMPED
    ascent = sum_users(p * slope) + pull * (rounds.anchor - at.model)
    for j in range(len(lacking)):
        ascent += lacking[j] * mean[:, j]
    excess = s - (z - at.level[:, None] + at.utilities)
    return _System(slope, weight, total, mean, centred, excess, lacking, ascent, matrix)


def _direction(layers: Layers, at: Iterate, system: _System, target: Floats) -> _Move:
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


def step(rounds: Rounds[Ordered], layers: Layers, at: Iterate, stalled: Bools) -> Iterate:
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


def _length(at: Iterate, move: _Move) -> Floats:
    """The longest step, up to 1, that leaves all slacks and multipliers positive; (N,)."""
    fall = [
        (-part / whole).max(axis=0, initial=0.0)
        for part, whole in ((move.slack, at.slack), (move.dual, at.dual))
    ]
    return np.minimum(1.0, TO_THE_EDGE / np.maximum(*fall))


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
