"""The fairest model of least squares under an ordered notion: a primal–dual interior point.

Its priorities, whatever they are, bound what is left to gain by their projection on P: what is
returned is certified. As in Newton's method every operation is elementwise, sums are in explicit
order, and a solved round is taken out.
"""

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from owo_env.fairness import AlphaFair, Ordered, Smooth
from owo_env.oracle import newton
from owo_env.oracle.elimination import solve_positive
from owo_env.oracle.gap import Proof, proof
from owo_env.oracle.interior import Layers, priorities_of, start, step
from owo_env.oracle.rounds import (
    UNSOLVED,
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
ABSENT, DEPENDENT = 1e-6, 1e-9  # a priority, a pivot that count as 0 where ties are looked for
STALLED = 0.7  # where a gap falls to no less than this, the next step is centred
GIVEN = 1e-10  # what the nearest of tied models may cost, in units of the round
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


def solve(rounds: Rounds[Ordered]) -> Certified:
    """Maximize F.

    Where θ* is not unique, the one nearest to the anchor is taken, to about three digits; where a
    user without priority would object to that, one near it, to about one.

    Raises:
        UnsolvedError: A round could not be solved.
    """
    dim, users, count = rounds.b.shape
    layers, plain = Layers(rounds.fairness, dim), _without_units(rounds)
    found = Proof(np.empty((dim, count)), np.empty((users, count)), np.empty(count))
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

    F is homogeneous and grows by what is added to all utilities: of users whose l_max differ, by
    the largest.
    """
    size, unit, l_max = rounds.size, rounds.unit, rounds.l_max
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
        l_max=(l_max - l_max.max(axis=0)) / (size * unit) if np.ndim(l_max) else 0.0,
    )


def _break_ties(rounds: Rounds[Ordered], found: Proof) -> None:
    """Move models to the nearest one that maximizes p̂ᵀu, where many do and F stays what it is."""
    p = np.where(found.priorities > ABSENT, found.priorities, 0.0)
    H = sum_users(p * rounds.H)
    tied = np.flatnonzero(_singular(H))
    if not tied.size:
        return
    p, some, best = p[:, tied], take(rounds, tied), take(found, tied)
    u_min, u_max = some.fairness.bounds
    together = {
        "H": sum_users(p * some.H)[:, :, None],
        "b": sum_users(p * some.b)[:, None],
        "s": sum_up(p * some.s)[None],
        "l_max": sum_up(p * some.l_max)[None] if np.ndim(some.l_max) else some.l_max,
        "fairness": AlphaFair(1, (np.min(u_min), np.max(u_max)), 0.0),
    }
    one: Rounds[Smooth] = Rounds(**{**vars(some), **together})
    models, _ = newton.ascend(one, some.project(some.anchor), newton.FIRST_PULL)
    nearest = proof(some, some.at(models), best.priorities)
    good = np.flatnonzero(nearest.gap <= np.maximum(best.gap, GIVEN))
    put(found, tied[good], nearest, good)


def _singular(matrix: Floats) -> Bools:
    """Whether a column is all but a combination of those before it, by its pivot; (N,)."""
    diagonal = np.arange(len(matrix))
    size = matrix[diagonal, diagonal]
    solve_positive(matrix, np.zeros(size.shape))
    singular: Bools = np.logical_or.reduce(~(matrix[diagonal, diagonal] > DEPENDENT * size))
    return singular


def _solve(rounds: Rounds[Ordered], layers: Layers) -> tuple[Proof, Integers]:
    """The best that was met on the way, and the number of steps (N,)."""
    at = start(rounds, layers)
    best = replace(proof(rounds, at, priorities_of(layers, at)), gap=np.full(at.gap.shape, np.inf))
    index, iterations = np.arange(at.gap.size), np.zeros(at.gap.size, np.int64)
    for _ in range(MAX_ITERATIONS):
        found = proof(rounds, at, priorities_of(layers, at))
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
        at = step(rounds, layers, at, stalled)
        iterations[index] += 1
    return best, iterations
