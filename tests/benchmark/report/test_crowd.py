"""Many agents: some stand out, all are there, and nothing is cut off in a terminal."""

import io

import numpy as np
import pytest
from bench_helpers import SMALL, small
from rich.console import Console

from owo_agents.benchmark.figures import leaderboard
from owo_agents.benchmark.report import crowd, page, panels, plots, tables
from owo_agents.benchmark.report.gallery import sections
from owo_agents.benchmark.run import backends, runner
from owo_agents.benchmark.run.results import Store
from owo_agents.benchmark.suite.manifest import Origin

MANY = {
    **{f"constant {i}": {"agent": "cws", "shares": [i, 13 - i]} for i in range(1, 12)},
    **SMALL["agents"],
}


def boards_of(folder, **changes):
    given = {"agents": MANY, "baseline": "owo-fmtl", "rounds": 2, "seeds": 1, **changes}
    chosen = small(charts=None, **given)
    store = Store(folder)
    runner.run(chosen.cells(), store, backend=backends.serial)
    return leaderboard.boards(chosen, store)


@pytest.fixture(scope="module")
def crowded(tmp_path_factory):
    return boards_of(tmp_path_factory.mktemp("crowd"))


@pytest.fixture(scope="module")
def charts(crowded):
    (section,) = sections(crowded)
    return {chart.name: chart for _, chart in section.charts()}


def test_the_baseline_and_the_best_stand_out_the_same_ones_in_every_chart(crowded, charts):
    (board,) = crowded
    best = [row.label for row in board.rows if row.label != "owo-fmtl"]
    for name in ("progress", "ranking", "users", "trade-off"):
        assert charts[name].labels == ["owo-fmtl", *best]
        assert charts[name].pale == best[crowd.STRONG - 1 :]
        assert {s.label for p in charts[name].panels for s in p.series} == set(MANY)


def test_up_to_ten_agents_stay_as_the_suite_has_them(tmp_path):
    few = dict(list(MANY.items())[-10:])
    (section,) = sections(boards_of(tmp_path, agents=few))
    for _, chart in section.charts():
        assert not chart.pale and not any(panel.pale for panel in chart.panels)
    assert section.labels == list(few)


def test_panels_of_those_behind_are_last_and_on_demand(tmp_path):
    agents = {f"owo {i}": {"agent": "owo-fmtl", "learning_rate": i / 100} for i in range(1, 12)}
    (section,) = sections(boards_of(tmp_path, agents=agents, baseline="owo 7"))
    (weights,) = [chart for _, chart in section.charts() if chart.name == "weights"]
    assert [panel.agent for panel in weights.panels] == section.labels
    assert [panel.pale for panel in weights.panels] == [False] * 8 + [True] * 3
    svg = plots.draw(weights, "x", ["svg"])["svg"].decode()
    assert "(8 of 11" in svg and f">{weights.panels[-1].title}<" not in svg


SHOW_ALL = """
const shown = (where, what) => [...where.querySelectorAll(what)].filter((it) => it.clientHeight);
const seen = (figure) => ({
  curves: shown(figure, ".panel").reduce(
    (n, panel) => n + panel.querySelectorAll("g[clip-path] path[style*='fill:none']").length, 0),
  panels: shown(figure, ".panel").length,
  legend: shown(figure, ".legend button:not(.more)").length,
});
const found = {errors: window.seen};
for (const figure of document.querySelectorAll("figure[data-chart]")) {
  const more = figure.querySelector("button.more");
  if (!more) continue;
  const steps = [[more.textContent, seen(figure)]];
  for (const _ of "12") { more.click(); steps.push([more.textContent, seen(figure)]); }
  found[figure.querySelector("figcaption, h3, h4").textContent] = steps;
}
document.title = JSON.stringify(found);
"""


@pytest.mark.slow
def test_in_a_browser_all_are_shown_on_demand_and_fewer_again(browser, tmp_path):
    agents = {f"owo {i}": {"agent": "owo-fmtl", "learning_rate": i / 100} for i in range(1, 12)}
    chosen = small(charts=None, agents=agents, baseline="owo 7", rounds=4, seeds=1)
    store = Store(tmp_path / "results")
    runner.run(chosen.cells(), store, backend=backends.serial)
    found = sections(leaderboard.boards(chosen, store))
    (tmp_path / "report.html").write_text(page.report(chosen, Origin("owo", "now"), found, store))
    seen = browser.file(tmp_path / "report.html", SHOW_ALL)
    assert seen.pop("errors") == []
    assert len(seen) == 4
    for title, (few, many, again) in seen.items():
        assert [few[0], many[0]] == ["show all (3 more)", "show fewer"] and again == few
        a_panel_each = title == "The weights' trajectory"
        for (_, counts), agents in ((few, 8), (many, 11)):
            assert counts["panels" if a_panel_each else "legend"] == agents
            curves = 0 if title == "Trade-off" else counts["panels"] * counts["legend"]
            assert counts["curves"] == curves


def test_a_picture_names_those_that_stand_out_and_counts_the_others(charts):
    shown = charts["progress"]
    svg = plots.draw(shown, "x", ["svg"])["svg"].decode()
    assert "5 others, pale" in svg
    for label in shown.labels:
        assert (f">{label}<" in svg) == (label not in shown.pale)
    ranking = plots.draw(charts["ranking"], "x", ["svg"])["svg"].decode()
    assert all(f">{label}<" in ranking for label in MANY)


def test_ten_look_different_without_their_colours(charts):
    styles = [plots._style(i) for i in range(crowd.COLOURS)]
    assert len({style["marker"] for style in styles}) == len(styles)
    assert len({style["color"] for style in styles}) == len(styles)


def test_places_are_moved_apart_in_order_and_no_more_than_needed():
    rng = np.random.default_rng(0)
    for n in (1, 2, 5, 12):
        places = rng.uniform(size=n)
        moved = np.array(panels.apart(places, 0.06))
        assert (np.argsort(moved) == np.argsort(places)).all()
        assert (np.diff(np.sort(moved)) >= 0.06 - 1e-12).all()
        assert moved.mean() == pytest.approx(places.mean())
    assert panels.apart([0.9, 0.1], 0.06) == pytest.approx([0.9, 0.1])
    assert panels.apart([0.5, 0.5], 0.06) == pytest.approx([0.47, 0.53])


def printed(boards, width):
    console = Console(file=io.StringIO(), width=width, color_system=None)
    console.print(tables.grid_table(boards, width))
    return console.file.getvalue()


def test_no_cell_of_a_grid_is_cut_off_in_a_terminal(tmp_path):
    grid = {"scenario": "sinusoid", "grid": {"num_slots": [2, 3], "alpha": [1, 2, 3]}}
    boards = boards_of(tmp_path, experiments={"g": grid})
    for width, by_point in ((50, True), (80, True), (120, False), (400, True)):
        text = printed(boards, width)
        assert "…" not in text and max(map(len, text.splitlines())) <= width
        assert text.count(" num_slots   alpha ") == by_point
        assert ("not shown: " in text) == (width < 120)
        assert all(word in text for label in MANY for word in label.split())
    assert " owo-fmtl " in printed(boards, 50).splitlines()[2]
    assert "\n agent " in printed(boards[:2], 80)
