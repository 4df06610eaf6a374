"""The radio scenario: its data, its constants, its errors, and what the methods do on it."""

import warnings
from collections import Counter

import gymnasium as gym
import numpy as np
import pytest

import owo_agents
from owo_agents.learner.step import default_rate
from owo_env.fairness import AlphaFair
from owo_env.scenarios import make_scenario
from owo_env.scenarios.csi_prediction import USERS, CsiPrediction

CLEAN = {"name": "clean", "profile": "TDL-C", "delay_spread_ns": 100.0, "speed_kmh": 50.0}


def recorded(scenario, seed=0, first=1):
    return scenario.record(np.random.default_rng(seed), first)


def vector_env(seeds=5, **settings):
    return gym.make_vec(
        "AIRAN-FairMTL-v0",
        num_envs=seeds,
        scenario="csi-prediction",
        autoreset_mode="Disabled",
        **settings,
    )


def run(agent, rounds, settings=None, **arguments):
    """Regret (T, N) and mean utilities (T, N, K) of an agent on streams seeded 0 … N − 1."""
    env = vector_env(**(settings or {}))
    agent = owo_agents.make(agent, env, **arguments)
    records = list(owo_agents.play(env, agent, rounds, seed=0))
    return np.array([r.regret for r in records]), np.array([r.utilities for r in records])


# The data


def test_inputs_are_the_latest_estimates_and_targets_the_next_channel():
    """x_p of slot i is the channel of slot i − 1 − p, the target of that slot, and noise."""
    noiseless = {**CLEAN, "snr_db": 200.0}
    r = recorded(make_scenario("csi-prediction", users=[noiseless] * 2))
    m = r.targets.shape[1]
    for p in range(4):
        np.testing.assert_allclose(
            r.features[:, 4:, ..., p], r.targets[:, 3 - p : m - 1 - p], atol=1e-6
        )


@pytest.mark.parametrize("snr_db", [0.0, 20.0])
def test_noise_has_the_snr_and_channels_unit_power(snr_db):
    r = recorded(make_scenario("csi-prediction", users=[{**CLEAN, "snr_db": snr_db}] * 4))
    noise = r.features[:, 1:, ..., 0] - r.targets[:, :-1]
    assert np.mean(np.abs(noise) ** 2) == pytest.approx(10 ** (-snr_db / 10), rel=0.02)
    # Each user-round is normalized over its 64 slots and the 4 before, most of it seen here.
    power = np.mean(np.abs(r.targets) ** 2, axis=(1, 3))
    assert np.all(np.abs(power - 1) < 0.15) and power.mean() == pytest.approx(1, abs=0.02)


def test_predicting_zero_costs_one():
    env = gym.make("AIRAN-FairMTL-v0", scenario="csi-prediction")
    utilities = []
    for t in range(20):
        env.reset(seed=0 if t == 0 else None)
        for _ in range(64):
            env.step({"model": np.zeros(4), "weights": np.ones(4)})
        utilities.append(env.unwrapped.evaluate(np.zeros(4)).mean(axis=0))
    assert np.mean(utilities) == pytest.approx(1.25 - 1.0, abs=0.02)


def test_snr_is_redrawn_every_round_with_its_deviation():
    user = {**CLEAN, "snr_db": 10.0, "snr_spread_db": 2.0}
    scenario = make_scenario("csi-prediction", users=[user] * 8, num_slots=32)
    r = recorded(scenario)
    noise = r.features[:, 1:, ..., 0] - r.targets[:, :-1]
    snr_db = -10 * np.log10(np.mean(np.abs(noise) ** 2, axis=(1, 3)))
    assert snr_db.mean() == pytest.approx(10.0, abs=0.6)
    assert snr_db.std() == pytest.approx(2.0, abs=0.4)


