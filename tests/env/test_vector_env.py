"""The vector environment against the scalar one and against Gymnasium's own vectorisation."""

import re

import gymnasium as gym
import numpy as np
import pytest
from gymnasium.utils.env_checker import data_equivalence
from gymnasium.vector import AutoresetMode, VectorEnv

import owo_agents
import owo_env
from owo_env.scenarios.least_squares import base as least_squares
from owo_env.scenarios.least_squares import streams as least_squares_streams

ID = "AIRAN-FairMTL-v0"
SEED = 5
STREAMS = 3

# Users that change places, K > 2, utilities below u_min.
_rng = np.random.default_rng(0)
SCENARIOS = {
    "sinusoid": {"scenario": "sinusoid", "num_slots": 9},
    "blocks": {"scenario": "sinusoid", "num_slots": 9, "adversary": "blocks", "alpha": 2.0},
    "bounds": {"scenario": "sinusoid", "num_slots": 9, "utility_bounds": (5.0, 7.0)},
    "csi": {"scenario": "csi-prediction", "num_slots": 9, "alpha": 0.5},
    "recorded": {
        "scenario": "recorded",
        "features": _rng.uniform(-1, 1, (2, 7, 3, 2, 5)),
        "targets": _rng.uniform(-1, 1, (2, 7, 3, 2)),
        "l_max": 40.0,
        "utility_bounds": (1.0, 40.0),
        "model_bounds": (-1.0, 1.0),
        "repeat": True,
    },
}
FEW = ["sinusoid", "csi"]


@pytest.fixture(autouse=True)
def blocks_of_two_rounds(monkeypatch):
    """So that a few rounds cross several blocks."""
    monkeypatch.setattr(least_squares, "SLOTS_PER_BLOCK", 18)
    monkeypatch.setattr(least_squares_streams, "STREAMS_PER_DRAW", 2)


def native(num_envs=STREAMS, mode="Disabled", **settings) -> VectorEnv:
    return gym.make_vec(ID, num_envs=num_envs, autoreset_mode=mode, **settings)


def sync(num_envs=STREAMS, mode="Disabled", **settings) -> VectorEnv:
    return gym.make_vec(
        ID,
        num_envs=num_envs,
        vectorization_mode="sync",
        vector_kwargs={"autoreset_mode": AutoresetMode(mode)},
        **settings,
    )


def actions_of(env, rng):
    low, high = env.unwrapped.problem.model_bounds
    n, problem = env.num_envs, env.unwrapped.problem
    return {
        "model": rng.uniform(low, high, (n, problem.dim)),
        "weights": rng.uniform(0, 1, (n, problem.num_users)),
    }


def without_feedback(info):
    """Gymnasium has no batched feedback: ours repeats ``final_obs`` as arrays."""
    if "final_info" not in info:
        return info
    final = dict(info["final_info"])
    feedback, mask = final.pop("feedback"), final.pop("_feedback")
    for n in np.flatnonzero(mask):
        last = {key: value[n] for key, value in feedback.items()}
        assert data_equivalence(last, {**info["final_obs"][n], "slot": last["slot"]})
    return {**info, "final_info": final}


def plain(info):
    """``final_obs`` as lists of the same types on both sides: a Discrete's value is an int."""
    if "final_obs" not in info:
        return info
    last = [o if o is None else {**o, "slot": int(o["slot"])} for o in info["final_obs"]]
    return {**info, "final_obs": tuple(last)}


def assert_same(ours, theirs):
    *ours, our_info = ours
    *theirs, their_info = theirs
    for a, b in zip(ours, theirs, strict=True):
        assert data_equivalence(a, b, exact=True), (a, b)
    our_info, their_info = plain(without_feedback(our_info)), plain(their_info)
    assert data_equivalence(our_info, their_info, exact=True), (our_info, their_info)


