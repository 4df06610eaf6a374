"""What users of a site measure along their streets, and which places of it are a task."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch.utils.data import TensorDataset

from owo_env import checks
from owo_env.radio.channel import Grid, phasor
from owo_env.radio.site.array import array_channels, by_angle_and_delay
from owo_env.radio.site.file import Site
from owo_env.radio.site.walk import Stretches
from owo_env.scenarios.split_learning.draws import Draw, generator
from owo_env.scenarios.split_learning.tasks import Task

Complex = NDArray[np.complex64]

STEP = 0.05  # m between places; in between, only the phases of paths have moved
HELD_OUT = 128
NORM = 4.0  # of a channel as the model sees it


class Streets:
    """The channels at the beginning of a site's streets, every 5 cm where they are served.

    A channel is that of a row of antennas, by angle and delay, and of norm 4: what is fed back is
    its shape.

    Args:
        site: The site.
        grid: Subcarriers.
        antennas: At the transmitter.
        metres: How far users go along a street.
    """

    def __init__(self, site: Site, grid: Grid, antennas: int, metres: float) -> None:
        self._site, self._grid, self._antennas = site, grid, antennas
        self.size = round(metres / STEP) + 1  # places of a street
        self._walks = Stretches(site, np.ones(len(site.street), bool))
        self._ways = [STEP * np.arange(int(m / STEP + 1e-6) + 1.0) for m in self._walks.length]

    @property
    def names(self) -> list[str]:
        """Of the streets that are long enough."""
        return [name for name, have in self._places().items() if have >= self.size]

    def chosen(self, users: int | None, streets: Sequence[str] | None) -> tuple[str, ...]:
        """The streets of ``users``: those named, or the site's first.

        Raises:
            ValueError: A street that is not there or too short, or not enough of them.
        """
        if streets is not None:
            if users not in (None, len(streets)):
                raise ValueError(f"num_users={users}: but {len(streets)} streets are given")
            return self.named("streets", streets, at_least=2)
        count = checks.whole("num_users", 4 if users is None else users, low=2)
        if count > len(self.names):
            raise ValueError(
                f"num_users={count}: the site has {len(self.names)} streets of {self._metres:g} m; "
                "name those of the users with streets=, where one may come twice"
            )
        return tuple(self.names[:count])

    def named(self, argument: str, names: Sequence[str], at_least: int) -> tuple[str, ...]:
        """The names of streets, or ValueError."""
        if isinstance(names, str) or not isinstance(names, Sequence) or len(names) < at_least:
            raise ValueError(f"{argument}={names!r}: must be a list of {at_least} names or more")
        have = self._places()
        for name in names:
            checks.one_of("street", name, have)
            if have[name] < self.size:
                raise ValueError(
                    f"{argument}: {name!r} is served over {STEP * have[name]:.0f} m, which "
                    f"stretch_m={self._metres:g} must not exceed"
                )
        return tuple(names)

    def channels(self, name: str) -> Complex:
        """Along a street, (places, antennas·subcarriers)."""
        place, ahead = (np.concatenate(parts)[: self.size] for parts in zip(*self._walked(name)))
        h = array_channels(self._site, self._grid, place, ahead, self._antennas)
        h = by_angle_and_delay(h).reshape(self.size, -1)
        return (h * (NORM / np.linalg.norm(h, axis=1, keepdims=True))).astype(np.complex64)

    @property
    def _metres(self) -> float:
        return STEP * (self.size - 1)

    def _places(self) -> dict[str, int]:
        """How many places each street has."""
        found = {street.name: 0 for street in self._site.streets}
        for at, way in zip(self._walks.street, self._ways):
            found[self._site.streets[at].name] += len(way)
        return found

    def _walked(self, name: str) -> list[tuple[NDArray[np.integer], NDArray[np.float64]]]:
        """Along each stretch of a street: the site's nearest places, and how far ahead of them."""
        found = []
        for stretch, (at, way) in enumerate(zip(self._walks.street, self._ways)):
            if self._site.streets[at].name == name:
                place, ahead, _ = self._walks.walk(np.array([stretch]), way[None])
                found.append((place[0], ahead[0]))
        return found


class Places:
    """The users' tasks: places of their streets, of which a round has none twice.

    Args:
        town: The streets.
        streets: The users' by name, before any shuffle.
        shuffle: Whether users take each other's streets at random every round.
        held_out: Streets that judge all users, instead of their own.
        num_slots: m.
        batch_size: B.

    Raises:
        ValueError: A street has too few places.
    """

    draws = False  # from no global generator

    def __init__(
        self,
        town: Streets,
        streets: Sequence[str],
        shuffle: bool,
        held_out: Sequence[str],
        num_slots: int,
        batch_size: int,
    ) -> None:
        self._shuffle, self._streets = shuffle, np.array(streets)
        m = checks.whole("num_slots", num_slots, low=1)
        self._jobs = m * checks.whole("batch_size", batch_size, low=1)
        if self._jobs + HELD_OUT > town.size:
            raise ValueError(
                f"num_slots={m}, batch_size={batch_size}: with the {HELD_OUT} held out these are "
                f"{self._jobs + HELD_OUT} places, but stretch_m leaves {town.size}, 5 cm apart"
            )
        pools = {name: town.channels(name) for name in {*streets, *held_out}}
        self._pools = [pools[name] for name in streets]
        self._judging = np.concatenate([pools[name] for name in held_out]) if held_out else None

    def whose(self, number: int, seed: int) -> NDArray[np.integer]:
        """Whose street each user is on in round ``number`` (from 1), (K,)."""
        users = len(self._streets)
        if not self._shuffle:
            return np.arange(users)
        return generator(Draw.TASKS, seed, number).permutation(users)

    def streets(self, number: int, seed: int) -> NDArray[np.str_]:
        """The users' streets in a round by name, (K,)."""
        return self._streets[self.whose(number, seed)]

    def task(self, user: int, number: int, seed: int) -> Task:
        """Of a user in a round."""
        pool = self._pools[self.whose(number, seed)[user]]
        rng = generator(Draw.SHARE, seed, number, user)
        chosen = rng.permutation(len(pool))[: self._jobs + HELD_OUT]
        train, rest = pool[chosen[: self._jobs]], pool[chosen[self._jobs :]]
        if self._judging is not None:
            rest = self._judging[rng.permutation(len(self._judging))[:HELD_OUT]]
        heldout = _reals(rest, rng)
        return Task(_reals(train, rng), heldout, heldout)


def _reals(h: Complex, rng: np.random.Generator) -> TensorDataset:
    """What a model sees and is to reconstruct, at a random phase: (n, 2·size), real then
    imaginary."""
    h = h * phasor(rng.random((len(h), 1)))
    x = torch.from_numpy(np.concatenate([h.real, h.imag], axis=1))
    return TensorDataset(x, x)
