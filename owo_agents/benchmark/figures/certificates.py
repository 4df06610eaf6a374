"""What the theory promised in every round, held against what was played."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from owo_agents.benchmark.figures import statistics
from owo_agents.benchmark.figures.judged import notion_of
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


def _problem(result: Result) -> Problem | None:
    """The problem's constants as far as a result keeps them; None under a notion not our own."""
    given = {**result.problem, "initial_model": np.zeros(result.problem["dim"])}
    notion = notion_of(result)
    return None if notion is None else Problem(**{**given, "fairness": notion})


def checks_of(results: Iterable[Result]) -> list[Check]:
    """The certificate and the bounds of one agent's runs; empty where rounds have no θ*.

    The first speaks of the bookkeeping and holds for every learner; bounds (6) and (10) speak of
    the learner, and priorities outside W may break (10).
    """
    gaps: defaultdict[str, list[np.ndarray]] = defaultdict(list)
    for result in results:
        terms = result.extras
        if result.regret is None or "primal_regret" not in terms:
            continue
        if (found := _certificate(result)) is not None:
            gaps["certificate"].append(found.slack)
        if "primal_bound" in terms:
            gaps["R^θ ≤ (6)"].append(terms["primal_bound"] - terms["primal_regret"])
        problem = _problem(result)
        promised = problem is not None and problem.fairness.modulus < np.inf and not _on_air(result)
        if "dual_regret" in terms and problem is not None and promised:
            gaps["R^w ≤ (10)"].append(regret.dual_bound(problem) - terms["dual_regret"])
    return [_check(name, np.concatenate(parts)) for name, parts in gaps.items()]


def _check(name: str, gap: np.ndarray) -> Check:
    return Check(name, float((gap >= -TOLERANCE).mean()), len(gap), float(gap.mean()))


def certified(board: Board) -> float | None:
    """The mean of (R^θ + R^w + B)/m + residual over the rounds of the baseline's runs.

    The interquartile mean over seeds, as the regret's beside it; None where a round has no
    finite bound, or the baseline does not report its terms.
    """
    bounds = []
    for result in board.runs.get(board.experiment.baseline, {}).values():
        found = _certificate(result)
        if found is None or not np.isfinite(found.bound).all():
            return None
        bounds.append(float(found.bound.mean()))
    return statistics.estimate(bounds).value if bounds else None


def _certificate(result: Result) -> regret.Certificate | None:
    """The certificate of every round; None where its terms are not all there."""
    terms, names = result.extras, ("primal_regret", "dual_regret", "residual")
    if result.regret is None or any(name not in terms for name in names):
        return None
    primal, dual, residual = (terms[name] for name in names)
    m, missed = result.problem["num_slots"], terms.get("missed", 0.0)
    return regret.Certificate(result.regret, primal, dual, residual, m, missed)


def _on_air(result: Result) -> bool:
    """Whether feedback came over a link, of which bounds (6), (10) and Theorem 1 know nothing."""
    return "heard_slots" in result.extras


def theorem(board: Board) -> float | None:
    """Theorem 1's bound on the mean regret with corrected constants, its residual left out."""
    result = board.results[0]
    problem = _problem(result)
    if problem is None or result.regret is None or _on_air(result):
        return None
    known = problem.diameter and problem.gradient_bound and problem.fairness.modulus < np.inf
    return regret.theorem_bound(problem, result.rounds) if known else None
