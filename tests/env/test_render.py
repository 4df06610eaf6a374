"""What ``render()`` shows, and that showing changes nothing."""

import re

import gymnasium as gym
import matplotlib as mpl
import matplotlib.style
import numpy as np
import pytest
from gymnasium.utils.env_checker import check_env
from gymnasium.wrappers import RecordVideo

import owo_agents
from owo_env import AIRANEnv, Problem
from owo_env.picture import COLOURS
from owo_env.render import Display

SLOTS = 6


def make(render_mode, **kwargs):
    return gym.make("AIRAN-FairMTL-v0", num_slots=SLOTS, render_mode=render_mode, **kwargs)


def play_round(env, agent, seed=None):
    """One round, rendered at reset and after every slot: frames, utilities, priorities."""
    obs, info = env.reset(seed=seed)
    agent.begin_round(obs, info)
    frames, utilities, weights = [env.render()], [], []
    done = False
    while not done:
        action = agent.act(obs, info)
        obs, _, done, _, info = env.step(action)
        agent.learn(obs, info)
        frames.append(env.render())
        utilities.append(obs["utilities"])
        weights.append(np.array(action["weights"]))
    agent.end_round(obs, info)
    return frames, np.array(utilities), np.array(weights), info


def display(users=2, alpha=1.0, bounds=(1.0, 5.0), slots=4):
    return Display(
        Problem(
            num_users=users,
            dim=1,
            num_slots=slots,
            alpha=alpha,
            utility_bounds=bounds,
            initial_model=np.zeros(1),
        )
    )


def width_of(frame, colour, column=slice(0, 350)):
    """Pixels that the longest row of a colour spans in the utilities' part of the picture."""
    rgb = [int(colour[i : i + 2], 16) for i in (1, 3, 5)]
    return (frame[:, column] == rgb).all(-1).sum(1).max()


@pytest.mark.parametrize("mode", ["rgb_array", "ansi"])
def test_rendering_changes_nothing(mode):
    plain, shown = make(None), make(mode)
    agents = [owo_agents.make("owo-fmtl", env) for env in (plain, shown)]
    records = list(owo_agents.play(plain, agents[0], 2, seed=4))
    for t, record in enumerate(records):
        _, utilities, _, info = play_round(shown, agents[1], seed=4 if t == 0 else None)
        assert info["regret"] == record.regret
        assert utilities.mean(0) == pytest.approx(record.utilities, abs=1e-14)


def test_pictures_are_rgb_and_move_with_the_round():
    env = make("rgb_array")
    frames, *_ = play_round(env, owo_agents.make("owo-fmtl", env), seed=0)
    assert all(f.shape == (540, 960, 3) and f.dtype == np.uint8 for f in frames)
    assert len({f.tobytes() for f in frames}) == SLOTS + 1
    assert (env.render() == frames[-1]).all()
    assert not np.shares_memory(env.render(), env.render())


def test_bar_is_as_long_as_the_utility():
    """[1, 5]: u = 5 fills the interval, u = 3 half of it; the mean's mark covers a few pixels."""
    shown = display(slots=2)
    shown.record([5.0, 3.0], np.ones(2), 1.0, {})
    frame = shown.rgb_array()
    full, half = width_of(frame, COLOURS[0]), width_of(frame, COLOURS[1])
    assert full > 100
    assert half / full == pytest.approx(0.5, abs=0.02)


def test_text_tells_what_was_played():
    env = make("ansi", alpha=2.0)
    frames, utilities, weights, info = play_round(env, owo_agents.make("owo-fmtl", env), seed=1)
    assert frames[0].startswith(f"round 1   slot 0/{SLOTS}   α = 2\n")
    for i, frame in enumerate(frames[1:]):
        for k, line in enumerate(frame.splitlines()[1:]):
            u, mean, p = re.findall(r"(?:u|mean|p) +(-?\d+\.\d+)", line)
            assert line.startswith(f"user {k + 1} ")
            assert float(u) == pytest.approx(utilities[i, k], abs=5.1e-4)
            assert float(mean) == pytest.approx(utilities[: i + 1, k].mean(), abs=5.1e-4)
            assert float(p) == pytest.approx(weights[i, k], abs=5.1e-4)
    assert f"regret {info['regret']:+.4f}" in frames[-1]
    assert "regret" not in frames[-2]


