"""Notions of fairness in suites: what was learned under one, judged by another."""

import numpy as np
import pytest

from owo_agents.benchmark.figures import certificates, judged, leaderboard
from owo_agents.benchmark.report import publish, tables
from owo_agents.benchmark.report.frontier import frontier
from owo_agents.benchmark.run import runner
from owo_agents.benchmark.run.results import Result, Store
from owo_agents.benchmark.suite import manifest
from owo_agents.benchmark.suite import reader as suite
from owo_env.fairness import make_fairness

NOTIONS = [
    {"name": "alpha", "alpha": 1.0},
    {"name": "min-rate", "floor": 0.6},
    {"name": "alpha", "weights": [4, 1, 1, 1]},
]


@pytest.fixture(scope="module")
def played(tmp_path_factory):
    chosen = suite.parse(
        "small",
        {
            "summary": "small",
            "rounds": 3,
            "seeds": 2,
            "agents": {"owo-fmtl": None, "cws": None, "oracle": None},
            "experiments": {
                "one": {
                    "scenario": "csi-prediction",
                    "settings": {"num_slots": 8},
                    "grid": {"fairness": NOTIONS},
                }
            },
        },
    )
    folder = tmp_path_factory.mktemp("notions")
    manifest.write(folder, chosen, "owo bench")
    store = Store(folder)
    runner.run(chosen.cells(), store, backend=runner.choose("serial"))
    return folder, store, leaderboard.boards(chosen, store)


def test_the_diagonal_is_the_regret_and_the_rest_is_reckoned_by_hand(played):
    _, _, boards = played
    matrix = judged.matrix(boards)
    names = [board.variant.label.removeprefix("fairness=") for board in boards]
    assert list(matrix) == names
    for name, board in zip(names, boards):
        regrets = [run.regret.mean() for run in board.runs["owo-fmtl"].values()]
        assert matrix[name][name].value == pytest.approx(np.mean(regrets), abs=1e-9)
    f = make_fairness(NOTIONS[1], 4, (0.4, 1.25))
    gaps = [
        np.mean(
            f.value(boards[1].runs["oracle"][seed].utilities)
            - f.value(boards[0].runs["owo-fmtl"][seed].utilities)
        )
        for seed in (0, 1)
    ]
    assert matrix[names[0]][names[1]].value == pytest.approx(np.mean(gaps))


def test_points_are_named_in_words(played):
    labels = [board.variant.label for board in played[2]]
    assert labels[1] == "fairness=min-rate floor=0.6"


def test_the_frontier_has_a_point_for_each_notion(played):
    chart = frontier(played[2])
    (panel,) = chart.panels
    oracle = next(series for series in panel.series if series.label == "oracle")
    assert len(oracle.notes) == 3 and sorted(oracle.x, reverse=True) == list(oracle.x)


def test_it_stands_in_every_report(played):
    folder, store, boards = played
    publish.publish(*manifest.read(folder), boards, store, [])
    for text in (
        (folder / "report.html").read_text(encoding="utf-8"),
        (folder / "leaderboard.md").read_text(encoding="utf-8"),
    ):
        assert "judged by" in text and "min-rate floor=0.6" in text
    assert tables.judged_table(boards).row_count == 3


def test_a_result_keeps_its_notion(played):
    (result,) = [r for r in played[2][1].results if (r.cell.agent, r.cell.seed) == ("owo-fmtl", 0)]
    again = Result.from_json(result.to_json())
    assert judged.notion_of(again) == make_fairness(NOTIONS[1], 4, (0.4, 1.25))
    names = {check.name for check in certificates.checks_of([again])}
    assert {"certificate", "R^w ≤ (10)", "R^θ ≤ (6)"} <= names


def test_a_plain_result_is_as_it_was(played):
    problem = played[2][0].results[0].problem
    assert "fairness" not in problem and problem["alpha"] == 1.0


def test_a_strangers_notion_is_not_imported(played):
    result = played[2][1].results[0]
    problem = {**result.problem, "fairness": {"name": "os:system"}}
    strange = Result(**{**vars(result), "problem": problem})
    assert judged.notion_of(strange) is None
    names = {check.name for check in certificates.checks_of([strange])}
    assert "R^w ≤ (10)" not in names
