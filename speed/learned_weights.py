"""Where learned weights stand: `python speed/learned_weights.py POLICY... [--set KEY=VALUE]`.

Plays policies, equal and tuned constant weights, random weights and OWO-FMTL on the same held-out
streams, none of which any policy or constant was chosen on, and prints a table: regret with its
95% interval over streams, the paired difference in fairness to equal weights and to OWO-FMTL, the
worst and the summed utility. The model step and the outer loop (exact) are the same for all.
"""

from __future__ import annotations

import argparse
from functools import partial

import gymnasium as gym
import numpy as np

import owo_agents
from owo_agents.benchmark.figures.statistics import estimate
from owo_agents.command.terminal import pairs
from owo_agents.learner.methods import compose
from owo_agents.rl.agent import Learned
from owo_agents.rl.train import HELD_OUT

FIRST_SEED = HELD_OUT + 100_000  # beyond the streams that `owo train-rl` chooses its best on


def random_weights(problem, correlated):
    """Actions uniform in [-1, 1], new in every slot, or kept for a round."""
    rng = np.random.default_rng(0)
    kept = {}

    def act(seen):
        if not correlated or not seen[..., -1].any():
            kept["action"] = rng.uniform(-1, 1, (*seen.shape[:-1], problem.num_users))
        return kept["action"]

    return compose(Learned(problem, act))


def constant(problem, action):
    """Every user's action is the same constant."""
    return compose(
        Learned(problem, lambda seen: np.full((*seen.shape[:-1], problem.num_users), action))
    )


def agents(policies):
    """Name → agent of a problem."""
    named = {
        "`owo-fmtl`": partial(owo_agents.make, "owo-fmtl"),
        "`cws` (equal weights)": partial(owo_agents.make, "cws"),
        "`cws-tuned` (a constant a user)": partial(owo_agents.make, "cws-tuned"),
        **{f"constant policy, action {a:g}": partial(constant, action=a) for a in (-1, 1)},
        "random policy, each slot anew": partial(random_weights, correlated=False),
        "random policy, each round anew": partial(random_weights, correlated=True),
    }
    learned = {f"`rl:{p}`": partial(owo_agents.make, f"rl:{p}") for p in policies}
    return {name: lambda env, make=make: make(env) for name, make in (named | learned).items()}


def play(scenario, settings, make, streams, rounds):
    """Means over rounds of each stream: fairness, regret, utilities (streams, K)."""
    env = gym.make_vec(
        "AIRAN-FairMTL-v0", streams, scenario=scenario, autoreset_mode="Disabled", **settings
    )
    agent = make(env.unwrapped.problem)
    records = list(owo_agents.play(env, agent, rounds, seed=FIRST_SEED))
    return (
        np.mean([r.fairness for r in records], axis=0),
        np.mean([r.regret for r in records], axis=0),
        np.mean([r.utilities.min(axis=-1) for r in records]),
        np.mean([r.utilities.sum(axis=-1) for r in records]),
    )


def text(values):
    found = estimate(values)
    return f"{found.value:.4f} [{found.low:.4f}, {found.high:.4f}]"


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("policies", nargs="*", help="files, run folders or shipped names")
    parser.add_argument("--scenario", default="csi-prediction")
    parser.add_argument("--set", action="append", metavar="KEY=VALUE")
    parser.add_argument("--streams", type=int, default=32)
    parser.add_argument("--rounds", type=int, default=32)
    given = parser.parse_args()
    settings = pairs("--set", given.set)
    results = {
        name: play(given.scenario, settings, make, given.streams, given.rounds)
        for name, make in agents(given.policies).items()
    }
    equal, owo = results["`cws` (equal weights)"][0], results["`owo-fmtl`"][0]
    print("| agent | regret | fairness − equal weights' | fairness − OWO-FMTL's | min u | Σ u |")
    print("|---|---|---|---|---|---|")
    for name, (fairness, regret, worst, total) in results.items():
        against = [
            "–" if (fairness == other).all() else text(fairness - other) for other in (equal, owo)
        ]
        print(f"| {name} | {text(regret)} | {' | '.join(against)} | {worst:.3f} | {total:.3f} |")


if __name__ == "__main__":
    main()
