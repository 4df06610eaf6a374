"""The order in which a trace's rounds are played: as recorded, or one that the seed draws."""

import gymnasium as gym
import numpy as np
import pytest

import owo_agents
import owo_env
from owo_agents.playing import side_by_side
from owo_env.scenarios import traces
from owo_env.scenarios.recorded import Recorded

T = 7
SEEDS = range(12)


def scenario(order, block=None, **more):
    """A trace whose targets in round t are all t, so that a round can be told by its utility."""
    x = np.ones((T, 3, 2, 1))
    y = np.arange(T)[:, None, None] * np.ones((3, 2))
    settings = {"l_max": 50.0, "utility_bounds": (1.0, 50.0), "order": order}
    found = Recorded(features=x, targets=y, **settings, **more)
    if block is not None:
        found.rounds_per_block = block
    return found


def rounds_played(seed, rounds=T, **kwargs):
    """Which rounds of the trace come, told by how well x_1 = 0 does: l_max − t²."""
    stream = scenario(**kwargs).stream(np.random.default_rng(seed), None)
    found = []
    for _ in range(rounds):
        stream.open_round({})
        found.append(round((50 - stream.evaluate(np.zeros(1))[0, 0]) ** 0.5))
    return found


def test_a_replay_does_not_depend_on_the_seed():
    assert [rounds_played(seed, order="replay") for seed in SEEDS] == [list(range(T))] * len(SEEDS)


def test_a_window_starts_where_the_seed_says_and_keeps_the_order_in_time():
    found = [rounds_played(seed, order="window") for seed in SEEDS]
    assert all(row == [(row[0] + t) % T for t in range(T)] for row in found)
    assert len({row[0] for row in found}) > 3


def test_shuffled_rounds_come_once_each_in_an_order_that_the_seed_draws():
    found = [rounds_played(seed, order="shuffled") for seed in SEEDS]
    assert all(sorted(row) == list(range(T)) for row in found)
    assert len({tuple(row) for row in found}) == len(SEEDS)


@pytest.mark.parametrize("order", ["window", "shuffled"])
def test_the_order_is_one_whatever_is_read_at_once_and_comes_again_with_repeat(order):
    whole, single = (rounds_played(5, order=order, block=block) for block in (None, 1))
    assert whole == single
    assert rounds_played(5, rounds=2 * T, order=order, repeat=True) == whole * 2


@pytest.mark.parametrize("order", ["window", "shuffled"])
def test_streams_side_by_side_have_the_orders_of_their_seeds(order):
    venv = gym.make_vec(
        "AIRAN-FairMTL-v0", num_envs=3, scenario=scenario(order), autoreset_mode="Disabled"
    )
    agent = owo_agents.make("owo-fmtl", venv)
    together = list(owo_agents.play(venv, agent, T, seed=4))
    for n in range(3):
        env = gym.make("AIRAN-FairMTL-v0", scenario=scenario(order))
        alone = owo_agents.play(env, owo_agents.make("owo-fmtl", env), T, seed=4 + n)
        for one, all_ in zip(alone, together, strict=True):
            assert (one.utilities == all_.utilities[n]).all()


@pytest.mark.parametrize("order", ["window", "shuffled"])
def test_rounds_side_by_side_have_the_order_too(order):
    """As ``owo bench`` plays them, whose rounds are the streams of a batch."""
    env = gym.make("AIRAN-FairMTL-v0", scenario=scenario(order))
    agents = [owo_agents.make("srl", env) for _ in range(2)]
    assert side_by_side.possible(env, agents[0], T)
    together = side_by_side.play(env, agents[0], T, 4, False)
    for one, other in zip(together, owo_agents.play(env, agents[1], T, seed=4), strict=True):
        assert (one.utilities == other.utilities).all()


@pytest.mark.parametrize("order", ["window", "shuffled"])
def test_a_stream_goes_on_in_its_order_from_where_it_was_saved(order):
    made = scenario(order, block=1)
    first, other = (made.stream(np.random.default_rng(seed), None) for seed in (1, 2))
    for _ in range(3):
        first.open_round({})
    other.load_state_dict(first.state_dict())
    for _ in range(T - 3):
        for stream in (first, other):
            stream.open_round({})
        assert (first.evaluate(np.zeros(1)) == other.evaluate(np.zeros(1))).all()


@pytest.mark.parametrize("suffix", ["npz", "parquet"])
def test_what_is_known_of_a_round_goes_with_it(tmp_path, suffix):
    if suffix == "parquet":
        pytest.importorskip("pyarrow")
    path = tmp_path / f"t.{suffix}"
    csi = owo_env.make_scenario("csi-prediction", num_slots=8)
    traces.write(csi, path, rounds=T, seed=0)
    shuffled, plain = (Recorded(path, order=order) for order in ("shuffled", "replay"))
    found = shuffled.measure(np.random.default_rng(3), 1)
    order = np.random.default_rng(3).permutation(T)
    whole = plain.measure(np.random.default_rng(3), 1)
    assert (found.features == whole.features[order]).all()
    assert (found.targets == whole.targets[order]).all()
    assert whole.about.keys() == found.about.keys()
    for name, values in whole.about.items():
        assert (found.about[name] == values[order]).all()


def test_an_unknown_order_names_the_known_ones():
    with pytest.raises(ValueError, match="did you mean 'shuffled'"):
        scenario("shufled")
