"""Streams on the air: who has a job, what users feel of it, and what the server sees."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from owo_env.fairness import Fairness
from owo_env.link.draws import Block, Draws
from owo_env.link.feedback import Filling, Late, delivered, rounded
from owo_env.problem import Problem
from owo_env.scenarios.base import (
    Batch,
    Generators,
    Integers,
    Mask,
    Scenario,
    Stream,
    StreamByStream,
)

Floats = NDArray[np.floating]
Array = NDArray[Any]


class OnAirBatch(Batch):
    """N streams on the air.

    Args:
        inner: The scenario that they play.
        draws: How the link draws.
        problem: The scenario's, with the link.
        rngs: One a stream; the link draws from a generator spawned of it, so that the scenario's
            own data stay as they are.
        fairness: What θ* is to maximize, or None.
        by_stream: Whether the scenario's streams are played one by one.

    Attributes:
        utilities: u_k of every slot of the present rounds, heard or not, (N, m, K); what comes
            after the slot just played has no meaning.
    """

    def __init__(
        self,
        inner: Scenario,
        draws: Draws,
        problem: Problem,
        rngs: Generators,
        fairness: Fairness | None,
        by_stream: bool = False,
    ) -> None:
        self.link, self._draws = draws.link, draws
        self._links = [rng.spawn(1)[0] for rng in rngs]
        self._fairness = fairness if self.link.idles else None  # else the scenario's own will do
        own = None if self.link.idles else fairness
        self.inner = StreamByStream(inner, rngs, own) if by_stream else inner.batch(rngs, own)
        self._rounds_per_block = inner.rounds_per_block
        self.exact = self.link.idles or self.inner.exact
        n = len(self._links)
        self._shape = problem.num_slots, problem.num_users, n
        self._everyone = np.arange(n)
        self._row = np.zeros(n, int)
        self._of_block = np.full(n, -1)  # the number of the block that each stream's masks are of
        self._one_row: int | None = None
        self._block: Block | None = None
        self._felt = np.zeros(self._shape)
        centre = np.reshape(sum(problem.fairness.bounds) / 2, (-1, 1))  # one for all, or each
        self._filling = Filling(self._shape[1:], centre)
        late = (problem.dim, *self._shape[1:])
        self._late = Late(self.link.delay, late) if self.link.delay else None
        rounds = self._rounds_per_block
        self._best = np.zeros((rounds, problem.dim, n)), np.zeros((rounds, *self._shape[1:]))
        self._seen: dict[str, Array] = {}

    @property
    def round(self) -> Integers:  # type: ignore[override]
        return self.inner.round

    @property
    def utilities(self) -> Floats:
        return np.moveaxis(self._felt, -1, 0)

    def masks(self) -> tuple[Mask, Mask]:
        """Who has a job, and whose feedback arrives, in the present rounds; (N, m, K) each."""
        assert self._block is not None
        both = (self._block.active, self._block.heard)
        active, heard = (mask[self._row, ..., self._everyone] for mask in both)
        heard[:, self._shape[0] - self.link.delay :] = False  # the round is over before
        return active, heard

    def restart(self, n: int, rng: np.random.Generator) -> None:
        self._links[n], self._of_block[n] = rng.spawn(1)[0], -1
        self.inner.restart(n, rng)

    def open_rounds(self, which: Integers, options: Mapping[str, Any]) -> None:
        self.inner.open_rounds(which, options)
        block, self._row[which] = divmod(self.round[which] - 1, self._rounds_per_block)
        fresh = which[self._of_block[which] != block]
        if len(fresh):
            self._refill(fresh)
        self._one_row = int(self._row[0]) if (self._row == self._row[0]).all() else None
        self._filling.open_rounds(which)

    def play(
        self, slot: int | Integers, model: Floats, weights: Floats, per_user: bool, live: Mask
    ) -> tuple[Floats, Floats]:
        assert self._block is not None
        active, heard = self._at(self._block.active, slot), self._at(self._block.heard, slot)
        self.inner.begin_slot(active.T)
        late = self.link.late
        # p·h, not p·(h∇u): what is nothing costs nothing, and no product is rounded twice.
        p = weights if late else weights * heard.T
        felt, gradient = self.inner.play(slot, model, p, per_user or late, live)
        self._keep(slot, felt.T, live)
        if late:
            gradients = self._coarse(gradient.T, slot)
            active, heard, utilities, gradients = self._arrived(
                slot, active, heard, gradients, live
            )
            gradient = delivered(gradients, heard, None if per_user else weights.T).T
        else:
            utilities = felt.T
            if per_user:
                gradient = np.where(heard.T[..., None], gradient, 0)
        self._see(utilities, active, heard, live)
        return felt, gradient

    def active(self, slot: int | Integers) -> Mask:
        """Who has a job in a slot, (N, K)."""
        assert self._block is not None
        return self._at(self._block.active, slot).T

    def shares(self) -> Floats:
        """The share of slots in which a user has a job, m_k/m, (N, K)."""
        return self.masks()[0].mean(axis=1)

    def feedback(self) -> Mapping[str, Array]:
        return self._seen

    def evaluate(self, model: Floats) -> Floats:
        return self.inner.evaluate(model)

    def fairest(self, which: Integers) -> tuple[Floats, Floats] | None:
        if self._fairness is None:
            return self.inner.fairest(which)
        model, utilities = (array[self._row[which], :, which] for array in self._best)
        return model, utilities

    def slot_info(self) -> dict[str, Any]:
        return self.inner.slot_info()

    def round_info(self, which: Integers) -> dict[str, Any]:
        active, heard = self.masks()
        active, heard = active[which], heard[which]
        return {
            **self.inner.round_info(which),
            "active_slots": active.sum(axis=1),
            "heard_slots": heard.sum(axis=1),
            "feedback_age": feedback_age(heard, self.link.delay),
        }

    def _at(self, array: Array, slot: int | Integers) -> Array:
        """Slot ``slot`` of each stream's own round: (rounds, m, …, N) → (…, N)."""
        if self._one_row is not None and isinstance(slot, int):
            return array[self._one_row, slot]
        slots = np.broadcast_to(slot, self._row.shape)
        return np.moveaxis(array[self._row, slots, ..., self._everyone], 0, -1)

    def _keep(self, slot: int | Integers, utilities: Floats, live: Mask) -> None:
        if isinstance(slot, int) and live.all():
            self._felt[slot] = utilities
            return
        slots, n = np.broadcast_to(slot, live.shape)[live], self._everyone[live]
        self._felt[slots, :, n] = utilities[:, live].T

    def _coarse(self, gradients: Floats, slot: int | Integers) -> Floats:
        if self.link.bits is None:
            return gradients
        assert self._block is not None and self._block.dither is not None
        return rounded(gradients, self.link.bits, self._at(self._block.dither, slot))

    def _arrived(
        self, slot: int | Integers, active: Mask, heard: Mask, gradients: Floats, live: Mask
    ) -> tuple[Mask, Mask, Floats, Floats]:
        """Masks, utilities (K, N) and gradients (d, K, N) of the slot whose feedback arrives."""
        sent: Any = slot - self.link.delay
        old = np.maximum(sent, 0) if isinstance(slot, np.ndarray) else max(sent, 0)
        if self._late is not None:
            assert self._block is not None
            gradients = self._late.exchange(slot, gradients, live)
            there = np.asarray(sent >= 0)
            active = self._at(self._block.active, old) & there
            heard = self._at(self._block.heard, old) & there
        if isinstance(old, int):
            return active, heard, self._felt[old], gradients
        return active, heard, self._felt[old, :, self._everyone].T, gradients

    def _see(self, utilities: Floats, active: Mask, heard: Mask, live: Mask) -> None:
        if not self.link.masked:
            self._seen = {"utilities": self._filling.before(utilities, heard).T}
            return
        masks = {"active": active.T.astype(np.int8), "heard": heard.T.astype(np.int8)}
        self._seen = {"utilities": self._filling.add(utilities, heard, live).T, **masks}

    def _refill(self, which: Integers) -> None:
        """Draw the masks of the next block of the streams ``which``."""
        airs = [self.inner.air(n) for n in which.tolist()]
        block = self._draws.draw([self._links[n] for n in which], airs)
        if self._fairness is not None:
            self._solve(which, block, self._fairness)
        self._of_block[which] = (self.round[which] - 1) // self._rounds_per_block
        if len(which) == len(self._row):
            self._block = block
            return
        assert self._block is not None  # the first reset is of all streams
        for name, part in vars(block).items():
            if part is not None:
                getattr(self._block, name)[..., which] = part

    def _solve(self, which: Integers, block: Block, fairness: Fairness) -> None:
        shares = block.active.mean(axis=1) if self.link.count == "jobs" else None
        found = self.inner.fairest_of_jobs(which, block.active, shares, fairness)
        for kept, part in zip(self._best, found):
            kept[..., which] = part