@pytest.mark.parametrize("gradients", ["weighted", "per_user"])
@pytest.mark.parametrize("mode", ["Disabled", "SameStep", "NextStep"])
@pytest.mark.parametrize("name", SCENARIOS)
def test_equals_gymnasiums_vector_of_scalar_environments(name, mode, gradients):
    ours = native(mode=mode, gradients=gradients, **SCENARIOS[name])
    theirs = sync(mode=mode, gradients=gradients, **SCENARIOS[name])
    assert ours.single_action_space == theirs.single_action_space
    assert ours.single_observation_space == theirs.single_observation_space
    assert ours.action_space == theirs.action_space
    assert ours.observation_space == theirs.observation_space
    assert ours.metadata["autoreset_mode"] is AutoresetMode(mode)
    rng = np.random.default_rng(1)
    assert_same(ours.reset(seed=SEED), theirs.reset(seed=SEED))
    rounds = 0
    for step in range(5 * ours.problem.num_slots):
        actions = actions_of(ours, rng)
        result = ours.step(actions)
        assert_same(result, theirs.step(actions))
        ended = result[2]
        rounds += ended.any()
        if step == 7:  # one stream leaves its round early: from here on they are out of step
            mask = np.arange(STREAMS) == 1
        elif mode == "Disabled" and ended.any():
            mask = ended
        else:
            continue
        masks = [{"reset_mask": mask.copy()} for _ in range(2)]
        assert_same(ours.reset(options=masks[0]), theirs.reset(options=masks[1]))
    assert rounds >= 4


@pytest.mark.parametrize("hindsight", [True, False])
@pytest.mark.parametrize("name", SCENARIOS)
def test_an_agent_plays_stream_n_as_it_plays_the_scalar_environment(name, hindsight):
    settings = {**SCENARIOS[name], "hindsight": hindsight}
    vector = native(**settings)
    batched = list(owo_agents.play(vector, owo_agents.make("owo-fmtl", vector), 5, seed=SEED))
    for n in range(STREAMS):
        env = gym.make(ID, **settings)
        alone = owo_agents.play(env, owo_agents.make("owo-fmtl", env), 5, seed=SEED + n)
        for ours, scalar in zip(batched, alone, strict=True):
            assert ours.round == scalar.round
            assert (ours.regret is None) == (not hindsight)
            for field in ("fairness", "regret", "utilities", "weights", "model"):
                a, b = getattr(ours, field), getattr(scalar, field)
                assert b is None or np.array_equal(a[n], b), field
            assert ours.extras.keys() == scalar.extras.keys()
            for key, value in scalar.extras.items():
                assert np.array_equal(ours.extras[key][n], value)


@pytest.mark.parametrize("name", FEW)
def test_a_stream_does_not_depend_on_its_neighbours(name):
    """Seven streams are drawn in four parts, and solved in other batches than three."""
    settings = SCENARIOS[name]
    models = {}
    for num_envs in (3, 7):
        env = native(num_envs, **settings)
        records = owo_agents.play(env, owo_agents.make("owo-fmtl", env), 9, seed=SEED)
        models[num_envs] = np.array([record.model[:3] for record in records])
    assert np.array_equal(models[3], models[7])


def test_one_stream_restarts_alone():
    env = native(**SCENARIOS["sinusoid"])
    env.reset(seed=SEED)
    rng = np.random.default_rng(2)
    actions = [actions_of(env, rng) for _ in range(4)]
    first = [env.step(a)[0]["utilities"] for a in actions]
    mask = np.array([False, True, False])
    _, info = env.reset(seed=[None, SEED + 1, None], options={"reset_mask": mask})
    assert info["round"][1] == 1
    again = [env.step(a)[0]["utilities"] for a in actions]
    assert np.array_equal([u[1] for u in first], [u[1] for u in again])
    assert not np.array_equal([u[0] for u in first], [u[0] for u in again])


@pytest.mark.parametrize("name", FEW)
def test_evaluate_is_the_scalar_environments(name):
    settings = {**SCENARIOS[name], "num_slots": 5}
    env, scalar = native(**settings), gym.make(ID, **settings)
    rng = np.random.default_rng(3)
    env.reset(seed=SEED)
    for _ in range(5):
        env.step(actions_of(env, rng))
    models = actions_of(env, rng)["model"]
    utilities = env.evaluate(models)
    for n in range(STREAMS):
        scalar.reset(seed=SEED + n)
        for _ in range(5):
            scalar.step({"model": models[n], "weights": np.ones(env.problem.num_users)})
        assert np.array_equal(utilities[n], scalar.unwrapped.evaluate(models[n]))


