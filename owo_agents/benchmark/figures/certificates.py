"""What the theory promised in every round, held against what was played."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from owo_agents.benchmark.figures.leaderboard import Board
from owo_agents.benchmark.run.results import Result
from owo_env import regret
from owo_env.problem import Problem

TOLERANCE = 1e-9  # round-off of sums over the slots of a round


@dataclass(frozen=True)
class Check:
    """One inequality over all rounds of an agent's runs.

    Attributes:
        name: For people.
        held: The share of rounds in which it held.
        rounds: How many rounds there were.
        looseness: The mean of bound − figure.
    """

    name: str
    held: float
    rounds: int
    looseness: float

    def __str__(self) -> str:
        often = "every round" if self.held == 1 else f"{self.held:.1%} of rounds"
        return f"{often}, {self.looseness:.3g} to spare"


def _problem(result: Result) -> Problem:
    """The problem's constants as far as a result keeps them."""
    given = dict(result.problem)
    given["utility_bounds"] = tuple(given["utility_bounds"])
    return Problem(**given, initial_model=np.zeros(given["dim"]))


def checks_of(results: Iterable[Result]) -> list[Check]:
    """The certificate and the bounds of one agent's runs; empty where rounds have no θ*.

    The first speaks of the bookkeeping and holds for every learner; bounds (6) and (10) speak of
    the learner, and priorities outside W may break (10).
    """
    gaps: dict[str, list[np.ndarray]] = {}
    for result in results:
        terms = result.extras
        if result.regret is None or "primal_regret" not in terms:
            continue
        if "dual_regret" in terms and "residual" in terms:
            certificate = regret.Certificate(
                result.regret,
                terms["primal_regret"],
                terms["dual_regret"],
                terms["residual"],
                result.problem["num_slots"],
            )
            gaps.setdefault("certificate", []).append(certificate.slack)
        if "primal_bound" in terms:
            gap = terms["primal_bound"] - terms["primal_regret"]
            gaps.setdefault("R^θ ≤ (6)", []).append(gap)
        if "dual_regret" in terms and result.problem["alpha"] > 0:
            gap = regret.dual_bound(_problem(result)) - terms["dual_regret"]
            gaps.setdefault("R^w ≤ (10)", []).append(gap)
    return [_check(name, np.concatenate(parts)) for name, parts in gaps.items()]


def _check(name: str, gap: np.ndarray) -> Check:
    return Check(name, float((gap >= -TOLERANCE).mean()), len(gap), float(gap.mean()))


def table(board: Board) -> dict[str, list[Check]]:
    """The checks of every agent that has any, by label."""
    found = {label: checks_of(runs.values()) for label, runs in board.runs.items()}
    return {label: checks for label, checks in found.items() if checks}


def theorem(board: Board) -> float | None:
    """Theorem 1's bound on the mean regret with corrected constants, its residual left out."""
    result = next(iter(next(iter(board.runs.values())).values()))
    problem = _problem(result)
    if result.regret is None or not problem.diameter or not problem.gradient_bound:
        return None
    return None if problem.alpha == 0 else regret.theorem_bound(problem, result.rounds)
