"""Split learning with your own model and data: three users read sklearn's digits by a small MLP."""

import gymnasium as gym
import torch
from sklearn.datasets import load_digits
from torch import nn
from torch.utils.data import TensorDataset

import owo_agents
import owo_env  # noqa: F401  (registers the environment)
from owo_env.scenarios.split_learning import SplitLearning, Task

images, labels = load_digits(return_X_y=True)
images, labels = torch.tensor(images / 16, dtype=torch.float32), torch.tensor(labels)


def turned(turns):
    """A user's task: all digits, rotated by a number of quarter turns."""
    x = images.view(-1, 8, 8).rot90(turns, (1, 2)).reshape(-1, 64)
    return Task(
        train=TensorDataset(x[:1400], labels[:1400]),
        validation=TensorDataset(x[1400:], labels[1400:]),
    )


torch.manual_seed(0)
scenario = SplitLearning(
    encoder=nn.Sequential(nn.Linear(64, 32), nn.ReLU()),
    head=lambda: nn.Linear(32, 10),
    tasks=[[turned(user), turned(user + 1)] for user in range(3)],  # two tasks in turn
    num_slots=40,
)
env = gym.make("AIRAN-FairMTL-v0", scenario=scenario)
agent = owo_agents.make("owo-fmtl", env, learning_rate=0.3)
for record in owo_agents.play(env, agent, rounds=6, seed=0):
    print(record.round, record.utilities.round(2), record.extras["validation_accuracy"].round(2))
