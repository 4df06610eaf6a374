"""Streams of least squares: a buffer of rounds, drawn (and solved) ahead, for one stream or N.

Both have the same data and the same physics.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from owo_env.fairness import Fairness
from owo_env.oracle import Solvable, UnsolvedError
from owo_env.scenarios.base import Batch, Generators, Integers, Mask, Stream
from owo_env.scenarios.least_squares.base import LeastSquares
from owo_env.scenarios.least_squares.slots import (
    SlotData,
    mapped,
    play_batch,
    play_users,
    slot_of,
)
from owo_env.scenarios.least_squares.source import Source

Floats = NDArray[np.floating]

STREAMS_PER_DRAW = 64  # so that what a draw works on stays in the processor's cache


class LeastSquaresBatch(Batch):
    """N streams of a least-squares scenario, drawn (and solved) a block of rounds ahead.

    Args:
        scenario: The scenario.
        rngs: One a stream.
        fairness: What θ* is to maximize, or None.

    Attributes:
        row: Where in the block each stream's present round lies; (N,).
        data: The block.
        best: θ* (rounds, d, N) and its mean utilities (rounds, K, N), or None.
    """

    def __init__(self, scenario: LeastSquares, rngs: Generators, fairness: Fairness | None) -> None:
        self.scenario = scenario
        self.fairness = None if fairness is None else _solvable(fairness)
        self.exact = scenario.takes_jobs  # its oracle is not somebody's own
        self.rngs = [Source(rng.bit_generator) for rng in rngs]
        self.round: Integers = np.zeros(len(self.rngs), int)
        self.row = np.full(len(self.rngs), scenario.rounds_per_block - 1)
        self.data: Any = None
        self.best: tuple[Floats, Floats] | None = None
        self._everyone = np.arange(len(self.rngs))
        self._one_row: int | None = None  # the row of all streams, where it is the same

    def restart(self, n: int, rng: np.random.Generator) -> None:
        self.rngs[n] = Source(rng.bit_generator)
        self.round[n] = 0
        self.row[n] = self.scenario.rounds_per_block - 1

    def open_rounds(self, which: Integers, options: Mapping[str, Any]) -> None:
        at = slice(None) if len(which) == len(self.rngs) else which
        dry = which[self.row[at] == self.scenario.rounds_per_block - 1]
        if len(dry):
            self._refill(dry)  # if it fails, no stream has moved
        self.round[at] += 1
        self.row[at] += 1
        self.row[dry] = 0
        self._one_row = int(self.row[0]) if (self.row == self.row[0]).all() else None

    def play(
        self, slot: int | Integers, model: Floats, weights: Floats, per_user: bool, live: Mask
    ) -> tuple[Floats, Floats]:
        utilities, gradient = play_batch(
            self.data.error,
            self._slot(slot),
            np.ascontiguousarray(model.T),
            None if per_user else np.ascontiguousarray(weights.T),
            self.scenario._best_of_many,
        )
        return utilities.T, gradient.T

    def evaluate(self, model: Floats) -> Floats:
        theta = np.ascontiguousarray(model.T)
        slots = map(self._slot, range(self.scenario.problem.num_slots))
        best = self.scenario._best_of_many
        played = (play_batch(self.data.error, s, theta, None, best) for s in slots)
        return np.moveaxis(np.array([utilities for utilities, _ in played]), -1, 0)

    def fairest(self, which: Integers) -> tuple[Floats, Floats] | None:
        if self.best is None:
            return None
        model, utilities = (array[self.row[which], :, which] for array in self.best)
        return model, utilities

    def fairest_of_jobs(
        self, which: Integers, active: Mask, shares: Floats | None, fairness: Fairness
    ) -> tuple[Floats, Floats]:
        whole = len(which) == len(self.rngs)
        data = self.data if whole else mapped(lambda array: array[..., which], self.data)

        def place(r: int, n: int) -> tuple[int, int]:
            return int(self.round[which[n]] - self.row[which[n]]) + r, int(which[n])

        return self._solved(data.moments(active), place, _solvable(fairness), shares)

    def air(self, n: int) -> Mapping[str, NDArray[Any]]:
        told = {name.removeprefix("_"): a[..., n] for name, a in self.data.about.items()}
        if self.scenario.user_classes is not None:
            told.setdefault("user_class", np.array(self.scenario.user_classes)[None])
        return told

    def round_info(self, which: Integers) -> dict[str, Any]:
        about = ((name, a) for name, a in self.data.about.items() if not name.startswith("_"))
        return {name: values[self.row[which], ..., which] for name, values in about}

    def _slot(self, slot: int | Integers) -> list[Floats]:
        """Slot ``slot`` (one for all, or one each) of each stream's own round."""
        if self._one_row is not None and isinstance(slot, int):
            return slot_of(self.data, self._one_row, slot)
        return slot_of(self.data, self.row, np.broadcast_to(slot, self.row.shape), self._everyone)

    def _refill(self, which: Integers) -> None:
        """Draw (and solve) the next block of the streams ``which``."""
        moments = []
        for i in range(0, len(which), STREAMS_PER_DRAW):
            members = which[i : i + STREAMS_PER_DRAW]
            data = self.scenario.draw([self.rngs[n] for n in members], self.round[members] + 1)
            if self.fairness is not None:
                moments.append(data.moments())
            self._store(data, members)
        if self.fairness is None:
            return
        whole = [np.concatenate(parts, -1) for parts in zip(*moments)]

        def place(r: int, n: int) -> tuple[int, int]:
            return int(self.round[which[n]]) + r + 1, int(which[n])

        solved = self._solved(whole, place, self.fairness)
        if self.best is None:
            self.best = solved
        else:
            for kept, part in zip(self.best, solved):
                kept[..., which] = part

    def _solved(
        self,
        moments: Sequence[Floats],
        place: Callable[[int, int], tuple[int, int]],
        fairness: Solvable,
        shares: Floats | None = None,
    ) -> tuple[Floats, Floats]:
        """θ* and its mean utilities; ``place`` tells the round's number and stream, for errors."""
        more = {} if shares is None else {"shares": shares}
        try:
            return self.scenario.fairest(moments, fairness, **more)
        except UnsolvedError as error:
            number, stream = place(*divmod(error.index, moments[2].shape[-1]))
            raise ArithmeticError(
                f"no fairest model found for round {number} of stream {stream}: {error.why}; "
                "hindsight=False plays without"
            ) from None

    def _store(self, data: SlotData, which: Integers) -> None:
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
            kept = self.data.about[name]  # texts may have grown longer
            self.data.about[name] = kept.astype(np.result_type(kept, values), copy=False)
            self.data.about[name][..., at] = values


