"""The tapped delay lines TDL-A … TDL-E of 3GPP TR 38.901, Tables 7.7.2-1 to 7.7.2-5.

Delays are relative to the r.m.s. delay spread (§7.7.3 scales them), powers are in dB. In TDL-D and
TDL-E the first tap is Ricean: its line-of-sight part stands in the table's first row.
The figures were compared with the data files of ``sionna-no-rt`` 2.2 (Apache-2.0). Public copies of
TDL-B differ in one figure (tap 6: −1.2 or −3.2 dB); −1.2 is right, for only with it is the
delay spread of the normalized table 1.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class Profile:
    """One tapped delay line.

    Attributes:
        delays: Tap delays in units of the r.m.s. delay spread.
        powers_db: Mean powers of the taps' Rayleigh parts in dB.
        los_db: Power of the line-of-sight part of the first tap in dB; None without one.
    """

    delays: tuple[float, ...]
    powers_db: tuple[float, ...]
    los_db: float | None = None


# fmt: off
PROFILES: dict[str, Profile] = {
    "TDL-A": Profile(  # Table 7.7.2-1
        delays=(0.0, 0.3819, 0.4025, 0.5868, 0.4610, 0.5375, 0.6708, 0.5750, 0.7618, 1.5375,
                1.8978, 2.2242, 2.1718, 2.4942, 2.5119, 3.0582, 4.0810, 4.4579, 4.5695, 4.7966,
                5.0066, 5.3043, 9.6586),
        powers_db=(-13.4, 0.0, -2.2, -4.0, -6.0, -8.2, -9.9, -10.5, -7.5, -15.9, -6.6, -16.7,
                   -12.4, -15.2, -10.8, -11.3, -12.7, -16.2, -18.3, -18.9, -16.6, -19.9, -29.7),
    ),
    "TDL-B": Profile(  # Table 7.7.2-2
        delays=(0.0, 0.1072, 0.2155, 0.2095, 0.2870, 0.2986, 0.3752, 0.5055, 0.3681, 0.3697,
                0.5700, 0.5283, 1.1021, 1.2756, 1.5474, 1.7842, 2.0169, 2.8294, 3.0219, 3.6187,
                4.1067, 4.2790, 4.7834),
        powers_db=(0.0, -2.2, -4.0, -3.2, -9.8, -1.2, -3.4, -5.2, -7.6, -3.0, -8.9, -9.0,
                   -4.8, -5.7, -7.5, -1.9, -7.6, -12.2, -9.8, -11.4, -14.9, -9.2, -11.3),
    ),
    "TDL-C": Profile(  # Table 7.7.2-3
        delays=(0.0, 0.2099, 0.2219, 0.2329, 0.2176, 0.6366, 0.6448, 0.6560, 0.6584, 0.7935,
                0.8213, 0.9336, 1.2285, 1.3083, 2.1704, 2.7105, 4.2589, 4.6003, 5.4902, 5.6077,
                6.3065, 6.6374, 7.0427, 8.6523),
        powers_db=(-4.4, -1.2, -3.5, -5.2, -2.5, 0.0, -2.2, -3.9, -7.4, -7.1, -10.7, -11.1,
                   -5.1, -6.8, -8.7, -13.2, -13.9, -13.9, -15.8, -17.1, -16.0, -15.7, -21.6,
                   -22.8),
    ),
    "TDL-D": Profile(  # Table 7.7.2-4, K-factor 13.3 dB
        los_db=-0.2,
        delays=(0.0, 0.035, 0.612, 1.363, 1.405, 1.804, 2.596, 1.775, 4.042, 7.937, 9.424,
                9.708, 12.525),
        powers_db=(-13.5, -18.8, -21.0, -22.8, -17.9, -20.1, -21.9, -22.9, -27.8, -23.6, -24.8,
                   -30.0, -27.7),
    ),
    "TDL-E": Profile(  # Table 7.7.2-5, K-factor 22 dB
        los_db=-0.03,
        delays=(0.0, 0.5133, 0.5440, 0.5630, 0.5440, 0.7112, 1.9092, 1.9293, 1.9589, 2.6426,
                3.7136, 5.4524, 12.0034, 20.6519),
        powers_db=(-22.03, -15.8, -18.1, -19.8, -22.9, -22.4, -18.6, -20.8, -22.6, -22.3, -25.6,
                   -20.2, -29.8, -29.2),
    ),
}
# fmt: on

NAMES: tuple[str, ...] = tuple(PROFILES)


def _table() -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
    """Delays (5, L), Rayleigh powers (5, L) and line-of-sight powers (5,), total power 1.

    Short profiles are padded with taps of no power, so that links of several profiles are one
    batch.
    """
    length = max(len(profile.delays) for profile in PROFILES.values())
    delays, powers = np.zeros((2, len(NAMES), length))
    los = np.zeros(len(NAMES))
    for row, profile in enumerate(PROFILES.values()):
        taps = len(profile.delays)
        delays[row, :taps] = profile.delays
        powers[row, :taps] = 10 ** (np.array(profile.powers_db) / 10)
        los[row] = 0.0 if profile.los_db is None else 10 ** (profile.los_db / 10)
    total = powers.sum(axis=1) + los
    return delays, powers / total[:, None], los / total


DELAYS, POWERS, LOS_POWERS = _table()
