"""Who the users are, and how their channels are drawn: what a cell and a site have in common."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from owo_env import checks
from owo_env.radio.channel import Complex, Grid
from owo_env.scenarios.least_squares.source import Source

Integers = NDArray[np.integer]
Kind = TypeVar("Kind")


@dataclass(frozen=True)
class Drawn:
    """The channels of some rounds.

    Attributes:
        h: (rounds·K, samples, subcarriers), of any power.
        snr_db: Of their estimates, (rounds, K).
        about: What ``info`` tells of each round at its end; arrays (rounds, …).
    """

    h: Complex
    snr_db: NDArray[np.float64]
    about: dict[str, NDArray[Any]]


class Population(ABC):
    """The users of a scenario.

    Attributes:
        users: The users, before any drift or shuffle.
        classes: Their distinct classes, in order of appearance.
        fixed: Whether user k is always of the same class.
    """

    users: tuple[Any, ...]
    fixed: bool

    @cached_property
    def classes(self) -> tuple[Any, ...]:
        return tuple(dict.fromkeys(self.users))

    @property
    def names(self) -> list[str]:
        """Of the classes."""
        return [kind.name for kind in self.classes]

    @abstractmethod
    def smoothness(self, past: int) -> float:
        """L of the worst user's loss in a mean slot, for a filter of ``past`` estimates."""

    @abstractmethod
    def draw(self, rng: Source, number: Integers, grid: Grid, samples: int) -> Drawn:
        """The rounds of these numbers (from 1), each of ``samples`` slots."""

    def warn(self, grid: Grid, past: int, horizon: int) -> None:
        """Say where there is little left to predict."""


def trace_of_hessian(past: int, mean: float, worst: float) -> float:
    """L of a user's loss in a mean slot: 2P(1 + 10^(−SNR/10)).

    That is the trace of the Hessian, of a channel of unit power and noise. Its largest eigenvalue
    is at most 2(P + 10^(−SNR/10)), since noise is white; where the noise spreads so far that this
    is more for the ``worst``, it is what is returned.

    Args:
        past: P, how many estimates the filter sees.
        mean: Noise over signal, 10^(−SNR/10), as it mostly is.
        worst: As it is at worst.
    """
    return 2 * max(past * (1 + mean), past + worst)


def named(
    users: Sequence[str | Mapping[str, Any]],
    num_users: int | None,
    known: Mapping[str, Kind],
    kind: type[Kind],
) -> tuple[Kind, ...]:
    """The users of a list: names among the ``known``, or mappings of a ``kind``'s fields.

    Raises:
        ValueError: Not a list of two or more, another number than ``num_users``, or an unknown
            name.
        TypeError: A user has an unknown field, or lacks one.
    """
    if isinstance(users, str) or not isinstance(users, Sequence) or len(users) < 2:
        raise ValueError(f"users={users!r}: must be a list of at least two users")
    if num_users is not None and num_users != len(users):
        raise ValueError(f"num_users={num_users}: but {len(users)} users are given")
    return tuple(_one(user, known, kind) for user in users)


def _one(user: str | Mapping[str, Any], known: Mapping[str, Kind], kind: type[Kind]) -> Kind:
    if isinstance(user, Mapping):
        checks.keywords(f"the user {dict(user)!r}", kind, user)
        return kind(**user)
    if not isinstance(user, str) or user not in known:
        raise checks.unknown("user", user, known)
    return known[user]
