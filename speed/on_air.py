"""The suite `air` with the seeds of a cell as streams of one batch: the same bits, sooner.

    python speed/on_air.py --rounds 256 --seeds 5 --out results/on-air.jsonl
    python speed/on_air.py --out results/on-air.jsonl --summary

One line a link and agent is appended to the file; what it has is not run again. The summary is a
table in Markdown, mean regret ± standard error over seeds / mean utility of each round's worst
user (of those who were there).
"""

from __future__ import annotations

import argparse
import json
import warnings
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np

import owo_agents
import owo_env
from owo_agents.benchmark.suite import reader
from owo_agents.benchmark.suite.cells import Cell

ENVIRONMENT = "AIRAN-FairMTL-v0"


def cells(only: str) -> Iterator[tuple[str, str, str, Cell]]:
    """Experiment, point of its grid, agent and what they play, of the convex part of the suite."""
    for experiment in reader.load("air").experiments:
        if experiment.scenario == "rainbow-mnist" or only not in experiment.name:
            continue
        for variant in experiment.variants:
            for label in experiment.agents:
                yield experiment.name, variant.label, label, experiment.cell(variant, label, 0)


def played(cell: Cell, rounds: int, seeds: int) -> dict[str, list[float]]:
    """Mean regret and the worst user's mean utility, by seed."""
    if cell.agent == "oracle":
        return {"regret": [0.0] * seeds, "worst": _fairest(cell, rounds, seeds)}
    given: dict[str, Any] = {"scenario": cell.scenario, **cell.settings}
    scalar = gym.make(ENVIRONMENT, **given)
    needs = owo_agents.make(cell.agent, owo_env.problem.problem_of(scalar), **cell.arguments)
    given["gradients"] = needs.gradients or "weighted"
    envs: Any = gym.make_vec(ENVIRONMENT, num_envs=seeds, autoreset_mode="Disabled", **given)
    agent = owo_agents.make(cell.agent, envs, **cell.arguments)
    records = list(owo_agents.play(envs, agent, rounds, seed=list(range(seeds))))
    regret = np.mean([record.regret for record in records], axis=0)
    worst = np.mean([record.utilities.min(axis=-1) for record in records], axis=0)
    return {"regret": regret.tolist(), "worst": worst.tolist()}


def _fairest(cell: Cell, rounds: int, seeds: int) -> list[float]:
    """The worst user's mean utility at θ*."""
    given: dict[str, Any] = {"scenario": cell.scenario, **cell.settings}
    envs: Any = gym.make_vec(ENVIRONMENT, num_envs=seeds, autoreset_mode="Disabled", **given)
    worst = []
    for t in range(rounds):
        envs.reset(seed=list(range(seeds)) if t == 0 else None)
        worst.append(envs.unwrapped._batch.fairest(np.arange(seeds))[1].min(axis=-1))
    return np.mean(worst, axis=0).tolist()  # type: ignore[no-any-return]


def summary(lines: list[dict[str, Any]]) -> Iterator[str]:
    """A table for each experiment: a line a link, a column an agent."""
    for name in dict.fromkeys(line["experiment"] for line in lines):
        mine = [line for line in lines if line["experiment"] == name]
        labels = list(dict.fromkeys(line["agent"] for line in mine))
        yield f"\n**{name}**\n"
        yield f"| | {' | '.join(f'`{label}`' for label in labels)} |"
        yield "|---|" + "--:|" * len(labels)
        for point in dict.fromkeys(line["point"] for line in mine):
            found = {line["agent"]: line for line in mine if line["point"] == point}
            shown = [_figure(found[label]) if label in found else "" for label in labels]
            yield f"| {point} | {' | '.join(shown)} |"


def _figure(line: dict[str, Any]) -> str:
    regret, worst = np.array(line["regret"]), float(np.mean(line["worst"]))
    if not regret.any():
        return f"/ {worst:.3f}"
    return f"{regret.mean():.4f} ± {regret.std(ddof=1) / len(regret) ** 0.5:.4f} / {worst:.3f}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])  # type: ignore[union-attr]
    parser.add_argument("--rounds", type=int, default=256)
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--only", default="", help="part of an experiment's name")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--summary", action="store_true")
    given = parser.parse_args()
    text = given.out.read_text() if given.out.exists() else ""
    lines = [json.loads(line) for line in text.splitlines()]
    if given.summary:
        print("\n".join(summary(lines)))
        return
    done = {(line["experiment"], line["point"], line["agent"]) for line in lines}
    warnings.simplefilter("ignore")
    given.out.parent.mkdir(parents=True, exist_ok=True)
    for experiment, point, label, cell in cells(given.only):
        if (experiment, point, label) in done:
            continue
        found = played(replace(cell, rounds=given.rounds), given.rounds, given.seeds)
        line = {"experiment": experiment, "point": point, "agent": label, **found}
        with given.out.open("a") as file:
            file.write(json.dumps(line, ensure_ascii=False) + "\n")
        print(experiment, point, label, _figure(line), flush=True)


if __name__ == "__main__":
    main()
