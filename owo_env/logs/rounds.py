"""Who plays in which round: K places for users who come and go."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from owo_env.logs.grid import Integers, Spans

RULE = (
    "a round begins as soon as {users} users are there for all its {slots} slots; a user keeps its "
    "place from round to round while it can, a free place goes to whoever has played least"
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
    """Rounds in which each place has one user, who is there throughout (``RULE``).

    Args:
        spans: Of each user, where nothing is missing.
        slots: m.
        users: K.
    """
    first = _firsts(spans, slots, users)
    who = np.empty((len(first), users), np.int64)
    owner, starts, ends = _feasible(spans, slots)
    played = np.zeros(len(spans), np.int64)
    places = np.full(users, -1)
    for t, n in enumerate(first):
        there = owner[(starts <= n) & (n < ends)]
        places = np.where(np.isin(places, there), places, -1)
        others = np.setdiff1d(there, places)
        free = np.flatnonzero(places < 0)
        places[free] = others[np.argsort(played[others], kind="stable")][: len(free)]
        played[places] += 1
        who[t] = places
    return Rounds(first, who, np.ones((len(first), slots, users), bool))


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