@pytest.mark.parametrize("mode", ["Disabled", "SameStep", "NextStep"])
@pytest.mark.parametrize("gradients", ["weighted", "per_user"])
def test_gymnasiums_vector_protocol(mode, gradients):
    """Types and shapes as Gymnasium's own tests ask of a vector environment."""
    env = native(4, mode, gradients=gradients, num_slots=3)
    env.action_space.seed(0)
    obs, info = env.reset(seed=0)
    assert obs in env.observation_space and isinstance(info, dict)
    for _ in range(8):
        sample = env.action_space.sample()
        sample["weights"] = np.minimum(sample["weights"], 1.0)
        obs, rewards, terminated, truncated, info = env.step(sample)
        assert obs in env.observation_space
        assert rewards.shape == (4,) and rewards.dtype == np.float64
        for ends in (terminated, truncated):
            assert ends.shape == (4,) and ends.dtype == np.bool_
        for key, value in info.items():
            if not key.startswith("_"):
                assert info[f"_{key}"].shape == (4,) and info[f"_{key}"].dtype == np.bool_
                assert len(value) == 4 or key == "final_info"
        if mode == "Disabled" and terminated.any():
            env.reset(options={"reset_mask": terminated})
    env.close()
    assert gym.spec(ID).vector_entry_point is not None


def test_what_was_returned_is_never_written_again():
    env = native(mode="SameStep", num_slots=4)
    rng = np.random.default_rng(4)
    kept = [env.reset(seed=0)]
    for _ in range(12):
        kept.append(env.step(actions_of(env, rng)))
    rng = np.random.default_rng(4)
    assert_same(kept[0], env.reset(seed=0))
    for before in kept[1:]:
        now = env.step(actions_of(env, rng))
        assert data_equivalence(before[0], now[0], exact=True)
        assert data_equivalence(plain(before[-1]), plain(now[-1]), exact=True)


@pytest.mark.parametrize("scenario", ["sinusoid", "own"])
def test_what_was_returned_may_be_written_into(scenario):
    """A reset of some streams hands out the others' feedback as it was."""
    env = native(scenario=Own() if scenario == "own" else scenario)
    rng, masks = np.random.default_rng(4), np.eye(STREAMS, dtype=bool)
    env.reset(seed=0)
    for mask in masks:
        obs, _, _, _, info = env.step(actions_of(env, rng))
        before = {key: value.copy() for key, value in obs.items()}
        for value in [*obs.values(), *info.values()]:
            value.fill(7)
        for _ in range(2):
            obs, info = env.reset(options={"reset_mask": mask})
            for key, value in obs.items():
                assert np.array_equal(value[~mask], before[key][~mask]), key
                assert not value[mask].any()
                value.fill(7)


def test_statistics_wrapper_reports_fairness():
    env = gym.wrappers.vector.RecordEpisodeStatistics(native(mode="SameStep", num_slots=6))
    rng = np.random.default_rng(6)
    env.reset(seed=0)
    for _ in range(6):
        info = env.step(actions_of(env, rng))[-1]
    final = info["final_info"]
    assert np.allclose(info["episode"]["r"], final["fairest_fairness"] - final["regret"])


@pytest.mark.parametrize("num_envs", [0, -1, 1.5, True])
def test_at_least_one_stream(num_envs):
    with pytest.raises(ValueError, match="num_envs"):
        owo_env.AIRANVectorEnv(num_envs=num_envs)


class Own(owo_env.Scenario):
    """A scenario of somebody's own, which knows nothing of batches: user k's utility is 2 − k θ."""

    name = "own"
    problem = owo_env.Problem(
        num_users=2,
        dim=1,
        num_slots=3,
        utility_bounds=(0.5, 2.5),
        initial_model=np.zeros(1),
        model_bounds=(-1.0, 1.0),
    )
    has_oracle = True

    def stream(self, rng, fairness):
        return OwnStream(rng)


