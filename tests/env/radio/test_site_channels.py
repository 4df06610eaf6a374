"""Channels on a site against geometry written out."""

import numpy as np
import pytest
from site_helpers import WAVELENGTH, site

from owo_env.radio.channel import SPEED_OF_LIGHT, Grid
from owo_env.radio.site import load
from owo_env.radio.site.budget import Budget
from owo_env.radio.site.channel import channels
from owo_env.radio.site.walk import Stretches

CARRIER = SPEED_OF_LIGHT / WAVELENGTH


def test_the_sum_over_paths_is_the_one_of_the_book():
    munich, rng = load("munich"), np.random.default_rng(0)
    grid = Grid(carrier=munich.carrier, subcarriers=5)
    place = rng.integers(len(munich.along), size=3)[:, None] + np.array([0, 0, 1, 1, 1, 2])
    place %= len(munich.along)
    ahead = rng.uniform(-0.25, 0.25, place.shape)
    h = channels(munich, grid, place, ahead)
    for b, t in np.ndindex(place.shape):
        g, tau, cos = (getattr(munich, n)[place[b, t]] for n in ("gain", "delay", "cosine"))
        here = g != 0
        g, tau, cos = g[here].astype(complex), tau[here].astype(float), cos[here].astype(float)
        for f in range(5):
            turn = -f * grid.spacing * (tau - tau.min())
            turn += cos * ahead[b, t] * munich.carrier / SPEED_OF_LIGHT
            wanted = np.sum(g * np.exp(2j * np.pi * turn))
            assert abs(h[b, t, f] - wanted) < 1e-4 * np.abs(g).sum()


@pytest.mark.parametrize("cosine", [1.0, 0.5, -0.8])
def test_a_single_path_has_the_doppler_shift_of_its_angle(cosine):
    """v cos/λ, whatever places the user passes."""
    along = np.arange(0, 40, 0.5)
    # The path's phase at each place is what the way there has turned it to.
    gain = np.exp(2j * np.pi * cosine * along / WAVELENGTH)[:, None]
    street = site(along=along, gain=gain, cosine=cosine)
    grid = Grid(carrier=CARRIER, slot=1e-3, subcarriers=1)
    speed, slots = 12.0, 2048
    way = speed * grid.slot * np.arange(slots)[None]
    place, ahead, _ = Stretches(street, np.ones(80, bool)).walk(np.array([0]), way)
    h = channels(street, grid, place, ahead)[0, :, 0]
    spectrum = np.abs(np.fft.fft(h * np.hanning(slots)))
    found = np.fft.fftfreq(slots, grid.slot)[spectrum.argmax()]
    assert found == pytest.approx(speed * cosine / WAVELENGTH, abs=1 / (slots * grid.slot))
    np.testing.assert_allclose(np.abs(h), 1, atol=1e-5)


def test_the_spectrum_of_a_city_lies_within_its_largest_shift():
    munich = load("munich")
    grid = Grid(carrier=munich.carrier, slot=0.5e-3, subcarriers=1)
    speed, slots = 14.0, 256
    ahead = np.tile(speed * grid.slot * np.arange(slots), (5, 1))
    h = channels(munich, grid, np.arange(0, 500, 100)[:, None].repeat(slots, 1), ahead)[..., 0]
    power = np.abs(np.fft.fft(h * np.hanning(slots), axis=1)) ** 2
    shift = np.abs(np.fft.fftfreq(slots, grid.slot))
    top = float(grid.doppler(speed))
    assert power[:, shift > top + 3 / (slots * grid.slot)].sum() < 1e-4 * power.sum()


def test_to_and_fro_on_a_stretch():
    """Places 0 … 2 m and 10 … 11 m: two stretches, and nobody leaves one."""
    along = [0.0, 0.5, 1.0, 1.5, 2.0, 10.0, 10.5, 11.0]
    stretches = Stretches(site(along=along), np.ones(8, bool))
    assert stretches.length.tolist() == [2.0, 1.0]
    way = np.array([[0.0, 0.6, 2.0, 2.5, 4.0, 4.4, -0.3]] * 2)
    place, ahead, at = stretches.walk(np.array([0, 1]), way)
    np.testing.assert_allclose(at[0], [0, 0.6, 2.0, 1.5, 0.0, 0.4, 0.3], atol=1e-9)
    np.testing.assert_allclose(at[1], [10, 10.6, 10, 10.5, 10, 10.4, 10.3], atol=1e-9)
    assert place[0].tolist() == [0, 1, 4, 3, 0, 1, 1] and (place[1] >= 5).all()
    assert np.abs(ahead).max() <= 0.25 + 1e-9
    np.testing.assert_allclose(np.array(along)[place] + ahead, at, atol=1e-9)


def test_a_stretch_of_one_place_is_stood_on():
    stretches = Stretches(site(), np.array([False, True, False]))
    place, ahead, at = stretches.walk(np.array([0]), np.array([[0.0, 3.0, -7.0]]))
    assert place.tolist() == [[1, 1, 1]] and not ahead.any() and (at == 0.5).all()


def test_a_link_budget_by_hand():
    budget = Budget(power_dbm=20, bandwidth_mhz=10, noise_figure_db=4, snr_limits_db=(0, 25))
    assert budget.noise_dbm == pytest.approx(-174 + 70 + 4)
    np.testing.assert_allclose(budget.snr_db([-60, -100, -120.5]), [25, 20, np.nan])


@pytest.mark.parametrize(
    ("figures", "said"),
    [
        (dict(power_dbm=float("nan")), "power_dbm"),
        (dict(bandwidth_mhz=0), "bandwidth_mhz"),
        (dict(noise_figure_db=-1), "noise_figure_db"),
        (dict(snr_limits_db=(10, 0)), "must not be above"),
        (dict(snr_limits_db=5), "must be two figures"),
    ],
)
def test_budgets_that_are_none(figures, said):
    with pytest.raises(ValueError, match=said):
        Budget(**figures)
