"""A PPO of one's own for the users' weights: trained, evaluated, taken along and benchmarked.

Observations are normalized by SB3's ``VecNormalize``; what it has learned goes into the file.
"""

import tempfile
from pathlib import Path

import gymnasium as gym
import numpy as np
from stable_baselines3 import PPO
from stable_baselines3.common.vec_env import VecNormalize

import owo_agents
from owo_agents.rl.own import SameRounds, policy_of
from owo_agents.rl.policy import Policy
from owo_agents.rl.vec_env import GymnasiumVecEnv

ID, SETTINGS = "AIRAN-FairMTL-Weights-v0", {"scenario": "sinusoid", "num_slots": 8}

train = VecNormalize(GymnasiumVecEnv(gym.make_vec(ID, num_envs=8, **SETTINGS)), norm_reward=False)
model = PPO("MlpPolicy", train, n_steps=64, gamma=1.0, seed=0, device="cpu")
watch = SameRounds(gym.make_vec(ID, num_envs=4, **SETTINGS), every=1024, rounds=4)
model.learn(2048, watch)
for slots, fairness in watch.evaluations:
    print(f"after {slots} slots: mean fairness of the same held-out rounds {fairness:.4f}")

with tempfile.TemporaryDirectory() as folder:
    file = Path(folder, "mine.safetensors")
    policy_of(model, train.venv.env).save(file)

    # The same actions as SB3's, on observations that it has not seen.
    policy, env = Policy.load(file), gym.make(ID, **SETTINGS)
    obs, _ = env.reset(seed=7)
    gap, over = 0.0, False
    while not over:
        wanted, _ = model.predict(train.normalize_obs(obs), deterministic=True)
        gap = max(gap, float(np.abs(policy(obs) - wanted).max()))
        obs, _, over, *_ = env.step(wanted)
    print(f"largest difference to SB3's actions: {gap:.1e}")

    results = owo_agents.bench(
        [f"rl:{file}", "cws"],
        scenarios=[("sinusoid", {"num_slots": 8})],
        rounds=4,
        seeds=2,
        jobs=1,
        backend="serial",
        progress=False,
    )
    assert not results.errors, results.errors
    print(results)
