"""What is left to gain at a model: a bound that any priorities give."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from owo_env.fairness import Ordered
from owo_env.oracle.elimination import pulled, solve_positive
from owo_env.oracle.rounds import Points, Rounds, sum_up, sum_users

Floats = NDArray[np.floating]

NO_PULL = 1e-15  # just enough to solve with


@dataclass(frozen=True, eq=False)
class Proof:
    """Models (d, N), the priorities (K, N) that bound what is left to gain, and that (N,)."""

    model: Floats
    priorities: Floats
    gap: Floats


def proof(rounds: Rounds[Ordered], at: Points, priorities: Floats) -> Proof:
    """What is left to gain is at most p̂ᵀu − F(u) and what p̂ᵀu can still gain within Θ."""
    p = rounds.fairness.project(priorities.T).T
    gap = sum_up(p * at.utilities) - rounds.fairness.value(at.utilities.T)
    gap += _left_to_gain(rounds, at.model, 2 * sum_users(p * at.residual), sum_users(p * rounds.H))
    return Proof(at.model, p, np.where(gap >= 0, gap, np.where(gap < 0, 0.0, np.inf)))


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
    bent = sum_up(free * solve_positive(pulled(H, NO_PULL), free)) / 4
    return np.fmin(sum_up(straight), sum_up(np.where(held, straight, 0.0)) + bent)
