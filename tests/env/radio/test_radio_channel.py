"""The channel generator against the tables' own properties, theory, and sionna-no-rt."""

import numpy as np
import pytest
from scipy.special import j0

from owo_env.radio import channel, profiles

GRID = channel.Grid()
LINKS = 4000


def links(name: str, speed: float = 30.0, delay_spread: float = 300e-9, count: int = LINKS):
    """Arguments of ``channels`` for ``count`` equal links."""
    return (
        np.full(count, profiles.NAMES.index(name)),
        np.full(count, delay_spread),
        np.full(count, speed),
    )


@pytest.mark.parametrize("name", profiles.NAMES)
def test_tables_have_unit_power_and_unit_delay_spread(name):
    """§7.7.3 scales delays by the wanted spread, so the tables' own is 1 (TDL-D: 0.994)."""
    row = profiles.NAMES.index(name)
    power = profiles.POWERS[row].copy()
    power[0] += profiles.LOS_POWERS[row]
    delay = profiles.DELAYS[row]
    assert power.sum() == pytest.approx(1.0, abs=1e-12)
    spread = np.sqrt(power @ delay**2 - (power @ delay) ** 2)
    assert spread == pytest.approx(1.0, abs=7e-3)


@pytest.mark.parametrize(("name", "k_db"), [("TDL-D", 13.3), ("TDL-E", 22.0)])
def test_los_tables_have_the_reports_k_factor_and_a_first_tap_of_0_db(name, k_db):
    profile = profiles.PROFILES[name]
    assert profile.los_db - profile.powers_db[0] == pytest.approx(k_db, abs=1e-9)
    both = 10 ** (profile.los_db / 10) + 10 ** (profile.powers_db[0] / 10)
    assert 10 * np.log10(both) == pytest.approx(0.0, abs=0.01)


@pytest.mark.parametrize("name", profiles.NAMES)
def test_power_delay_profile_is_the_tables(name):
    profile, _, speed = links(name)
    taps = channel.taps(np.random.default_rng(1), profile, GRID.doppler(speed) * GRID.slot, 1)[0]
    measured = np.mean(np.abs(taps) ** 2, axis=0)
    row = profiles.NAMES.index(name)
    diffuse, los = profiles.POWERS[row], np.zeros_like(measured)
    los[0] = profiles.LOS_POWERS[row]
    # var |a|² = σ⁴ + 2σ²A² for Ricean power σ² + A²
    deviation = np.sqrt((diffuse**2 + 2 * diffuse * los) / LINKS)
    assert np.all(np.abs(measured - diffuse - los) <= 4.5 * deviation + 1e-6)


@pytest.mark.parametrize("name", profiles.NAMES)
def test_mean_power_is_one(name):
    h = channel.channels(np.random.default_rng(2), GRID, *links(name), samples=1)
    power = np.mean(np.abs(h[:, 0]) ** 2, axis=1)
    assert power.mean() == pytest.approx(1.0, abs=4.5 * power.std() / np.sqrt(LINKS) + 1e-6)


@pytest.mark.parametrize("kmh", [3.0, 120.0])
def test_autocorrelation_is_bessel(kmh):
    lags = 40
    doppler = np.full(600, GRID.doppler(kmh / 3.6) * GRID.slot)
    fading = channel.rayleigh(np.random.default_rng(3), doppler, 24, lags)
    products = (fading * fading[0].conj()).reshape(lags, -1)
    expected = j0(2 * np.pi * doppler[0] * np.arange(lags))
    assert np.all(
        np.abs(products.mean(axis=1) - expected) <= 5 * products.std(axis=1) / np.sqrt(600 * 24)
    )


def test_fading_is_complex_normal():
    """20 sinusoids: E|h|⁴ = 2 − 1/20 exactly, where a complex normal has 2."""
    fading = channel.rayleigh(np.random.default_rng(4), np.full(4000, 0.1), 24, 1)
    power = np.abs(fading) ** 2
    assert np.mean(power**2) == pytest.approx(2 - 1 / 20, abs=0.05)
    assert abs(np.mean(fading**2)) < 0.02


