"""Where a channel is observed, in an engineer's units and on the grid of 3GPP's numerologies."""

from __future__ import annotations

import math

from owo_env import checks
from owo_env.radio.channel import Grid

HIGHEST = 6  # μ of TS 38.211, Table 4.2-1
CARRIER_GHZ = 3.5
SUBCARRIERS_PER_BLOCK = 12  # of a resource block: TS 38.211 §4.4.4.1


def observed(
    carrier_ghz: float = CARRIER_GHZ,
    subcarrier_spacing_khz: float | None = None,
    subcarriers: int = 16,
    slot_ms: float | None = None,
    numerology: int | None = None,
) -> Grid:
    """The grid on which channels are observed.

    Args:
        carrier_ghz: Carrier frequency in GHz, at most 100 (TR 38.901's profiles go no higher).
        subcarrier_spacing_khz: Distance between observed subcarriers in kHz; default one in each
            resource block, 180·2^μ kHz.
        subcarriers: How many are observed.
        slot_ms: Time from one estimate to the next in ms; default a slot, 2^−μ ms.
        numerology: μ, 0 to 6: subcarriers 15·2^μ kHz apart and slots of 2^−μ ms, of which both of
            the above must be whole multiples. By default 1, and any figures are taken.

    Raises:
        ValueError: A figure is outside its range, or one that the numerology does not have.
    """
    mu = 1 if numerology is None else checks.whole("numerology", numerology, low=0, high=HIGHEST)
    raster, slot = 15.0 * 2**mu, 2.0**-mu
    spacing = SUBCARRIERS_PER_BLOCK * raster
    if subcarrier_spacing_khz is not None:
        name = "subcarrier_spacing_khz"
        spacing = checks.number(name, subcarrier_spacing_khz, low=0.0, open_low=True)
        if numerology is not None:
            _multiple(name, spacing, raster, f"kHz, the subcarriers' distance at numerology={mu}")
    if slot_ms is not None:
        unit, slot = slot, checks.number("slot_ms", slot_ms, low=0.0, open_low=True)
        if numerology is not None:
            _multiple("slot_ms", slot, unit, f"ms, a slot's length at numerology={mu}")
    return Grid(
        carrier=1e9 * checks.number("carrier_ghz", carrier_ghz, low=0.0, open_low=True, high=100.0),
        slot=1e-3 * slot,
        subcarriers=checks.whole("subcarriers", subcarriers, low=1),
        spacing=1e3 * spacing,
    )


def _multiple(argument: str, value: float, unit: float, of_what: str) -> None:
    times = value / unit
    if round(times) < 1 or not math.isclose(times, round(times), rel_tol=1e-9):
        raise ValueError(f"{argument}={value:g}: must be a whole multiple of {unit:g} {of_what}")