class OwnStream(owo_env.Stream):
    def __init__(self, rng):
        self.rng = rng

    def open_round(self, options):
        self.shift = self.rng.uniform(0, 0.4)

    def play(self, slot, model, weights, per_user):
        slopes = np.array([[0.0], [-1.0]])
        gradient = slopes if per_user else weights @ slopes
        return [2.0, 2.0 - float(model[0]) - self.shift], gradient

    def evaluate(self, model):
        return np.tile([2.0, 2.0 - float(model[0]) - self.shift], (3, 1))

    def fairest(self):
        return np.array([-1.0]), np.array([2.0, 3.0 - self.shift])

    def slot_info(self):
        return {"shift": self.shift}

    def round_info(self):
        return {"loss": np.array([0.0, self.shift])}


@pytest.mark.parametrize("mode", ["Disabled", "SameStep", "NextStep"])
@pytest.mark.parametrize("gradients", ["weighted", "per_user"])
def test_any_scenario_can_be_a_vector(gradients, mode):
    """Stream by stream what the scalar environment gives, hindsight and further infos included."""
    settings = {"scenario": Own(), "gradients": gradients, "alpha": 2.0}
    batch = gym.make_vec(ID, num_envs=3, autoreset_mode=mode, **settings)
    alone = [gym.make(ID, **settings) for _ in range(3)]
    batch.reset(seed=4)
    for n, env in enumerate(alone):
        env.reset(seed=4 + n)
    rng = np.random.default_rng(0)
    for _ in range(3):
        action = {"model": rng.uniform(-1, 1, (3, 1)), "weights": rng.uniform(0, 1, (3, 2))}
        obs, reward, done, _, info = batch.step(action)
        for n, env in enumerate(alone):
            one = env.step({key: value[n] for key, value in action.items()})
            seen = obs if mode != "SameStep" or not done[n] else obs | info["final_obs"][n]
            last = info if mode != "SameStep" or not done[n] else info["final_info"]
            for key, value in one[0].items():
                mine = seen[key] if mode == "SameStep" and done[n] else obs[key][n]
                assert np.array_equal(mine, value), key
            assert reward[n] == one[1] and done[n] == one[2]
            for key, value in one[4].items():
                assert np.array_equal(last[key][n], value), key
    assert set(one[4]) >= {"shift", "loss", "regret", "mean_utilities", "violations"}


def test_networks_in_a_vector_are_those_alone():
    settings = {"scenario": "rainbow-mnist", "num_slots": 3}
    batch = gym.make_vec(ID, num_envs=2, autoreset_mode="Disabled", **settings)
    together = list(owo_agents.play(batch, owo_agents.make("owo-fmtl", batch), 2, seed=3))
    for n in range(2):
        env = gym.make(ID, **settings)
        for a, b in zip(together, owo_agents.play(env, owo_agents.make("owo-fmtl", env), 2, 3 + n)):
            assert np.array_equal(a.model[n], b.model) and a.model.dtype == np.float32
            assert np.array_equal(a.utilities[n], b.utilities)
            for key in ("validation_loss", "validation_accuracy", "bytes_up"):
                assert np.array_equal(a.extras[key][n], b.extras[key])


@pytest.mark.parametrize("mode", ["Disabled", "SameStep"])
@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"model": np.zeros((2, 4))}, r"action\['model'\] has shape \(2, 4\): must be \(3, 4\)"),
        ({"model": np.zeros(4)}, r"must be \(3, 4\)"),
        ({"weights": np.ones((3, 3))}, r"must be \(3, 2\)"),
        ({"model": np.full((3, 4), 1.5)}, r"must lie in \[-1, 1\]"),
        ({"model": np.full((3, 4), np.nan)}, "not finite"),
        ({"weights": np.full((3, 2), -1.0)}, "must lie in"),
        ({"weights": np.full((3, 2), np.inf)}, "not finite"),
        ({"weights": "heavy"}, "mapping with the arrays"),
    ],
)
def test_bad_actions_are_named(mode, change, message):
    env = native(mode=mode)
    env.reset(seed=0)
    good = {"model": np.zeros((3, 4)), "weights": np.ones((3, 2))}
    with pytest.raises(ValueError, match=message):
        env.step({**good, **change})
    env.step(good)


@pytest.mark.parametrize(
    ("mask", "error"),
    [
        ([True, False, False], TypeError),
        (np.array([1, 0, 0]), TypeError),
        (np.array([True, False]), ValueError),
        (np.zeros(3, bool), ValueError),
    ],
)
def test_bad_reset_masks(mask, error):
    env = native()
    env.reset(seed=0)
    with pytest.raises(error, match="reset_mask"):
        env.reset(options={"reset_mask": mask})


