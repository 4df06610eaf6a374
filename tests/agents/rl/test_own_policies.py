"""SB3's models of one's own: evaluated on the same rounds, exported with their normalization."""

import gymnasium as gym
import numpy as np
import pytest

import owo_agents
import owo_env

pytest.importorskip("stable_baselines3")

from stable_baselines3 import DDPG, PPO, SAC
from stable_baselines3.common.vec_env import VecNormalize

from owo_agents.rl.own import SameRounds, policy_of
from owo_agents.rl.policy import Policy, described
from owo_agents.rl.vec_env import GymnasiumVecEnv

ID, SETTINGS = "AIRAN-FairMTL-Weights-v0", {"scenario": "sinusoid", "num_slots": 8}


def vector(n=2):
    return gym.make_vec(ID, num_envs=n, **SETTINGS)


def normalized():
    """With statistics far from 0 and 1, and a clip that is felt."""
    env = VecNormalize(GymnasiumVecEnv(vector()), norm_reward=False, clip_obs=0.7)
    env.obs_rms.mean[:] = np.linspace(-0.5, 0.5, len(env.obs_rms.mean))
    env.obs_rms.var[:] = np.linspace(0.1, 3.0, len(env.obs_rms.var))
    return env


@pytest.mark.parametrize("kind", [PPO, SAC, DDPG])
@pytest.mark.parametrize("norm", [True, False])
def test_exported_actions_are_sb3s(kind, norm, tmp_path):
    env = normalized() if norm else GymnasiumVecEnv(vector())
    model = kind("MlpPolicy", env, seed=0, device="cpu")
    policy_of(model, vector()).save(tmp_path / "mine.safetensors")
    policy = Policy.load(tmp_path / "mine.safetensors")
    seen = np.random.default_rng(0).normal(size=(64, 7)).astype(np.float32)
    wanted, _ = model.predict(env.normalize_obs(seen) if norm else seen, deterministic=True)
    assert np.abs(policy(seen) - wanted).max() < 1e-6
    if norm:
        plain, _ = model.predict(seen, deterministic=True)
        assert np.abs(plain - wanted).max() > 1e-4  # else the test would see nothing


def test_what_is_no_plain_mlp_is_refused():
    import torch

    model = PPO(
        "MlpPolicy", GymnasiumVecEnv(vector()), device="cpu",
        policy_kwargs={"activation_fn": torch.nn.ELU},
    )  # fmt: skip
    with pytest.raises(ValueError, match="its policy has ELU: must be linear layers"):
        policy_of(model, vector())


def test_a_policy_that_learns_nothing_does_not_improve():
    watch = SameRounds(vector(), every=64, rounds=3)
    model = PPO("MlpPolicy", normalized(), n_steps=32, learning_rate=0.0, seed=0, device="cpu")
    model.env.training = False
    model.learn(192, watch)
    assert len(watch.evaluations) >= 3
    assert len({fairness for _, fairness in watch.evaluations}) == 1


def test_the_figure_is_the_mean_fairness_of_the_rounds(tmp_path):
    model = PPO("MlpPolicy", GymnasiumVecEnv(vector()), n_steps=32, seed=0, device="cpu")
    watch = SameRounds(vector(3), every=64, rounds=2, seed=5, best=tmp_path / "best.safetensors")
    model.learn(64, watch)
    env = gym.make_vec("AIRAN-FairMTL-v0", num_envs=3, autoreset_mode="Disabled",
                       hindsight=False, **SETTINGS)  # fmt: skip
    agent = owo_agents.make(f"rl:{tmp_path / 'best.safetensors'}", env)
    fairness = [r.fairness for r in owo_agents.play(env, agent, 2, seed=5)]
    best = max(fairness for _, fairness in watch.evaluations)
    assert np.mean(fairness) == pytest.approx(best, abs=1e-5)


def test_a_network_written_by_hand_is_a_policy(tmp_path):
    env = gym.make("AIRAN-FairMTL-v0", **SETTINGS)
    weight = np.zeros((2, 7))
    weight[:, :2] = -np.eye(2)  # the worse off a user so far, the larger its priority
    policy = Policy([(weight, np.zeros(2))], "tanh", False, described(owo_env.problem_of(env)))
    policy.save(tmp_path / "mine.safetensors")
    agent = owo_agents.make(f"rl:{tmp_path / 'mine.safetensors'}", env)
    assert len(list(owo_agents.play(env, agent, 2, seed=0))) == 2
