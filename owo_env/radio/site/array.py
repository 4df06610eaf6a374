"""What places of a site receive from a row of antennas at its transmitter."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from owo_env.radio.channel import Complex, Grid, phasor
from owo_env.radio.site.channel import Floats, Integers, phases, responses
from owo_env.radio.site.file import Site


def steering(site: Site, place: Integers, antennas: int) -> Complex:
    """Each path's e^{jπn sin θ sin(φ − φ₀)} at antennas n = 0, 1, …: (N,) → (N, P, antennas).

    The antennas stand in a level row, half a wavelength apart, and face φ₀, the azimuth at which
    the transmitter looks.
    """
    east, north = np.subtract(site.about["look_at"], site.about["transmitter"])[:2]
    across = np.sin(site.zenith[place]) * np.sin(site.azimuth[place] - np.arctan2(north, east))
    return phasor(0.5 * across[..., None] * np.arange(antennas))


def array_channels(
    site: Site, grid: Grid, place: Integers, ahead: Floats, antennas: int
) -> Complex:
    """The channels from every antenna to N users, (N, antennas, subcarriers).

    Args:
        site: The site.
        grid: Carrier and subcarriers.
        place: The nearest place of each user, (N,).
        ahead: How far ahead of it the user is in m, (N,).
        antennas: How many.
    """
    sent = steering(site, place, antennas) * phases(site, grid, place, ahead)[..., None]
    return sent.swapaxes(1, 2) @ responses(site, grid, place)


def by_angle_and_delay(h: NDArray[np.complexfloating]) -> Complex:
    """The unitary 2-D DFT of channels (…, antennas, subcarriers).

    A single path is largest at sin θ sin(φ − φ₀)·antennas/2, modulo antennas, and at its delay
    times spacing·subcarriers.
    """
    delays = np.fft.ifft(np.fft.fft(h, axis=-2, norm="ortho"), axis=-1, norm="ortho")
    return delays.astype(np.complex64, copy=False)
