"""Channels of a row of antennas against geometry written out."""

import numpy as np
import pytest
from site_helpers import WAVELENGTH, site

from owo_env.radio.channel import SPEED_OF_LIGHT, Grid
from owo_env.radio.site import load
from owo_env.radio.site.array import array_channels, by_angle_and_delay, steering
from owo_env.radio.site.channel import channels

GRID = Grid(carrier=SPEED_OF_LIGHT / WAVELENGTH, subcarriers=16, spacing=1.25e6)
HERE = np.array([0]), np.array([0.0])


def test_the_sum_over_paths_is_the_one_of_the_book():
    """Σ g e^{−j2πfτ} e^{j2πcos·Δs/λ} e^{j2π r_n·k/λ}, r_n = n λ/2 left of where the site looks."""
    munich, rng = load("munich"), np.random.default_rng(0)
    grid = Grid(carrier=munich.carrier, subcarriers=3)
    place, ahead = rng.integers(len(munich.along), size=4), rng.uniform(-0.25, 0.25, 4)
    h = array_channels(munich, grid, place, ahead, antennas=5)
    look = np.subtract(munich.about["look_at"], munich.about["transmitter"])[:2]
    left = np.array([-look[1], look[0], 0]) / np.linalg.norm(look)
    wavelength = SPEED_OF_LIGHT / munich.carrier
    names = ("gain", "delay", "cosine", "zenith", "azimuth")
    for b in range(4):
        g, tau, cos, theta, phi = (getattr(munich, n)[place[b]].astype(complex) for n in names)
        k = np.stack([np.sin(theta) * np.cos(phi), np.sin(theta) * np.sin(phi), np.cos(theta)])
        for n, f in np.ndindex(5, 3):
            turn = cos * ahead[b] / wavelength - f * grid.spacing * (tau - tau[g != 0].real.min())
            turn += n * wavelength / 2 * (left @ k) / wavelength
            wanted = np.sum(g * np.exp(2j * np.pi * turn))
            assert abs(h[b, n, f] - wanted) < 1e-4 * np.abs(g).sum()


def test_the_first_antenna_is_the_channel_of_one():
    munich = load("munich")
    grid = Grid(carrier=munich.carrier)
    place, ahead = np.array([[3, 3, 4]]), np.array([[0.0, 0.2, -0.1]])
    alone = channels(munich, grid, place, ahead)[0]
    row = array_channels(munich, grid, place[0], ahead[0], antennas=3)
    assert np.abs(row[:, 0] - alone).max() < 1e-5 * np.abs(alone).max()


@pytest.mark.parametrize(("angle", "delay"), [(0.0, 0), (3.0, 2), (-5.0, 7), (7.0, 15)])
def test_a_path_is_one_peak_where_its_angle_and_delay_say(angle, delay):
    """Angles whose sine is a multiple of 2/16 and delays of whole samples leak nowhere."""
    spread = delay / (16 * GRID.spacing)
    # A first path next to nothing, from which delays count; the transmitter looks north (90°).
    street = site(
        gain=[[1.0, 1e-6]],
        delay=[[1e-6 + spread, 1e-6]],
        zenith=np.pi / 2,
        azimuth=np.pi / 2 + np.arcsin(angle / 8),
    )
    x = by_angle_and_delay(array_channels(street, GRID, *HERE, antennas=16))[0]
    at = int(angle) % 16, delay
    assert np.unravel_index(np.abs(x).argmax(), x.shape) == at
    assert abs(abs(x[at]) - 16) < 1e-3  # √(antennas·subcarriers), since the DFT is unitary
    assert np.abs(x).sum() - abs(x[at]) < 0.05


def test_straight_ahead_all_antennas_are_alike_and_below_it_they_nearly_are():
    ahead = site(azimuth=np.pi / 2, zenith=2.0)
    assert np.abs(steering(ahead, np.array([0]), 8) - 1).max() < 1e-5
    side = site(azimuth=np.pi, zenith=np.pi / 2)  # to the left: half a turn from one to the next
    assert np.abs(steering(side, np.array([0]), 4)[0, 0] - [1, -1, 1, -1]).max() < 1e-5
