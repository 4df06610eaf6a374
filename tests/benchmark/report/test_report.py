"""The report: whole, safe against hostile names, and alive in a real browser."""

import csv
import dataclasses
import html.parser
import io
import json
import re
import shutil

import markupsafe
import matplotlib as mpl
import matplotlib.style
import numpy as np
import pytest
import yaml
from bench_helpers import SMALL, small

from owo_agents.benchmark.figures import leaderboard, metrics
from owo_agents.benchmark.report import charts, inert, plots, publish, sweep, tables
from owo_agents.benchmark.report import page as report
from owo_agents.benchmark.report.chart import Chart, Panel, Series
from owo_agents.benchmark.report.gallery import sections
from owo_agents.benchmark.run import backends, runner
from owo_agents.benchmark.run.results import Store
from owo_agents.benchmark.suite.manifest import Origin
from owo_env.figure import Figure

HOSTILE = [
    "</script><script>alert(1)</script>",
    "<img src=x onerror=alert(2)>",
    "../../etc/passwd",
    "a\"b'c&d|e\\f%g_h$i{j}",
    "line\nbreak\ttab",
    "[red]markup[/red] :skull:",
    "λ" * 500,
    "=1+1",
    "\x1b]0;owned\x07\x9b31m",
    "\u202eturned",
]


def done(chosen, folder):
    store = Store(folder)
    runner.run(chosen.cells(), store, backend=backends.serial)
    return store, leaderboard.boards(chosen, store)


@pytest.fixture(scope="module")
def hostile(tmp_path_factory):
    agents = {label: {"agent": "cws", "total": 0.3 + 0.01 * i} for i, label in enumerate(HOSTILE)}
    experiments = {
        "<b>x</b>": {
            "title": "<script>alert(3)</script>",
            "notes": "<iframe src=//example.org></iframe>",
            **SMALL["experiments"]["short"],
        }
    }
    chosen = small(agents=agents, experiments=experiments, summary="</title><script>alert(4)")
    store, boards = done(chosen, tmp_path_factory.mktemp("hostile"))
    store.save_failure(chosen.cells()[0].key, "<script>alert(5)</script>")
    (store.folder / "cells" / f"{chosen.cells()[0].key}.json").unlink()
    written = publish.publish(chosen, Origin("owo <x>", "now"), boards, store, ["png", "svg"])
    return store, boards, written


class Elements(html.parser.HTMLParser):
    """Counts start tags and keeps the texts of scripts."""

    def __init__(self, text):
        super().__init__()
        self.tags, self.attributes = [], []
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.attributes += [name for name, _ in attrs]


def test_hostile_names_do_not_get_into_the_page(hostile):
    store, _, _ = hostile
    page = (store.folder / "report.html").read_text()
    found = Elements(page)
    assert found.tags.count("script") == 2
    assert not {"img", "iframe", "b"} & set(found.tags)
    assert not [name for name in found.attributes if name.startswith("on")]
    data = re.search(r'<script type="application/json" id="charts">(.*?)</script>', page, re.S)
    labels = json.loads(data[1])[0]["labels"]
    assert labels == HOSTILE
    for label in HOSTILE:
        assert str(markupsafe.escape(inert.visible(label))) in page


def test_hostile_names_stay_within_the_folder(hostile):
    store, _, written = hostile
    assert all(path.is_relative_to(store.folder) for path in written)
    assert all(path.exists() and len(path.name) < 120 for path in written)


def test_hostile_names_keep_tables_in_shape(hostile):
    _, boards, _ = hostile
    header, rule, *rows = tables.markdown(boards).splitlines()[2:]
    assert len(rows) == len(HOSTILE)
    cells = [len(re.findall(r"(?<!\\)\|", row)) for row in (header, rule, *rows)]
    assert len(set(cells)) == 1
    assert r"\_h\$i\{j\}" in tables.latex(boards)
    assert tables.terminal(boards[0], 80)


def test_a_narrow_terminal_keeps_the_telling_columns(tmp_path):
    _, (board,) = done(small(), tmp_path)
    headers = {
        width: [str(column.header) for column in tables.terminal(board, width).columns]
        for width in (20, 60, 300)
    }
    assert headers[20] == ["agent"]
    assert headers[300] == ["agent", *(metric.title for metric in board.metrics)]
    assert headers[60] == [title for title in headers[300] if title in headers[60]]
    assert {"fairness", "regret"} < set(headers[60]) < set(headers[300])