@pytest.mark.parametrize(("name", "k_db"), [("TDL-D", 13.3), ("TDL-E", 22.0)])
def test_rician_k_factor_from_samples(name, k_db):
    """Greenstein's moment estimate of K from the first tap's power over the ensemble."""
    profile, _, speed = links(name, count=8000)
    taps = channel.taps(np.random.default_rng(5), profile, GRID.doppler(speed) * GRID.slot, 1)
    power = np.abs(taps[0, :, 0]) ** 2
    specular = np.sqrt(np.mean(power) ** 2 - np.var(power))
    k = specular / (np.mean(power) - specular)
    assert 10 * np.log10(k) == pytest.approx(k_db, abs=0.3)


def test_line_of_sight_turns_at_its_doppler_shift():
    profile, _, speed = links("TDL-E", count=2000)
    doppler = GRID.doppler(speed) * GRID.slot
    first = channel.taps(np.random.default_rng(6), profile, doppler, 2)[:, :, 0]
    turn = np.angle(np.mean(first[1] * first[0].conj())) / (2 * np.pi)
    assert turn == pytest.approx(0.7 * doppler[0], rel=0.02)


@pytest.mark.parametrize("name", ["TDL-A", "TDL-C"])
def test_frequency_correlation_is_the_profiles_transform(name):
    """E[H(f+Δ) H*(f)] = Σ_l P_l exp(−2πj Δ τ_l)."""
    h = channel.channels(np.random.default_rng(7), GRID, *links(name), samples=1)[:, 0]
    products = h * h[:, :1].conj()
    row = profiles.NAMES.index(name)
    turns = np.outer(np.arange(16) * GRID.spacing, profiles.DELAYS[row] * 300e-9)
    expected = np.exp(-2j * np.pi * turns) @ profiles.POWERS[row]
    deviation = products.std(axis=0) / np.sqrt(LINKS)
    assert np.all(np.abs(products.mean(axis=0) - expected) <= 4.5 * deviation)


def test_delays_scale_with_the_delay_spread():
    """Links of no delay spread are flat: the same on every subcarrier."""
    h = channel.channels(
        np.random.default_rng(8), GRID, *links("TDL-C", delay_spread=0.0, count=3), samples=2
    )
    np.testing.assert_allclose(h, np.broadcast_to(h[..., :1], h.shape), rtol=1e-5)


def test_complex_normal():
    z = channel.complex_normal(np.random.default_rng(9), (200_000,))
    assert np.mean(np.abs(z) ** 2) == pytest.approx(1.0, abs=0.01)
    assert np.mean(np.abs(z) ** 4) == pytest.approx(2.0, abs=0.05)
    assert abs(z.mean()) < 0.01 and abs(np.mean(z**2)) < 0.01


@pytest.mark.slow
@pytest.mark.parametrize("name", ["A", "C", "D"])
def test_frequency_correlation_agrees_with_sionna(name):
    """The same frequency correlation as sionna-no-rt's TDL, within both sampling errors."""
    tdl = pytest.importorskip("sionna.phy.channel.tr38901")
    import sionna.phy

    sionna.phy.config.seed = 1
    model = tdl.TDL(
        name,
        delay_spread=300e-9,
        carrier_frequency=GRID.carrier,
        min_speed=30.0,
        precision="single",
    )
    a, tau = model(batch_size=LINKS, num_time_steps=1, sampling_frequency=1 / GRID.slot)
    a = a.cpu().numpy().reshape(LINKS, -1)
    tau = tau.cpu().numpy().reshape(LINKS, -1)
    turns = tau[:, :, None] * GRID.spacing * np.arange(16)
    theirs = np.sum(a[:, :, None] * np.exp(-2j * np.pi * turns), axis=1)
    ours = channel.channels(np.random.default_rng(10), GRID, *links(f"TDL-{name}"), samples=1)
    products = [h * h[:, :1].conj() for h in (theirs, ours[:, 0])]
    means = [p.mean(axis=0) for p in products]
    deviation = np.sqrt(sum(p.var(axis=0) for p in products) / LINKS)
    assert np.all(np.abs(means[0] - means[1]) <= 4.5 * deviation + 1e-6)