@pytest.mark.parametrize(
    ("mix", "num_users", "edge"),
    [
        ("vehicular-heavy", 2, 1),
        ("vehicular-heavy", 4, 1),
        ("vehicular-heavy", 8, 2),
        ("balanced", 4, 2),
        ("balanced", 8, 4),
        ("edge-heavy", 2, 1),
        ("edge-heavy", 4, 3),
        ("edge-heavy", 8, 6),
    ],
)
def test_mixes(mix, num_users, edge):
    scenario = make_scenario("csi-prediction", mix=mix, num_users=num_users)
    assert Counter(user.name for user in scenario.users) == {
        "edge": edge,
        "vehicular": num_users - edge,
    }


def test_users_change_places_every_round():
    """Each place has the edge user in a quarter of the rounds; without shuffle always the first."""
    shuffled = make_scenario("csi-prediction", num_slots=1)  # blocks of 512 rounds
    classes = recorded(shuffled).about["user_class"]
    assert classes.shape == (512, 4)
    assert ((classes == "edge").sum(axis=1) == 1).all()
    assert (classes == "edge").mean(axis=0) == pytest.approx([0.25] * 4, abs=0.08)
    fixed = recorded(make_scenario("csi-prediction", num_slots=1, shuffle=False))
    assert (fixed.about["user_class"] == ["edge", *["vehicular"] * 3]).all()


def test_shuffle_changes_places_and_nothing_else():
    """With and without it the same draws make the same channel at each place, up to its class."""
    both = [make_scenario("csi-prediction", shuffle=s, users=[CLEAN] * 3) for s in (False, True)]
    a, b = (recorded(scenario) for scenario in both)
    np.testing.assert_array_equal(a.features, b.features)


def test_drift_changes_one_user_at_a_time():
    """drift=3, K=2: edge+vehicular → 2 vehicular → vehicular+edge → 2 edge → as at first."""
    scenario = make_scenario("csi-prediction", num_users=2, num_slots=1, drift=3, shuffle=False)
    classes = recorded(scenario).about["user_class"] == "edge"
    expected = [[1, 0]] * 3 + [[0, 0]] * 3 + [[0, 1]] * 3 + [[1, 1]] * 3 + [[1, 0]] * 3
    assert classes[:15].astype(int).tolist() == expected
    later = recorded(scenario, first=8).about["user_class"] == "edge"
    assert later[:5].astype(int).tolist() == expected[7:12]


def test_adversary_flips_the_first_users_targets():
    plain, flipped = (
        recorded(make_scenario("csi-prediction", adversary=a, num_slots=16))
        for a in ("none", "blocks")
    )
    signs = np.array([1, 1, 1, 1, -1, -1, -1, -1] * 2)
    np.testing.assert_array_equal(flipped.targets[0, :, 0], plain.targets[0, :, 0] * signs[:, None])
    np.testing.assert_array_equal(flipped.targets[:, :, 1:], plain.targets[:, :, 1:])
    np.testing.assert_array_equal(flipped.features, plain.features)


# The constants


def test_default_constants_and_the_one_rule_for_the_step():
    scenario = make_scenario("csi-prediction")
    problem = scenario.problem
    assert (problem.num_users, problem.dim, problem.num_slots) == (4, 4, 64)
    assert problem.smoothness == 16.0
    assert default_rate(problem) == pytest.approx(0.0125)
    eight = make_scenario("csi-prediction", num_users=8, alpha=2.0).problem
    assert default_rate(eight) == pytest.approx(2 / (8 * 0.4**-2 * 16))


def test_smoothness_and_gradient_bound_hold_for_mean_slots():
    scenario = make_scenario("csi-prediction", num_users=8)
    data = scenario.draw([np.random.default_rng(n) for n in range(8)], np.ones(8, int))
    H, b, s = (np.moveaxis(a, (-1, -2), (1, 2)) for a in data.moments())
    problem = scenario.problem
    assert 2 * np.linalg.eigvalsh(H)[..., -1].max() <= problem.smoothness
    inside = 0
    for theta in np.random.default_rng(1).uniform(-1, 1, (300, 4)):
        u = scenario.l_max - (s + (H @ theta - 2 * b) @ theta)
        good = (u >= problem.utility_bounds[0]).all(axis=-1)
        p_max = problem.fairness.priority_bounds[1]
        norm = np.linalg.norm(p_max * (2 * (b - H @ theta)).sum(axis=2), axis=-1)
        assert (norm[good] <= problem.gradient_bound).all()
        inside += good.sum()
    assert inside > 50


