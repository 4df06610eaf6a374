"""Other carriers, slots and spacings: against theory, and against what nobody can predict."""

import warnings

import gymnasium as gym
import numpy as np
import pytest
from scipy.special import j0

import owo_agents
from owo_env.radio import channel, predictable, profiles
from owo_env.radio.numerology import observed
from owo_env.scenarios import make_scenario
from owo_env.scenarios.csi_prediction import CsiPrediction

WAVE = {"carrier_ghz": 28.0, "numerology": 3}
USER = {"name": "van", "profile": "TDL-A", "delay_spread_ns": 100.0, "speed_kmh": 30.0}
USERS = [{**USER, "snr_db": 200.0}] * 8


def targets(rounds=12, **settings):
    """True channels (rounds·K, m, subcarriers) of equal users."""
    scenario = make_scenario("csi-prediction", users=USERS, num_slots=512, **settings)
    blocks = [scenario.record(np.random.default_rng(n), 1).targets for n in range(rounds)]
    h = np.concatenate(blocks).swapaxes(1, 2)
    return scenario, h.reshape(-1, *h.shape[2:])


def within_error(products, expected, deviations=5.0):
    """Whether the means over links (first axis) of some products are what theory expects."""
    error = products.std(axis=0) / np.sqrt(len(products))
    return np.all(np.abs(products.mean(axis=0) - expected) <= deviations * error + 2e-3)


def test_numerology_one_is_todays():
    """And any of today's figures said aloud changes no bit."""
    said = {"carrier_ghz": 3.5, "subcarrier_spacing_khz": 360, "slot_ms": 0.5, "subcarriers": 16}
    ways = [{}, {"numerology": 1}, {**said, "past": 4, "horizon": 1}, {**said, "numerology": 1}]
    grids = {make_scenario("csi-prediction", **way).grid for way in ways}
    assert grids == {channel.Grid()}
    data = [
        make_scenario("csi-prediction", **way).record(np.random.default_rng(0), 1) for way in ways
    ]
    for one in data[1:]:
        np.testing.assert_array_equal(one.features, data[0].features)
        np.testing.assert_array_equal(one.targets, data[0].targets)


@pytest.mark.parametrize("mu", range(7))
def test_a_numerology_has_its_slot_and_one_subcarrier_a_block(mu):
    grid = observed(numerology=mu)
    assert grid.slot == pytest.approx(1e-3 / 2**mu, rel=1e-12)
    assert grid.spacing == pytest.approx(12 * 15e3 * 2**mu, rel=1e-12)


@pytest.mark.parametrize(
    "settings",
    [WAVE, {"carrier_ghz": 0.7, "slot_ms": 5.0}, {**WAVE, "slot_ms": 0.25}],
    ids=["28GHz", "700MHz-every-5ms", "28GHz-every-second-slot"],
)
def test_autocorrelation_over_slots_is_bessel(settings):
    """J0(2π f_d τ) at the new carrier and slot, from what the scenario's users predict."""
    f_d = settings["carrier_ghz"] * 1e9 * (30 / 3.6) / 299_792_458
    slot = settings.get("slot_ms", 0.125) * 1e-3
    _, h = targets(**settings)
    lags = np.arange(12)
    products = np.stack(
        [np.mean(h[:, lag:] * h[:, : h.shape[1] - lag].conj(), axis=(1, 2)).real for lag in lags],
        axis=1,
    )
    assert within_error(products, j0(2 * np.pi * f_d * slot * lags))


@pytest.mark.parametrize(
    ("settings", "khz"),
    [({"subcarrier_spacing_khz": 1000.0}, 1000.0), (WAVE, 1440.0), ({"numerology": 0}, 180.0)],
)
def test_correlation_over_subcarriers_is_the_profiles_transform(settings, khz):
    """Σ_l P_l exp(−2πj Δ τ_l) at the new spacing, and with it the coherence bandwidth."""
    scenario, h = targets(subcarriers=24, **settings)
    products = np.mean(h * h[..., :1].conj(), axis=1)
    delays = profiles.DELAYS[profiles.NAMES.index("TDL-A")] * 100e-9
    power = profiles.POWERS[profiles.NAMES.index("TDL-A")]
    apart = np.arange(24) * khz * 1e3
    expected = np.exp(-2j * np.pi * np.outer(apart, delays)) @ power
    assert h.shape[-1] == 24 == scenario.grid.subcarriers
    assert within_error(products, expected)
    fine = np.linspace(0, apart[-1], 20_001)
    coherent = np.abs(np.exp(-2j * np.pi * np.outer(fine, delays)) @ power) >= 0.5
    width = fine[np.argmin(coherent)] if not coherent.all() else np.inf
    measured = np.abs(products.mean(axis=0)) >= 0.5
    assert (measured == (apart < width))[np.abs(apart - width) > khz * 1e3].all()


@pytest.mark.parametrize(("past", "horizon"), [(1, 1), (4, 3), (6, 2)])
def test_past_and_horizon_say_which_estimates_and_which_channel(past, horizon):
    """x_p of slot i is the channel horizon + p slots before the target of slot i."""
    scenario = make_scenario("csi-prediction", users=USERS, past=past, horizon=horizon)
    r = scenario.record(np.random.default_rng(0), 1)
    m = r.targets.shape[1]
    assert scenario.problem.dim == past == r.features.shape[-1]
    for p in range(past):
        back = horizon + p
        np.testing.assert_allclose(
            r.features[:, back:, ..., p], r.targets[:, : m - back], atol=1e-6
        )


