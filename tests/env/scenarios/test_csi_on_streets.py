"""``csi-prediction`` on the streets of a site."""

import warnings

import gymnasium as gym
import numpy as np
import pytest
from gymnasium.utils.env_checker import check_env

import owo_agents
import owo_env
from owo_env.radio.site import load
from owo_env.radio.site.budget import Budget
from owo_env.scenarios.csi_prediction import MOVERS, CsiPrediction
from owo_env.scenarios.csi_prediction.population import trace_of_hessian
from owo_env.scenarios.least_squares.source import Source

MUNICH = dict(scenario="csi-prediction", site="munich")


def measured(number=1, seed=0, **settings):
    scenario = CsiPrediction(site="munich", **settings)
    rng = Source(np.random.PCG64(seed))
    return scenario, [
        scenario.measure(rng, 1 + n * scenario.rounds_per_block) for n in range(number)
    ]


@pytest.mark.parametrize("more", [{}, dict(drift=3), dict(shuffle=False, drift=2, num_users=5)])
def test_scalar_and_vector_are_the_same_bits(more):
    vector = gym.make_vec(
        "AIRAN-FairMTL-v0", num_envs=3, num_slots=64, autoreset_mode="Disabled", **MUNICH, **more
    )
    agent = owo_agents.make("owo-fmtl", vector)
    together = list(owo_agents.play(vector, agent, 10, seed=5))
    for n in range(3):
        env = gym.make("AIRAN-FairMTL-v0", num_slots=64, **MUNICH, **more)
        alone = list(owo_agents.play(env, owo_agents.make("owo-fmtl", env), 10, seed=5 + n))
        for one, all_ in zip(alone, together):
            for name in ("utilities", "regret", "fairness", "model"):
                np.testing.assert_array_equal(getattr(one, name), getattr(all_, name)[n])
            for name in ("user_class", "position", "street"):
                np.testing.assert_array_equal(one.extras[name], all_.extras[name][n])


def test_the_checker_passes():
    env = gym.make("AIRAN-FairMTL-v0", num_slots=8, **MUNICH).unwrapped
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".*Box (action|observation) space")
        check_env(env, skip_render_check=True)


def test_a_stream_goes_on_from_its_checkpoint():
    env = gym.make("AIRAN-FairMTL-v0", num_slots=64, drift=4, **MUNICH)
    agent = owo_agents.make("cws", env)
    list(owo_agents.play(env, agent, 11, seed=3))
    again = gym.make("AIRAN-FairMTL-v0", num_slots=64, drift=4, **MUNICH)
    again.unwrapped.load_state_dict(env.unwrapped.state_dict())
    for _ in range(9):
        obs = [e.reset()[0] for e in (env, again)]
        streams = [e.unwrapped._stream for e in (env, again)]
        places = [s.batch.round_info(np.array([0]))["position"] for s in streams]
        np.testing.assert_array_equal(*places)
        assert obs[0].keys() == obs[1].keys()


def test_users_are_on_streets_of_their_class():
    scenario, (recording,) = measured(num_slots=8, num_users=8)
    site, about = scenario.site, recording.about
    streets = about["street"]
    kinds = np.array([street.kind for street in site.streets])[streets]
    np.testing.assert_array_equal(kinds == "indoor", about["user_class"] == "indoor")
    counts = [(about["user_class"] == name).sum(axis=1) for name in MOVERS]
    assert all((count == wanted).all() for count, wanted in zip(counts, (2, 4, 2)))
    far = np.abs(site.position - about["position"][..., None, :]).max(axis=-1)
    far = np.where(site.street == streets[..., None], far, np.inf)
    place = far.argmin(axis=-1)
    assert np.take_along_axis(far, place[..., None], -1).max() <= 0.05 + 1e-6  # is rounded
    # The SNR is the link budget's, at the place where the round began.
    snr = Budget().snr_db(site.gain_db[place])
    near = np.abs(snr - about["_snr_db"]) < 1e-9
    assert near.mean() > 0.5  # others walked on to the next place


def test_a_round_is_a_walk():
    """A user alone on a straight street, without noise: its channel turns by its speed."""
    fast = dict(name="fast", speed_kmh=36.0, streets=["square"])
    still = dict(name="still", speed_kmh=0.0, streets=["square"])
    _, (recording,) = measured(users=[fast, still], shuffle=False, num_slots=32, horizon=1)
    y = recording.targets  # (rounds, m, K, S)
    change = np.abs(np.diff(y, axis=1)).mean(axis=(0, 1, 3))
    assert change[1] == 0 and change[0] > 0.01
    power = np.mean(np.abs(y) ** 2, axis=(1, 3))
    np.testing.assert_allclose(power, 1, rtol=0.3)  # of all slots, those before the first too


