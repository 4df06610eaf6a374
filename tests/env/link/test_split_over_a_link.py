"""Split learning over a link: users without a job learn and send nothing."""

import gymnasium as gym
import numpy as np
import torch

import owo_agents
import owo_env  # noqa: F401  (registers the environment)
from owo_agents import play

ID = "AIRAN-FairMTL-v0"
LINK = {"active": [1.0, 0.5], "loss": [0.3, 0.0]}


def rainbow(link, **settings):
    return gym.make(ID, scenario="rainbow-mnist", num_slots=12, link=link, **settings)


def heads(env):
    users = env.unwrapped._stream._inner.users
    return {k: v.clone() for k, v in users.heads.state_dict().items()}


def test_idle_users_keep_their_heads_and_send_nothing():
    env = rainbow({"active": [1.0, 0.0]})
    env.reset(seed=0)
    theta = env.unwrapped.problem.initial_model
    before = heads(env)
    for _ in range(12):
        obs, _, _, _, info = env.step({"model": theta, "weights": np.ones(2)})
        assert obs["active"].tolist() == [1, 0]
        assert info["bytes_up"][0] > 0
        assert info["bytes_up"][1] == info["bytes_down"][1] == 0
    after = heads(env)
    moved = {name: (before[name] != after[name]).flatten(1).any(1) for name in before}
    assert all(bool(flags[0]) for flags in moved.values())
    assert not any(bool(flags[1]) for flags in moved.values())
    assert info["mean_utilities"][1] == env.unwrapped.problem.l_max


def test_the_model_learns_from_those_who_are_heard_alone():
    """The gradient is that of the scenario without a link, the silent users' priorities 0."""
    over, plain = rainbow({"loss": [0.5, 0.5]}), rainbow(None)
    theta = plain.unwrapped.problem.initial_model
    over.reset(seed=3)
    plain.reset(seed=3)
    seen = set()
    for _ in range(12):
        obs, *_ = over.step({"model": theta, "weights": np.full(2, 0.7)})
        heard = obs["heard"]
        expected, *_ = plain.step({"model": theta, "weights": 0.7 * heard})
        assert torch.equal(torch.tensor(obs["gradient"]), torch.tensor(expected["gradient"]))
        seen.add(tuple(heard.tolist()))
    assert len(seen) > 1


def test_streams_side_by_side_and_from_a_checkpoint():
    vector = gym.make_vec(
        ID, num_envs=2, scenario="rainbow-mnist", num_slots=12, link=LINK,
        autoreset_mode="Disabled",
    )  # fmt: skip
    together = list(play(vector, owo_agents.make("owo-fmtl", vector), 2, seed=4))
    for n in range(2):
        env = rainbow(LINK)
        agent = owo_agents.make("owo-fmtl", env)
        first = next(play(env, agent, 1, seed=4 + n))
        other = rainbow(LINK)
        other.unwrapped.load_state_dict(env.unwrapped.state_dict())
        second = next(play(other, agent, 1))
        for record, batch in zip((first, second), together):
            assert np.array_equal(record.model, batch.model[n])
            assert np.array_equal(record.utilities, batch.utilities[n])
