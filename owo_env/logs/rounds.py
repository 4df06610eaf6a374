"""Who plays in which round: K places for users who come and go."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from owo_env.logs.grid import Integers, Spans

RULES = {
    "leave-out": "a round begins as soon as {users} users are there for all its {slots} slots",
    "mask": "rounds follow one another; in each a user is absent where it has no figures (a mask)",
}
"""What is done about absent users, by its name."""
PLACES = (
    "a user keeps its place from round to round while it can, a free place goes to whoever has "
    "played least"
)


@dataclass
class Rounds:
    """Which slots are played, and by whom.

    Attributes:
        first: Each round's first slot, (T,).
        who: The user at each place, (T, K).
        active: Whether that user's figures are there, (T, m, K).
    """

    first: Integers
    who: Integers
    active: NDArray[np.bool_]


def most_at_once(spans: list[Spans], slots: int) -> int:
    """How many users are there at once for a whole round, at most."""
    return int(max(_counts(spans, slots)[1], default=0))


def best_number(spans: list[Spans], slots: int) -> int:
    """The number of users with which most rounds of users are played; at least 2."""
    numbers = range(2, most_at_once(spans, slots) + 1)
    return max(numbers, key=lambda k: (k * len(_firsts(spans, slots, k)), k), default=2)


def whole(spans: list[Spans], slots: int, users: int) -> Rounds:
    """Rounds in which each place has one user, who is there throughout.

    Args:
        spans: Of each user, where nothing is missing.
        slots: m.
        users: K.
    """
    first = _firsts(spans, slots, users)
    who = np.empty((len(first), users), np.int64)
    owner, starts, ends = _feasible(spans, slots)
    seats = _Seats(len(spans), users)
    for t, n in enumerate(first):
        who[t] = seats.taken(owner[(starts <= n) & (n < ends)])
    return Rounds(first, who, np.ones((len(first), slots, users), bool))


def masked(spans: list[Spans], slots: int, users: int) -> Rounds:
    """Rounds one after the other, with at least two users each; who is absent has a mask.

    A place that nobody takes is its last user's, who is absent.

    Args:
        spans: Of each user, where nothing is missing.
        slots: m.
        users: K.
    """
    begin, there = _windows(spans, slots)
    rounds = np.flatnonzero(there.sum(axis=1) >= 2)
    who = np.empty((len(rounds), users), np.int64)
    seats = _Seats(len(spans), users)
    for t, window in enumerate(rounds):
        who[t] = seats.taken(np.flatnonzero(there[window]))
    active = np.zeros((len(rounds), slots, users), bool)
    for user in np.unique(who[who >= 0]):
        line = np.zeros((len(there), slots), bool)
        for start, end in zip(*spans[user]):
            line.reshape(-1)[start - begin : end - begin] = True
        rows, places = np.nonzero(who == user)
        active[rows, :, places] = line[rounds[rows]]
    for column in who.T if len(who) else ():
        last = np.maximum.accumulate(np.where(column >= 0, np.arange(len(column)), -1))
        column[:] = column[np.where(last < 0, np.argmax(column >= 0), last)]
    return Rounds(begin + slots * rounds, who, active)


def most_in_a_round(spans: list[Spans], slots: int) -> tuple[int, int]:
    """How many users are there in a round, at most and in the median, for a slot or more."""
    counts = _windows(spans, slots)[1].sum(axis=1)
    busy = counts[counts >= 2]
    return int(max(counts, default=0)), int(np.median(busy)) if len(busy) else 0


def _windows(spans: list[Spans], slots: int) -> tuple[int, NDArray[np.bool_]]:
    """Where the first round begins, and who is there at all in each, (rounds, users)."""
    found = [(starts[0], ends[-1]) for starts, ends in spans if len(starts)]
    if not found:
        return 0, np.zeros((0, len(spans)), bool)
    begin, stop = min(s for s, _ in found), max(e for _, e in found)
    there = np.zeros((-(-int(stop - begin) // slots), len(spans)), bool)
    for user, (starts, ends) in enumerate(spans):
        for start, end in zip(starts, ends):
            there[(start - begin) // slots : (end - 1 - begin) // slots + 1, user] = True
    return int(begin), there


class _Seats:
    """K places, and who has played how often."""

    def __init__(self, users: int, places: int) -> None:
        self._played = np.zeros(users, np.int64)
        self._places = np.full(places, -1)

    def taken(self, there: Integers) -> Integers:
        """Who sits where, of those who are there; −1 where nobody is left."""
        places = np.where(np.isin(self._places, there), self._places, -1)
        others = np.setdiff1d(there, places)
        free = np.flatnonzero(places < 0)
        new = others[np.argsort(self._played[others], kind="stable")][: len(free)]
        places[free[: len(new)]] = new
        self._played[places[places >= 0]] += 1
        self._places = places
        return places


def _feasible(spans: list[Spans], slots: int) -> tuple[Integers, Integers, Integers]:
    """Where a whole round of a user may begin: whose, from where, to where (not included)."""
    owner = np.repeat(np.arange(len(spans)), [len(starts) for starts, _ in spans])
    starts, ends = (np.concatenate([span[i] for span in spans]) for i in (0, 1))
    ends = ends - slots + 1
    long = ends > starts
    return owner[long], starts[long], ends[long]


def _counts(spans: list[Spans], slots: int) -> tuple[Integers, Integers]:
    """Slots at which the number of users who could begin changes, and to what."""
    _, starts, ends = _feasible(spans, slots)
    edges, place = np.unique(np.concatenate([starts, ends]), return_inverse=True)
    change = np.zeros(len(edges), np.int64)
    np.add.at(change, place, np.r_[np.ones(len(starts), int), -np.ones(len(ends), int)])
    return edges, np.cumsum(change)


def _firsts(spans: list[Spans], slots: int, users: int) -> Integers:
    """The first slot of each round: as soon as there are enough users, and the last is over."""
    edges, count = _counts(spans, slots)
    enough = np.flatnonzero(count >= users)
    firsts: list[int] = []
    free = -(2**62)
    for i in enough.tolist():
        begin, end = max(int(edges[i]), free), int(edges[i + 1])
        if begin < end:
            found = range(begin, end, slots)
            firsts += found
            free = found[-1] + slots
    return np.array(firsts, np.int64)
