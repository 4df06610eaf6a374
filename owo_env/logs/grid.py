"""A log's rows on a grid of slots: what each user measured, and where nothing is missing."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from owo_env.figure import spoken
from owo_env.logs.cells import Floats
from owo_env.logs.table import Table

Integers = NDArray[np.int64]
Spans = tuple[Integers, Integers]
"""Starts and ends (not included) of spans of slots, disjoint and in order."""

_STEADY = 0.75  # of a period: rows that lie further apart are one a slot


@dataclass
class Series:
    """One user's rows.

    Attributes:
        name: The user's.
        slots: Those with a row, in order, (R,).
        values: The mean of a slot's rows, and where a column has none its last value, (R, C); NaN
            before the first.
        measured: The slot in which each of ``values`` was measured, (R, C); −1 before the first.
        user_class: Codes of the class, (R,); −1 where it is unknown throughout.
    """

    name: str
    slots: Integers
    values: Floats
    measured: Integers
    user_class: Integers

    def spans(self, column: int, hold: int) -> Spans:
        """Where a column is measured, or held over a gap of up to ``hold`` slots."""
        at = self.slots[self.measured[:, column] == self.slots]
        if not len(at):
            return at, at
        breaks = np.flatnonzero(np.diff(at) > hold + 1)
        return at[np.r_[0, breaks + 1]], at[np.r_[breaks, len(at) - 1]] + 1

    def complete(self, hold: int, horizon: int) -> Spans:
        """Slots that have every feature, and the target ``horizon`` slots later."""
        columns = self.values.shape[1]
        spans = [self.spans(c, hold) for c in range(columns)]
        starts, ends = spans[-1]
        spans.append((starts - horizon, ends - horizon))
        return shared(spans)

    def at(self, slots: Integers) -> tuple[Floats, Integers, Integers]:
        """The values at some slots, (n, C), where they were measured, and the class, (n,)."""
        row = np.searchsorted(self.slots, slots, "right") - 1
        return self.values[row], self.measured[row], self.user_class[row]


@dataclass
class Grid:
    """All users on one grid.

    Attributes:
        period: Of a slot, in s.
        step: The median time between a user's rows, in s.
        users: Each user's series.
        dropped: Rows that were left out, by why.
        disorder: Rows that came after a later one of their user.
    """

    period: float
    step: float
    users: list[Series]
    dropped: dict[str, int] = field(default_factory=dict)
    disorder: int = 0


def shared(spans: list[Spans]) -> Spans:
    """Where spans of all kinds overlap."""
    edges = np.concatenate([edge for pair in spans for edge in pair])
    signs = np.concatenate([np.full(len(e), s) for pair in spans for e, s in zip(pair, (1, -1))])
    order = np.lexsort((signs, edges))  # an end before a start at the same slot
    edges, depth = edges[order], np.cumsum(signs[order])
    full = np.flatnonzero(depth == len(spans))
    return edges[full], edges[full + 1]


def on_grid(table: Table, period: float | None = None, align: bool = False) -> Grid:
    """Each user's rows on a grid of slots.

    Rows out of order are put in order; of two of a user at the same time the later in the log
    counts. Where rows are about a period apart each user has a phase of its own, so that a jitter
    of less than half a period moves no row into another slot; where they are denser a slot has
    their mean.

    Args:
        table: The rows.
        period: Of a slot, in s; default the median time between a user's rows.
        align: Let each user's clock begin at its first row, for logs taken one after the other.

    Raises:
        ValueError: No row has a time and a user.
    """
    lost = {
        "without a time": int(np.isnan(table.time).sum()),
        "without a user": int((~np.isnan(table.time) & (table.user < 0)).sum()),
    }
    good = np.flatnonzero(~np.isnan(table.time) & (table.user >= 0))
    if not len(good):
        raise ValueError(f"{table.source}: no row has both a time and a user")
    order = good[np.lexsort((table.time[good], table.user[good]))]  # stable
    user, time = table.user[order], table.time[order]
    double = np.r_[(user[1:] == user[:-1]) & (time[1:] == time[:-1]), False]
    lost["doubled, the last counts"] = int(double.sum())
    order, user, time = order[~double], user[~double], time[~double]
    first = np.r_[True, user[1:] != user[:-1]]
    gaps = np.diff(time)[~first[1:]]
    if not len(gaps):
        raise ValueError(f"{table.source}: no user has two rows")
    step = float(f"{np.median(gaps):.4g}")  # times since 1970 have no more digits to spare
    period = step if period is None else period
    if align:
        time = time - np.repeat(time[first], np.diff(np.r_[np.flatnonzero(first), len(time)]))
    time = time - time.min()
    came = good[np.argsort(table.user[good], kind="stable")]  # by user, as they came
    late = np.diff(table.time[came]) < 0
    disorder = int((late & (np.diff(table.user[came]) == 0)).sum())
    users = []
    for at in np.split(np.arange(len(order)), np.flatnonzero(first)[1:]):
        slots = _slots(time[at], period, step)
        rows = order[at]
        users.append(
            _series(table.users[user[at[0]]], slots, table.numbers[rows], table.user_class[rows])
        )
    dropped = {why: count for why, count in lost.items() if count}
    return Grid(period, step, users, dropped, disorder)


def _slots(time: Floats, period: float, step: float) -> Integers:
    """The slot of each of a user's rows."""
    if step < _STEADY * period:
        return np.floor(time / period + 1e-6).astype(np.int64)
    turns = np.exp(2j * np.pi * (time / period % 1)).mean()
    phase = np.angle(turns) / (2 * np.pi)
    slots: Integers = np.rint(time / period - phase).astype(np.int64)
    return slots


def _series(name: str, slots: Integers, numbers: Floats, codes: Integers) -> Series:
    """The mean of each slot's rows; columns and classes held on."""
    own, start = np.unique(slots, return_index=True)
    known = ~np.isnan(numbers)
    count = np.add.reduceat(known, start, axis=0, dtype=np.int64)
    total = np.add.reduceat(np.where(known, numbers, 0.0), start, axis=0)
    last = np.arange(len(own))[:, None] * np.ones(numbers.shape[1], np.int64)
    last = np.maximum.accumulate(np.where(count > 0, last, -1), axis=0)
    values = np.where(count > 0, total / np.maximum(count, 1), np.nan)
    held = np.where(last >= 0, np.take_along_axis(values, np.maximum(last, 0), axis=0), np.nan)
    measured = np.where(last >= 0, own[np.maximum(last, 0)], -1)
    code = codes[np.r_[start[1:], len(slots)] - 1]
    code = code[_held(code >= 0)]
    return Series(name, own, held, measured, code)


def _held(known: NDArray[np.bool_]) -> Integers:
    """For each place the last known one up to it, and before the first that; all, if none is."""
    if not known.any():
        return np.arange(len(known))
    at = np.maximum.accumulate(np.where(known, np.arange(len(known)), -1))
    return np.where(at < 0, np.argmax(known), at)


def check_period(grid: Grid, hold: int, source: str) -> None:
    """Raise ValueError where most slots of the grid would have no row."""
    if grid.step > (hold + 1.5) * grid.period:
        raise ValueError(
            f"period={spoken(grid.period)}: {source} has a row of a user every {spoken(grid.step)} "
            f"(median), so that most slots would have none; take that, or hold values for longer"
        )
