"""Users of one cell predict their next radio channel with one shared filter."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from owo_env import checks
from owo_env.checks import Each
from owo_env.figure import Figure
from owo_env.problem import Problem
from owo_env.radio.channel import complex_normal
from owo_env.radio.numerology import CARRIER_GHZ, observed
from owo_env.radio.site.budget import Budget
from owo_env.radio.site.file import Site, load
from owo_env.scenarios.csi_prediction.cell import Cell
from owo_env.scenarios.csi_prediction.population import Population
from owo_env.scenarios.csi_prediction.streets import OnStreets
from owo_env.scenarios.least_squares.measured import Measured, Recording
from owo_env.scenarios.least_squares.source import Source

MIX = "vehicular-heavy"
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
            ``"vehicular-heavy"`` (¼, the default), at least one of each class. Not with a site.
        num_users: [users] K ≥ 2; by default 4, or as many as ``users``.
        users: The users instead of a mix: names of ``USERS`` or mappings of :class:`User`'s fields;
            on a site names of ``MOVERS`` or mappings of :class:`Mover`'s fields. There half
            drive by default, the others walk or, where such streets are served, are indoors.
        shuffle: Whether users change places at random every round; ``info["user_class"]`` tells
            after a round who was where.
        drift: [rounds] If not 0, every ``drift`` rounds one user (each in turn) becomes one of the
            next class, so that the mix changes slowly and a learned start ages. On a site users
            wander along their streets from round to round instead, and each is somewhere else
            after ``drift`` rounds, in which it goes along the whole of a street.
        adversary: ``"none"``, or ``"blocks"``: the first user's target changes its sign every
            ⌊√m⌋ slots.
        l_max: Utility is l_max − loss; a number, or K.
        utility_bounds: (u_min, u_max) of the dual space, each a number, or K.
        carrier_ghz: Carrier frequency in GHz, at most 100; default 3.5, or the site's.
        subcarrier_spacing_khz: Distance between observed subcarriers in kHz; default one in each
            resource block, 180·2^μ kHz.
        subcarriers: How many subcarriers are observed.
        slot_ms: Time from one estimate to the next in ms; default a slot, 2^−μ ms.
        numerology: 3GPP's μ, 0 to 6; ``slot_ms`` and ``subcarrier_spacing_khz`` must then be whole
            multiples of its slot, 2^−μ ms, and its subcarrier spacing, 15·2^μ kHz. Without it the
            defaults are those of μ = 1, and any figures are taken.
        past: P = d, how many of the latest estimates the filter sees, one a slot.
        horizon: How many slots ahead it predicts.
        site: Users on the streets of a ray-traced site instead of 3GPP's profiles: ``"munich"``,
            ``"florence"``, or the path of a file that ``owo site`` made. ``info["position"]``
            tells after a round where they began it, (K, 2) in m, and ``info["street"]`` on which
            street.
        power_dbm: Of a site: what is sent in the band, in dBm; default 23.
        bandwidth_mhz: Of a site: width of the band in MHz; default 100.
        noise_figure_db: Of a site: of the receiver, in dB; default 7.
        snr_limits_db: Of a site: the least SNR at which a place is served at all, and the most
            that hardware leaves of a strong link; default (−5, 30) dB.

    Attributes:
        grid: Where channels are observed.
        users: The users, before any drift or shuffle.
        classes: Their distinct classes, in order of appearance.
        site: The :class:`owo_env.radio.site.file.Site`, or None.

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
        mix: str | None = None,
        num_users: int | None = None,
        users: Sequence[str | Mapping[str, Any]] | None = None,
        shuffle: bool = True,
        drift: int = 0,
        adversary: str = "none",
        l_max: Each = 1.25,
        utility_bounds: tuple[Each, Each] = (0.4, 1.25),
        carrier_ghz: float | None = None,
        subcarrier_spacing_khz: float | None = None,
        subcarriers: int = 16,
        slot_ms: float | None = None,
        numerology: int | None = None,
        past: int = 4,
        horizon: int = 1,
        site: str | Path | None = None,
        power_dbm: float | None = None,
        bandwidth_mhz: float | None = None,
        noise_figure_db: float | None = None,
        snr_limits_db: tuple[float, float] | None = None,
    ) -> None:
        budget = dict(
            power_dbm=power_dbm,
            bandwidth_mhz=bandwidth_mhz,
            noise_figure_db=noise_figure_db,
            snr_limits_db=snr_limits_db,
        )
        self.site = None if site is None else load(site)
        self.past = checks.whole("past", past, low=1)
        self.horizon = checks.whole("horizon", horizon, low=1)
        crowd = (
            num_users,
            users,
            checks.flag("shuffle", shuffle),
            checks.whole("drift", drift, low=0),
        )
        self._population: Population
        if self.site is None:
            _refuse("only with site=", budget)
            self._population = Cell(MIX if mix is None else mix, *crowd)
        else:
            _refuse("not with site=; name users= instead", dict(mix=mix))
            carrier_ghz = _carrier(carrier_ghz, self.site)
            given = {name: value for name, value in budget.items() if value is not None}
            self._population = OnStreets(self.site, Budget(**given), *crowd)  # type: ignore[arg-type]
        if carrier_ghz is None:
            carrier_ghz = CARRIER_GHZ
        self.grid = observed(carrier_ghz, subcarrier_spacing_khz, subcarriers, slot_ms, numerology)
        self.users, self.classes = self._population.users, self._population.classes
        names = self._population.names
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
            smoothness=self._population.smoothness(self.past),
            slot_ms=1e3 * self.grid.slot,
        )
        super().__init__(problem, adversary)
        self._population.warn(self.grid, self.past, self.horizon)
        if self._population.fixed:
            self.user_classes = [user.name for user in self.users]

    @property
    def class_names(self) -> Sequence[str]:
        return self._population.names

    def measure(self, rng: Source, first_round: int) -> Recording:
        rounds, m, past = self.rounds_per_block, self.problem.num_slots, self.past
        seen = past + m - 1  # slots whose channels are estimated
        number = first_round + np.arange(rounds)
        drawn = self._population.draw(rng, number, self.grid, seen + self.horizon)
        h, snr_db = drawn.h, drawn.snr_db.ravel()
        h /= np.sqrt(np.mean(h.real**2 + h.imag**2, axis=(1, 2), keepdims=True))
        noise = complex_normal(rng, (len(h), seen, self.grid.subcarriers))
        noise *= (10 ** (-snr_db / 20)).astype(np.float32)[:, None, None]
        noise += h[:, :seen]
        windows = np.lib.stride_tricks.sliding_window_view(noise, past, axis=1)[..., ::-1]
        shape = (rounds, -1, m, self.grid.subcarriers)
        return Recording(
            features=windows.reshape(*shape, past).swapaxes(1, 2),
            targets=h[:, -m:].reshape(shape).swapaxes(1, 2),
            about={**drawn.about, "_snr_db": drawn.snr_db},
        )


def _refuse(why: str, arguments: Mapping[str, Any]) -> None:
    for name, value in arguments.items():
        if value is not None:
            raise ValueError(f"{name}={value!r}: {why}")


def _carrier(carrier_ghz: float | None, site: Site) -> float:
    """The site's own: a path's gain is that of one carrier."""
    own = site.carrier / 1e9
    if carrier_ghz is not None and not np.isclose(carrier_ghz, own):
        raise ValueError(f"carrier_ghz={carrier_ghz!r}: the site was traced at {own:g} GHz")
    return own
