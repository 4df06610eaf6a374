"""What reports say for radio engineers: units, errors, the banner, the glossary."""

import warnings

import pytest
from places import REPOSITORY

import owo_agents
from owo_agents.benchmark.report import charts, tables, words
from owo_agents.benchmark.report.gallery import sections
from owo_agents.benchmark.report.page import report
from owo_agents.benchmark.run.runner import validate
from owo_agents.benchmark.suite import reader as suite
from owo_agents.benchmark.suite.manifest import Origin
from owo_env.figure import spoken


@pytest.fixture(scope="module")
def results():
    return owo_agents.bench(
        ["frozen", "oracle"],
        scenarios={"csi": ("csi-prediction", {"num_slots": 8, "num_users": 2})},
        rounds=3,
        seeds=1,
        backend="serial",
        progress=False,
    )


def test_a_round_has_a_length(results):
    (board,) = results.boards
    assert words.lasting(board) == "8 slots of 500 µs, 4 ms in all"
    labels = {p.x_label for chart in charts.charts_of(board) for p in chart.panels}
    assert "round t, of 4 ms" in labels and "round t" not in labels


def test_errors_are_a_chart_in_dB(results):
    (board,) = results.boards
    chart = next(c for c in charts.charts_of(board) if c.name == "errors")
    assert {(p.title, p.y_label) for p in chart.panels} == {
        ("edge", "NMSE dB"),
        ("vehicular", "NMSE dB"),
    }
    run = next(iter(board.runs["oracle"].values()))
    edge = run.extras["user_class"] == "edge"
    nmse = 1.25 - run.utilities[edge]
    panel = next(p for p in chart.panels if p.title == "edge")
    drawn = next(s for s in panel.series if s.label == "oracle")
    assert 10 ** (drawn.y[0] / 10) == pytest.approx(nmse[0])


def test_the_terminal_keeps_the_errors_where_it_is_narrow(results):
    titles = [c.header for c in tables.terminal(results.boards[0], 110).columns]
    assert "NMSE dB edge" in titles and "Σp" not in titles


def test_users_below_u_min_are_said(results):
    (board,) = results.boards
    said = words.below(board)
    share = board.row("frozen").figures["below_u_min"].value
    assert share > 0.3 and f"frozen {share:.0%}" in said and "u_min = 0.4" in said
    assert "oracle" not in said
    assert said in list(tables.shown([board], 200))


def test_the_page_has_the_banner_and_the_words(results):
    (board,) = results.boards
    text = report(
        board_suite(results), Origin("owo bench", "today"), sections([board]), results.store
    )
    assert "Mean utilities lie below u_min = 0.4" in text
    assert "3 rounds of 8 slots of 500 µs, 4 ms in all" in text
    assert "What the words mean in a RAN" in text and "the one model best for F" in text


def board_suite(results):
    return results.suite


def test_docs_have_the_words_of_the_glossary():
    page = (REPOSITORY / "docs" / "guide" / "ran.md").read_text(encoding="utf-8")
    for word, *_ in words.GLOSSARY:
        assert f"| {word} |" in page


def test_lengths_for_people():
    assert [spoken(s) for s in (1.0, 0.064, 5e-4, 6.25e-5)] == ["1 s", "64 ms", "500 µs", "62.5 µs"]


def test_a_warning_is_said_once_and_names_the_line(tmp_path):
    path = tmp_path / "mine.yaml"
    path.write_text(
        "summary: s\nrounds: 2\nseeds: 2\nbaseline: a\nagents:\n"
        "  a: {agent: owo-fmtl, learning_rate: 0.3}\n"
        "experiments:\n  csi:\n    scenario: csi-prediction\n"
        "    grid: {alpha: [0.5, 1.0, 2.0], num_slots: [4, 8]}\n"
    )
    chosen = suite.load(str(path))
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        validate(chosen)
    (said,) = [str(w.message) for w in caught]
    assert "mine.yaml:6: agents.a: learning_rate=0.3 is above" in said
    assert said.endswith("(and 2 more such)")
