"""The base of the convex scenarios: play, sufficient statistics and oracle of least squares.

A scenario adds only how its data are drawn (:meth:`LeastSquares.draw`). One buffer of rounds
serves one stream or a batch of N, so that both have the same data and the same physics.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any, ClassVar, TypeVar

import numpy as np
from gymnasium.utils import seeding
from numpy.typing import NDArray

from owo_env import checks
from owo_env.oracle import fairest_model
from owo_env.problem import Problem
from owo_env.scenarios.base import Scenario, Stream
from owo_env.scenarios.least_squares.slots import SlotData, mapped, play_users

Floats = NDArray[np.floating]
Generators = Sequence[np.random.Generator]
Draw = TypeVar("Draw", bound=Callable[..., SlotData])

SLOTS_PER_BLOCK = 512
STREAMS_PER_DRAW = 64  # so that what a draw works on stays in the processor's cache
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
        problem: The scenario's constants.
        l_max: Utility is l_max − loss; u_min < l_max ≤ u_max, since losses are ≥ 0.

    Attributes:
        problem: The scenario's constants; ``gradient_bound`` follows from ``smoothness`` where it
            is not given.
        rounds_per_block: Rounds drawn at a time; depends on m alone, never on the number of
            streams, so that a stream's data do not depend on its neighbours.

    Raises:
        ValueError: ``l_max`` above u_max or not above u_min.
    """

    has_oracle: ClassVar[bool] = True

    def __init__(self, problem: Problem, l_max: float) -> None:
        u_min, u_max = problem.utility_bounds
        self.l_max = checks.number("l_max", l_max, low=u_min, high=u_max, open_low=True)
        if problem.gradient_bound is None and problem.smoothness is not None:
            problem = replace(problem, gradient_bound=gradient_bound(problem, self.l_max))
        self.problem = problem
        self.rounds_per_block = max(1, SLOTS_PER_BLOCK // problem.num_slots)

    @abstractmethod
    def draw(self, rngs: Generators, first_round: NDArray[np.integer]) -> SlotData:
        """The next ``rounds_per_block`` rounds of each stream.

        Args:
            rngs: One generator a stream; each stream's data come from its own alone.
            first_round: The number (from 1) of each stream's first round in the block, (N,).
        """

    def stream(self, rng: np.random.Generator, hindsight: bool) -> LeastSquaresStream:
        return LeastSquaresStream(self, rng, hindsight)

    def buffer(self, seeds: Sequence[int | None], hindsight: bool) -> RoundBuffer:
        """The rounds of a stream for each seed."""
        return RoundBuffer(self, [seeding.np_random(seed)[0] for seed in seeds], hindsight)

    def fairest(self, H: Floats, b: Floats, s: Floats) -> tuple[Floats, Floats]:
        """θ* and F_α of every round, eq. 2, from the means of xxᵀ, xy and y².

        Args:
            H: Shape (rounds, d, d, K, N).
            b: Shape (rounds, d, K, N).
            s: Shape (rounds, K, N).

        Returns:
            Shapes (rounds, d, N) and (rounds, N).
        """
        problem = self.problem
        rounds, d, users, n = b.shape
        H_ = np.transpose(H, (0, 4, 3, 1, 2)).reshape(-1, users, d, d)
        b_ = np.transpose(b, (0, 3, 2, 1)).reshape(-1, users, d)
        s_ = np.transpose(s, (0, 2, 1)).reshape(-1, users)
        models, values = [], []
        for i in range(0, len(s_), ORACLE_BATCH):
            part = slice(i, i + ORACLE_BATCH)
            best = fairest_model(
                H_[part],
                b_[part],
                s_[part],
                l_max=self.l_max,
                alpha=problem.alpha,
                u_min=problem.utility_bounds[0],
                bounds=problem.model_bounds,
                anchor=problem.initial_model,
            )
            models.append(best.model)
            values.append(best.fairness)
        model = np.concatenate(models).reshape(rounds, n, d)
        return model.swapaxes(1, 2).copy(), np.concatenate(values).reshape(rounds, n)


def gradient_bound(problem: Problem, l_max: float) -> float:
    """G_Θ of least squares where utilities are at least u_min: K u_min^−α √(2L(l_max − u_min)).

    A non-negative loss of smoothness L has ‖∇ℓ‖² ≤ 2Lℓ; here ℓ ≤ l_max − u_min, and priorities are
    at most u_min^−α.
    """
    assert problem.smoothness is not None
    u_min, _ = problem.utility_bounds
    loss = l_max - u_min
    return float(problem.num_users * u_min**-problem.alpha * (2 * problem.smoothness * loss) ** 0.5)


class RoundBuffer:
    """The present rounds of N streams, drawn (and solved) a block ahead.

    Streams may stand at different rounds of their blocks: a caller can reset some of them alone.

    Attributes:
        round: Number of each stream's present round, from 1; (N,).
        row: Where in the block each stream's present round lies; (N,).
    """

    def __init__(self, scenario: LeastSquares, rngs: Generators, hindsight: bool) -> None:
        self.scenario = scenario
        self.hindsight = hindsight
        self.rngs = list(rngs)
        self.round = np.zeros(len(self.rngs), int)
        self.row = np.full(len(self.rngs), scenario.rounds_per_block - 1)
        self.data: SlotData | None = None
        self.model: Floats | None = None
        self.value: Floats | None = None

    def restart(self, n: int, rng: np.random.Generator) -> None:
        """Start stream ``n`` anew from ``rng``; ``open_round`` then opens its round 1."""
        self.rngs[n] = rng
        self.round[n] = 0
        self.row[n] = self.scenario.rounds_per_block - 1

    def open_round(self, which: NDArray[np.integer]) -> None:
        """Move the streams of index ``which`` to their next round."""
        at = slice(None) if len(which) == len(self.rngs) else which
        dry = which[self.row[at] == self.scenario.rounds_per_block - 1]
        if len(dry):
            self._refill(dry)  # if it fails, no stream has moved
        self.round[at] += 1
        self.row[at] += 1
        self.row[dry] = 0

    def _refill(self, which: NDArray[np.integer]) -> None:
        """Draw (and solve) the next block of the streams ``which``."""
        moments = []
        for i in range(0, len(which), STREAMS_PER_DRAW):
            part = which[i : i + STREAMS_PER_DRAW]
            data = self.scenario.draw([self.rngs[n] for n in part], self.round[part] + 1)
            if self.hindsight:
                moments.append(data.moments())
            self._store(data, part)
        if self.hindsight:
            solved = self.scenario.fairest(*(np.concatenate(m, -1) for m in zip(*moments)))
            if self.model is None or self.value is None:
                self.model, self.value = solved
            else:
                self.model[..., which], self.value[..., which] = solved

    def _store(self, data: SlotData, which: NDArray[np.integer]) -> None:
        """Put the streams ``which`` into the block, whose memory is used again and again."""
        if len(which) == len(self.rngs):
            self.data = data
            return
        if self.data is None:
            n = len(self.rngs)
            self.data = mapped(lambda array: np.empty((*array.shape[:-1], n), array.dtype), data)
        neighbours = which[-1] - which[0] + 1 == len(which)
        at = slice(which[0], which[-1] + 1) if neighbours else which
        for whole, part in zip(self.data.arrays, data.arrays):
            whole[..., at] = part
        for name, values in data.about.items():
            self.data.about[name][..., at] = values


class LeastSquaresStream(Stream):
    """One stream: the buffer's round as Python floats, which cost less than arrays of 4."""

    def __init__(self, scenario: LeastSquares, rng: np.random.Generator, hindsight: bool) -> None:
        self.scenario = scenario
        self.buffer = RoundBuffer(scenario, [rng], hindsight)
        self._rng = rng
        self._before: Mapping[str, Any] = {}  # the generator's state when the block was drawn
        self._all = np.array([0])
        self._slots: list[Any] = []
        self._error: Any = None

    def open_round(self, options: Mapping[str, Any]) -> None:
        self._advance()
        data, row = self.buffer.data, int(self.buffer.row[0])
        assert data is not None
        self._error = data.error
        self._slots = _as_floats(data, row)

    def play(
        self, slot: int, model: Floats, weights: Floats, per_user: bool
    ) -> tuple[Sequence[float], Floats]:
        p = None if per_user else weights.tolist()
        utilities, gradient = play_users(
            self._error, self._slots[slot], model.tolist(), p, self.scenario.l_max
        )
        return utilities, np.array(gradient)

    def evaluate(self, model: Floats) -> Floats:
        theta = model.tolist()
        played = (play_users(self._error, s, theta, None, self.scenario.l_max) for s in self._slots)
        return np.array([utilities for utilities, _ in played])

    def round_info(self) -> dict[str, Any]:
        data, row = self.buffer.data, self.buffer.row[0]
        assert data is not None
        return {name: values[row, ..., 0].copy() for name, values in data.about.items()}

    def fairest(self) -> tuple[Floats, float] | None:
        model, value, row = self.buffer.model, self.buffer.value, self.buffer.row[0]
        if model is None or value is None:
            return None
        return model[row, :, 0].copy(), float(value[row, 0])

    def state_dict(self) -> dict[str, Any]:
        buffer = self.buffer
        return {
            "generator": self._before,
            "round": int(buffer.round[0]),
            "row": int(buffer.row[0]),
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Draw the saved round's block again."""
        buffer, number, row = self.buffer, int(state["round"]), int(state["row"])
        self._rng.bit_generator.state = state["generator"]
        buffer.round[0], buffer.row[0] = number - row - 1, self.scenario.rounds_per_block - 1
        self._advance()
        buffer.round[0], buffer.row[0] = number, row

    def _advance(self) -> None:
        before = self._rng.bit_generator.state
        self.buffer.open_round(self._all)
        if self.buffer.row[0] == 0:  # a new block
            self._before = before


def _as_floats(data: SlotData, row: int) -> list[list[tuple[Any, ...]]]:
    """Round ``row`` of a one-stream block as nested lists: slot, user, the loss's arguments."""
    parts = [np.moveaxis(array[row, ..., 0], -1, 1).tolist() for array in data.arrays]
    return [list(zip(*slot)) for slot in zip(*parts)]
