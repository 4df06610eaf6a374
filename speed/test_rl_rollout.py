"""PPO on the native vector environment against PPO on SB3's DummyVecEnv of scalar ones.

Ratios within one run, one thread, hindsight off, N = 64, the defaults of ``owo train-rl``:
collecting rollouts (environment and the policy's network), and whole training.
"""

from time import perf_counter

import gymnasium as gym
import pytest
from interleaved import Draws

import owo_agents  # noqa: F401  (registers the environment)

pytest.importorskip("stable_baselines3")
from stable_baselines3.common.callbacks import BaseCallback
from stable_baselines3.common.vec_env import DummyVecEnv

from owo_agents.rl.train import Training, make_model
from owo_agents.rl.vec_env import GymnasiumVecEnv

pytestmark = pytest.mark.benchmark
ENV, STREAMS = "AIRAN-FairMTL-Weights-v0", 64


class Rollouts(BaseCallback):
    """Adds up the seconds spent in collecting rollouts."""

    def __init__(self):
        super().__init__()
        self.seconds = 0.0

    def _on_rollout_start(self):
        self._start = perf_counter()

    def _on_rollout_end(self):
        self.seconds += perf_counter() - self._start

    def _on_step(self):
        return True


def measured(training, venv, scenarios, problem):
    """Seconds in (rollouts, drawing, all) while each stream plays one block of rounds."""
    model = make_model(training, venv, problem, seed=0)
    rollout = problem.num_slots * STREAMS
    model.learn(rollout)  # warm; every stream has drawn its first block
    rollouts, draws = Rollouts(), [Draws(scenario) for scenario in scenarios]
    start = perf_counter()
    model.learn(scenarios[0].rounds_per_block * rollout, rollouts, reset_num_timesteps=False)
    return rollouts.seconds, sum(d.seconds for d in draws), perf_counter() - start


@pytest.mark.parametrize("scenario", ["csi-prediction", "sinusoid"])
def test_native_against_dummy(scenario):
    settings = {"scenario": scenario, "num_slots": 64}
    many = gym.make_vec(ENV, STREAMS, **settings)
    scalar = DummyVecEnv([lambda: gym.make(ENV, **settings)] * STREAMS)
    base, training = many.unwrapped, Training(scenario)
    fast = measured(training, GymnasiumVecEnv(many), [base.scenario], base.problem)
    slow = measured(training, scalar, [env.unwrapped.scenario for env in scalar.envs], base.problem)
    print(
        f"\n{scenario}: rollouts {slow[0] / fast[0]:.1f} times faster than on DummyVecEnv "
        f"(drawing is {fast[1] / fast[0]:.0%} of them, there {slow[1] / slow[0]:.0%}); "
        f"whole training {slow[2] / fast[2]:.2f} times"
    )
    assert slow[0] / fast[0] >= 3
