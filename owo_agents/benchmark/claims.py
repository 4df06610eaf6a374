"""A paper's sentences held against what was measured."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from owo_agents.benchmark.leaderboard import Board, scores
from owo_agents.benchmark.plan import Claim

RULE = (
    "A claim holds if it holds in every seed, and in part if it does on average, though by less "
    "than claimed, or in some seeds. Comparisons are relative, at the same seeds."
)


@dataclass(frozen=True)
class Verdict:
    """What became of a claim.

    Attributes:
        claim: Which.
        word: ``"holds"`` in every seed, ``"holds in part"``, ``"does not hold"``, or
            ``"not measured"``.
        measured: The figure, its mean and every seed's.
    """

    claim: Claim
    word: str
    measured: str


def verdicts(board: Board) -> list[Verdict]:
    """A verdict on each claim about the experiment's agents at one point of its grid."""
    there = {None, *board.experiment.agents}
    claims = (c for c in board.experiment.claims if {c.agent, c.than} <= there)
    return [_verdict(board, claim) for claim in claims]


def _verdict(board: Board, claim: Claim) -> Verdict:
    metric = next((m for m in board.metrics if m.key == claim.figure), None)
    if metric is None:
        return Verdict(claim, "not measured", "")
    mine = scores(board.runs, claim.agent, metric)
    if claim.than is None:
        values = np.array(list(mine.values()))
        low = -np.inf if claim.at_least is None else claim.at_least
        high = np.inf if claim.at_most is None else claim.at_most
        reached = partly = (low <= values) & (values <= high)
        texts = [f"{value:,.{metric.digits}f}" for value in [values.mean(), *values] if len(values)]
    else:
        theirs = scores(board.runs, claim.than, metric)
        pairs = np.array([(mine[s], theirs[s]) for s in mine if s in theirs]).reshape(-1, 2)
        values = (metric.better or 1) * (pairs[:, 0] - pairs[:, 1]) / np.abs(pairs[:, 1])
        partly = values > 0
        reached = partly & (values >= claim.by)
        texts = [f"{value:+.0%}" for value in [values.mean(), *values] if len(values)]
    if not len(values):
        return Verdict(claim, "not measured", "")
    some = partly.any() if claim.than is None else values.mean() > 0
    word = "holds" if reached.all() else "holds in part" if some else "does not hold"
    wanted = len(board.experiment.seeds)
    missing = f"; {len(values)} of {wanted} seeds" if len(values) < wanted else ""
    return Verdict(claim, word, f"{texts[0]} (by seed {', '.join(texts[1:])}{missing})")