def test_the_page_needs_nothing_else_and_is_small(hostile):
    store, _, _ = hostile
    page = (store.folder / "report.html").read_text()
    assert len(page.encode()) < 3_000_000
    found = Elements(page)
    assert not {"src", "srcset"} & set(found.attributes)
    assert not {"link", "base", "object"} & set(found.tags[found.tags.index("body") :])
    assert "default-src 'none'" in page
    assert "owo &lt;x&gt;" in page


def test_charts_of_a_large_suite_stay_below_3_megabytes():
    """100 charts of 8 agents: as many as 24 settings have if all their charts are asked for."""
    rounds = list(range(1, charts.POINTS + 1))
    values = [0.012345678 + t / 7 for t in rounds]
    series = [Series(f"agent {i}", rounds, values, values, values) for i in range(8)]
    chart = Chart("c", "c", "c", [Panel("p", "x", "y", series)], ["a"])
    size = len(report._json([dataclasses.asdict(chart)] * 100))
    assert size < 2_900_000


def test_the_leaderboard_has_the_figures_of_the_runs(tmp_path):
    store, (board,) = done(small(seeds=3), tmp_path)
    for row in board.rows:
        runs = board.runs[row.label].values()
        mean = sum(run.regret.mean() for run in runs) / 3
        assert row.figures["regret"].value == pytest.approx(mean)
    assert [row.label for row in board.rows] == sorted(
        board.runs,
        key=lambda label: {r.label: r.figures["regret"].value for r in board.rows}[label],
    )
    (other,) = [row for row in board.rows if row.label != "owo-fmtl"]
    pairs = zip(board.runs["equal"].values(), board.runs["owo-fmtl"].values(), strict=True)
    assert other.difference.value == pytest.approx(
        sum(a.regret.mean() - b.regret.mean() for a, b in pairs) / 3
    )


def test_the_same_charts_give_the_same_files(tmp_path):
    _, boards = done(small(), tmp_path)
    (section,) = sections(boards)
    for subject, chart in section.charts():
        first, second = (plots.draw(chart, subject, ["png", "svg"]) for _ in range(2))
        assert first == second


SORT = """
const table = document.querySelector("table.sortable");
const names = () => [...table.tBodies[0].rows].map((r) => r.cells[2].dataset.value);
const buttons = table.tHead.querySelectorAll("button");
buttons[2].click(); const up = names();
buttons[2].click(); const down = names();
document.title = JSON.stringify({
  errors: window.seen, up, down,
  charts: document.querySelectorAll("figure[data-chart]").length,
  drawn: document.querySelectorAll("figure svg path, figure svg circle").length,
  wide: document.documentElement.scrollWidth, window: window.innerWidth,
});
"""


@pytest.mark.slow
def test_the_page_lives_in_a_browser(browser, tmp_path):
    chosen = small(seeds=3, agents={**SMALL["agents"], "srl": None}, charts=None)
    store, boards = done(chosen, tmp_path / "results")
    publish.publish(chosen, Origin("owo", "now"), boards, store, ["png"])
    found = browser.file(store.folder / "report.html", SORT)
    assert found["errors"] == []
    assert found["charts"] >= 4
    assert found["drawn"] > 20
    numbers = [float(value) for value in found["up"]]
    assert numbers == sorted(numbers)
    assert [float(value) for value in found["down"]] == sorted(numbers, reverse=True)


@pytest.mark.slow
def test_hostile_names_do_nothing_in_a_browser_and_a_phone_needs_no_sideways_scrolling(
    browser, hostile
):
    store, _, _ = hostile
    script = "window.alert = (m) => window.seen.push('alert');" + SORT
    found = browser.file(store.folder / "report.html", script, width=500)
    assert found["errors"] == []
    assert found["wide"] <= found["window"]


def test_a_report_of_a_whole_suite_file(tmp_path):
    """The configuration printed in the report is YAML that says what was run."""
    chosen = small()
    store, boards = done(chosen, tmp_path)
    publish.publish(chosen, Origin("owo bench small.yaml", "now"), boards, store, [])
    page = (tmp_path / "report.html").read_text()
    text = html.unescape(re.findall(r"<pre>(.*?)</pre>", page, re.S)[-1])
    (experiment,) = yaml.safe_load(text)["experiments"]
    assert experiment["scenario"] == "sinusoid"
    assert experiment["rounds"] == 3