def test_bars_of_text_fill_in_proportion():
    shown = display()
    shown.record([3.0, 5.0], np.array([1.0, 0.25]), 0.0, {})
    shown.record([5.0, 1.0], np.array([1.0, 0.25]), 0.0, {})
    rows = [re.findall("▕(.*?)▏", line) for line in shown.ansi().splitlines()[1:]]
    assert rows[0] == ["█" * 12 + "┃" + "█" * 3, "█" * 16]
    assert rows[1] == [" " * 8 + "┃" + " " * 7, "█" * 4 + " " * 12]


def test_utilities_outside_their_bounds_are_marked():
    shown = display()
    shown.record([0.5, 3.0], np.ones(2), 0.0, {})
    outside, inside = shown.ansi().splitlines()[1:]
    assert "0.500!" in outside and "!" not in inside
    red = (shown.rgb_array() == [0xC0, 0x39, 0x2B]).all(-1).sum()
    shown.record([2.0, 3.0], np.ones(2), 0.0, {})
    assert red > 50
    assert not (shown.rgb_array() == [0xC0, 0x39, 0x2B]).all(-1).any()


def test_many_users_fit():
    shown = display(users=40)
    shown.record(np.linspace(1, 5, 40), np.ones(40), 0.0, {})
    assert shown.ansi().splitlines()[-1] == "… and 24 users more"
    assert shown.rgb_array().shape == (540, 960, 3)


def test_a_new_stream_forgets_the_rounds_before():
    env = make("ansi")
    agent = owo_agents.make("frozen", env)
    inner = env.unwrapped._display
    for t in range(3):
        _, _, _, info = play_round(env, agent, seed=2 if t == 0 else None)
    assert len(inner.past) == 3
    assert inner.past[-1] == pytest.approx(info["fairest_fairness"] - info["regret"])
    env.reset(seed=2)
    assert inner.past == []


def test_an_abandoned_round_is_no_round_played():
    env = make("ansi")
    env.reset(seed=0)
    env.step({"model": np.zeros(4), "weights": np.ones(2)})
    env.reset()
    assert env.unwrapped._display.past == []
    assert env.render().startswith("round 2   slot 0/")


def test_render_without_a_mode_warns():
    env = make(None).unwrapped
    env.reset(seed=0)
    with pytest.warns(UserWarning, match="needs a render_mode"):
        assert env.render() is None


def test_render_before_reset_is_an_error():
    with pytest.raises(gym.error.ResetNeeded, match="before render"):
        make("ansi").unwrapped.render()


def test_unknown_mode_names_the_known_ones():
    with pytest.raises(ValueError, match="rgb_array"):
        AIRANEnv(render_mode="rgb")


@pytest.mark.parametrize("mode", ["rgb_array", "ansi"])
@pytest.mark.filterwarnings(
    "ignore:.*(For Box action spaces|A Box (observation|action) space):UserWarning"
)
def test_gymnasiums_checker_passes(mode):
    check_env(make(mode).unwrapped)


def test_frames_of_a_round_can_be_collected():
    env = gym.make("AIRAN-FairMTL-v0", num_slots=2, render_mode="rgb_array_list")
    env.reset(seed=0)
    for _ in range(2):
        env.step({"model": np.zeros(4), "weights": np.ones(2)})
    assert len(env.render()) == 3


def test_a_round_is_recorded_as_video(tmp_path):
    pytest.importorskip("moviepy")
    env = RecordVideo(make("rgb_array"), str(tmp_path / "videos"), disable_logger=True)
    for _ in owo_agents.play(env, owo_agents.make("owo-fmtl", env), 1, seed=0):
        pass
    env.close()
    (video,) = (tmp_path / "videos").glob("*.mp4")
    assert video.stat().st_size > 1000


@pytest.mark.parametrize("style", ["dark_background", "classic", {"text.usetex": True}])
def test_a_users_style_stays_out_of_pictures_and_is_theirs_again(style):
    def frame():
        shown = display()
        shown.record([3.0, 5.0], np.ones(2), 1.0, {})
        return shown.rgb_array()

    plain = frame()
    with mpl.style.context(style):
        before = dict(mpl.rcParams)
        assert (frame() == plain).all()
        assert dict(mpl.rcParams) == before
