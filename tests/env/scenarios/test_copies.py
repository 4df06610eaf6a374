"""Copies of an environment play on as the original does, bit for bit."""

import copy
import pickle

import cloudpickle
import gymnasium as gym
import numpy as np
import pytest
import torch
from torch import nn
from torch.utils.data import TensorDataset

from owo_env.scenarios.split_learning import SplitLearning, Task

ID = "AIRAN-FairMTL-v0"
WAYS = {
    "deepcopy": copy.deepcopy,
    "pickle": lambda env: pickle.loads(pickle.dumps(env)),
    "cloudpickle": lambda env: cloudpickle.loads(cloudpickle.dumps(env)),
}


def task(seed):
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(20, 6, generator=generator)
    y = torch.randint(3, (20,), generator=generator)
    return Task(TensorDataset(x, y), TensorDataset(x[:9], y[:9]))


def head():
    return nn.Sequential(nn.Linear(5, 4), nn.ReLU(), nn.Linear(4, 3))


def linear_head():
    return nn.Linear(5, 3)


def front():
    return nn.Linear(6, 6)


def split(**settings):
    torch.manual_seed(0)
    arguments = {
        "encoder": nn.Sequential(nn.Linear(6, 5), nn.Tanh()),
        "head": head,
        "tasks": [[task(k)] for k in range(3)],
        "num_slots": 4,
        "batch_size": 5,
    }
    return SplitLearning(**arguments | settings)


def norm():
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(6, 5), nn.BatchNorm1d(5), nn.Dropout(0.3))


def recorded():
    x = np.random.default_rng(0).uniform(-1, 1, (5, 4, 2, 3))
    judged = {"l_max": 9.0, "utility_bounds": (1.0, 9.0)}
    return {"name": "recorded", "features": x, "targets": x.sum(-1) / 3} | judged


SCENARIOS = {
    "sinusoid": lambda: {"name": "sinusoid", "num_slots": 4},
    "csi-prediction": lambda: {"name": "csi-prediction", "num_slots": 4},
    "recorded": recorded,
    "rainbow-mnist": lambda: {"name": "rainbow-mnist", "num_slots": 4},
    "rainbow-mnist u": lambda: {"name": "rainbow-mnist", "num_slots": 4, "split": "u"},
    "linear heads": lambda: split(head=linear_head),
    "modules": split,
    "front": lambda: split(front=front, heads="reset"),
    "statistics of users": lambda: split(encoder=norm(), mode="train", users_per_pass=2),
}


def actions(env, scale):
    problem = env.unwrapped.problem
    shape = getattr(env, "num_envs", None)
    rng = np.random.default_rng(round(scale * 100))
    model = problem.initial_model + 0.1 * scale * rng.standard_normal(problem.dim)
    one = {
        "model": model.astype(problem.initial_model.dtype),
        "weights": np.full(problem.num_users, scale),
    }
    return one if shape is None else {k: np.stack([v] * shape) for k, v in one.items()}


def played_on(env):
    """The rest of this round, and the whole of the next, as one text."""
    found = []
    for slot in range(6):
        obs, reward, done, _, info = env.step(actions(env, 0.3 + 0.1 * slot))
        found += [obs, np.asarray(reward), info]
        if np.all(done):
            found.append(env.unwrapped.evaluate(actions(env, 0.5)["model"]))
            env.reset()
    return [
        (key, np.asarray(value).tobytes())
        for part in found
        for key, value in (part.items() if isinstance(part, dict) else [("", part)])
    ]


@pytest.mark.parametrize("vector", [False, True])
@pytest.mark.parametrize("name", SCENARIOS)
def test_copies_in_mid_round_play_on(name, vector):
    if name.startswith("rainbow"):
        pytest.importorskip("mlxtend")
    scenario = SCENARIOS[name]()
    if vector:
        env = gym.make_vec(ID, num_envs=2, scenario=scenario, autoreset_mode="Disabled")
    else:
        env = gym.make(ID, scenario=scenario)
    env.reset(seed=3)
    for slot in range(2):
        env.step(actions(env, 0.9 - 0.1 * slot))
    copies = {way: how(env) for way, how in WAYS.items()}
    whole = played_on(env)
    for way, other in copies.items():
        assert played_on(other) == whole, way


def test_a_copy_and_its_original_share_no_theta():
    env = gym.make(ID, scenario=split())
    env.reset(seed=0)
    other = copy.deepcopy(env)
    one, two = (e.unwrapped._stream.server for e in (env, other))
    two.load(two.model + 1)
    assert not np.array_equal(one.model, two.model)
    for server in (one, two):
        flat = torch.cat([p.detach().flatten() for p in server.encoder.parameters()])
        assert torch.equal(flat, server.theta)


def test_a_pickle_holds_theta_once():
    scenario = split(encoder=nn.Sequential(*(nn.Linear(6, 6) for _ in range(200)), nn.Linear(6, 5)))
    stream = scenario.stream(np.random.default_rng(0), None)
    size = len(pickle.dumps(stream.server))
    assert size < 40 * stream.server.theta.nbytes  # 201 layers' windows, each with all of θ: 400
