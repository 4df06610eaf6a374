"""A paper's sentences held against what was measured."""

from __future__ import annotations

import itertools
import math
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from owo_agents.benchmark.figures.leaderboard import Board, scores, settled
from owo_agents.benchmark.figures.statistics import ROUND_OFF, SAME, same
from owo_agents.benchmark.suite.plan import Claim
from owo_agents.benchmark.suite.reader import SLOPE_POINTS

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
    claims = [
        c for c in board.experiment.claims if {c.agent, c.than} <= there and c.slope_in is None
    ]
    calm, diverged = settled(board) if claims else (board, [])
    return [_verdict(calm, claim, diverged) for claim in claims]


def slopes(boards: Sequence[Board]) -> list[Verdict]:
    """A verdict on each claim about a slope, at each point of the rest of the grid.

    Args:
        boards: Of one experiment.
    """
    found = []
    for claim in boards[0].experiment.claims:
        if claim.slope_in is None or claim.agent not in boards[0].experiment.agents:
            continue
        groups: dict[str, list[Board]] = {}
        for board in boards:
            groups.setdefault(board.variant.without(claim.slope_in).label, []).append(board)
        for rest, group in groups.items():
            text = f"{claim.text} ({rest})" if rest else claim.text
            found.append(_slope_verdict(group, replace(claim, text=text)))
    return found


def _slope_verdict(boards: Sequence[Board], claim: Claim) -> Verdict:
    points: dict[float, dict[int, float]] = {}
    notes: list[str] = []
    for board in boards:
        calm, diverged = settled(board)
        notes += [f"diverged: {n}" for n in diverged if n.startswith(f"{claim.agent} (")]
        metric = next((m for m in board.metrics if m.key == claim.figure), None)
        x = board.variant.point.get(str(claim.slope_in))
        if calm is not None and metric is not None and x is not None:
            points[x] = scores(calm.runs, claim.agent, metric)
    seeds = [s for s in boards[0].experiment.seeds if all(s in by for by in points.values())]
    fitted = [fitted_slope(list(points), [by[s] for by in points.values()]) for s in seeds]
    figures = [value for value in fitted if value is not None]
    return _judged(claim, figures, "+.2f", len(boards[0].experiment.seeds), notes)


def fitted_slope(x: Sequence[float], y: Sequence[float]) -> float | None:
    """The exponent b of y ∝ x^b, by least squares on logarithms; None where it has no meaning."""
    if len(x) < SLOPE_POINTS or min(y) <= 0 or min(x) <= 0:
        return None
    return float(np.polyfit(np.log(x), np.log(y), 1)[0])


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
    if claim.than is not None:
        form, theirs = "+.0%", scores(board.runs, claim.than, metric)
        figures = [_gain(mine[s], theirs[s], metric.better) for s in mine if s in theirs]
    return _judged(claim, figures, form, len(board.experiment.seeds), notes)


def _judged(
    claim: Claim, figures: Sequence[float], form: str, wanted: int, notes: list[str]
) -> Verdict:
    """The verdict from every seed's figure, of which so many were wanted."""
    if not figures:
        return Verdict(claim, "not measured", "; ".join(notes))
    low = -math.inf if claim.at_least is None else claim.at_least
    high = math.inf if claim.at_most is None else claim.at_most
    if claim.than is not None:
        low = claim.by - ROUND_OFF if claim.by else math.ulp(0.0)
    mean = sum(figures) / len(figures)
    reached = [low <= value <= high for value in figures]
    some = any(reached) or low <= mean <= high or (claim.than is not None and mean > 0)
    word = "holds" if all(reached) else "holds in part" if some else "does not hold"
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
