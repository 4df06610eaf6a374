"""Claims: what holds, what holds in part, and what does not; figures worked out by hand."""

import dataclasses
from dataclasses import dataclass

import numpy as np
import pytest
from bench_helpers import small

from owo_agents.benchmark.figures import claims, leaderboard
from owo_agents.benchmark.figures.metrics import Metric
from owo_agents.benchmark.report import page as report
from owo_agents.benchmark.report import tables
from owo_agents.benchmark.report.gallery import sections
from owo_agents.benchmark.run import backends, runner
from owo_agents.benchmark.run.results import Store
from owo_agents.benchmark.suite import manifest
from owo_agents.benchmark.suite.manifest import Origin
from owo_agents.benchmark.suite.plan import Claim

FIGURES = {
    "good": {0: 1.3, 1: 1.2, 2: 1.4},
    "mixed": {0: 1.3, 1: 0.9, 2: 1.1},
    "bad": {0: 0.5, 1: 0.9, 2: 0.7},
    "base": {0: 1.0, 1: 1.0, 2: 1.0},
    "short": {0: 1.3, 2: 1.5},
    "below zero": {0: -2.0, 1: -2.0, 2: -2.0},
    "nothing": {0: 0.0, 1: 0.0, 2: 0.0},
    "two of three": {0: 0.2, 1: 1.3, 2: 1.3},
    "around": {0: 0.5, 2: 1.5},
}


@dataclass
class Run:
    """As much of a result as claims look at; from 0 to 10 nothing diverged."""

    figure: float
    problem = {"utility_bounds": (0.0, 10.0)}

    @property
    def utilities(self):
        return np.array([[self.figure]])


RUNS = {
    label: {seed: Run(figure) for seed, figure in by_seed.items()}
    for label, by_seed in FIGURES.items()
}


def verdict(better=1, **claim):
    experiment = small(agents={label: {"agent": "cws"} for label in RUNS}, seeds=3).experiments[0]
    object.__setattr__(experiment, "claims", (Claim("said", "fairness", **claim),))
    metric = Metric("fairness", "fairness", "", lambda run: run.figure, better)
    board = leaderboard.Board(experiment, experiment.variants[0], [metric], metric, [], RUNS)
    (found,) = claims.verdicts(board)
    return found.word, found.measured


@pytest.mark.parametrize(
    ("claim", "word", "measured"),
    [
        ({"agent": "good", "than": "base", "by": 0.19}, "holds", "+30% (by seed +30%, +20%, +40%)"),
        ({"agent": "good", "than": "base", "by": 0.25}, "holds in part", "+30% (by seed"),
        ({"agent": "mixed", "than": "base"}, "holds in part", "+10% (by seed +30%, -10%, +10%)"),
        ({"agent": "bad", "than": "base"}, "does not hold", "-30% (by seed"),
        ({"agent": "bad", "than": "base", "better": -1}, "holds", "+30% (by seed"),
        ({"agent": "base", "than": "base"}, "does not hold", "+0% (the same in every seed)"),
        ({"agent": "short", "than": "base"}, "holds", "+40% (by seed +30%, +50%; 2 of 3 seeds)"),
        ({"agent": "base", "than": "below zero"}, "holds", "+150% (the same in every seed)"),
        ({"agent": "good", "than": "base", "by": 0.2}, "holds", "+30%"),  # 1.2 is 20% more
        ({"agent": "two of three", "than": "base", "by": 0.2}, "holds in part", "-7% (by seed"),
        ({"agent": "good", "than": "nothing"}, "holds", "+100% (the same in every seed)"),
        ({"agent": "nothing", "than": "base"}, "does not hold", "-100% (the same in every seed)"),
        ({"agent": "around", "at_least": 0.9, "at_most": 1.1}, "holds in part", "1.000 (by seed"),
        ({"agent": "good", "at_least": 1.2}, "holds", "1.300 (by seed 1.300, 1.200, 1.400)"),
        ({"agent": "good", "at_least": 1.25}, "holds in part", "1.300 (by seed"),
        ({"agent": "good", "at_most": 1.0}, "does not hold", "1.300 (by seed"),
        ({"agent": "mixed", "at_least": 0.9, "at_most": 1.1}, "holds in part", "1.100 (by seed"),
    ],
)
def test_verdicts(claim, word, measured):
    found = verdict(**claim)
    assert found[0] == word
    assert found[1].startswith(measured)


def done(chosen, folder):
    store = Store(folder)
    runner.run(chosen.cells(), store, backend=backends.serial)
    return store


def test_a_figure_that_nobody_has_is_not_measured(tmp_path):
    chosen = small(
        claims={"x": {"figure": "validation_loss user 1", "agent": "equal", "at_most": 2}}
    )
    (board,) = leaderboard.boards(chosen, done(chosen, tmp_path))
    assert [v.word for v in claims.verdicts(board)] == ["not measured"]


def test_claims_reach_every_report_and_come_back_from_the_folder(tmp_path):
    text = "<b>better</b> | by far"
    said = {"figure": "regret", "agent": "owo-fmtl", "than": "equal"}
    chosen = small(claims={text: said})
    store = done(chosen, tmp_path)
    manifest.write(tmp_path, chosen, "owo bench")
    again, _ = manifest.read(tmp_path)
    assert again == chosen
    boards = leaderboard.boards(again, store)
    (verdict,) = claims.verdicts(boards[0])
    regrets = [
        [boards[0].runs[label][seed].regret.mean() for seed in (0, 1)]
        for label in ("owo-fmtl", "equal")
    ]
    gain = sum((b - a) / b for a, b in zip(*regrets, strict=True)) / 2
    assert verdict.measured.startswith(f"{gain:+.0%} (by seed ")
    page = report.report(again, Origin("", ""), sections(boards), store)
    assert "&lt;b&gt;better&lt;/b&gt; | by far" in page and text not in page
    assert rf"| \<b\>better\</b\> \| by far | {verdict.word} |" in tables.markdown(boards)
    assert tables.claims_table(tables.verdicts(boards[0])).row_count == 1


