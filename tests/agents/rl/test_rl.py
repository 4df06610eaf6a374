"""Learned weights: the adapter to SB3, policies as files, training, and the trained agent."""

import json
import shlex
import subprocess
import sys
from dataclasses import replace

import gymnasium as gym
import numpy as np
import pytest
import torch
from gymnasium.vector import AutoresetMode
from safetensors.numpy import save_file
from typer.testing import CliRunner

import owo_agents
from owo_agents.benchmark.suite.digest import source_digest
from owo_agents.rl.control import RoundView, WeightMap
from owo_agents.rl.policy import FORMAT, Policy, described, fitting, shipped
from owo_env.fairness import AlphaFair
from owo_env.problem import Problem

sb3 = pytest.importorskip("stable_baselines3")
from stable_baselines3.common.monitor import Monitor  # noqa: E402
from stable_baselines3.common.vec_env import DummyVecEnv, VecMonitor  # noqa: E402

from owo_agents.command.main import app  # noqa: E402
from owo_agents.rl.train import (  # noqa: E402
    ALGORITHMS,
    HELD_OUT,
    Training,
    evaluate,
    exported,
    first_stream,
    make_model,
    train,
)
from owo_agents.rl.vec_env import GymnasiumVecEnv  # noqa: E402

ENV = "AIRAN-FairMTL-Weights-v0"
SMALL = {"num_slots": 4}


def constant_policy(problem, action):
    """Plays ``action`` whatever it sees."""
    users = problem.num_users
    layers = [(np.zeros((users, 3 * users + 1)), np.asarray(action, float))]
    return Policy(layers, "tanh", False, described(problem), {"scenario": "test"})


def problem_of(**settings):
    return gym.make("AIRAN-FairMTL-v0", **settings).unwrapped.problem


# --- the adapter -----------------------------------------------------------------------------


def same(one, other):
    assert one.keys() == other.keys()
    for key in one:
        assert type(one[key]) is type(other[key]), key
        assert np.array_equal(one[key], other[key]), key


def same_transitions(native, dummy, steps, action):
    native.seed(3), dummy.seed(3)
    assert np.array_equal(native.reset(), dummy.reset())
    ended = 0
    for _ in range(steps):
        actions = np.array([action() for _ in range(native.num_envs)])
        one, other = native.step(actions), dummy.step(actions)
        for a, b in zip(one[:3], other[:3]):
            assert a.dtype == b.dtype and np.array_equal(a, b)
        for a, b in zip(one[3], other[3]):
            same(a, b)
        for a, b in zip(native.reset_infos, dummy.reset_infos):
            same(a, b)
        ended += one[2].sum()
    assert ended


@pytest.mark.parametrize("scenario", ["sinusoid", "csi-prediction"])
@pytest.mark.parametrize("hindsight", [False, True])
def test_adapter_equals_dummy(scenario, hindsight):
    settings = dict(scenario=scenario, hindsight=hindsight, **SMALL)
    native = GymnasiumVecEnv(gym.make_vec(ENV, 3, **settings))
    dummy = DummyVecEnv([lambda: gym.make(ENV, **settings)] * 3)
    native.action_space.seed(0)
    same_transitions(native, dummy, 12, native.action_space.sample)


@pytest.mark.parametrize("limit", [7, 500])
def test_adapter_takes_any_vector_environment(limit):
    """CartPole under SyncVectorEnv: episodes end at different times, by the limit or by a fall."""
    sync = gym.make_vec(
        "CartPole-v1",
        3,
        vectorization_mode="sync",
        vector_kwargs={"autoreset_mode": AutoresetMode.SAME_STEP},
        max_episode_steps=limit,
    )
    adapted = GymnasiumVecEnv(sync)
    dummy = DummyVecEnv([lambda: gym.make("CartPole-v1", max_episode_steps=limit)] * 3)
    rng = np.random.default_rng(0)
    same_transitions(adapted, dummy, 80, lambda: rng.integers(2))
    assert adapted.env_is_wrapped(gym.wrappers.TimeLimit) == [True] * 3
    assert adapted.env_is_wrapped(Monitor, indices=1) == [False]
    assert adapted.get_attr("spec", [0, 2])[1].id == "CartPole-v1"
    assert adapted.env_method("get_wrapper_attr", "spec", indices=0)[0].id == "CartPole-v1"