def test_a_diverged_run_stays_in_the_table_and_leaves_the_charts(tmp_path):
    store, (board,) = done(small(), tmp_path)
    wild = board.runs["equal"][1]
    wild = dataclasses.replace(wild, utilities=wild.utilities - 1e6, fairness=wild.fairness - 1e6)
    runs = {**board.runs, "equal": {**board.runs["equal"], 1: wild}}
    (section,) = sections([dataclasses.replace(board, runs=runs)])
    assert section.left_out == ["equal (seed 1)"]
    page = report.report(small(), Origin("", ""), [section], store)
    assert "since they diverged: equal (seed 1)." in page
    ((shown, own),) = section.boards
    assert shown.runs["equal"][1] is wild
    for chart in own:
        assert chart.title.endswith("(without diverged runs)")
        values = [v for panel in chart.panels for series in panel.series for v in series.y]
        assert min(values) > -100
    (calm,) = sections([board])
    assert calm.left_out == []
    assert not any("diverged" in chart.title for _, charts in calm.boards for chart in charts)


def test_where_every_run_diverged_there_are_no_charts(tmp_path):
    store, (board,) = done(small(), tmp_path)
    runs = {
        label: {
            seed: dataclasses.replace(run, utilities=run.utilities - 1e6)
            for seed, run in by_seed.items()
        }
        for label, by_seed in board.runs.items()
    }
    (section,) = sections([dataclasses.replace(board, runs=runs)])
    assert list(section.charts()) == []
    assert len(section.left_out) == 4


def charts_of(tmp_path, **changes):
    store, boards = done(small(**changes), tmp_path)
    (section,) = sections(boards)
    return {chart.name: chart for _, chart in section.charts()}


def test_users_are_shown_on_one_scale(tmp_path):
    experiments = {"a": {"scenario": "csi-prediction", "settings": {"num_slots": 8}}}
    users = charts_of(tmp_path, experiments=experiments, charts=["users"])["users"]
    limits = {panel.y_limits for panel in users.panels}
    assert len(users.panels) == 2 and len(limits) == 1
    low, high = limits.pop()
    for panel in users.panels:
        for series in panel.series:
            assert low < min(series.y[1:]) and max(series.y[1:]) < high


def test_the_frontier_says_which_point_is_which_alpha(tmp_path):
    settings = {"scenario": "sinusoid", "settings": {"num_slots": 4}, "grid": {"alpha": [2, 0, 1]}}
    agents = {**SMALL["agents"], "oracle": None}
    shown = charts_of(tmp_path, experiments={"a": settings}, agents=agents, seeds=1)["frontier"]
    notes = {series.label: series.notes for series in shown.panels[0].series}
    assert notes == {"owo-fmtl": None, "equal": None, "oracle": ["α=0", "1", "2"]}


def test_the_frontier_has_a_panel_for_each_point_of_the_rest_of_the_grid(tmp_path):
    grid = {"num_slots": [4, 8], "alpha": [1, 0]}
    agents = {**SMALL["agents"], "oracle": None}
    experiments = {"a": {"scenario": "sinusoid", "grid": grid}}
    chart = charts_of(tmp_path, experiments=experiments, agents=agents, seeds=1)["frontier"]
    assert [panel.title for panel in chart.panels] == [
        "num_slots=4",
        "num_slots=8",
        "Price of fairness, num_slots=4",
        "Price of fairness, num_slots=8",
    ]
    boards = leaderboard.boards(
        small(experiments=experiments, agents=agents, seeds=1), Store(tmp_path)
    )
    figures = {tuple(b.variant.point.values()): b.row("equal").figures for b in boards}
    for panel, slots in zip(chart.panels, (4, 8)):
        (mine,) = [series for series in panel.series if series.label == "equal"]
        assert mine.x == [figures[slots, alpha]["mean_utility"].value for alpha in (0, 1)]
        assert mine.y == [figures[slots, alpha]["worst_user"].value for alpha in (0, 1)]
        assert [s.notes for s in panel.series if s.notes] == [["α=0", "1"]]
    assert "α: 0, 1, beside the points" in chart.caption


