"""Agents without an environment: told the same they do the same, and what they are told is looked
at before anything is learned of it."""

import json
import warnings

import gymnasium as gym
import numpy as np
import pytest
from places import REPOSITORY

import owo_agents
import owo_env
from owo_agents.learner import told
from owo_agents.playing import checkpoint
from owo_env.problem import problem_of

ROUNDS = 4
SETTINGS = {"scenario": "sinusoid", "num_slots": 8}
AGENTS = {
    "owo-fmtl": {},
    "owo-fmtl last": {"target": "last"},
    "owo-fmtl avg": {"target": "avg", "step": "guess-free"},
    "cws": {},
    "srl": {},
    "ftl": {},
    "hedge": {},
    "dual-carried": {},
    "owo-adaptive": {},
    "owo-adaptive weighted": {"feedback": "weighted"},
    "slot-fair": {},
}


class Tapped(gym.Wrapper):
    """Keeps what passes between an environment and who plays in it."""

    def __init__(self, env):
        super().__init__(env)
        self.log = []

    def reset(self, **options):
        obs, info = super().reset(**options)
        self.log.append(("reset", self._copy(obs), self._copy(info)))
        return obs, info

    def step(self, action):
        played = self._copy(action)
        obs, *rest, info = super().step(action)
        self.log.append((played, self._copy(obs), self._copy(info)))
        return obs, *rest, info

    def _copy(self, found):
        return {k: np.copy(v) if isinstance(v, np.ndarray) else v for k, v in found.items()}


def played(name, rounds=ROUNDS):
    """What an agent made for an environment played there, and what it was told."""
    arguments = AGENTS[name]
    env = gym.make("AIRAN-FairMTL-v0", **SETTINGS)
    agent = owo_agents.make(name.split()[0], problem_of(env), **arguments)
    env = Tapped(gym.make("AIRAN-FairMTL-v0", **SETTINGS, gradients=agent.gradients or "weighted"))
    list(owo_agents.play(env, agent, rounds, seed=3))
    return problem_of(env), env.log


@pytest.mark.parametrize("name", AGENTS)
def test_an_own_loop_has_the_bits_of_play(name, tmp_path):
    """From a problem alone, with a crash after the second round."""
    problem, log = played(name)

    def make():
        return owo_agents.make(name.split()[0], problem, **AGENTS[name])

    agent, ended = make(), 0
    for at, (action, obs, info) in enumerate(log):
        if isinstance(action, str):
            agent.begin_round(obs, info)
            continue
        mine = agent.act(*log[at - 1][1:])
        np.testing.assert_array_equal(mine["model"], action["model"])
        np.testing.assert_array_equal(mine["weights"], action["weights"])
        agent.learn(obs, info)
        if obs["slot"] == problem.num_slots:
            agent.end_round(obs, info)
            ended += 1
            checkpoint.save(tmp_path / "agent.safetensors", {"a": 1}, None, agent, [])
            if ended == 2:
                agent = make()
                checkpoint.load(tmp_path / "agent.safetensors", {"a": 1}, None, agent)
    assert ended == ROUNDS


def test_a_problem_of_ones_own_knows_no_fairest_model():
    problem = owo_env.Problem(
        num_users=2, dim=1, num_slots=4, utility_bounds=(1.0, 3.0), initial_model=np.zeros(1)
    )
    agent = owo_agents.make("owo-fmtl", problem)
    assert agent.target == "last"
    assert agent.learning_rate == 0.1  # §IV's: neither Θ nor L is known


# What is refused

GOOD = {"utilities": np.array([4.0, 5.0]), "gradient": np.zeros(4), "slot": 1}
BAD = {
    r"the utility of user 1 is nan in slot 1: must be finite": {"utilities": [4.0, np.nan]},
    r"the utility of user 0 is -inf": {"utilities": [-np.inf, 3.0]},
    r"entry 2 of the gradient, .* is nan": {"gradient": [0, 0, np.nan, 0]},
    r"utilities is of shape \(3,\): must be an array of shape \(2,\)": {"utilities": [4.0] * 3},
    r"gradient is of shape \(1,\): must be .* \(4,\)": {"gradient": [1.0]},
}