@pytest.mark.parametrize(
    "settings", [WAVE, {"past": 2, "horizon": 3}, {"subcarriers": 1, "slot_ms": 0.1, "past": 7}]
)
def test_scalar_equals_vector(settings):
    settings = {"scenario": "csi-prediction", "users": USERS[:3], "num_slots": 8, **settings}
    many = gym.make_vec(
        "AIRAN-FairMTL-v0", num_envs=3, autoreset_mode="Disabled", gradients="per_user", **settings
    )
    agent = owo_agents.make("owo-adaptive", many)
    together = list(owo_agents.play(many, agent, 3, seed=4))
    for n in range(3):
        env = gym.make("AIRAN-FairMTL-v0", gradients="per_user", **settings)
        alone = owo_agents.play(env, owo_agents.make("owo-adaptive", env), 3, seed=4 + n)
        for one, all_ in zip(alone, together):
            np.testing.assert_array_equal(one.utilities, all_.utilities[n])
            np.testing.assert_array_equal(one.model, all_.model[n])
            assert one.regret == all_.regret[n]


# What can be predicted


def test_bessel_function():
    x = np.linspace(0, 6500, 3001)
    np.testing.assert_allclose(predictable.bessel_j0(x), j0(x), atol=1e-13)


@pytest.mark.parametrize(
    ("profile", "past", "horizon", "snr_db"),
    [("TDL-A", 4, 1, 20.0), ("TDL-C", 2, 2, 0.0), ("TDL-D", 3, 1, 10.0), ("TDL-A", 1, 4, 30.0)],
)
def test_no_filter_fitted_to_many_channels_beats_theory(profile, past, horizon, snr_db):
    """The least squares of 40 000 links: at least Wiener's NMSE, but for the sampling error."""
    links, f_d = 40_000, 0.11  # cycles a slot
    grid = channel.Grid(subcarriers=1)
    speed = np.full(links, f_d / grid.slot * channel.SPEED_OF_LIGHT / grid.carrier)
    rng = np.random.default_rng(11)
    row = np.full(links, profiles.NAMES.index(profile))
    h = channel.channels(rng, grid, row, np.full(links, 1e-7), speed, past + horizon)[..., 0]
    noise = channel.complex_normal(rng, (links, past)) * 10 ** (-snr_db / 20)
    x, y = (h[:, :past] + noise)[:, ::-1], h[:, -1]
    both = np.concatenate([x.real, x.imag]), np.concatenate([y.real, y.imag])
    theta = np.linalg.lstsq(*both, rcond=None)[0]
    loss = np.abs(y - x @ theta) ** 2
    expected = predictable.best_nmse(profile, f_d, snr_db, past, horizon)
    assert loss.mean() == pytest.approx(expected, abs=5 * loss.std() / np.sqrt(links) + 1e-4)


def test_nothing_but_noise_is_beyond_prediction():
    assert predictable.best_nmse("TDL-C", 50.37, 300.0, 1) == pytest.approx(1, abs=0.01)
    assert predictable.best_nmse("TDL-C", 0.0, 20.0, 1) == pytest.approx(1 / 101, rel=1e-9)


def test_a_horizon_beyond_a_third_of_the_coherence_time_warns_with_what_is_possible():
    """28 GHz at 120 km/h: f_d = 3113 Hz, 1/f_d = .32 ms, and a slot of μ = 3 is .125 ms."""
    fast = [{**USER, "speed_kmh": 120.0}] * 2
    with pytest.warns(UserWarning, match=r"'van': .*0\.125 ms ahead.*0\.32 ms.*-1\.03 dB"):
        CsiPrediction(users=fast, **WAVE)
    with pytest.warns(UserWarning, match=r"2 ms ahead.*1/f_d = 2\.6 ms"):
        CsiPrediction(users=["vehicular"] * 2, horizon=4)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        CsiPrediction(users=fast, **{**WAVE, "numerology": 4})
        CsiPrediction()


BAD = {
    "carrier_ghz=0": {"carrier_ghz": 0},
    "carrier_ghz=3500": {"carrier_ghz": 3500},
    "subcarriers=0": {"subcarriers": 0},
    "subcarrier_spacing_khz=-15": {"subcarrier_spacing_khz": -15},
    "slot_ms=nan": {"slot_ms": float("nan")},
    "numerology=7": {"numerology": 7},
    "numerology=1.5": {"numerology": 1.5},
    "past=0": {"past": 0},
    "horizon=0": {"horizon": 0},
    "subcarrier_spacing_khz=15: must be a whole multiple of 30 kHz.*numerology=1": {
        "numerology": 1,
        "subcarrier_spacing_khz": 15,
    },
    "slot_ms=0.5: must be a whole multiple of 1 ms.*numerology=0": {
        "numerology": 0,
        "slot_ms": 0.5,
    },
}


@pytest.mark.parametrize("message", BAD)
def test_bad_numerologies_are_refused(message):
    with pytest.raises(ValueError, match=message):
        CsiPrediction(**BAD[message])