def test_adapter_on_the_native_environment():
    venv = GymnasiumVecEnv(gym.make_vec(ENV, 2, **SMALL))
    assert venv.get_attr("problem") == [venv.env.unwrapped.problem] * 2
    assert venv.env_is_wrapped(owo_agents.WeightControlVector) == [True, True]
    assert venv.env_is_wrapped(Monitor) == [False, False]
    with pytest.raises(AttributeError, match="no single environments"):
        venv.env_method("evaluate")
    with pytest.raises(ValueError, match="sets attributes for all"):
        venv.set_attr("label", 1, indices=[0])
    venv.set_attr("label", 1)
    assert venv.get_attr("label") == [1, 1]
    monitored = VecMonitor(venv)
    monitored.reset()
    for _ in range(4):
        *_, infos = monitored.step(np.zeros((2, 2)))
    assert infos[0]["episode"]["l"] == 4
    with pytest.raises(ValueError, match="SAME_STEP"):
        GymnasiumVecEnv(gym.make_vec("CartPole-v1", 2, vectorization_mode="sync"))


# --- policies and the agent --------------------------------------------------------------------


def test_a_policy_survives_its_file(tmp_path):
    rng = np.random.default_rng(0)
    layers = [(rng.normal(size=(5, 7)), rng.normal(size=5)), (rng.normal(size=(2, 5)), np.ones(2))]
    layers = [(w.astype(np.float32), b.astype(np.float32)) for w, b in layers]
    problem = problem_of(scenario="sinusoid")
    policy = Policy(layers, "relu", True, described(problem), {"scenario": "sinusoid"})
    policy.save(tmp_path / "best.safetensors")
    again = Policy.load(tmp_path)
    seen = rng.normal(size=(4, 7))
    assert (again(seen) == policy(seen)).all()
    assert (again.problem, again.training) == (policy.problem, policy.training)
    by_hand = np.tanh(layers[1][0] @ np.maximum(layers[0][0] @ seen[1] + layers[0][1], 0) + 1)
    assert policy(seen[1]) == pytest.approx(by_hand, rel=1e-5)


def test_a_constant_policy_is_constant_weights(tmp_path):
    env = gym.make("AIRAN-FairMTL-v0", scenario="sinusoid", num_slots=8)
    problem, action = env.unwrapped.problem, [0.5, -0.25]
    constant_policy(problem, action).save(tmp_path / "p.safetensors")
    p = WeightMap(problem).priorities(np.array(action))
    learned = owo_agents.make(f"rl:{tmp_path / 'p.safetensors'}", env)
    constant = owo_agents.make("cws", env, weights=p.tolist(), total=float(p.sum()))
    one, other = (list(owo_agents.play(env, agent, 3, seed=1)) for agent in (learned, constant))
    for a, b in zip(one, other):
        assert a.fairness == pytest.approx(b.fairness, abs=1e-12)


@pytest.mark.parametrize("scenario", ["sinusoid", "csi-prediction"])
def test_the_agent_does_what_the_policy_did_in_training(scenario):
    """In the wrapper and as an agent, alone and in a batch: the same rounds."""
    problem = problem_of(scenario=scenario, hindsight=False)
    name = next(name for name in shipped() if name.startswith(scenario))
    policy = Policy.load(name)
    env = gym.make(ENV, scenario=scenario)
    obs, _ = env.reset(seed=4)
    returns = []
    for _ in range(2):
        total, done = 0.0, False
        while not done:
            obs, reward, done, _, _ = env.step(policy(obs))
            total += reward
        returns.append(total)
        obs, _ = env.reset()
    full = gym.make("AIRAN-FairMTL-v0", scenario=scenario, hindsight=False)
    many = gym.make_vec(
        "AIRAN-FairMTL-v0", 3, scenario=scenario, hindsight=False, autoreset_mode="Disabled"
    )
    alone = owo_agents.play(full, owo_agents.make("rl", full, path=name), 2, seed=4)
    batch = owo_agents.play(many, owo_agents.make(f"rl:{name}", problem), 2, seed=3)
    for expected, one, three in zip(returns, alone, batch):
        assert one.fairness == pytest.approx(expected, abs=1e-5)
        assert three.fairness[1] == pytest.approx(float(one.fairness), abs=1e-5)


