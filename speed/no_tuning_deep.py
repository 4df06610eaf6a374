"""`owo-adaptive` on Rainbow MNIST against five methods, each under three outer loops, tuned.

    python speed/no_tuning_deep.py --setting "24 rounds" --out results/no-tuning-deep.jsonl

Seeds 0 to 4, x_1 by seed (``model_seed``). Steps by the rule of ``owo bench --tune`` on seeds
10,000 and 10,001. Over 56 rounds the step of 24 and the next shorter one are tried once more, on
seed 10,000; over 168 the step of 56 rounds is played. A run that fails counts as −∞. One line a run
is appended to the file; what it has is not run again.
"""

from __future__ import annotations

import argparse
import itertools
import json
import warnings
from collections import defaultdict
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import torch

import owo_agents
import owo_env  # noqa: F401  registers the id
from owo_agents.learner.step import PRACTICAL_RATE
from owo_env.scenarios.split_learning import SplitLearning, Task
from owo_env.scenarios.split_learning.draws import torch_seed

SEEDS, TUNING = range(5), (10_000, 10_001)
METHODS: dict[str, dict[str, Any]] = {
    "owo-fmtl": {},
    "cws": {},
    "owo-normalized": {},
    "fairgrad": {},
    "nash-mtl": {"options": {"update_weights_every": 8}},
}
STARTS = ("running-mean", "reptile", "continue")
SHORT, LONGER, FULL = "24 rounds", "56 rounds", "168 rounds, all of MNIST"
RAINBOW: dict[str, dict[str, Any]] = {
    SHORT: {"rounds": 24},
    LONGER: {"rounds": 56},
    "no adversary": {"rounds": 24, "adversary": "none"},
    "inputs in [-1, 1]": {"rounds": 24, "normalize": True},
    FULL: {"rounds": 168, "digits": "mnist"},
}
OWN = ("an MLP", "conflicting rounds")


def own(conflict: bool, model_seed: int) -> SplitLearning:
    """The README's digits and MLP; or, where rounds conflict, labels in a new order each round."""
    from sklearn.datasets import load_digits
    from torch.utils.data import TensorDataset

    images, labels = (torch.as_tensor(a) for a in load_digits(return_X_y=True))
    images = images.float() / 16

    def task(user: int, number: int, seed: int) -> Task:
        order = torch.as_tensor(np.random.default_rng([seed, number]).permutation(10))
        named = order[labels] if conflict else labels
        part = range(user, len(images), 2)
        x, y = images[part], named[part]
        return Task(TensorDataset(x[:600], y[:600]), TensorDataset(x[600:], y[600:]))

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(model_seed)
        encoder = torch.nn.Sequential(torch.nn.Linear(64, 32), torch.nn.ReLU())
        last = torch.nn.Linear(32, 10)
        if conflict:  # the whole model is shared, so that a round's names clash with the next's
            encoder, last = torch.nn.Sequential(*encoder, last), torch.nn.Identity()
        return SplitLearning(
            encoder=encoder,
            head=lambda: last,
            tasks=[lambda number, seed, user=user: task(user, number, seed) for user in (0, 1)],
        )


def fairness(
    setting: str, agent: str, seed: int, rounds: int | None = None, **options: Any
) -> float:
    """Mean F over rounds of one run; −∞ if it fails."""
    torch.manual_seed(torch_seed(seed))
    per_user = agent in ("fairgrad", "nash-mtl")
    given: dict[str, Any] = {"gradients": "per_user" if per_user else "weighted"}
    if setting in OWN:
        given["scenario"] = own(setting == OWN[1], seed)
        rounds = rounds or 40
    else:
        given |= {"scenario": "rainbow-mnist", "model_seed": seed, **RAINBOW[setting]}
        rounds = rounds or given["rounds"]
        del given["rounds"]
    env = gym.make("AIRAN-FairMTL-v0", **given)
    try:
        made = owo_agents.make(agent, env, **options)
        return float(np.mean([r.fairness for r in owo_agents.play(env, made, rounds, seed=seed)]))
    except owo_agents.AgentError:
        return -np.inf