def test_too_large_a_step_warns_and_shows_below_u_min():
    """4 times the rule: the warning names both steps, and mean utilities fall below u_min."""
    env = vector_env(2)
    with pytest.warns(UserWarning, match=r"learning_rate=0\.05 is above .* 0\.0125"):
        agent = owo_agents.make("owo-fmtl", env, learning_rate=0.05)
    with pytest.warns(UserWarning, match=r"wall to wall of Θ = \[-2, 2\] .*=0\.05.*is 0\.0125"):
        records = list(owo_agents.play(env, agent, 16, seed=0))
    assert np.mean([r.utilities < 0.4 for r in records]) > 0.1
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        agent = owo_agents.make("owo-fmtl", env)
    records = list(owo_agents.play(env, agent, 16, seed=0))
    assert np.mean([r.utilities < 0.4 for r in records]) < 0.02


# Bad input

BAD = {
    "unknown profile 'TDL-F'.*TDL-A": {"users": [{**CLEAN, "profile": "TDL-F"}] * 2},
    "speed_kmh=-3": {"users": [{**CLEAN, "speed_kmh": -3.0}] * 2},
    "speed_spread_kmh=-1": {"users": [{**CLEAN, "speed_spread_kmh": -1.0}] * 2},
    "delay_spread_ns=nan": {"users": [{**CLEAN, "delay_spread_ns": np.nan}] * 2},
    "delay_spread_ns=-1": {"users": [{**CLEAN, "delay_spread_ns": -1.0}] * 2},
    "snr_db=inf": {"users": [{**CLEAN, "snr_db": np.inf}] * 2},
    "snr_spread_db=nan": {"users": [{**CLEAN, "snr_spread_db": np.nan}] * 2},
    "at least two users": {"users": [CLEAN]},
    "num_users=1": {"num_users": 1},
    "num_users=3.*2 users": {"num_users": 3, "users": [CLEAN] * 2},
    "unknown user 'egde': did you mean 'edge'": {"users": ["egde", "vehicular"]},
    "different names": {"users": [CLEAN, {**CLEAN, "speed_kmh": 3.0}]},
    "unknown mix": {"mix": "edgy"},
    "drift=-1": {"drift": -1},
    "at least two classes": {"drift": 4, "users": [CLEAN] * 2},
    "unknown adversary": {"adversary": "flip"},
    "l_max": {"l_max": 0.3},
}


@pytest.mark.parametrize("message", BAD)
def test_bad_settings_are_refused(message):
    with pytest.raises(ValueError, match=message):
        CsiPrediction(**BAD[message])


def test_an_unknown_field_of_a_user_is_refused():
    with pytest.raises(TypeError, match="speed_kmh"):
        CsiPrediction(users=[{**CLEAN, "speed_kph": 3.0}] * 2)


def test_a_user_without_one_of_its_fields_is_refused():
    with pytest.raises(TypeError, match=r"the user .* needs speed_kmh"):
        CsiPrediction(users=[{k: v for k, v in CLEAN.items() if k != "speed_kmh"}] * 2)


def test_aliased_doppler_warns_with_the_figure():
    """400 km/h at 3.5 GHz: 1297 Hz; slots of 0.5 ms resolve 1000 Hz."""
    with pytest.warns(UserWarning, match="up to 1297 Hz is above 1000 Hz"):
        CsiPrediction(users=[{**CLEAN, "speed_kmh": 400.0}] * 2)


# What the methods do