@pytest.mark.parametrize("name", ["owo-fmtl", "ftl", "owo-adaptive weighted", "owo-adaptive"])
@pytest.mark.parametrize("message", BAD)
def test_what_is_told_is_looked_at_and_the_agent_stays_as_it_was(name, message):
    problem = problem_of(gym.make("AIRAN-FairMTL-v0", **SETTINGS))
    agent = owo_agents.make(name.split()[0], problem, **AGENTS[name])
    entries = {key: np.array(value, float) for key, value in BAD[message].items()}
    good = dict(GOOD)
    if agent.gradients == "per_user":
        good["gradients"] = np.zeros((2, 4))
        if "gradient" in entries:
            per_user = np.zeros((2, len(entries["gradient"])))
            per_user[1] = entries.pop("gradient")
            entries["gradients"] = per_user
            message = message.replace("entry 2 of the gradient, .*", "the gradient of user 1")
            message = message.replace(
                r"gradient is of shape \(1,\)", r"gradients is of shape \(2, 1\)"
            )
            message = message.replace(r"\(4,\)", r"\(2, 4\)")
    agent.begin_round({"slot": 0}, {})
    agent.learn(good, {})
    before = agent.act(good, {})
    with pytest.raises(ValueError, match=f"agent {name.split()[0]}: .*{message}"):
        agent.learn({**good, **entries}, {})
    after = agent.act(good, {})
    for key in before:
        np.testing.assert_array_equal(before[key], after[key])
    agent.learn({**good, "slot": 2}, {})
    assert np.isfinite(agent.act(good, {})["model"]).all()


def test_an_entry_that_is_missing_or_no_array():
    agent = owo_agents.make("owo-fmtl", problem_of(gym.make("AIRAN-FairMTL-v0", **SETTINGS)))
    agent.begin_round({"slot": 0}, {})
    with pytest.raises(ValueError, match="gradient is missing: must be an array"):
        agent.learn({"utilities": GOOD["utilities"], "slot": 1}, {})
    with pytest.raises(ValueError, match="utilities is a list: must be an array"):
        agent.learn({**GOOD, "utilities": [4.0, 5.0]}, {})


def test_large_figures_are_finite():
    """Their squares are not; a second look decides."""
    agent = owo_agents.make("owo-fmtl", problem_of(gym.make("AIRAN-FairMTL-v0", **SETTINGS)))
    agent.begin_round({"slot": 0}, {})
    told.check(agent, {**GOOD, "gradient": np.full(4, 1e200)})
    streams = {"utilities": np.ones((3, 2)), "gradient": np.zeros((3, 4)), "slot": np.ones(3, int)}
    told.check(agent, streams)
    streams["utilities"][2, 1] = np.nan
    with pytest.raises(ValueError, match="utility of user 1 is nan in slot 1 in stream 2"):
        told.check(agent, streams)


def test_a_round_of_which_nothing_was_heard_changes_nothing():
    """No learn between begin_round and end_round: the next round begins where this one did."""
    problem = problem_of(gym.make("AIRAN-FairMTL-v0", **SETTINGS, hindsight=False))
    for name, arguments in (("owo-fmtl", {"target": "avg"}), ("owo-adaptive", {}), ("ftl", {})):
        agent = owo_agents.make(name, problem, **arguments)
        for _ in range(2):
            agent.begin_round({"slot": 0}, {})
            action = agent.act({"slot": 0}, {})
            agent.end_round({"slot": 0}, {})
            np.testing.assert_array_equal(action["model"], problem.initial_model)
            assert np.isfinite(action["weights"]).all()


# A step that is too long


@pytest.mark.parametrize(("rate", "says"), [(3.0, True), (None, False), (1.0, False)])
def test_a_model_that_goes_from_wall_to_wall_is_said_once(rate, says):
    env = gym.make("AIRAN-FairMTL-v0", scenario="sinusoid", num_slots=32)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        agent = owo_agents.make("owo-fmtl", env, learning_rate=rate)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        list(owo_agents.play(env, agent, 24, seed=0))
    found = [str(w.message) for w in caught if "wall to wall" in str(w.message)]
    assert len(found) == says
    assert all("learning_rate=3 is too long" in message for message in found)


# The example


def test_the_examples_loop_goes_on_where_it_ended(tmp_path, monkeypatch, capsys):
    path = REPOSITORY / "examples" / "own_loop.py"
    found = {"__name__": "own_loop"}
    exec(compile(path.read_text(encoding="utf-8"), str(path), "exec"), found)
    monkeypatch.chdir(tmp_path)
    found["main"](rounds=6)
    first = capsys.readouterr().out.splitlines()
    assert len(first) == 6 and (tmp_path / "scheduler.safetensors").exists()
    found["main"](rounds=1)
    (again,) = capsys.readouterr().out.splitlines()
    assert again not in first  # it starts with what was learned
    fresh = owo_agents.make("owo-fmtl", found["problem"])
    checkpoint.load(
        "scheduler.safetensors",
        json.loads(json.dumps({"users": ["0x46A1", "0x46A8", "0x46AF"], "taps": 3})),
        None,
        fresh,
    )
    assert fresh.state_dict()["initialization"]
