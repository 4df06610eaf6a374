"""`owo-adaptive` against every agent at its default and at its tuned step, setting by setting.

    python speed/no_tuning.py --rounds 48 --out results/no-tuning-48.jsonl

Seeds 0 to 4; all rounds of a run side by side where an agent carries nothing but its start, else
the seeds as streams. A step is tuned by the rule of ``owo bench --tune`` on seeds 10,000 and 10,001
(over fewer rounds, if asked). One line a setting and agent is appended to the file; what it has is
not run again.
"""

from __future__ import annotations

import argparse
import itertools
import json
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np

import owo_agents
import owo_env  # noqa: F401  registers the id
from owo_agents.learner.step import default_rate
from owo_agents.playing import side_by_side

ENVIRONMENT = "AIRAN-FairMTL-v0"
SEEDS, TUNING = range(5), (10_000, 10_001)
CHEAP = ("owo-fmtl", "ftl", "owo-normalized", "cws", "slot-fair", "hedge")
DEAR = ("cagrad", "fairgrad", "upgrad")
PER_USER = ("owo-adaptive", "slot-fair", *DEAR)


def settings() -> Iterator[tuple[str, dict[str, Any]]]:
    """The name and the arguments of each setting."""
    for alpha, adversary, m in itertools.product(
        (1.0, 2.0), ("none", "blocks"), (4, 8, 16, 32, 64, 128)
    ):
        name = f"sinusoid m={m} {adversary} α={alpha:g}"
        yield name, {"num_slots": m, "adversary": adversary, "alpha": alpha}
    csi: list[dict[str, Any]] = [{"num_users": k} for k in (2, 4, 8, 32)]
    csi += [{"alpha": alpha} for alpha in (0.5, 2.0, 3.0)]
    csi += [{"mix": mix} for mix in ("balanced", "edge-heavy")]
    csi += [{"drift": rounds} for rounds in (4, 32)]
    for given in csi:
        name = " ".join(f"{key}={value}" for key, value in given.items())
        yield f"csi {name}", {"scenario": "csi-prediction", **given}


def regrets(given: dict[str, Any], agent: str, rounds: int, seeds: Any, **options: Any) -> Any:
    """Mean regret (N,) and the worst user's mean utility (N,)."""
    given = {**given, "gradients": "per_user" if agent in PER_USER else "weighted"}
    env = gym.make(ENVIRONMENT, **given)
    made = owo_agents.make(agent, env, **options)
    if isinstance(made, owo_agents.Learner) and side_by_side.possible(env, made, rounds):
        runs = []
        for seed in seeds:
            made = owo_agents.make(agent, env, **options)
            runs.append(list(side_by_side.play(env, made, rounds, seed)))  # type: ignore[arg-type]
        regret = [np.mean([record.regret for record in run]) for run in runs]
        worst = [np.mean([record.utilities.min() for record in run]) for run in runs]
        return np.array(regret), np.array(worst)
    envs: Any = gym.make_vec(ENVIRONMENT, num_envs=len(seeds), autoreset_mode="Disabled", **given)
    made = owo_agents.make(agent, envs, **options)
    records = list(owo_agents.play(envs, made, rounds, seed=list(seeds)))
    lowest = [record.utilities.min(axis=-1) for record in records]
    return np.mean([record.regret for record in records], 0), np.mean(lowest, 0)


def tuned(given: dict[str, Any], agent: str, rounds: int) -> float | None:
    """The step of least regret on the tuning seeds; None where the agent has none."""
    problem = gym.make(ENVIRONMENT, **given).unwrapped.problem  # type: ignore[attr-defined]
    base, found = default_rate(problem), {}
    steps = list(range(-3, 4))
    for _ in range(4):
        for step in set(steps) - set(found):
            rate = float(f"{base * 10 ** (step / 2):.3g}")
            try:
                value = regrets(given, agent, rounds, TUNING, learning_rate=rate)[0].mean()
            except owo_agents.AgentError:
                value = np.inf
            found[step] = (value, abs(step), rate)
        best = min(steps, key=lambda step: found[step][:2])
        if best == steps[0]:
            steps = [best - 2, best - 1, *steps]
        elif best == steps[-1]:
            steps = [*steps, best + 1, best + 2]
        else:
            break
    return found[best][2]


def summary(path: Path) -> str:
    """A Markdown table: `owo-adaptive` beside the best of all others at their best step."""
    lines = map(json.loads, path.read_text(encoding="utf-8").splitlines())
    found: dict[str, dict[str, Any]] = {}
    for line in lines:
        name, agent, tune = line["run"]
        label = f"{agent}, tuned" if tune else agent
        found.setdefault(name, {})[label] = np.array(line["regret"])
    rows, ratios = [], []
    for name, runs in found.items():
        ours = runs.pop("owo-adaptive", None)
        if ours is None or not runs:
            continue
        best = min(runs, key=lambda label: runs[label].mean())
        difference = ours - runs[best]
        margin = 2.776 * difference.std(ddof=1) / len(ours) ** 0.5  # Student's, five seeds
        better = ours.mean() <= runs[best].mean() + 0.05 * abs(runs[best].mean())
        ratios.append(better)
        rows.append(
            f"| {name} | {ours.mean():.4f} ± {ours.std(ddof=1) / len(ours) ** 0.5:.4f} | {best} "
            f"| {runs[best].mean():.4f} | {difference.mean():+.4f} ± {margin:.4f} "
            f"| {runs['owo-fmtl'].mean():.4f} | {'yes' if better else '**no**'} |"
        )
    head = "| setting | owo-adaptive | best other | its | difference (95%) | owo-fmtl | within 5% |"
    rule = "|---|--:|---|--:|--:|--:|---|"
    return "\n".join([head, rule, *rows, "", f"{sum(ratios)} of {len(ratios)} within 5%"])


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--rounds", type=int, default=48)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--agents", nargs="*", default=["owo-adaptive", *CHEAP, *DEAR])
    parser.add_argument("--summary", action="store_true", help="print the file's table")
    parser.add_argument("--no-tune", action="store_true")
    parser.add_argument("--tuning-rounds", type=int, help="of the tuning runs; default: as many")
    parser.add_argument("--only", default="", help="settings whose name has this text")
    parser.add_argument("--longest", type=int, default=128, help="the largest m of the sinusoid")
    args = parser.parse_args()
    if args.summary:
        print(summary(args.out))
        return
    args.out.parent.mkdir(parents=True, exist_ok=True)
    lines = args.out.read_text(encoding="utf-8").splitlines() if args.out.exists() else []
    done = {tuple(json.loads(line)["run"]) for line in lines}
    over = args.tuning_rounds or args.rounds
    warnings.simplefilter("ignore")  # steps above the stable one are among the candidates
    for (name, given), agent in itertools.product(settings(), args.agents):
        if given.get("num_slots", 0) > args.longest or args.only not in name:
            continue
        for tune in (False, True):
            skip = args.no_tune or agent == "owo-adaptive"
            if (name, agent, tune) in done or (tune and skip):
                continue
            options = {"learning_rate": tuned(given, agent, over)} if tune else {}
            found, worst = regrets(given, agent, args.rounds, SEEDS, **options)
            line = {"run": [name, agent, tune], **options}
            line |= {"regret": found.tolist(), "worst_user": worst.tolist()}
            with open(args.out, "a", encoding="utf-8") as file:
                file.write(json.dumps(line, ensure_ascii=False) + "\n")
            print(name, agent, options, f"{found.mean():.4f}", flush=True)


if __name__ == "__main__":
    main()
