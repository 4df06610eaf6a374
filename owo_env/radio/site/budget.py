"""A link budget: from what is sent to the SNR at which a channel is estimated."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from owo_env import checks

THERMAL_DBM = -174.0  # kT in dBm/Hz at 290 K


@dataclass(frozen=True)
class Budget:
    """SNR = power + gain − (−174 dBm/Hz + 10 log10 bandwidth + noise figure), all in dB.

    Attributes:
        power_dbm: What is sent in the band, in dBm; 23 is a phone's most (TS 38.101-1, class 3).
        bandwidth_mhz: Width of that band in MHz.
        noise_figure_db: Of the receiver, in dB.
        snr_limits_db: The least SNR at which a user is served at all, and the most that hardware
            leaves of a strong link.

    Raises:
        ValueError: A figure is not finite, no bandwidth, or limits that are out of order.
    """

    power_dbm: float = 23.0
    bandwidth_mhz: float = 100.0
    noise_figure_db: float = 7.0
    snr_limits_db: tuple[float, float] = (-5.0, 30.0)

    def __post_init__(self) -> None:
        checks.number("power_dbm", self.power_dbm)
        checks.number("bandwidth_mhz", self.bandwidth_mhz, low=0.0, open_low=True)
        checks.number("noise_figure_db", self.noise_figure_db, low=0.0)
        limits = self.snr_limits_db
        if not isinstance(limits, tuple | list) or len(limits) != 2:
            raise ValueError(f"snr_limits_db={limits!r}: must be two figures in dB")
        low, high = (checks.number("snr_limits_db", limit, low=-60.0) for limit in limits)
        if low > high:
            raise ValueError(f"snr_limits_db={limits!r}: the first must not be above the second")

    @property
    def noise_dbm(self) -> float:
        """Noise in the band, in dBm."""
        return THERMAL_DBM + 10 * float(np.log10(1e6 * self.bandwidth_mhz)) + self.noise_figure_db

    def snr_db(self, gain_db: ArrayLike) -> NDArray[np.float64]:
        """SNR in dB of links of these gains; NaN where it is too low to be served."""
        snr = self.power_dbm + np.asarray(gain_db, float) - self.noise_dbm
        low, high = self.snr_limits_db
        return np.where(snr < low, np.nan, np.minimum(snr, high))