class Unrolled(LeastSquaresBatch):
    """The first rounds of one stream as the one round of as many streams.

    What depends on the data alone can so be played side by side.

    Args:
        scenario: The scenario.
        rng: The stream's.
        rounds: How many.
        fairness: What θ* is to maximize, or None.
    """

    def __init__(
        self,
        scenario: LeastSquares,
        rng: np.random.Generator,
        rounds: int,
        fairness: Fairness | None,
    ) -> None:
        super().__init__(scenario, [rng] * rounds, fairness)
        self.round = np.arange(rounds)

    def _refill(self, which: Integers) -> None:
        scenario, rounds = self.scenario, len(which)
        firsts = np.arange(1, rounds + 1, scenario.rounds_per_block)
        draws = [firsts] if getattr(type(scenario).draw, "in_turn", False) else firsts[:, None]
        blocks = [scenario.draw(self.rngs[:1] * len(numbers), numbers) for numbers in draws]

        def laid(*parts: NDArray[Any]) -> NDArray[Any]:
            """(rounds of a block, …, blocks) → (1, …, rounds of all)."""
            whole = parts[0] if len(parts) == 1 else np.concatenate(parts, -1)
            whole = np.moveaxis(whole, 0, -1).reshape(*whole.shape[1:-1], -1)
            return np.ascontiguousarray(whole[None, ..., :rounds])

        self.data = mapped(laid, *blocks)
        if self.fairness is not None:
            self.best = self._solved(self.data.moments(), lambda r, n: (n + 1, 0), self.fairness)