def test_shipped_policies_are_small_and_found():
    assert {"sinusoid", "csi-prediction"} <= shipped().keys()
    for name, file in shipped().items():
        assert file.stat().st_size < 200_000
        policy = Policy.load(name)
        made = policy.training
        problem = problem_of(scenario=made["scenario"], **made["settings"])
        assert policy.problem == described(problem)
        assert policy.problem == Policy.load(fitting(problem)).problem
    with pytest.raises(ValueError, match="no shipped policy fits"):
        owo_agents.make("rl", problem_of(scenario="sinusoid", alpha=0.37))


def test_an_unfit_policy_is_refused(tmp_path):
    problem = problem_of(scenario="sinusoid")
    file = tmp_path / "p.safetensors"
    constant_policy(problem, [0.0, 0.0]).save(file)
    for name, other in {
        "num_users=2": problem_of(scenario="csi-prediction"),
        "alpha=1": problem.judged_by(AlphaFair(2, (2.0, 6.0), 2.0)),
        "utility_bounds": Problem(
            num_users=2,
            dim=4,
            num_slots=32,
            utility_bounds=(1.0, 6.0),
            initial_model=np.zeros(4),
        ),
        "dim=4": Problem(
            num_users=2,
            dim=3,
            num_slots=4,
            utility_bounds=(2.0, 6.0),
            initial_model=np.zeros(3),
        ),
    }.items():
        with pytest.raises(ValueError, match=f"trained on test with {name}"):
            owo_agents.make("rl", other, path=str(file))
    with pytest.raises(ValueError, match=r"alpha=0\.0"):
        RoundView(problem.judged_by(AlphaFair(2, (2.0, 6.0), 0.0)))


def test_what_is_no_policy_is_refused(tmp_path):
    problem = problem_of(scenario="sinusoid")
    with pytest.raises(ValueError, match="no such file; shipped are csi-prediction"):
        owo_agents.make("rl:nowhere.safetensors", problem)
    with pytest.raises(TypeError, match="unknown argument of agent 'rl:sinusoid' 'path'"):
        owo_agents.make("rl:sinusoid", problem, path="elsewhere")
    (tmp_path / "noise").write_bytes(b"PK\x03\x04 a zip with a pickle in it")
    save_file({"w": np.ones(3)}, tmp_path / "other")
    about = {"activation": "tanh", "squash": False, "problem": described(problem)}
    meta = {"about": json.dumps({"format": FORMAT, **about})}
    unfit = {"0.weight": np.ones((2, 9), np.float32), "0.bias": np.ones(2, np.float32)}
    save_file(unfit, tmp_path / "unfit", meta)
    save_file(unfit | {"0.weight": np.full((2, 7), np.nan)}, tmp_path / "nan", meta)
    save_file(unfit, tmp_path / "empty", {"about": json.dumps({"format": FORMAT})})
    for name in ("noise", "other", "unfit", "nan", "empty"):
        with pytest.raises(ValueError, match=f"{name}: is no policy of `owo train-rl`"):
            owo_agents.make(f"rl:{tmp_path / name}", problem)


def test_a_retrained_policy_makes_new_cells(tmp_path):
    problem, file = problem_of(scenario="sinusoid"), tmp_path / "p.safetensors"
    digests = set()
    for action in ([0.0, 0.0], [0.0, 0.1]):
        constant_policy(problem, action).save(file)
        digests.add(source_digest(f"rl:{file}", {}))
    assert len(digests) == 2 and None not in digests
    assert source_digest("rl:nowhere", {}) is None


# --- training ----------------------------------------------------------------------------------