def test_reset_leaves_the_callers_options_alone():
    env = native()
    env.reset(seed=0)
    options = {"reset_mask": np.array([True, False, True])}
    env.reset(options=options)
    assert list(options) == ["reset_mask"]


def test_steps_out_of_order():
    env = native(num_slots=1)
    action = {"model": np.zeros((3, 4)), "weights": np.ones((3, 2))}
    with pytest.raises(gym.error.ResetNeeded):
        env.step(action)
    with pytest.raises(gym.error.ResetNeeded, match="every stream"):
        env.reset(options={"reset_mask": np.array([True, False, False])})
    env.reset(seed=0)
    with pytest.raises(gym.error.ResetNeeded, match="just ended"):
        env.evaluate(np.zeros((3, 4)))
    env.step(action)
    with pytest.raises(gym.error.ResetNeeded, match="is over"):
        env.step(action)


def test_play_refuses_an_environment_that_resets_itself():
    env = native(mode="SameStep")
    with pytest.raises(ValueError, match="DISABLED"):
        owo_agents.play(env, owo_agents.make("owo-fmtl", env), 1)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"mode": "sometimes"}, "autoreset_mode='sometimes'"),
        ({"render_mode": "ansi"}, "render_mode"),
        ({"gradients": "none"}, "gradients"),
    ],
)
def test_bad_settings_are_named(settings, message):
    with pytest.raises(ValueError, match=message):
        native(**settings)


@pytest.mark.parametrize("seed", [[1, 2], [1, 2, 3, 4]])
def test_as_many_seeds_as_streams(seed):
    with pytest.raises(ValueError, match="num_envs=3"):
        native().reset(seed=seed)


@pytest.mark.parametrize("bad", [{"model": np.nan}, {"model": 1.5}, {"weights": -1.0}])
def test_the_stream_with_a_bad_action_is_named(bad):
    env = native()
    env.reset(seed=0)
    good = {"model": np.zeros((3, 4)), "weights": np.ones((3, 2))}
    env.step(good)
    for (name, value), n in zip(bad.items(), (2,), strict=True):
        actions = {key: array.copy() for key, array in good.items()}
        actions[name][n, 1] = value
        with pytest.raises(ValueError, match=rf"round 1, slot 2, stream {n}: action\['{name}'\]"):
            env.step(actions)


def test_what_a_resetting_stream_plays_does_not_matter():
    """NEXT_STEP spends a step on the reset; the action of that step may be anything."""
    env = native(mode="NextStep", num_slots=2)
    env.reset(seed=0)
    good = {"model": np.zeros((3, 4)), "weights": np.ones((3, 2))}
    env.step(good)
    assert env.step(good)[2].all()
    obs, *_ = env.step({"model": np.full((3, 4), np.nan), "weights": np.full((3, 2), -1.0)})
    assert (obs["slot"] == 0).all() and (obs["utilities"] == 0).all()
    with pytest.raises(ValueError, match="not finite"):
        env.step({**good, "model": np.full((3, 4), np.nan)})


@pytest.mark.parametrize("seeds", [np.arange(5, 8), [5, np.int32(6), np.int64(7)], np.uint8(5), 5])
def test_seeds_are_whole_numbers_of_any_type(seeds):
    expected, found = native(), native()
    expected.reset(seed=[5, 6, 7])
    found.reset(seed=seeds)
    rng = np.random.default_rng(0)
    actions = actions_of(expected, rng)
    assert_same(found.step(actions), expected.step(actions))


@pytest.mark.parametrize(
    ("seed", "message"),
    [
        (1.5, r"seed=1\.5: must be a whole number, at least 0"),
        (-1, "seed=-1"),
        (True, "seed=True"),
        ([1, 2.0, 3], r"seed\[1\]=2\.0"),
        (np.array([0.0, 1.0, 2.0]), re.escape(f"seed[0]={np.float64(0.0)!r}")),
        ([1, 2], "has 2 entries, must have num_envs=3"),
    ],
)
def test_seeds_that_are_none_are_named(seed, message):
    env = native()
    with pytest.raises(ValueError, match=message):
        env.reset(seed=seed)