class Log:
    """The file of runs: setting, agent, outer loop, step j, seed → mean F."""

    def __init__(self, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
        self.path = path
        lines = path.read_text(encoding="utf-8").splitlines()
        self.found = {tuple(run): value for run, value in map(json.loads, lines)}

    def run(self, setting: str, agent: str, start: str | None, j: int, seed: int) -> float:
        """That run's mean F, from the file if it is there."""
        key = (setting, agent, start, j, seed)
        if key not in self.found:
            options = dict(METHODS.get(agent, {}))
            if start is not None:
                rate = float(f"{PRACTICAL_RATE * 10 ** (j / 2):.3g}")
                options |= {"initialization": start, "learning_rate": rate}
            self.found[key] = fairness(setting, agent, seed, **options)
            with open(self.path, "a", encoding="utf-8") as file:
                file.write(json.dumps([key, self.found[key]], ensure_ascii=False) + "\n")
            print(*key, f"{self.found[key]:.4f}", flush=True)
        return self.found[key]


def best_step(log: Log, setting: str, agent: str, start: str) -> tuple[float, int]:
    """Mean F on the tuning seeds and the j of the step that has most."""
    if setting not in (LONGER, FULL):
        steps, seeds = list(range(-3, 4)), TUNING
    else:
        chosen = best_step(log, LONGER if setting == FULL else SHORT, agent, start)[1]
        steps, seeds = [chosen - 1, chosen][setting != LONGER :], TUNING[:1]
    for _ in range(4):
        mean = {
            j: float(np.mean([log.run(setting, agent, start, j, seed) for seed in seeds]))
            for j in steps
        }
        best = max(steps, key=lambda j: (mean[j], -abs(j)))
        if len(seeds) == 1 or best not in (steps[0], steps[-1]):
            break
        steps = [best - 2, best - 1, *steps] if best == steps[0] else [*steps, best + 1, best + 2]
    return mean[best], best


def summary(path: Path) -> str:
    """A Markdown table a setting: mean F ± standard error on the seeds of the table."""
    found: dict[str, dict[str, dict[int, float]]] = defaultdict(lambda: defaultdict(dict))
    for (setting, agent, start, j, seed), value in Log(path).found.items():
        if seed in SEEDS:
            name = agent if start is None else f"{agent}, {start}, step {0.1 * 10 ** (j / 2):.3g}"
            found[setting][name][seed] = value
    lines = []
    for setting, agents in found.items():
        lines += [f"**{setting}**", "", "| agent | F | owo-adaptive − it (95%) |", "|---|--:|--:|"]
        ours = agents.get("owo-adaptive", {})
        for name, runs in sorted(agents.items(), key=lambda item: -np.mean(list(item[1].values()))):
            values = np.array([runs[seed] for seed in sorted(runs)])
            error = values.std(ddof=1) / len(values) ** 0.5
            paired = np.array([ours[seed] - runs[seed] for seed in sorted(runs) if seed in ours])
            margin = 2.776 * paired.std(ddof=1) / 5**0.5 if len(paired) == 5 else np.nan
            note = "–" if name == "owo-adaptive" else f"{paired.mean():+.3f} ± {margin:.3f}"
            lines.append(f"| {name} | {values.mean():.4f} ± {error:.4f} | {note} |")
        lines.append("")
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--setting", nargs="*", default=[*RAINBOW, *OWN])
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--methods", nargs="*", default=list(METHODS))
    parser.add_argument("--starts", nargs="*", default=list(STARTS))
    parser.add_argument("--most", type=int, default=15, help="so many of the best on tuning seeds")
    parser.add_argument("--summary", action="store_true", help="print the file's tables")
    args = parser.parse_args()
    if args.summary:
        print(summary(args.out))
        return
    torch.set_num_threads(1)
    warnings.simplefilter("ignore")  # FairGrad's and others' own
    log = Log(args.out)
    for setting in args.setting:
        for seed in SEEDS:
            log.run(setting, "owo-adaptive", None, 0, seed)
        pairs = itertools.product(args.methods, args.starts)
        tuned = [(*best_step(log, setting, *pair), *pair) for pair in pairs]
        for _, j, agent, start in sorted(tuned, reverse=True)[: args.most]:
            for seed in SEEDS:
                log.run(setting, agent, start, j, seed)


if __name__ == "__main__":
    main()