def oracle_utilities(alpha, streams=8):
    """Mean utilities (rounds, K) at θ* of one block of each stream."""
    scenario = make_scenario("csi-prediction", alpha=alpha)
    data = scenario.draw([np.random.default_rng(n) for n in range(streams)], np.ones(streams, int))
    H, b, s = data.moments()
    model, _ = scenario.fairest((H, b, s), scenario.problem.fairness)
    quadratic = np.einsum("tin,tijkn,tjn->tkn", model, H, model)
    loss = quadratic - 2 * np.einsum("tin,tikn->tkn", model, b) + s
    return np.moveaxis(scenario.l_max - loss, -1, 1).reshape(-1, 4)


def test_the_oracles_worst_user_gains_with_alpha():
    """In the mean over rounds, and in sum utility it pays for that."""
    utilities = [oracle_utilities(alpha) for alpha in (0.0, 0.5, 1.0, 2.0, 3.0, 5.0)]
    worst = [u.min(axis=1).mean() for u in utilities]
    total = [u.sum(axis=1).mean() for u in utilities]
    assert np.all(np.diff(worst) > 0.005)
    assert np.all(np.diff(total) < 0)


@pytest.mark.slow
def test_owo_fmtls_worst_user_gains_with_alpha():
    worst = [
        run("owo-fmtl", 48, {"alpha": alpha})[1].min(axis=-1).mean() for alpha in (0.5, 1.0, 2.0)
    ]
    assert np.all(np.diff(worst) > 0.01)


def equal_weights(rounds, total, alpha=1.0):
    """Equal weights with their own exact outer loop: the mean of *their* best models.

    At α = 0 the oracle's θ* is the model of the largest summed utility, and the data are the same;
    the step size is that of the problem at ``alpha``.
    """
    rate = default_rate(make_scenario("csi-prediction", alpha=alpha).problem)
    _, utilities = run(
        "cws", rounds, {"alpha": 0.0}, total=total, learning_rate=rate, target="exact"
    )
    return utilities


@pytest.mark.slow
def test_owo_fmtl_against_equal_weights():
    """K = 4, α = 1, 5 seeds: regret ≤ 1/5, worst user ≥ 25% higher, sum at most 3% lower.

    Measured with T = 512: see docs/scenarios/csi-prediction.md; T = 64 here keeps the test short
    and is harder on OWO-FMTL, whose first rounds start from nothing.
    """
    rounds = 64
    regret, ours = run("owo-fmtl", rounds)
    fair = AlphaFair(4, (0.4, 1.25), 1.0)
    best = regret + fair.value(ours)
    totals = (1.0, 4 / 0.825, 4 / 0.4)  # small, OWO-FMTL's at its start, its largest
    equal = [equal_weights(rounds, total) for total in totals]
    regrets = [np.mean(best - fair.value(u)) for u in equal]
    rival = equal[int(np.argmin(regrets))]
    assert regret.mean() <= min(regrets) / 5
    assert ours.min(axis=-1).mean() >= 1.25 * rival.min(axis=-1).mean()
    assert ours.sum(axis=-1).mean() >= 0.97 * rival.sum(axis=-1).mean()
    normalized, _ = run("owo-normalized", rounds)  # so it is fairness, not step size
    assert normalized.mean() <= min(regrets) / 5
    assert (ours < 0.4).mean() < 0.01 < (rival < 0.4).mean()


@pytest.mark.slow
def test_balanced_mix_is_a_tie():
    """Where nobody is in a minority the dual has nothing to do: equal weights lose nothing."""
    owo, ours = run("owo-fmtl", 64, {"mix": "balanced"})
    cws, theirs = run("cws", 64, {"mix": "balanced"})
    assert cws.mean() < 1.5 * owo.mean() and owo.mean() < 0.03
    assert ours.min(axis=-1).mean() == pytest.approx(theirs.min(axis=-1).mean(), rel=0.05)


def test_preset_users_are_those_of_the_specification():
    assert USERS["edge"].profile == "TDL-A" and USERS["vehicular"].profile == "TDL-C"
    assert USERS["vehicular"].speed_kmh == 120.0 and USERS["edge"].snr_db == 0.0