def tiny(**changes):
    given = dict(
        scenario="sinusoid",
        settings=SMALL,
        steps=128,
        num_envs=4,
        eval_every=64,
        eval_envs=2,
        eval_rounds=2,
    )
    return Training(**(given | changes))


def evaluations(folder):
    return [json.loads(x) for x in (folder / "evaluations.jsonl").read_text().splitlines()]


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_the_exported_policy_is_sb3s(tmp_path, algorithm):
    """The network in NumPy against SB3's own ``predict``."""
    training = tiny(algorithm=algorithm)
    venv = GymnasiumVecEnv(gym.make_vec(ENV, 4, scenario="sinusoid", **SMALL))
    problem = problem_of(scenario="sinusoid", **SMALL)
    model = make_model(training, venv, problem, 1)
    seen = np.random.default_rng(0).uniform(-2, 2, (50, 7)).astype(np.float32)
    actions, _ = model.predict(seen, deterministic=True)
    assert exported(model, training, problem, 0)(seen) == pytest.approx(actions, abs=1e-5)


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_training_keeps_and_resumes(tmp_path, algorithm):
    hyper = {} if algorithm == "ppo" else {"learning_starts": 16, "gradient_steps": 1}
    training = tiny(algorithm=algorithm, hyperparameters=hyper)
    heard = []
    policy, interrupted = train(training, tmp_path, on_progress=lambda *said: heard.append(said))
    assert not interrupted
    assert policy.training["algorithm"] == algorithm
    lines = evaluations(tmp_path)
    assert [line["steps"] for line in lines] == [0, 64, 128]
    assert [said for said in heard if said[1] is not None] == [tuple(x.values()) for x in lines]
    best = max(line["fairness"] for line in lines[1:])  # of what was trained at all
    assert evaluate(training, lambda p: owo_agents.make(f"rl:{tmp_path}", p)).mean() == best
    with pytest.raises(ValueError, match="--resume goes on with it"):
        train(training, tmp_path)
    begun = tmp_path / "begun"  # and killed before the first checkpoint
    begun.mkdir()
    (begun / "training.json").write_text((tmp_path / "training.json").read_text())
    train(training, begun)
    with pytest.raises(ValueError, match="has another training: seed=0, not 1"):
        train(replace(training, seed=1), tmp_path, resume=True)
    train(replace(training, steps=192), tmp_path, resume=True)
    lines = evaluations(tmp_path)
    assert [line["steps"] for line in lines] == [0, 64, 128, 128, 192]
    assert lines[2] == lines[3]  # the checkpoint is the policy that was left


def test_training_is_a_function_of_its_seed(tmp_path):
    files = []
    for name, seed in (("a", 0), ("b", 0), ("c", 1)):
        train(tiny(seed=seed), tmp_path / name)
        files.append((tmp_path / name / "last.safetensors").read_bytes())
    assert files[0] == files[1] != files[2]


def test_torchs_default_type_changes_no_training(tmp_path):
    train(tiny(), tmp_path / "a")
    torch.set_default_dtype(torch.float64)
    try:
        train(tiny(), tmp_path / "b")
    finally:
        torch.set_default_dtype(torch.float32)
    one, other = ((tmp_path / name / "last.safetensors").read_bytes() for name in "ab")
    assert one == other


def test_ctrl_c_keeps_the_best(tmp_path):
    def press(steps, fairness):
        if steps >= 64:
            raise KeyboardInterrupt

    policy, interrupted = train(tiny(), tmp_path, on_progress=once(press))
    assert interrupted
    assert Policy.load(tmp_path).training["steps"] == policy.training["steps"] <= 64
    assert (tmp_path / "checkpoint.pt").exists()


def once(callback):
    """Called until it raises, then silent: a person presses the key once."""
    state = {"over": False}

    def call(*said):
        if not state["over"]:
            try:
                callback(*said)
            except KeyboardInterrupt:
                state["over"] = True
                raise

    return call


