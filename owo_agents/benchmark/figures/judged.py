"""What was learned under one notion of fairness, judged by the others."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from owo_agents.benchmark.figures import statistics
from owo_agents.benchmark.figures.leaderboard import Board
from owo_agents.benchmark.figures.statistics import Estimate
from owo_agents.benchmark.run.results import Result
from owo_agents.benchmark.suite.values import words
from owo_env.fairness import AlphaFair, Fairness, make_fairness, registry

ORACLE = "oracle"
MEANING = (
    "By how much the fairness of the judging notion falls short of its own oracle's on the same "
    "seeds, mean over rounds; the diagonal is the regret."
)


def notion_of(result: Result) -> Fairness | None:
    """What a run was judged by; None of a notion that is not the package's own."""
    users, bounds = result.problem["num_users"], tuple(result.problem["utility_bounds"])
    given = result.problem.get("fairness")
    if given is None:
        return AlphaFair(users, bounds, result.problem["alpha"])
    # A stranger's file imports nothing.
    return make_fairness(given, users, bounds) if given["name"] in registry.entries else None


def matrix(boards: Sequence[Board]) -> dict[str, dict[str, Estimate]]:
    """The baseline's shortfall by the notion it learned under, then by the notion that judges.

    Args:
        boards: Of one experiment; empty unless its grid is of notions of fairness and nothing
            else, and the agent ``oracle`` has played them.
    """
    if len(boards) < 2 or any(set(board.variant.point) != {"fairness"} for board in boards):
        return {}
    named = {words(board.variant.point["fairness"]): board for board in boards}
    best = {name: board.runs.get(ORACLE, {}) for name, board in named.items()}
    mine = {name: board.runs.get(board.experiment.baseline, {}) for name, board in named.items()}
    return {
        learned: {
            by: statistics.estimate(list(found.values()))
            for by in named
            if (found := _shortfalls(mine[learned], best[by]))
        }
        for learned in named
        if any(best.values()) and mine[learned]
    }


def _shortfalls(runs: dict[int, Result], best: dict[int, Result]) -> dict[int, float]:
    """Mean over rounds of F at the oracle's utilities less F at a run's, by seed."""
    found = {}
    for seed in runs.keys() & best.keys():
        notion = notion_of(best[seed])
        if notion is not None:
            gaps = notion.value(best[seed].utilities) - notion.value(runs[seed].utilities)
            found[seed] = float(np.mean(gaps))
    return found