def test_bounds_stand_beside_the_regrets_also_where_the_oracle_plays(tmp_path):
    """The oracle's regret is 0, which no logarithmic axis has: it is left out, and named."""
    grid = {"scenario": "sinusoid", "grid": {"num_slots": [4, 8]}}
    agents = {**SMALL["agents"], "oracle": None}
    chart = charts_of(tmp_path, experiments={"a": grid}, agents=agents)["sweep"]
    (panel,) = chart.panels
    curves = {series.label: series for series in panel.series}
    assert panel.log and "not drawn: oracle." in chart.caption
    assert set(curves) == {*SMALL["agents"], sweep.BOUND, sweep.CERTIFICATE}
    assert chart.bounds == [sweep.BOUND, sweep.CERTIFICATE]
    boards = leaderboard.boards(small(experiments={"a": grid}, agents=agents), Store(tmp_path))
    for board, bound in zip(boards, curves[sweep.CERTIFICATE].y, strict=True):
        runs = board.runs["owo-fmtl"].values()
        terms = [
            (r.extras["primal_regret"] + r.extras["dual_regret"]) / r.problem["num_slots"]
            + r.extras["residual"]
            for r in runs
        ]
        assert bound == pytest.approx(np.mean(terms))
    levels = [curves[name].y for name in ("owo-fmtl", sweep.CERTIFICATE, sweep.BOUND)]
    assert (np.diff(levels, axis=0) > 0).all()


def test_a_bound_is_drawn_only_where_every_point_has_it(tmp_path):
    grid = {"scenario": "sinusoid", "grid": {"num_slots": [4, 8]}}
    _, boards = done(small(experiments={"a": grid}), tmp_path)
    run = boards[1].runs["owo-fmtl"][0]
    endless = {**run.extras, "dual_regret": np.full(run.rounds, np.inf)}
    boards[1].runs["owo-fmtl"][0] = dataclasses.replace(run, extras=endless)
    chart = sweep.sweep(boards)
    assert sweep.BOUND in chart.labels
    assert sweep.CERTIFICATE not in {series.label for series in chart.panels[0].series}
    assert sweep.CERTIFICATE not in chart.labels and sweep.CERTIFICATE not in chart.caption


def test_a_curve_that_is_flat_stays_in_sight():
    def panel(values):
        return Panel("", "", "utility", [Series("", range(len(values)), values)])

    for one in charts.alike([panel([5.0, 5.0]), panel([1.0, 2.0]), panel([])]):
        assert one.y_limits[0] < 1.0 and one.y_limits[1] > 5.0
    assert charts.alike([panel([])])[0].y_limits is None


@pytest.mark.parametrize("style", ["dark_background", "classic", {"svg.fonttype": "path"}])
def test_a_users_style_stays_out_of_figures_and_is_theirs_again(tmp_path, style):
    _, boards = done(small(rounds=2, seeds=1, charts=["ranking"]), tmp_path)
    (section,) = sections(boards)
    ((subject, chart),) = section.charts()
    plain = plots.draw(chart, subject, ["png", "svg"])
    with mpl.style.context(style):
        before = dict(mpl.rcParams)
        assert plots.draw(chart, subject, ["png", "svg"]) == plain
        assert dict(mpl.rcParams) == before


LONG = "a title of more than eighty characters, of which the first eighty are the same: number "


@pytest.mark.parametrize(
    "titles", [("实验一", "实验二"), (LONG + "1", LONG + "2"), ("x", "x"), ("a?b", "A!B")]
)
@pytest.mark.filterwarnings("ignore:Glyph")
def test_every_figure_has_a_file_of_its_own(tmp_path, titles):
    one = {"scenario": "sinusoid", "settings": {"num_slots": 4}}
    experiments = {f"e{i}": {**one, "title": title} for i, title in enumerate(titles)}
    given = {"rounds": 1, "seeds": 1, "charts": ["ranking", "trade-off"]}
    chosen = small(experiments=experiments, **given)
    store, boards = done(chosen, tmp_path)
    publish.publish(chosen, Origin("", ""), boards, store, ["png"])
    names = {path.name for path in (tmp_path / "figures").iterdir()}
    assert len({name.casefold() for name in names}) == 4
    # Whatever is done already: a figure keeps its name.
    shutil.rmtree(tmp_path / "figures")
    publish.publish(chosen, Origin("", ""), boards[1:], store, ["png"])
    assert len({path.name for path in (tmp_path / "figures").iterdir()} & names) == 2


