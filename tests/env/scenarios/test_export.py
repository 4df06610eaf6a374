"""What was trained, taken home: modules and one file that do what the environment's do."""

import gymnasium as gym
import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from torch import nn
from torch.nn import functional as F
from torch.utils.data import TensorDataset

import owo_agents
from owo_env.scenarios.split_learning import SplitLearning, Task

KINDS = {
    "linear heads": {},
    "modules": {"head": lambda: nn.Sequential(nn.Linear(6, 5), nn.ReLU(), nn.Linear(5, 3))},
    "fronts": {"front": lambda: nn.Linear(4, 4)},
    "batch norm": {"mode": "train", "norm": True},
}


def task(seed):
    x = torch.randn(90, 4, generator=torch.Generator().manual_seed(seed))
    y = (x.sum(dim=1) > 0).long() + (x[:, 0] > 0).long()
    return Task(TensorDataset(x[:60], y[:60]), TensorDataset(x[60:] + seed, y[60:]))


def environment(norm=False, head=lambda: nn.Linear(6, 3), **settings):
    with torch.random.fork_rng():
        torch.manual_seed(0)
        layers = [nn.Linear(4, 6), *([nn.BatchNorm1d(6)] if norm else []), nn.Tanh()]
    scenario = SplitLearning(
        nn.Sequential(*layers), head, [[task(k)] for k in range(3)], num_slots=4, **settings
    )
    return gym.make("AIRAN-FairMTL-v0", scenario=scenario)


def played(env, rounds=2):
    return list(owo_agents.play(env, owo_agents.make("owo-fmtl", env), rounds, seed=0))


@pytest.mark.parametrize("kind", KINDS)
def test_modules_and_file_give_the_records_validation_loss(kind, tmp_path):
    env = environment(**KINDS[kind])
    told = played(env)[-1].extras["validation_loss"]
    exported = env.unwrapped.export(path=tmp_path / "trained.safetensors")
    assert len(exported.encoders) == len(exported.heads) == 3
    for k in range(3):
        x, y = task(k).validation.tensors
        with torch.no_grad():
            loss = F.cross_entropy(exported.network(k)(x), y)
        assert float(loss) == pytest.approx(told[k], rel=1e-6)
    weights = load_file(tmp_path / "trained.safetensors")
    state = exported.state_dict()
    assert weights.keys() == state.keys()
    assert all(torch.equal(weights[name], state[name]) for name in state)
    own = {name for name in weights if name.startswith("encoders.")}
    assert bool(own) == (kind == "batch norm") and all("running" in n or "num_b" in n for n in own)


@pytest.mark.parametrize("kind", KINDS)
def test_what_is_taken_home_is_nobody_elses(kind):
    env, other = environment(**KINDS[kind]), environment(**KINDS[kind])
    played(env, 1), played(other, 1)
    exported = other.unwrapped.export()
    for module in (*exported.encoders, *exported.heads, *exported.fronts):
        for p in module.parameters():
            p.data.fill_(torch.nan)
    ours, theirs = (list(owo_agents.play(e, owo_agents.make("cws", e), 1)) for e in (env, other))
    assert (ours[0].utilities == theirs[0].utilities).all()


def test_any_model_may_be_exported():
    env = environment()
    records = played(env, 2)
    theta = torch.cat([p.reshape(-1) for p in env.unwrapped.export().encoder.parameters()])
    assert np.array_equal(theta.detach().numpy(), records[-1].model)
    former = env.unwrapped.export(model=records[0].model).encoder
    theta = torch.cat([p.reshape(-1) for p in former.parameters()]).detach()
    assert np.array_equal(theta.numpy(), records[0].model)
    assert np.array_equal(env.unwrapped._stream.server.model, records[-1].model)


def test_there_is_nothing_before_the_first_round():
    env = environment()
    with pytest.raises(gym.error.ResetNeeded, match="nothing was trained yet"):
        env.unwrapped.export()
    env.reset(seed=0)
    with pytest.raises(gym.error.ResetNeeded, match="no model was played since"):
        env.unwrapped.export()
    played(env, 1)
    with pytest.raises(ValueError, match="shape"):
        env.unwrapped.export(model=np.zeros(3))
    with pytest.raises(FileNotFoundError):
        env.unwrapped.export(path="no/such/folder/file.safetensors")


def test_a_model_without_modules_says_so():
    env = gym.make("AIRAN-FairMTL-v0", num_slots=4)
    played(env, 1)
    with pytest.raises(TypeError, match="no modules to export: its model is θ itself"):
        env.unwrapped.export()