def test_claims_about_agents_that_were_left_out_are_left_out(tmp_path):
    said = {"figure": "regret", "agent": "owo-fmtl", "than": "equal"}
    chosen = small(claims={"x": said}).narrowed(lambda _, label: label != "equal")
    (board,) = leaderboard.boards(chosen, done(chosen, tmp_path))
    assert claims.verdicts(board) == []


def test_diverged_runs_are_named_and_left_out(tmp_path):
    chosen = small(claims={"x": {"figure": "fairness", "agent": "equal", "than": "owo-fmtl"}})
    (board,) = leaderboard.boards(chosen, done(chosen, tmp_path))
    wild = board.runs["equal"][1]
    wild = dataclasses.replace(wild, utilities=wild.utilities - 1e6, fairness=wild.fairness - 1e6)
    runs = {**board.runs, "equal": {**board.runs["equal"], 1: wild}}
    (verdict,) = claims.verdicts(dataclasses.replace(board, runs=runs))
    assert verdict.measured.endswith("; 1 of 2 seeds; diverged: equal (seed 1))")
    assert abs(float(verdict.measured.split("%")[0])) < 100


def test_a_grid_counts_its_points(tmp_path):
    said = {"figure": "fairness", "agent": "equal", "at_least": 0.0}
    chosen = small(claims={"x": said}, grid={"alpha": [1.0, 2.0]})
    boards = leaderboard.boards(chosen, done(chosen, tmp_path))
    assert claims.tally(boards) == {"x": {"holds": 2}}


GRID = {"num_slots": [2, 4, 8]}
FALLS = {"figure": "regret", "agent": "equal", "slope_in": "num_slots"}


def slopes_of(folder, wanted=FALLS, grid=GRID, powers=(-0.5, -0.3), **limits):
    """Verdicts where each seed's figure is a power of the slots: 3 x^power."""
    chosen = small(rounds=1, claims={"falls": {**wanted, **limits}}, grid=grid)
    boards = leaderboard.boards(chosen, done(chosen, folder))

    def made(board):
        x = board.variant.point["num_slots"]
        metric = Metric(wanted["figure"], "", "", lambda r: 3 * x ** powers[r.cell.seed], -1)
        return dataclasses.replace(board, metrics=[metric])

    return boards, claims.slopes(list(map(made, boards)))


@pytest.mark.parametrize(
    ("limits", "word"),
    [
        ({"at_most": -0.25}, "holds"),
        ({"at_most": -0.45}, "holds in part"),
        ({"at_most": -0.6}, "does not hold"),
        ({"at_least": -0.55, "at_most": -0.25}, "holds"),
        ({"at_least": 0.0}, "does not hold"),
    ],
)
def test_a_slope_is_fitted_in_every_seed(tmp_path, limits, word):
    boards, (verdict,) = slopes_of(tmp_path, **limits)
    assert (verdict.word, verdict.measured) == (word, "-0.40 (by seed -0.50, -0.30)")
    assert all(claims.verdicts(board) == [] for board in boards)


def test_a_slope_has_a_verdict_at_each_point_of_the_rest_of_the_grid(tmp_path):
    _, found = slopes_of(tmp_path, grid={**GRID, "alpha": [1.0, 2.0]}, at_most=0)
    assert [v.claim.text for v in found] == ["falls (alpha=1.0)", "falls (alpha=2.0)"]
    assert {v.word for v in found} == {"holds"}


def test_a_slope_through_too_few_points_or_what_is_not_positive_is_not_measured(tmp_path):
    boards, _ = slopes_of(tmp_path, at_most=0)
    assert claims.slopes(boards[:2])[0].word == "not measured"
    assert claims.fitted_slope([1, 2, 4], [1.0, 0.0, 1.0]) is None
    assert claims.fitted_slope([1, 2, 4], [3.0, 12.0, 48.0]) == pytest.approx(2.0)


def test_slopes_reach_every_report_and_come_back_from_the_folder(tmp_path):
    chosen = small(claims={"it <falls>": {**FALLS, "at_most": 9}}, grid=GRID)
    store = done(chosen, tmp_path)
    manifest.write(tmp_path, chosen, "owo bench")
    assert manifest.read(tmp_path)[0] == chosen
    boards = leaderboard.boards(chosen, store)
    assert "it \\<falls\\> | holds |" in tables.markdown(boards)
    page = report.report(chosen, Origin("", ""), sections(boards), store)
    assert "<td>it &lt;falls&gt;</td><td>holds</td>" in page


@pytest.mark.parametrize(
    ("given", "key"),
    [
        ("worst user", "worst_user"),
        ("Σp", "total_weight"),
        ("user 2", "utility user 2"),
        ("validation loss user 1", "validation_loss user 1"),
        ("worst_user", "worst_user"),
    ],
)
def test_a_figure_may_be_named_as_the_table_prints_it(given, key):
    chosen = small(claims={"x": {"figure": given, "agent": "equal", "at_most": 2}})
    assert chosen.experiments[0].claims[0].figure == key