def test_training_refuses_bad_input(tmp_path):
    for message, changes in {
        "algorithm": {"algorithm": "dqn"},
        "steps=0": {"steps": 0},
        "num_envs=0": {"num_envs": 0},
    }.items():
        with pytest.raises(ValueError, match=message):
            tiny(**changes)
    for message, settings in {
        r"alpha=0\.0": {"alpha": 0.0},
        "num_slots=1": {"num_slots": 1},
    }.items():
        with pytest.raises(ValueError, match=message):
            train(tiny(settings=settings), tmp_path / "never")
    with pytest.raises(TypeError, match="learningrate"):
        train(tiny(hyperparameters={"learningrate": 1.0}), tmp_path / "never")
    with pytest.raises(ValueError, match="has no checkpoint to go on from"):
        train(tiny(), tmp_path / "never", resume=True)
    assert not (tmp_path / "never").exists()


def test_held_out_seeds_are_out_of_reach():
    """Of any training and resumption, with a million streams on either side."""
    firsts = [first_stream(seed, done) for seed in range(500) for done in (0, 128, 100_000)]
    assert min(firsts) > HELD_OUT + 1_000_000
    assert max(firsts) + 1_000_000 < 2**32  # SB3 seeds NumPy's global generator with it
    assert len(set(firsts)) == len(firsts)


def test_the_command(tmp_path):
    common = ["train-rl", "sinusoid", "--set", "num_slots=4", "--num-envs", "4", "--out"]
    out = str(tmp_path / "my run")
    command = [*common, out, "--steps", "64", "--tensorboard", str(tmp_path / "tb")]
    result = CliRunner().invoke(app, command)
    assert result.exit_code == 0, result.output
    assert "owo-fmtl" in result.output and list((tmp_path / "tb").rglob("events*"))
    assert CliRunner().invoke(app, command).exit_code == 2
    assert CliRunner().invoke(app, [*command, "--resume"]).exit_code == 0
    assert CliRunner().invoke(app, [*common, str(tmp_path), "--algorithm", "dqn"]).exit_code == 2
    assert CliRunner().invoke(app, [*common, "x", "--hyper", "learning_rate=fast"]).exit_code == 2
    _, _, told = result.output.partition("play it with: owo ")
    again = [*shlex.split(told.splitlines()[0]), "--rounds", "1"]  # as it is printed
    assert CliRunner().invoke(app, again).exit_code == 0
    played = ["run", "--scenario", "sinusoid", "--agent", f"rl:{out}", "--rounds", "2"]
    assert CliRunner().invoke(app, [*played, "--set", "num_slots=4"]).exit_code == 0
    refused = CliRunner().invoke(app, [*played, "--set", "alpha=2"])
    assert refused.exit_code == 2


@pytest.mark.parametrize("wrong", [["sinusoyd"], ["sinusoid", "--set", "alfa=1"]])
def test_what_cannot_be_trained_on_is_said_in_one_line_before_any_bar(tmp_path, wrong):
    refused = CliRunner().invoke(app, ["train-rl", *wrong, "--out", str(tmp_path / "run")])
    assert (refused.exit_code, refused.stdout) == (2, "")
    assert refused.stderr.count("\n") == 1 and "did you mean" in refused.stderr
    assert not (tmp_path / "run").exists()


def test_without_the_extra():
    """No stable-baselines3: agents play, training says what to install; neither needs `owo`."""
    code = """
import sys
sys.modules["stable_baselines3"] = None
import gymnasium as gym, owo_agents
env = gym.make("AIRAN-FairMTL-v0", scenario="sinusoid", num_slots=32)
owo_agents.make("rl:sinusoid", env)
try:
    import owo_agents.rl.train
except ImportError as error:
    print(error)
print([name for name in sys.modules if name.startswith(("owo_agents.benchmark", "typer"))])
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    refusal, loaded = done.stdout.splitlines()
    assert 'pip install "stable-baselines3' in refusal
    assert loaded == "[]"


@pytest.mark.parametrize("make", [gym.make, gym.make_vec])
def test_who_misspells_a_learners_argument_hears_of_the_learners(make):
    with pytest.raises(TypeError, match=r"'learning_rat': .*of the learner .*learning_rate"):
        make("AIRAN-FairMTL-Weights-v0", learning_rat=0.1)