def recorded(**changes):
    """Two agents on a trace in memory; three seeds of its replay are one run three times."""
    rng = np.random.default_rng(0)
    x, y = rng.uniform(-1, 1, (6, 4, 2, 3)), rng.uniform(-1, 1, (6, 4, 2))
    settings = {"features": x.tolist(), "targets": y.tolist(), **changes}
    settings |= {"l_max": 5.0, "utility_bounds": [1.0, 5.0], "model_bounds": [-2, 2]}
    return small(
        rounds=6,
        seeds=3,
        charts=None,
        claims={"better": {"figure": "fairness", "agent": "owo-fmtl", "than": "equal"}},
        experiments={"e": {"scenario": "recorded", "settings": settings}},
    )


def test_where_nothing_varies_between_seeds_everything_says_so(tmp_path):
    chosen = recorded()
    store, boards = done(chosen, tmp_path)
    (board,) = boards
    assert board.same == [row.label for row in board.rows]
    for row in board.rows:
        assert row.figures["regret"].same and row.improvement is None
    (other,) = [row for row in board.rows if row.label == "equal"]
    assert other.difference.same
    for text in (tables.markdown(boards), tables.latex(boards)):
        assert "(the same in every seed)" in text
        assert "[" not in text.split("claim")[0] and "±" not in text
    table = tables.terminal(board, 200)
    assert table.caption == "regret the same in every seed: " + ", ".join(board.same)
    assert not any("±" in str(cell) for column in table.columns for cell in column.cells)
    (section,) = sections(boards)
    for _, chart in section.charts():
        assert chart.title.endswith("(the same in every seed)")
        assert "the same in every seed: " in chart.caption
        assert all(s.low is None for panel in chart.panels for s in panel.series)
    assert all("the same in every seed" in line[2] for line in tables.verdicts(board)[1:])
    page = report.report(chosen, Origin("", ""), [section], store)
    assert "Regret is the same in every seed" in page
    records = tables.records(boards)
    assert all(r["low"] is None for r in records if r["metric"] != "slots_per_second")


def test_where_seeds_draw_the_order_of_a_trace_there_are_intervals(tmp_path):
    _, boards = done(recorded(order="shuffled"), tmp_path)
    (board,) = boards
    assert board.same == []
    assert all(row.figures["regret"].low < row.figures["regret"].high for row in board.rows)
    assert "the same in every seed" not in tables.markdown(boards).split("slots/s")[0]


def test_of_a_single_seed_nothing_is_said_to_be_probable(tmp_path):
    _, (board,) = done(small(seeds=1), tmp_path)
    assert all(row.improvement is None for row in board.rows)
    assert board.same == []


def test_figures_that_are_undefined_in_some_rounds_are_means_of_the_others(tmp_path):
    figure = Figure("mine", "mine", "", reads="mine")
    level = Figure("level", "level", "", reads="mine", form="dB")
    _, (board,) = done(small(seeds=1), tmp_path)
    result = board.runs["equal"][0]

    def of(values, one=figure):
        extras = {"mine": np.array(values)}
        return metrics._metric(one, "").of(dataclasses.replace(result, extras=extras))

    assert of([np.nan, 0.5, 1.5]) == 1.0
    assert of([np.nan] * 3) is None
    assert of(np.array([[1], [1, 2], [3]], object)) is None
    assert of(["a", "b", "c"]) is None
    assert of([10.0] * 3, level) == pytest.approx(10.0)
    assert of([0.0] * 3, level) is None and of([-1.0] * 3, level) is None


def test_a_figures_folder_that_leads_elsewhere_is_refused(tmp_path):
    chosen = small(rounds=1, seeds=1, charts=["ranking"])
    store, boards = done(chosen, tmp_path / "out")
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "out" / "figures").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(ValueError, match="figures: leads out of the folder"):
        publish.publish(chosen, Origin("", ""), boards, store, ["png"])
    assert list((tmp_path / "elsewhere").iterdir()) == []


def test_no_name_is_a_formula_in_csv(hostile):
    _, boards, _ = hostile
    rows = list(csv.reader(io.StringIO(tables.comma_separated(boards))))
    texts = {text for row in rows[1:] for text in row[:4]}
    assert "'=1+1" in texts
    assert not [text for text in texts if text.startswith(("=", "+", "-", "@", "\t"))]
