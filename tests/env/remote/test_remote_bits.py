"""Users elsewhere give what users of one process give, bit for bit."""

import socket
import threading

import gymnasium as gym
import numpy as np
import pytest
import torch
from remote_helpers import Server, equal, rounds_of, wait_for

import owo_env
from owo_env.scenarios.split_learning import local as local_users
from owo_env.scenarios.split_learning.heads import ModuleHeads
from owo_env.scenarios.split_learning.wire import WIRES

CASES = [(2, split, wire) for split in ("label", "u") for wire in (None, *WIRES)]
CASES += [(8, "label", None), (8, "label", "int8"), (8, "u", None), (8, "u", "int8")]


@pytest.mark.parametrize(("users", "split", "wire"), CASES)
def test_remote_users_equal_local_ones(tmp_path, users, split, wire):
    """Utilities, models (hence gradients), bytes, validation, heads and front layers."""
    with Server(tmp_path, users, rounds=5, split=split, wire=wire) as server:
        local, stream = rounds_of("rainbow-mnist", 5, **server.settings)
        server.join(*range(1, users + 1))
        server.finish()
    equal(local, server.records)
    heads, fronts = stream.users.exported()
    assert sorted(server.joined) == list(range(1, users + 1))
    for k, joined in server.joined.items():
        assert joined.learned == 5 * server.settings["num_slots"] and joined.round == 5
        same(heads[k - 1], joined.head)
        if split == "u":
            same(fronts[k - 1], joined.front)
    last = server.records[-1].extras
    assert last["heard_slots"].tolist() == last["active_slots"].tolist() == [4] * users
    assert 0 < last["bytes_headers"].max() < 300


def same(one, other):
    here, there = one.state_dict(), other.state_dict()
    assert here.keys() == there.keys()
    assert all(torch.equal(here[name], there[name]) for name in here)


@pytest.mark.parametrize(
    "settings",
    [
        dict(feedback="heldout"),
        dict(heads="reset", split="u"),
        dict(feedback="heldout", split="u", wire="int8"),
    ],
)
def test_so_do_they_with_other_settings(tmp_path, settings):
    with Server(tmp_path, rounds=3, **settings) as server:
        local, _ = rounds_of("rainbow-mnist", 3, **server.settings)
        server.join(1, 2)
        server.finish()
    equal(local, server.records)


def test_and_with_steps_that_differ_among_heads(tmp_path, monkeypatch):
    """As modules: linear ones in closed form then round in another order when side by side."""

    def as_modules(heads, losses, device, trains=False):
        return ModuleHeads(heads, losses, device, trains)

    monkeypatch.setattr(local_users, "make_heads", as_modules)
    with Server(tmp_path, 3, rounds=3, weights_scale_heads=True) as server:
        local, stream = rounds_of("rainbow-mnist", 3, **server.settings)
        server.join(1, 2, 3)
        server.finish()
    equal(local, server.records)
    for k, joined in server.joined.items():
        same(stream.users.heads.heads[k - 1], joined.head)


@pytest.mark.parametrize("split", ["label", "u"])
def test_and_of_the_other_shipped_scenario(tmp_path, split):
    """Its rounds tell who is on which street, of users who join too."""
    settings = dict(num_users=2, num_slots=4, batch_size=8, split=split)
    made = owo_env.make_scenario("csi-feedback", **settings)
    with Server(tmp_path, rounds=3, scenario=made, **settings) as server:
        local, _ = rounds_of("csi-feedback", 3, **settings)
        server.join(1, 2)
        server.finish()
    equal(local, server.records)
    assert server.records[-1].extras["user_class"].shape == (2,)


def test_nothing_is_left_of_it(tmp_path):
    """No thread, no port, no half-written file."""
    before = set(threading.enumerate())
    with Server(tmp_path, rounds=1) as server:
        server.join(1, 2)
        server.finish()
    mine = set(threading.enumerate()) - before
    wait_for(lambda: not any(t.is_alive() for t in mine), 10, lambda: mine)
    assert sorted(p.name for p in tmp_path.iterdir()) == [
        "user-1.safetensors", "user-2.safetensors",
    ]  # fmt: skip
    host, port = server.address.split(":")
    with pytest.raises(OSError), socket.create_connection((host, int(port)), 5):
        pass


def test_gradients_of_each_user(tmp_path):
    """An agent that asks for every user's own gradient gets the same ones."""
    with Server(tmp_path, rounds=0) as server:
        server.join(1, 2)
        env = gym.make("AIRAN-FairMTL-v0", scenario=server.remote, gradients="per_user")
        local = gym.make(
            "AIRAN-FairMTL-v0", scenario="rainbow-mnist", gradients="per_user", **server.settings
        )
        theta = local.unwrapped.problem.initial_model
        local.reset(seed=5)
        env.reset(seed=5)
        for _ in range(4):
            action = {"model": theta, "weights": np.ones(2)}
            here, there = local.step(action), env.step(action)
            assert np.array_equal(here[0]["gradients"], there[0]["gradients"])
        assert np.array_equal(local.unwrapped.evaluate(theta), env.unwrapped.evaluate(theta))
        server.remote.over = "over"
