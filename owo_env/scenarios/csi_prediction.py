"""Users of one cell predict their next radio channel with one shared filter."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from dataclasses import astuple, dataclass
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from owo_env import checks
from owo_env.checks import Each
from owo_env.figure import Figure
from owo_env.problem import Problem
from owo_env.radio import profiles
from owo_env.radio.channel import Grid, channels, complex_normal
from owo_env.radio.numerology import CARRIER_GHZ, observed
from owo_env.radio.predictable import best_nmse
from owo_env.scenarios.least_squares.measured import Measured, Recording

RARE = 3.0  # standard deviations that are reckoned with
FAR = 1 / 3  # of the coherence time 1/f_d: J0(2π/3) = .17 is left of the correlation there
NMSE = Figure(
    "nmse_db",
    "NMSE dB",
    "mean NMSE in dB of the predicted channel, relative to its power,",
    better=-1,
    digits=2,
    reads="loss",
    per_user=True,
    form="dB",
)


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
        """L of the user's loss in a mean slot: 2P(1 + 10^(−SNR/10)), at the mean SNR.

        That is the trace of the Hessian, of a channel of unit power and noise. Its largest
        eigenvalue is at most 2(P + 10^(−SNR/10)), since noise is white; where the SNR spreads so
        far that this is more at three standard deviations below, it is what is returned.

        Args:
            past: P, how many estimates the filter sees.
        """
        worst = self.snr_db - RARE * self.snr_spread_db
        mean, lowest = (10 ** (-snr_db / 10) for snr_db in (self.snr_db, worst))
        return 2 * max(past * (1 + mean), past + lowest)


USERS: dict[str, User] = {
    "edge": User("edge", "TDL-A", 30.0, 3.0, 1.0, 0.0, 2.0),
    "vehicular": User("vehicular", "TDL-C", 300.0, 120.0, 10.0, 20.0, 2.0),
}
EDGE_SHARE: dict[str, float] = {"edge-heavy": 0.75, "balanced": 0.5, "vehicular-heavy": 0.25}


class CsiPrediction(Measured):
    """Next-slot channel prediction: least squares, d = P = 4 real taps, Θ = [−2, 2]⁴, x_1 = 0.

    A user sees its P latest noisy channel estimates on 16 subcarriers 360 kHz apart and predicts
    the true channel of the next slot, 0.5 ms later at 3.5 GHz (all of which can be set); the loss
    is the mean of |h − θᵀx|² over subcarriers. A user's true channel has mean power 1 in every
    round, so that the loss is an NMSE, and predicting zero costs 1.

    ``smoothness`` is that of the worst user's mean slot; fading exceeds it in single slots (2% of
    them). ``gradient_bound`` holds where utilities are at least u_min. A user whose channel turns
    so fast that nothing is left to predict is warned of, with the least NMSE that theory allows.

    Args:
        num_slots: [slots] m, of a round.
        mix: How many users are at the cell's edge: ``"edge-heavy"`` (¾), ``"balanced"`` (½) or
            ``"vehicular-heavy"`` (¼), at least one of each class.
        num_users: [users] K ≥ 2; by default 4, or as many as ``users``.
        users: The users instead of a mix: names of ``USERS`` or mappings of :class:`User`'s fields.
        shuffle: Whether users change places at random every round; ``info["user_class"]`` tells
            after a round who was where.
        drift: [rounds] If not 0, every ``drift`` rounds one user (each in turn) becomes one of the
            next class, so that the mix changes slowly and a learned start ages.
        adversary: ``"none"``, or ``"blocks"``: the first user's target changes its sign every
            ⌊√m⌋ slots.
        l_max: Utility is l_max − loss; a number, or K.
        utility_bounds: (u_min, u_max) of the dual space, each a number, or K.
        carrier_ghz: Carrier frequency in GHz, at most 100.
        subcarrier_spacing_khz: Distance between observed subcarriers in kHz; default one in each
            resource block, 180·2^μ kHz.
        subcarriers: How many subcarriers are observed.
        slot_ms: Time from one estimate to the next in ms; default a slot, 2^−μ ms.
        numerology: 3GPP's μ, 0 to 6; ``slot_ms`` and ``subcarrier_spacing_khz`` must then be whole
            multiples of its slot, 2^−μ ms, and its subcarrier spacing, 15·2^μ kHz. Without it the
            defaults are those of μ = 1, and any figures are taken.
        past: P = d, how many of the latest estimates the filter sees, one a slot.
        horizon: How many slots ahead it predicts.

    Attributes:
        grid: Where channels are observed.
        users: The users, before any drift or shuffle.
        classes: Their distinct classes, in order of appearance.

    Raises:
        ValueError: A setting is outside its domain.
        TypeError: A user has an unknown field, or lacks one.
    """

    name: ClassVar[str] = "csi-prediction"
    figures = (NMSE,)
    air = ("snr_db", "user_class")

    def __init__(
        self,
        num_slots: int = 64,
        mix: str = "vehicular-heavy",
        num_users: int | None = None,
        users: Sequence[str | Mapping[str, Any]] | None = None,
        shuffle: bool = True,
        drift: int = 0,
        adversary: str = "none",
        l_max: Each = 1.25,
        utility_bounds: tuple[Each, Each] = (0.4, 1.25),
        carrier_ghz: float = CARRIER_GHZ,
        subcarrier_spacing_khz: float | None = None,
        subcarriers: int = 16,
        slot_ms: float | None = None,
        numerology: int | None = None,
        past: int = 4,
        horizon: int = 1,
    ) -> None:
        self.grid = observed(carrier_ghz, subcarrier_spacing_khz, subcarriers, slot_ms, numerology)
        self.past = checks.whole("past", past, low=1)
        self.horizon = checks.whole("horizon", horizon, low=1)
        self.users = _users(mix, num_users, users)
        self.classes = tuple(dict.fromkeys(self.users))
        self.shuffle = checks.flag("shuffle", shuffle)
        self.drift = checks.whole("drift", drift, low=0)
        if self.drift and len(self.classes) < 2:
            raise ValueError(f"drift={drift}: needs users of at least two classes")
        names = [user.name for user in self.classes]
        if len(set(names)) < len(names):
            raise ValueError(f"users: different classes must have different names, got {names}")
        problem = Problem(
            num_users=len(self.users),
            dim=self.past,
            num_slots=num_slots,
            utility_bounds=utility_bounds,
            l_max=l_max,
            initial_model=np.zeros(self.past),
            model_bounds=(-2.0, 2.0),
            smoothness=max(user.smoothness(self.past) for user in self.users),
            slot_ms=1e3 * self.grid.slot,
        )
        super().__init__(problem, adversary)
        for user in self.classes:
            _warn_of_speed(user, self.grid, self.past, self.horizon)
        if not (self.shuffle or self.drift):
            self.user_classes = [user.name for user in self.users]
        self._start = np.array([self.classes.index(user) for user in self.users])
        self._names = np.array(names)
        self._profile = np.array([profiles.NAMES.index(user.profile) for user in self.classes])
        # From the delay spread on, a column a class.
        self._numbers = np.array([astuple(user)[2:] for user in self.classes], float).T

    @property
    def class_names(self) -> Sequence[str]:
        return self._names.tolist()

    def measure(self, rng: np.random.Generator, first_round: int) -> Recording:
        rounds, m, past = self.rounds_per_block, self.problem.num_slots, self.past
        places = self._places(rng, first_round + np.arange(rounds))
        who = places.ravel()
        delay_ns, speed_kmh, speed_spread, snr_db, snr_spread = self._numbers[:, who]
        speed = (speed_kmh + speed_spread * rng.standard_normal(who.size)) / 3.6
        snr_db += snr_spread * rng.standard_normal(who.size)
        seen = past + m - 1  # slots whose channels are estimated
        # (rounds·K, seen + horizon, subcarriers)
        h = channels(
            rng, self.grid, self._profile[who], 1e-9 * delay_ns, speed, seen + self.horizon
        )
        h /= np.sqrt(np.mean(h.real**2 + h.imag**2, axis=(1, 2), keepdims=True))
        noise = complex_normal(rng, (who.size, seen, self.grid.subcarriers))
        noise *= (10 ** (-snr_db / 20)).astype(np.float32)[:, None, None]
        noise += h[:, :seen]
        windows = np.lib.stride_tricks.sliding_window_view(noise, past, axis=1)[..., ::-1]
        shape = (rounds, -1, m, self.grid.subcarriers)
        return Recording(
            features=windows.reshape(*shape, past).swapaxes(1, 2),
            targets=h[:, -m:].reshape(shape).swapaxes(1, 2),
            about={"user_class": self._names[places], "_snr_db": snr_db.reshape(rounds, -1)},
        )

    def _places(self, rng: np.random.Generator, number: NDArray[np.integer]) -> NDArray[np.integer]:
        """The class of the user at each place in the rounds of these numbers, (rounds, K)."""
        users = len(self._start)
        changes = (number[:, None] - 1) // self.drift if self.drift else np.zeros((len(number), 1))
        turns = (changes.astype(int) + users - 1 - np.arange(users)) // users
        places = (self._start + turns) % len(self.classes)
        order = np.argsort(rng.random(places.shape), axis=1)
        return np.take_along_axis(places, order, axis=1) if self.shuffle else places


def _users(
    mix: str, num_users: int | None, users: Sequence[str | Mapping[str, Any]] | None
) -> tuple[User, ...]:
    """The users that the arguments name, edge users first."""
    checks.one_of("mix", mix, EDGE_SHARE)
    if users is None:
        count = checks.whole("num_users", 4 if num_users is None else num_users, low=2)
        edge = min(max(round(EDGE_SHARE[mix] * count), 1), count - 1)
        return (USERS["edge"],) * edge + (USERS["vehicular"],) * (count - edge)
    if isinstance(users, str) or not isinstance(users, Sequence) or len(users) < 2:
        raise ValueError(f"users={users!r}: must be a list of at least two users")
    if num_users is not None and num_users != len(users):
        raise ValueError(f"num_users={num_users}: but {len(users)} users are given")
    return tuple(_user(user) for user in users)


def _user(user: str | Mapping[str, Any]) -> User:
    if isinstance(user, Mapping):
        checks.keywords(f"the user {dict(user)!r}", User, user)
        return User(**user)
    if not isinstance(user, str) or user not in USERS:
        raise checks.unknown("user", user, USERS)
    return USERS[user]


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
        warnings.warn(f"user {user.name!r}: {'; '.join(said)}", stacklevel=3)
