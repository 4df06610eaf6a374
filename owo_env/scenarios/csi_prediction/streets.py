"""Users on the streets of a ray-traced site."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from owo_env import checks
from owo_env.radio.channel import Grid
from owo_env.radio.site.budget import Budget
from owo_env.radio.site.channel import channels
from owo_env.radio.site.file import KINDS, Site
from owo_env.radio.site.walk import Stretches
from owo_env.scenarios.csi_prediction.population import (
    Drawn,
    Integers,
    Population,
    named,
    trace_of_hessian,
)
from owo_env.scenarios.least_squares.source import Source


@dataclass(frozen=True)
class Mover:
    """A class of users on a site; speed and place are redrawn every round.

    Attributes:
        name: The class, for reports.
        speed_kmh: Mean speed in km/h.
        speed_spread_kmh: Its standard deviation; speeds are normal, a negative one walks back.
        streets: Names or kinds of the streets where they are; none: all that are not indoor.

    Raises:
        ValueError: A negative speed or deviation, or a figure that is not finite.
    """

    name: str
    speed_kmh: float
    speed_spread_kmh: float = 0.0
    streets: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        checks.number("speed_kmh", self.speed_kmh, low=0.0)
        checks.number("speed_spread_kmh", self.speed_spread_kmh, low=0.0)
        if isinstance(self.streets, str) or not isinstance(self.streets, Sequence):
            raise ValueError(f"streets={self.streets!r}: must be a list of names or kinds")
        object.__setattr__(self, "streets", tuple(self.streets))

    def goes(self, site: Site) -> NDArray[np.bool_]:
        """Which streets of a site it is on.

        Raises:
            ValueError: One of its streets is neither a name nor a kind there.
        """
        known = [street.name for street in site.streets] + list(KINDS)
        for name in self.streets:
            checks.one_of("street", name, known)
        return np.array([self._goes(street.name, street.kind) for street in site.streets])

    def _goes(self, name: str, kind: str) -> bool:
        return bool({name, kind} & {*self.streets}) if self.streets else kind != "indoor"


MOVERS: dict[str, Mover] = {
    "walking": Mover("walking", 3.6, 0.7),
    "driving": Mover("driving", 43.0, 9.0),
    "indoor": Mover("indoor", 1.8, 0.4, ("indoor",)),
}


class OnStreets(Population):
    """The users of a site; a class is a speed and the streets where it is.

    Args:
        site: The site.
        budget: What makes gains SNRs.
        num_users: K; by default 4, or as many as ``users``.
        users: Names of ``MOVERS`` or mappings of :class:`Mover`'s fields.
        shuffle: Whether users take each other's parts at random every round.
        drift: 0: a new place every round; else users wander on along their streets, and each has a
            new stretch every ``drift`` rounds, in which it goes along the whole of one.

    Raises:
        ValueError: A street that the site does not have, no place above the noise, or more users
            than there are places.
    """

    def __init__(
        self,
        site: Site,
        budget: Budget,
        num_users: int | None,
        users: Sequence[str | Mapping[str, Any]] | None,
        shuffle: bool,
        drift: int,
    ) -> None:
        self.site, self.shuffle, self.drift = site, shuffle, drift
        self._budget = budget
        self._snr_db = budget.snr_db(site.gain_db)
        self._gain = 10 ** (site.gain_db / 10)
        served = ~np.isnan(self._snr_db)
        inside = any(site.streets[n].kind == "indoor" for n in np.unique(site.street[served]))
        self.users = (
            _shared(num_users, inside) if users is None else named(users, num_users, MOVERS, Mover)
        )
        self.fixed = not shuffle
        self._class = np.array([self.classes.index(user) for user in self.users])
        self._names = np.array(self.names)
        self._speeds = np.array([(c.speed_kmh, c.speed_spread_kmh) for c in self.classes]).T / 3.6
        self._stretches = Stretches(site, served)
        self._open = [self._allowed(kind, served) for kind in self.classes]

    def _allowed(self, kind: Mover, served: NDArray[np.bool_]) -> NDArray[np.integer]:
        """The stretch of each place where a class may be."""
        on = kind.goes(self.site)[self.site.street]
        where = self._stretches.of[on[self._stretches.places]]
        if not len(where):
            raise ValueError(
                f"site: no place for {kind.name!r} users has the {self._budget.snr_limits_db[0]:g} "
                f"dB of snr_limits_db; their best link has a gain of "
                f"{self.site.gain_db[on].max(initial=-np.inf):.0f} dB, power_dbm is "
                f"{self._budget.power_dbm:g} and the noise {self._budget.noise_dbm:.0f} dBm"
            )
        count = sum(user == kind for user in self.users)
        if count > len(where):
            raise ValueError(
                f"users: {count} {kind.name!r} users, but {len(where)} places for them"
            )
        return where

    def smoothness(self, past: int) -> float:
        noise = 10 ** (-self._snr_db / 10)
        worst = []
        for kind in self.classes:
            here = noise[kind.goes(self.site)[self.site.street] & ~np.isnan(noise)]
            worst.append(trace_of_hessian(past, float(here.mean()), float(here.max())))
        return max(worst)

    def draw(self, rng: Source, number: Integers, grid: Grid, samples: int) -> Drawn:
        stretch, way = self._wander(rng, number) if self.drift else self._anywhere(rng, len(number))
        mean, spread = self._speeds[:, self._class]
        speed = mean + spread * rng.standard_normal(way.shape)
        order = np.argsort(rng.random(way.shape), axis=1)
        if not self.shuffle:
            order[:] = np.arange(order.shape[1])
        stretch, way, speed = (np.take_along_axis(a, order, 1) for a in (stretch, way, speed))
        gone = way.reshape(-1, 1) + speed.reshape(-1, 1) * grid.slot * np.arange(samples)
        place, ahead, _ = self._stretches.walk(stretch.ravel(), gone)
        start = self.site.position[place[:, 0]].reshape(*way.shape, 2)
        snr_db = self._budget.snr_db(10 * np.log10(self._gain[place].mean(axis=1)))
        about = {
            "user_class": self._names[self._class[order]],
            "position": start.round(1),
            "street": self._stretches.street[stretch].astype(int),
        }
        h = channels(self.site, grid, place, ahead)
        return Drawn(h, snr_db.reshape(way.shape), about)

    def _anywhere(self, rng: Source, rounds: int) -> tuple[Integers, NDArray[np.float64]]:
        """The stretch of each part, and where on its way to and fro, (rounds, K)."""
        drawn = rng.random((2, rounds, len(self.users)))
        stretch = np.empty(drawn.shape[1:], int)
        for part, kind in enumerate(self._class):
            open_ = self._open[kind]
            stretch[:, part] = open_[(drawn[0, :, part] * len(open_)).astype(int)]
        return stretch, drawn[1] * 2 * self._stretches.length[stretch]

    def _wander(self, rng: Source, number: Integers) -> tuple[Integers, NDArray[np.float64]]:
        new_stretch, new_way = self._anywhere(rng, len(number))
        parts = np.arange(len(self.users))
        later = parts * self.drift // len(parts)  # not all have a new stretch at once
        for r, n in enumerate(number):
            stays = ((n - 1 - later) % self.drift != 0) & (n > 1)
            before = rng.carried.get("stretch", new_stretch[r]), rng.carried.get("way", new_way[r])
            step = self._stretches.length[before[0]] / self.drift
            new_stretch[r] = np.where(stays, before[0], new_stretch[r])
            new_way[r] = np.where(stays, before[1] + step, new_way[r])
            rng.carried.update(stretch=new_stretch[r].copy(), way=new_way[r].copy())
        return new_stretch, new_way


def _shared(num_users: int | None, inside: bool) -> tuple[Mover, ...]:
    """Half of them drive; the others walk and, where somebody is served there, are indoors."""
    count = checks.whole("num_users", 4 if num_users is None else num_users, low=2)
    kinds = ["walking"] + ["indoor"] * inside
    others = [MOVERS[kinds[n % len(kinds)]] for n in range(count // 2)]
    return (*others, *[MOVERS["driving"]] * (count - len(others)))
