"""The references that stand beside learners: the oracle in hindsight and tuned constants."""

import gymnasium as gym
import numpy as np
import pytest

import owo_agents
import owo_env  # noqa: F401  (registers the environment)
from owo_agents.references.tuned import TunedConstant


def make(n=None, **settings):
    settings = {"scenario": "csi-prediction", "num_slots": 16, **settings}
    if n is None:
        return gym.make("AIRAN-FairMTL-v0", **settings)
    return gym.make_vec("AIRAN-FairMTL-v0", num_envs=n, autoreset_mode="Disabled", **settings)


def records(env, name, T=3, **arguments):
    return list(owo_agents.play(env, owo_agents.make(name, env, **arguments), T, seed=0))


@pytest.mark.parametrize("scenario", ["csi-prediction", "sinusoid"])
def test_the_oracle_has_no_regret_and_nobody_static_does_better(scenario):
    oracle = records(make(scenario=scenario), "oracle")
    cws = records(make(scenario=scenario), "cws", learning_rate=0.0)
    for best, other in zip(oracle, cws, strict=True):
        assert best.regret == pytest.approx(0.0, abs=1e-9)
        assert other.fairness <= best.fairness + 1e-9


def test_the_oracle_plays_batches_alike():
    batch = records(make(2), "oracle")
    single = records(make(), "oracle")
    for many, one in zip(batch, single, strict=True):
        np.testing.assert_array_equal(many.utilities[0], one.utilities)


def test_the_oracle_needs_hindsight():
    with pytest.raises(ValueError, match="reveals no fairest model"):
        owo_agents.make("oracle", make(hindsight=False))


def test_tuning_finds_who_is_worse_off_where_places_are_fixed():
    """With fixed places the edge user, first, gets more than the others; they get the same."""
    env = make(shuffle=False, num_slots=64)
    agent = TunedConstant(env.unwrapped.problem, rounds=16)
    agent.environment(env)
    p = agent.weighting.start
    assert p[0] > 1.2 * p[1:].max()
    assert p[1:].max() < 1.05 * p[1:].min()


@pytest.mark.slow
def test_tuned_beats_equal_weights_only_where_places_are_fixed():
    """On the streams it is judged on, which are not those it was tuned on."""
    fixed, shuffled = (
        [
            np.mean([r.regret for r in records(make(2, shuffle=s, num_slots=64), name, 16, **a)])
            for name, a in (("cws-tuned", {"rounds": 16}), ("cws", {}), ("owo-fmtl", {}))
        ]
        for s in (False, True)
    )
    assert fixed[0] < fixed[1] / 3
    assert shuffled[2] < shuffled[0] / 3


def test_tuned_wants_to_see_its_environment():
    env = make()
    agent = owo_agents.make("cws-tuned", env)
    obs, info = env.reset(seed=0)
    with pytest.raises(RuntimeError, match="never shown its environment"):
        agent.begin_round(obs, info)


def test_tuning_depends_on_the_configuration_alone():
    first, second = (records(make(), "cws-tuned", 2, rounds=4, seeds=1) for _ in range(2))
    for a, b in zip(first, second, strict=True):
        np.testing.assert_array_equal(a.utilities, b.utilities)


def test_tuning_makes_do_with_the_rounds_that_there_are():
    rng = np.random.default_rng(0)
    env = gym.make(
        "AIRAN-FairMTL-v0",
        scenario="recorded",
        features=rng.uniform(-1, 1, (5, 4, 2, 3)),
        targets=rng.uniform(-1, 1, (5, 4, 2)),
        l_max=6.0,
        utility_bounds=(2.0, 6.0),
        model_bounds=(-1.0, 1.0),
    )
    assert len(records(env, "cws-tuned", 5)) == 5


def test_one_model_each_goes_on_where_it_was():
    env = make()
    whole = [r.fairness for r in records(env, "single-task", 4)]
    agent = owo_agents.make("single-task", env)
    parts = [*owo_agents.play(env, agent, 2, seed=0), *owo_agents.play(env, agent, 2)]
    assert [r.fairness for r in parts] == whole
    assert [r.round for r in parts] == [1, 2, 3, 4]


def test_one_model_each_takes_nothing_from_the_environments_stream():
    env = make()
    env.reset(seed=0)
    before = env.unwrapped.np_random.bit_generator.state
    list(owo_agents.play(env, owo_agents.make("single-task", env), 1))
    assert env.unwrapped.np_random.bit_generator.state == before
