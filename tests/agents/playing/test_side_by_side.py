"""Rounds played side by side against the same rounds played in turn."""

import dataclasses

import gymnasium as gym
import numpy as np
import pytest

import owo_agents
from owo_agents.learner.initialization import Initialization, RunningMean
from owo_agents.learner.learner import Learner
from owo_agents.playing import side_by_side
from owo_env.scenarios.least_squares import base as least_squares
from owo_env.scenarios.least_squares.slots import Samples
from owo_env.scenarios.sinusoid import Sinusoid

ID = "AIRAN-FairMTL-v0"

AGENTS = {
    "owo-fmtl": ("owo-fmtl", {}),
    "reptile": ("owo-fmtl", {"initialization": "reptile", "rate": 0.3}),
    "continue": ("owo-fmtl", {"initialization": "continue"}),
    "cws": ("cws", {"weights": [0.2, 0.8]}),
    "srl": ("srl", {}),
    "frozen": ("frozen", {}),
    "owo-normalized": ("owo-normalized", {}),
}


@pytest.fixture(autouse=True)
def small_blocks(monkeypatch):
    """Blocks of 3 rounds, so that the last of 20 is not played out."""
    monkeypatch.setattr(least_squares, "SLOTS_PER_BLOCK", 24)


def assert_same_records(ours, theirs):
    assert len(ours) == len(theirs)
    for a, b in zip(ours, theirs):
        assert a.round == b.round
        for name in ("fairness", "regret", "utilities", "weights", "model"):
            assert np.array_equal(getattr(a, name), getattr(b, name)), name
        assert a.extras.keys() == b.extras.keys()
        for name, value in a.extras.items():
            assert np.array_equal(value, b.extras[name]), name


@pytest.mark.parametrize("certify", [False, True])
@pytest.mark.parametrize("adversary", ["none", "blocks"])
@pytest.mark.parametrize("name", AGENTS)
def test_equals_rounds_in_turn_bit_for_bit(name, adversary, certify):
    agent, arguments = AGENTS[name]
    env = gym.make(ID, num_slots=8, adversary=adversary, alpha=2.0)
    in_turn, at_once = (owo_agents.make(agent, env, **arguments) for _ in range(2))
    theirs = list(owo_agents.play(env, in_turn, 20, seed=7, certify=certify))
    ours = list(side_by_side.play(env, at_once, 20, seed=7, certify=certify))
    assert_same_records(ours, theirs)
    assert np.array_equal(in_turn.initialization.x, at_once.initialization.x)


def test_equals_rounds_in_turn_where_users_change_places():
    env = gym.make(ID, scenario="csi-prediction", num_slots=8)
    theirs = list(owo_agents.play(env, owo_agents.make("owo-fmtl", env), 10, seed=1))
    ours = list(side_by_side.play(env, owo_agents.make("owo-fmtl", env), 10, seed=1))
    assert_same_records(ours, theirs)


@pytest.mark.parametrize(
    ("agent", "arguments", "options", "rounds"),
    [
        ("owo-fmtl", {"step_index": "round"}, {}, 5),
        ("owo-fmtl", {"target": "last"}, {}, 5),
        ("owo-fmtl", {}, {"hindsight": False}, 5),
        ("owo-fmtl", {}, {}, side_by_side.MOST_ROUNDS + 1),
    ],
)
def test_what_depends_on_earlier_play_is_refused(agent, arguments, options, rounds):
    env = gym.make(ID, num_slots=4, **options)
    learner = owo_agents.make(agent, env, **arguments)
    assert not side_by_side.possible(env, learner, rounds)
    with pytest.raises(ValueError, match="side by side"):
        next(side_by_side.play(env, learner, rounds, seed=0))


class Bent(Initialization):
    """An outer loop of a user's own, which looks at all coordinates together."""

    def _next(self, x, target):
        return x + 0.1 * (target - x) / (1 + np.linalg.norm(target - x, axis=-1, keepdims=True))


def test_an_outer_loop_of_a_users_own_is_played_in_turn():
    env = gym.make(ID, num_slots=4)
    plain = owo_agents.make("owo-fmtl", env)
    learner = Learner(plain.weighting, plain.step, Bent(plain.problem))
    assert not side_by_side.possible(env, learner, 5)
    assert len(list(owo_agents.play(env, learner, 5, seed=0))) == 5


class ArrayByArray(Sinusoid):
    """A scenario that draws array by array, each stream's from its own generator."""

    def draw(self, rngs, first_round):
        shape = self.rounds_per_block, self.problem.num_slots
        tau = np.stack([rng.random((*shape, 2)) for rng in rngs], -1)
        y = np.stack([rng.normal(size=(*shape, 2)) for rng in rngs], -1)
        return Samples(np.stack([tau**j for j in range(4)], 2), y)


def test_a_scenario_of_a_users_own_keeps_its_stream():
    env = gym.make(ID, scenario=ArrayByArray(num_slots=8))
    theirs = list(owo_agents.play(env, owo_agents.make("owo-fmtl", env), 10, seed=1))
    ours = list(side_by_side.play(env, owo_agents.make("owo-fmtl", env), 10, seed=1))
    assert_same_records(ours, theirs)


class Single(ArrayByArray):
    """Its models are float32."""

    def __init__(self, **settings):
        super().__init__(**settings)
        start = np.zeros(4, np.float32)
        self.problem = dataclasses.replace(self.problem, initial_model=start)


@pytest.mark.parametrize("initialization", ["running-mean", "reptile", "continue"])
def test_models_of_another_type_are_rounded_alike(initialization):
    env = gym.make(ID, scenario=Single(num_slots=8))
    one, other = (owo_agents.make("owo-fmtl", env, initialization=initialization) for _ in "ab")
    theirs = list(owo_agents.play(env, one, 10, seed=1, certify=True))
    assert_same_records(list(side_by_side.play(env, other, 10, seed=1, certify=True)), theirs)
    assert theirs[-1].model.dtype == np.float32


class Tells(Learner):
    """Reports a number, though it may play a batch."""

    carried = Learner.carried

    def report(self):
        return {"mine": 0.5}


def test_a_report_without_an_entry_a_round_is_named():
    env = gym.make(ID, num_slots=4)
    plain = owo_agents.make("owo-fmtl", env)
    agent = Tells(plain.weighting, plain.step, plain.initialization)
    with pytest.raises(owo_agents.AgentError, match=r"reports mine=0\.5: must have one entry for"):
        next(side_by_side.play(env, agent, 5, seed=0))


def test_rounding_does_not_lead_the_start_out_of_bounds():
    problem = gym.make(ID, num_slots=4).unwrapped.problem
    problem = dataclasses.replace(problem, model_bounds=(-0.7, 0.7))
    rng = np.random.default_rng(0)
    for _ in range(300):
        x, target = rng.uniform(-0.7, 0.7, 4), np.full(4, 0.7)
        start = RunningMean(dataclasses.replace(problem, initial_model=x))
        assert start.starts(np.stack([target, target])).max() <= 0.7
        in_turn = RunningMean(dataclasses.replace(problem, initial_model=x))
        in_turn.end_round(target)
        assert in_turn.x.max() <= 0.7


def test_no_rounds_are_refused():
    env = gym.make(ID, num_slots=4)
    with pytest.raises(ValueError, match="rounds=0"):
        next(side_by_side.play(env, owo_agents.make("owo-fmtl", env), 0, seed=0))