class LeastSquaresStream(Stream):
    """One stream: the batch's round as Python floats, which cost less than arrays of 4."""

    def __init__(
        self, scenario: LeastSquares, rng: np.random.Generator, fairness: Fairness | None
    ) -> None:
        self.scenario = scenario
        self.batch = LeastSquaresBatch(scenario, [rng], fairness)
        self.exact = self.batch.exact and type(self).fairest is LeastSquaresStream.fairest
        self._rng = self.batch.rngs[0]
        self._before: Mapping[str, Any] = {}  # where the draws stood when the block was drawn
        self._all = np.array([0])
        self._slots: list[Any] = []
        self._error: Any = None

    def open_round(self, options: Mapping[str, Any]) -> None:
        before = {"generator": self._rng.bit_generator.state}
        if self._rng.carried:
            before["carried"] = copy.deepcopy(self._rng.carried)
        self.batch.open_rounds(self._all, options)
        if self.batch.row[0] == 0:  # a new block
            self._before = before
        self._error = self.batch.data.error
        self._slots = _as_floats(self.batch.data, int(self.batch.row[0]))

    def play(
        self, slot: int, model: Floats, weights: Floats, per_user: bool
    ) -> tuple[Sequence[float], Floats]:
        p = None if per_user else weights.tolist()
        utilities, gradient = play_users(
            self._error, self._slots[slot], model.tolist(), p, self.scenario._best
        )
        return utilities, np.array(gradient)

    def evaluate(self, model: Floats) -> Floats:
        theta, best = model.tolist(), self.scenario._best
        played = (play_users(self._error, s, theta, None, best) for s in self._slots)
        return np.array([utilities for utilities, _ in played])

    def round_info(self) -> dict[str, Any]:
        return {name: value[0] for name, value in self.batch.round_info(self._all).items()}

    def fairest(self) -> tuple[Floats, Floats] | None:
        best = self.batch.fairest(self._all)
        return best and (best[0][0], best[1][0])

    def fairest_of_jobs(
        self, active: Mask, shares: Floats | None, fairness: Fairness
    ) -> tuple[Floats, Floats]:
        own = None if shares is None else shares[..., None]
        model, utilities = self.batch.fairest_of_jobs(self._all, active[..., None], own, fairness)
        return model[..., 0], utilities[..., 0]

    def air(self) -> Mapping[str, NDArray[Any]]:
        return self.batch.air(0)

    def state_dict(self) -> dict[str, Any]:
        batch = self.batch
        before = copy.deepcopy(self._before)
        return {**before, "round": int(batch.round[0]), "row": int(batch.row[0])}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Draw the saved round's block again."""
        batch, number, row = self.batch, int(state["round"]), int(state["row"])
        self._rng.bit_generator.state = state["generator"]
        self._rng.carried = copy.deepcopy(dict(state.get("carried", {})))
        batch.round[0], batch.row[0] = number - row - 1, self.scenario.rounds_per_block - 1
        self.open_round({})
        batch.round[0], batch.row[0] = number, row


def _solvable(fairness: Fairness) -> Solvable:
    if not isinstance(fairness, Solvable):
        raise ValueError(f"{fairness}: has no exact oracle; pass hindsight=False to gym.make")
    return fairness


def _as_floats(data: SlotData, row: int) -> list[list[tuple[Any, ...]]]:
    """Round ``row`` of a one-stream block as nested lists: slot, user, the loss's arguments."""
    parts = [np.moveaxis(array[row, ..., 0], -1, 1).tolist() for array in data.arrays]
    return [list(zip(*slot)) for slot in zip(*parts)]
