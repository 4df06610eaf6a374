"""The base of the convex scenarios: least squares, of which a scenario adds how data are drawn."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import ClassVar, TypeVar

import numpy as np
from numpy.typing import NDArray

from owo_env import checks
from owo_env.fairness import Fairness
from owo_env.oracle import Certified, Fairest, Solvable, UnsolvedError, fairest_model
from owo_env.problem import Problem
from owo_env.scenarios.adversary import CONVEX
from owo_env.scenarios.base import Batch, Generators, Integers, Scenario, Stream
from owo_env.scenarios.least_squares.slots import SlotData
from owo_env.scenarios.least_squares.source import Source

Floats = NDArray[np.floating]
Draw = TypeVar("Draw", bound=Callable[..., SlotData])

SLOTS_PER_BLOCK = 512
ORACLE_BATCH = 4096


def in_turn(draw: Draw) -> Draw:
    """Mark a ``draw`` that makes all draws of a stream before the next stream's.

    Then one generator given several times gives as many blocks of its stream, one after the other.
    """
    draw.in_turn = True  # type: ignore[attr-defined]
    return draw


class LeastSquares(Scenario):
    """Users whose losses are squared errors of one linear model θ ∈ Θ.

    Args:
        problem: The scenario's constants; it must know l_max.
        adversary: ``"none"``, or ``"blocks"``: what is drawn is such that the target of the first
            user changes its sign every ⌊√m⌋ slots.

    Attributes:
        rounds_per_block: Rounds drawn at a time; depends on m alone, never on the number of
            streams, so that a stream's data do not depend on its neighbours.

    Raises:
        ValueError: ``problem`` knows no l_max, or an unknown adversary.
    """

    has_oracle: ClassVar[bool] = True

    def __init__(self, problem: Problem, adversary: str = "none") -> None:
        checks.one_of("adversary", adversary, CONVEX)
        if problem.l_max is None:
            raise ValueError("problem: has no l_max, the utility of a user whose loss is 0")
        self.l_max, self.adversary = problem.l_max, adversary
        best = np.broadcast_to(self.l_max, problem.num_users)
        self._best = best.tolist()  # as a slot of one stream wants it, and of many
        self._best_of_many = self.l_max if np.ndim(self.l_max) == 0 else best[:, None]
        self.problem = replace(problem, convex=True)
        self.rounds_per_block = max(1, SLOTS_PER_BLOCK // problem.num_slots)

    @abstractmethod
    def draw(self, rngs: Sequence[Source], first_round: Integers) -> SlotData:
        """The next ``rounds_per_block`` rounds of each stream.

        Args:
            rngs: One generator a stream; each stream's data come from its own alone, and from
                what is in its ``carried``, where the stream keeps what its next rounds need.
            first_round: The number (from 1) of each stream's first round in the block, (N,).
        """

    def stream(self, rng: np.random.Generator, fairness: Fairness | None) -> Stream:
        from owo_env.scenarios.least_squares.streams import LeastSquaresStream  # it needs this file

        return LeastSquaresStream(self, rng, fairness)

    def batch(self, rngs: Generators, fairness: Fairness | None) -> Batch:
        from owo_env.scenarios.least_squares.streams import LeastSquaresBatch

        return LeastSquaresBatch(self, rngs, fairness)

    @property
    def takes_jobs(self) -> bool:  # type: ignore[override]
        """Unless its oracle is somebody's own."""
        return type(self).fairest is LeastSquares.fairest

    def fairest(
        self, moments: Sequence[Floats], fairness: Solvable, shares: Floats | None = None
    ) -> tuple[Floats, Floats]:
        """θ* of every round and its mean utilities, eq. 2.

        Args:
            moments: Means over slots of xxᵀ (rounds, d, d, K, N), xy (rounds, d, K, N) and y²
                (rounds, K, N).
            fairness: What to maximize.
            shares: What each user's term of F is multiplied by, (rounds, K, N); None: 1.

        Returns:
            Shapes (rounds, d, N) and (rounds, K, N).

        Raises:
            UnsolvedError: A round could not be solved; of round r of stream n it has index rN + n.
        """
        rounds, n = moments[2].shape[0], moments[2].shape[-1]
        # Rounds and streams side by side on the last axis, as the oracle wants them.
        given = moments if shares is None else (*moments, shares)
        flat = [np.moveaxis(a, 0, -2).reshape(*a.shape[1:-1], -1) for a in given]

        def solved(first: int) -> Fairest | Certified:
            part = [a[..., first : first + ORACLE_BATCH] for a in flat]
            try:
                return fairest_model(
                    *part[:3],
                    fairness=fairness,
                    shares=None if shares is None else part[3],
                    l_max=self.l_max,
                    bounds=self.problem.model_bounds,
                    anchor=self.problem.initial_model,
                )
            except UnsolvedError as error:
                raise UnsolvedError(first + error.index, error.why) from None

        found = [solved(first) for first in range(0, rounds * n, ORACLE_BATCH)]
        model, utilities = (
            np.moveaxis(np.concatenate(parts, -1).reshape(-1, rounds, n), 1, 0).copy()
            for parts in zip(*((f.model, f.utilities) for f in found))
        )
        return model, utilities
