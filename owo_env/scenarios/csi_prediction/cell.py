"""Users of one cell, on 3GPP's tapped delay lines."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from dataclasses import astuple, dataclass
from typing import Any

import numpy as np

from owo_env import checks
from owo_env.radio import profiles
from owo_env.radio.channel import Grid, channels
from owo_env.radio.predictable import best_nmse
from owo_env.scenarios.csi_prediction.population import (
    Drawn,
    Integers,
    Population,
    named,
    trace_of_hessian,
)
from owo_env.scenarios.least_squares.source import Source

RARE = 3.0  # standard deviations that are reckoned with
FAR = 1 / 3  # of the coherence time 1/f_d: J0(2π/3) = .17 is left of the correlation there


@dataclass(frozen=True)
class User:
    """A class of radio users; speed and SNR are redrawn every round.

    Attributes:
        name: The class, for reports.
        profile: A tapped delay line of TR 38.901, for example ``"TDL-A"``.
        delay_spread_ns: r.m.s. delay spread in ns.
        speed_kmh: Mean speed in km/h.
        speed_spread_kmh: Its standard deviation; speeds are normal, their sign without meaning.
        snr_db: Mean SNR of the channel estimates in dB.
        snr_spread_db: Its standard deviation; SNRs are normal in dB.

    Raises:
        ValueError: An unknown profile, a negative speed, delay spread or deviation, or a figure
            that is not finite.
    """

    name: str
    profile: str
    delay_spread_ns: float
    speed_kmh: float
    speed_spread_kmh: float = 0.0
    snr_db: float = 20.0
    snr_spread_db: float = 0.0

    def __post_init__(self) -> None:
        checks.one_of("profile", self.profile, profiles.NAMES)
        checks.number("delay_spread_ns", self.delay_spread_ns, low=0.0)
        checks.number("speed_kmh", self.speed_kmh, low=0.0)
        checks.number("speed_spread_kmh", self.speed_spread_kmh, low=0.0)
        checks.number("snr_db", self.snr_db, low=-60.0)
        checks.number("snr_spread_db", self.snr_spread_db, low=0.0)

    def smoothness(self, past: int) -> float:
        """L of the user's loss in a mean slot, at the mean SNR, for ``past`` estimates."""
        worst = self.snr_db - RARE * self.snr_spread_db
        return trace_of_hessian(past, *(10 ** (-snr_db / 10) for snr_db in (self.snr_db, worst)))


USERS: dict[str, User] = {
    "edge": User("edge", "TDL-A", 30.0, 3.0, 1.0, 0.0, 2.0),
    "vehicular": User("vehicular", "TDL-C", 300.0, 120.0, 10.0, 20.0, 2.0),
}
EDGE_SHARE: dict[str, float] = {"edge-heavy": 0.75, "balanced": 0.5, "vehicular-heavy": 0.25}


class Cell(Population):
    """The users of a cell; a class is a profile, a speed and an SNR.

    Args:
        mix: One of ``EDGE_SHARE``.
        num_users: K; by default 4, or as many as ``users``.
        users: Instead of a mix, names of ``USERS`` or mappings of :class:`User`'s fields.
        shuffle: Whether users change places at random every round.
        drift: If not 0, every ``drift`` rounds one user becomes one of the next class.
    """

    def __init__(
        self,
        mix: str,
        num_users: int | None,
        users: Sequence[str | Mapping[str, Any]] | None,
        shuffle: bool,
        drift: int,
    ) -> None:
        checks.one_of("mix", mix, EDGE_SHARE)
        self.users = (
            _mixed(mix, num_users) if users is None else named(users, num_users, USERS, User)
        )
        self.shuffle, self.drift = shuffle, drift
        self.fixed = not (shuffle or drift)
        if drift and len(self.classes) < 2:
            raise ValueError(f"drift={drift}: needs users of at least two classes")
        self._start = np.array([self.classes.index(user) for user in self.users])
        self._names = np.array(self.names)
        self._profile = np.array([profiles.NAMES.index(user.profile) for user in self.classes])
        # From the delay spread on, a column a class.
        self._numbers = np.array([astuple(user)[2:] for user in self.classes], float).T

    def smoothness(self, past: int) -> float:
        return max(user.smoothness(past) for user in self.users)

    def draw(self, rng: Source, number: Integers, grid: Grid, samples: int) -> Drawn:
        places = self._places(rng, number)
        who = places.ravel()
        delay_ns, speed_kmh, speed_spread, snr_db, snr_spread = self._numbers[:, who]
        speed = (speed_kmh + speed_spread * rng.standard_normal(who.size)) / 3.6
        snr_db += snr_spread * rng.standard_normal(who.size)
        h = channels(rng, grid, self._profile[who], 1e-9 * delay_ns, speed, samples)
        return Drawn(h, snr_db.reshape(places.shape), {"user_class": self._names[places]})

    def _places(self, rng: np.random.Generator, number: Integers) -> Integers:
        """The class of the user at each place in the rounds of these numbers, (rounds, K)."""
        users = len(self._start)
        changes = (number[:, None] - 1) // self.drift if self.drift else np.zeros((len(number), 1))
        turns = (changes.astype(int) + users - 1 - np.arange(users)) // users
        places = (self._start + turns) % len(self.classes)
        order = np.argsort(rng.random(places.shape), axis=1)
        return np.take_along_axis(places, order, axis=1) if self.shuffle else places

    def warn(self, grid: Grid, past: int, horizon: int) -> None:
        for user in self.classes:
            _warn_of_speed(user, grid, past, horizon)


def _mixed(mix: str, num_users: int | None) -> tuple[User, ...]:
    """The users of a mix, those at the edge first."""
    count = checks.whole("num_users", 4 if num_users is None else num_users, low=2)
    edge = min(max(round(EDGE_SHARE[mix] * count), 1), count - 1)
    return (USERS["edge"],) * edge + (USERS["vehicular"],) * (count - edge)


def _warn_of_speed(user: User, grid: Grid, past: int, horizon: int) -> None:
    """Say so where a user's channel is aliased, or turns too far until what is predicted."""
    typical, top = (
        float(grid.doppler((user.speed_kmh + spreads * user.speed_spread_kmh) / 3.6))
        for spreads in (0, RARE)
    )
    said = []
    if top * grid.slot > 0.5:
        said.append(
            f"a Doppler shift of up to {top:.0f} Hz is above {0.5 / grid.slot:.0f} Hz, half the "
            "slot rate, and is aliased"
        )
    if typical * grid.slot * horizon > FAR:
        best = best_nmse(user.profile, typical * grid.slot, user.snr_db, past, horizon)
        said.append(
            f"it is to be predicted {1e3 * grid.slot * horizon:g} ms ahead, beyond a third of its "
            f"coherence time 1/f_d = {1e3 / typical:.2g} ms: the best filter of {past} estimates, "
            f"made for this user alone, has an NMSE of {10 * np.log10(best):.2f} dB"
        )
    if said:
        warnings.warn(f"user {user.name!r}: {'; '.join(said)}", stacklevel=4)