def feedback_age(heard: Mask, delay: int) -> Floats:
    """How many slots ago the slot was that a user was last heard of, mean over slots, (n, K).

    Before anything arrives that is as many as were played.
    """
    n, m, users = heard.shape
    age, total = np.zeros((n, users)), np.zeros((n, users))
    for i in range(m):
        age = age + 1
        if i >= delay:
            age = np.where(heard[:, i - delay], delay, age)
        total += age
    return total / m


class OnAirStream(Stream):
    """One stream on the air: a batch of one."""

    def __init__(
        self,
        inner: Scenario,
        draws: Draws,
        problem: Problem,
        rng: np.random.Generator,
        fairness: Fairness | None,
    ) -> None:
        self.batch = OnAirBatch(inner, draws, problem, [rng], fairness, by_stream=True)
        self.exact = self.batch.exact
        self._all, self._live = np.array([0]), np.array([True])
        self._before: Mapping[str, Any] = {}  # where the link's draws stood when they were drawn

    @property
    def _inner(self) -> Stream:
        assert isinstance(self.batch.inner, StreamByStream)
        return self.batch.inner.streams[0]

    def open_round(self, options: Mapping[str, Any]) -> None:
        before = self.batch._links[0].bit_generator.state
        self.batch.open_rounds(self._all, options)
        if self.batch._row[0] == 0:
            self._before = before

    def play(
        self, slot: int, model: Floats, weights: Floats, per_user: bool
    ) -> tuple[Sequence[float], Floats]:
        one = model[None], weights[None]
        utilities, gradient = self.batch.play(slot, *one, per_user, self._live)
        return utilities[0].tolist(), gradient[0]

    def active(self, slot: int) -> Mask:
        return self.batch.active(slot)[0]

    def heard(self, slot: int) -> Mask:
        """Whose feedback of a slot arrives, sooner or later, (K,)."""
        return self.batch.masks()[1][0, slot]

    def feedback(self) -> Mapping[str, Array]:
        return {name: values[0] for name, values in self.batch.feedback().items()}

    def evaluate(self, model: Floats) -> Floats:
        return self._inner.evaluate(model)

    def fairest(self) -> tuple[Floats, Floats] | None:
        best = self.batch.fairest(self._all)
        return best and (best[0][0], best[1][0])

    def shares(self) -> Floats:
        """m_k/m, (K,)."""
        return self.batch.shares()[0]

    def slot_info(self) -> dict[str, Any]:
        return self._inner.slot_info()

    def round_info(self) -> dict[str, Any]:
        return {name: values[0] for name, values in self.batch.round_info(self._all).items()}

    def state_dict(self) -> dict[str, Any]:
        number = int(self.batch.round[0])
        return {"round": number, "stream": self._inner.state_dict(), "link": dict(self._before)}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Draw the saved round's block of masks again."""
        batch = self.batch
        self._inner.load_state_dict(state["stream"])
        batch._links[0].bit_generator.state = state["link"]
        batch.round[0] = int(state["round"])
        batch._row[0] = (batch.round[0] - 1) % batch._rounds_per_block
        batch._refill(self._all)
        self._before = state["link"]