def test_drift_wanders_and_does_not_jump():
    _, blocks = measured(3, num_slots=64, drift=64, shuffle=False, num_users=6)
    at = np.concatenate([block.about["position"] for block in blocks])
    step = np.linalg.norm(np.diff(at, axis=0), axis=2)
    longest = max(np.hypot(*np.subtract(s.end, s.start)) for s in load("munich").streets)
    wandered = step < longest / 64 + 2
    assert (~wandered).sum() <= 6  # each has at most one new stretch in 24 rounds
    assert np.median(step[wandered]) > 0.5
    _, blocks = measured(3, num_slots=64, num_users=6)
    jumps = np.diff(np.concatenate([block.about["position"] for block in blocks]), axis=0)
    assert np.median(np.linalg.norm(jumps, axis=2)) > 20


def test_shuffle_permutes_and_its_absence_does_not():
    _, (kept,) = measured(num_slots=64, shuffle=False)
    assert (kept.about["user_class"] == kept.about["user_class"][0]).all()
    assert CsiPrediction(site="munich", shuffle=False).user_classes == [
        "walking", "indoor", "driving", "driving",
    ]  # fmt: skip
    _, (mixed,) = measured(num_slots=64)
    assert not (mixed.about["user_class"] == mixed.about["user_class"][0]).all()


def test_smoothness_is_that_of_the_worst_class():
    scenario = CsiPrediction(site="munich", users=["walking", "driving"])
    site = scenario.site
    outdoors = np.array([street.kind != "indoor" for street in site.streets])[site.street]
    noise = 10 ** (-Budget().snr_db(site.gain_db[outdoors]) / 10)
    noise = noise[~np.isnan(noise)]
    wanted = trace_of_hessian(4, noise.mean(), noise.max())
    assert scenario.problem.smoothness == pytest.approx(wanted)


def test_the_radio_is_as_one_sets_it():
    scenario = CsiPrediction(site="munich", numerology=2, subcarriers=4, past=3, horizon=2)
    assert scenario.grid.slot == 0.25e-3 and scenario.problem.dim == 3
    assert scenario.grid.carrier == 3.5e9
    assert CsiPrediction(site="munich", carrier_ghz=3.5).grid == CsiPrediction(site="munich").grid


def test_an_own_file_is_a_site(tmp_path):
    load("munich").save(tmp_path / "mine.npz")
    here = CsiPrediction(site=tmp_path / "mine.npz", num_slots=8)
    ours = CsiPrediction(site="munich", num_slots=8)
    rngs = [Source(np.random.PCG64(1)) for _ in range(2)]
    parts = [s.measure(rng, 1) for s, rng in zip((here, ours), rngs)]
    np.testing.assert_array_equal(parts[0].features, parts[1].features)


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        (dict(site="berlin"), "unknown site 'berlin'"),
        (dict(site="munich", mix="balanced"), "mix='balanced': not with site="),
        (dict(site="munich", carrier_ghz=28.0), "carrier_ghz=28.0: the site was traced at 3.5"),
        (dict(site="munich", users=["edge", "driving"]), "unknown user 'edge'"),
        (dict(site="munich", num_users=3, users=["driving"] * 2), "but 2 users are given"),
        (dict(site="munich", power_dbm=-90.0), "no place for 'walking' users"),
        (dict(site="munich", snr_limits_db=(30, 20)), "must not be above"),
        (dict(site="munich", num_users=10_000), "2500 'walking' users, but "),
        (
            dict(site="munich", users=[dict(name="a", speed_kmh=3.0, streets=["nort"])] * 2),
            "unknown street 'nort': did you mean 'north'",
        ),
        (
            dict(site="munich", users=[dict(name="a", speed_kmh=3.0, streets="north")] * 2),
            "must be a list",
        ),
        (dict(site="munich", users=[dict(name="a", speed_kmh=-1.0)] * 2), "speed_kmh"),
        (dict(power_dbm=10.0), "power_dbm=10.0: only with site="),
        (dict(snr_limits_db=(0, 10)), "only with site="),
    ],
)
def test_bad_input(settings, said):
    with pytest.raises(ValueError, match=said):
        owo_env.make_scenario("csi-prediction", **settings)
    with pytest.raises(TypeError, match="speed_kmhh"):
        CsiPrediction(site="munich", users=[dict(name="a", speed_kmhh=1.0)] * 2)


def test_equity_matters_on_streets():
    """Weights that are equal leave the worst user behind OWO-FMTL's, and both behind hindsight."""
    worst = {}
    for name in ("cws", "owo-fmtl", "oracle"):
        env = gym.make("AIRAN-FairMTL-v0", alpha=2.0, horizon=2, **MUNICH)
        rounds = list(owo_agents.play(env, owo_agents.make(name, env), 40, seed=1000))
        worst[name] = np.mean([record.utilities.min() for record in rounds])
    assert worst["cws"] < worst["owo-fmtl"] < worst["oracle"] + 0.02
