"""A paper's sentences held against what was measured."""

from __future__ import annotations

import itertools
import math
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from owo_agents.benchmark.figures.leaderboard import Board, scores, settled
from owo_agents.benchmark.figures.statistics import ROUND_OFF, SAME, same
from owo_agents.benchmark.suite.plan import Claim

RULE = (
    "A claim holds if it holds in every seed, and in part if it does in some, or on average, or if "
    "the agent is at least better on average, by less than claimed. Comparisons are relative, at "
    "the same seeds; runs that diverged are left out, and the mean is the plain one."
)


@dataclass(frozen=True)
class Verdict:
    """What became of a claim.

    Attributes:
        claim: Which.
        word: ``"holds"``, ``"holds in part"``, ``"does not hold"`` or ``"not measured"``;
            see ``RULE``.
        measured: The figure, its mean and every seed's.
    """

    claim: Claim
    word: str
    measured: str


def verdicts(board: Board) -> list[Verdict]:
    """A verdict on each claim about the experiment's agents at one point of its grid."""
    there = {None, *board.experiment.agents}
    claims = [c for c in board.experiment.claims if {c.agent, c.than} <= there]
    calm, diverged = settled(board) if claims else (board, [])
    return [_verdict(calm, claim, diverged) for claim in claims]


def tally(boards: Sequence[Board]) -> Mapping[str, Mapping[str, int]]:
    """Claim → word → at how many points of a grid."""
    found: defaultdict[str, Counter[str]] = defaultdict(Counter)
    for verdict in itertools.chain.from_iterable(map(verdicts, boards)):
        found[verdict.claim.text][verdict.word] += 1
    return found


def _verdict(board: Board | None, claim: Claim, diverged: Sequence[str]) -> Verdict:
    out = [name for name in diverged if name.startswith((f"{claim.agent} (", f"{claim.than} ("))]
    notes = [f"diverged: {', '.join(out)}"] if out else []
    metric = next((m for m in board.metrics if m.key == claim.figure), None) if board else None
    if board is None or metric is None:
        return Verdict(claim, "not measured", "".join(notes))
    form, mine = f",.{metric.digits}f", scores(board.runs, claim.agent, metric)
    figures = list(mine.values())
    low = -math.inf if claim.at_least is None else claim.at_least
    high = math.inf if claim.at_most is None else claim.at_most
    if claim.than is not None:
        form, theirs = "+.0%", scores(board.runs, claim.than, metric)
        figures = [_gain(mine[s], theirs[s], metric.better) for s in mine if s in theirs]
        low = claim.by - ROUND_OFF if claim.by else math.ulp(0.0)
    if not figures:
        return Verdict(claim, "not measured", "".join(notes))
    mean = sum(figures) / len(figures)
    reached = [low <= value <= high for value in figures]
    some = any(reached) or low <= mean <= high or (claim.than is not None and mean > 0)
    word = "holds" if all(reached) else "holds in part" if some else "does not hold"
    wanted = len(board.experiment.seeds)
    if len(figures) < wanted:
        notes.insert(0, f"{len(figures)} of {wanted} seeds")
    texts = ", ".join(format(value, form) for value in figures)
    by_seed = SAME if len(figures) > 1 and same(np.array(figures)) else f"by seed {texts}"
    return Verdict(claim, word, f"{mean:{form}} ({'; '.join([by_seed, *notes])})")


def _gain(mine: float, theirs: float, better: int) -> float:
    """How much better, as a share of the other's figure; from 0 it is all or nothing."""
    if mine == theirs:
        return 0.0
    return better * (mine - theirs) / abs(theirs) if theirs else math.copysign(1, better * mine)
