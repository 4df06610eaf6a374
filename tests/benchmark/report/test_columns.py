"""Tables for a paper: chosen columns, the best figure in bold, one table for a grid."""

import csv
import dataclasses
import io
import re

import pytest
from bench_helpers import SMALL, small

from owo_agents.benchmark.figures import leaderboard
from owo_agents.benchmark.figures.statistics import Estimate
from owo_agents.benchmark.report import columns, tables
from owo_agents.benchmark.run import backends, runner
from owo_agents.benchmark.run.results import Store


def boards_of(folder, **changes):
    chosen = small(charts=[], **changes)
    store = Store(folder)
    runner.run(chosen.cells(), store, backend=backends.serial)
    return leaderboard.boards(chosen, store)


AGENTS = {**SMALL["agents"], "oracle": None}


@pytest.fixture(scope="module")
def boards(tmp_path_factory):
    grid = {"scenario": "sinusoid", "grid": {"num_slots": [4, 8]}}
    wide = {"scenario": "sinusoid", "grid": {"num_slots": [2, 3, 4], "alpha": [1, 2]}}
    experiments = {"a & b": grid, "wide": wide}
    return boards_of(tmp_path_factory.mktemp("c"), agents=AGENTS, experiments=experiments)


def widths(tabular):
    """How many columns each line of a tabular fills."""
    found = []
    for line in tabular.splitlines():
        if line.endswith("\\\\"):
            cells = re.split(r"(?<!\\)&", line)
            spans = [re.search(r"\\multicolumn\{(\d+)\}", cell) for cell in cells]
            found.append(sum(int(span[1]) if span else 1 for span in spans))
    return found


@pytest.mark.parametrize("named", [None, ["regret"], ["regret", "worst user", "difference"]])
def test_every_tabular_is_whole(boards, named):
    text = tables.latex(boards, named)
    found = re.findall(r"\\begin\{tabular\}\{(l+r+)\}(.*?)\\end\{tabular\}", text, re.S)
    assert len(found) == (len(boards) if named is None else 2)
    for spec, body in found:
        assert set(widths(body)) == {len(spec)}
        assert [body.count(rule) for rule in ("\\toprule", "\\bottomrule")] == [1, 1]


def test_a_grid_stands_abreast_while_the_page_bears_it(boards):
    two, wide = tables.latex(boards, ["regret", "worst_user"]).split("% wide")
    assert r"\multicolumn{2}{c}{num\_slots=8}" in two and r"\cmidrule(lr){4-5}" in two
    assert len(re.findall(r"^equal &", two, re.M)) == 1
    assert "\\multicolumn" not in wide and wide.count("\\midrule") == 6
    assert wide.count("2 & 1 & oracle") == 1


def test_names_are_keys_or_titles_and_a_stem_is_every_users(boards):
    def keys(*names):
        return [column.key for column in columns.chosen(boards, names)(boards[0])]

    assert keys("worst user", "regret", "worst_user") == ["worst_user", "regret"]
    assert keys("utility") == ["utility user 1", "utility user 2"]
    assert keys("regret − owo-fmtl's", "P(better)") == ["difference", "p_better"]
    with pytest.raises(ValueError, match=r"unknown column 'regert': did you mean 'regret'\? known"):
        keys("regret", "regert")
    with pytest.raises(ValueError, match="must name one column or more"):
        keys()


def bold(board, key):
    (column,) = columns.chosen([board], [key])(board)
    found = columns.entries(board, column)
    return [row.label for row, entry in zip(board.rows, found, strict=True) if entry.best]


def changed(board, label, key, value):
    rows = [
        dataclasses.replace(row, figures={**row.figures, key: Estimate(value, None, None, 2)})
        if row.label == label
        else row
        for row in board.rows
    ]
    return dataclasses.replace(board, rows=rows)


def test_the_best_is_marked_by_direction_and_printed_digits_and_the_oracle_never(boards):
    board = boards[0]
    assert board.rows[0].label == "oracle"
    for key in ("regret", "fairness", "worst_user"):
        sign = {"regret": -1}.get(key, 1)
        others = {r.label: r.figures[key].value for r in board.rows if r.label != "oracle"}
        assert bold(board, key) == [max(others, key=lambda label: sign * others[label])]
    assert bold(board, "total_weight") == []  # neither more nor less of it is better
    one = changed(changed(board, "owo-fmtl", "regret", 0.12341), "equal", "regret", 0.12339)
    assert bold(one, "regret") == []  # printed, all are the same
    one = changed(changed(board, "owo-fmtl", "regret", 0.1), "equal", "regret", 0.2)
    assert bold(one, "regret") == ["owo-fmtl"]


def test_no_difference_is_best_where_the_baseline_is(boards):
    board = boards[0]

    def against(value):
        rows = [
            row if row.difference is None else dataclasses.replace(
                row, difference=Estimate(value, None, None, 2)
            )
            for row in board.rows
        ]  # fmt: skip
        return bold(dataclasses.replace(board, rows=rows), "difference")

    assert against(0.3) == [] and against(-0.3) == ["equal"]


def test_bold_in_both_formats_and_a_minus_that_is_one(boards):
    markdown, latex = (
        f(boards, ["worst_user", "difference"]) for f in (tables.markdown, tables.latex)
    )
    found = re.findall(r"\*\*(\d\.\d{3})\*\*", markdown)
    assert len(found) > 3
    assert sorted(re.findall(r"\\textbf\{(\d\.\d{3})\}", latex)) == sorted(found)
    assert not re.search(r"[ [{]-\d", latex) and "$-$0." in latex
    assert "\\textbf" not in markdown and markdown.count("## ") == 2


def test_csv_has_the_chosen_columns_and_the_differences(boards):
    def metrics(named):
        return {row["metric"] for row in csv.DictReader(io.StringIO(
            tables.comma_separated(boards, named)))}  # fmt: skip

    assert metrics(["regret", "difference"]) == {"regret", "difference"}
    assert {"regret", "difference", "p_better", "utility user 1"} < metrics(None)


def test_a_point_without_a_figure_has_a_dash_there(boards):
    first, second = boards[:2]
    metrics = [metric for metric in first.metrics if metric.key != "worst_user"]
    found = [dataclasses.replace(first, metrics=metrics), second]
    (sheet,) = columns.sheets(found, ["worst_user"])
    one, other = ([entry.figure for _, (entry,) in group.rows] for group in sheet.groups)
    assert set(one) == {"–"} and "–" not in other
