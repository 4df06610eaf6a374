"""Three users of one encoder with losses of three kinds: compared, killed, resumed, taken home.

The first tells two classes apart, the second predicts a number, the third tells five classes.
"""

import itertools
import tempfile
from pathlib import Path

import gymnasium as gym
import torch
from safetensors.torch import load_file
from torch import nn
from torch.nn import functional as F
from torch.utils.data import TensorDataset

import owo_agents
import owo_env  # noqa: F401  (registers the environment)
from owo_env.scenarios.split_learning import SplitLearning, Task

ROUNDS, SLOTS = 4, 12


def within_a_tenth(outputs, labels):
    """The share of answers that are off by less than a tenth of the target's spread."""
    return ((outputs - labels).abs() < 0.1 * labels.std()).float().mean()


def macro_recall(outputs, labels):
    """The mean over the classes of the share of each that was found."""
    right = outputs.argmax(dim=1) == labels
    return torch.stack([right[labels == c].float().mean() for c in labels.unique()]).mean()


def users():
    """Each user's task: inputs of its own, and what it wants to know of them."""
    draw = torch.Generator().manual_seed(0)
    x = torch.randn(3, 900, 16, generator=draw)
    score = torch.tanh(x @ torch.randn(16, 4, generator=draw) / 3)
    number = 40 * score[1, :, :1]  # a squared error in the hundreds
    five = torch.bucketize(score[2, :, 2].contiguous(), torch.tensor([-0.6, -0.2, 0.2, 0.6]))
    for inputs, labels in zip(x, ((score[0, :, 1] > 0).long(), number, five)):
        train, held = (
            TensorDataset(inputs[:600], labels[:600]),
            TensorDataset(inputs[600:], labels[600:]),
        )
        yield [Task(train, validation=held)]


class Mixed(SplitLearning):
    """One encoder, three losses, each in its own scale: that of what a constant answer costs."""

    name = "mixed"

    def __init__(self, num_slots: int = SLOTS) -> None:
        cost = torch.tensor([0.69, 450.0, 1.61])  # ln 2, about the variance of the number, ln 5
        with torch.random.fork_rng():
            torch.manual_seed(0)
            encoder = nn.Sequential(nn.Linear(16, 32), nn.Tanh())
            heads = [nn.Linear(32, 2), nn.Linear(32, 1), nn.Linear(32, 5)]
        super().__init__(
            encoder,
            heads,
            list(users()),
            loss=[F.cross_entropy, F.mse_loss, F.cross_entropy],
            num_slots=num_slots,
            l_max=1.5 * cost,
            utility_bounds=(cost / 2, 1.5 * cost),
            head_learning_rate=[0.3, 0.02, 0.3],
            metrics={
                "recall": [macro_recall, None, macro_recall],
                "within": [None, within_a_tenth, None],
            },
        )


def played(folder, name, rounds=ROUNDS):
    """The records, with a checkpoint after every round; the environment and the agent."""
    env = gym.make("AIRAN-FairMTL-v0", scenario=Mixed())
    agent = owo_agents.make(name, env)
    path, config = Path(folder, f"{name}.safetensors"), {"agent": name, "scenario": "mixed"}
    records = owo_agents.resume(path, config, env, agent, ROUNDS, seed=0)
    return list(itertools.islice(records, rounds)), env, agent


with tempfile.TemporaryDirectory() as one, tempfile.TemporaryDirectory() as other:
    last = {}
    for name in ("owo-adaptive", "owo-fmtl", "cws", "srl"):
        records, env, agent = played(one, name)
        played(other, name, rounds=2)  # as if it were killed here; then once more, to the end
        resumed, *_ = played(other, name)
        assert [r.utilities.tolist() for r in records] == [r.utilities.tolist() for r in resumed]
        last[name] = told = records[-1].extras
        loss, recall, within = (
            told[f"validation_{n}"].round(2) for n in ("loss", "recall", "within")
        )
        print(f"{name:14s} loss {loss} recall {recall} within a tenth {within}")

    # Taken home: ordinary modules, and one file of them.
    file = Path(one, "srl-trained.safetensors")
    exported = env.unwrapped.export(path=file)
    weights = load_file(file)
    for k, (task,) in enumerate(users()):
        inputs, labels = task.validation.tensors
        encoder = nn.Sequential(nn.Linear(16, 32), nn.Tanh())
        head = nn.Linear(32, len(weights[f"heads.{k}.bias"]))
        for module, prefix in ((encoder, "encoder."), (head, f"heads.{k}.")):
            own = {n.removeprefix(prefix): w for n, w in weights.items() if n.startswith(prefix)}
            module.load_state_dict(own)
        with torch.no_grad():
            loss = [F.cross_entropy, F.mse_loss, F.cross_entropy][k](head(encoder(inputs)), labels)
            assert torch.equal(exported.network(k)(inputs), head(encoder(inputs)))
        print(
            f"user {k}: validation loss {loss:.6f}, in the record {told['validation_loss'][k]:.6f}"
        )
