"""Reports of runs over a link: who was there, who was heard, and certificates that hold."""

import gymnasium as gym
import numpy as np
import pytest

import owo_agents
from owo_agents.benchmark.figures.certificates import checks_of
from owo_agents.benchmark.report.gallery import sections

LINK = {"active": 0.7, "outage_db": -3.0}


@pytest.fixture(scope="module")
def results():
    return owo_agents.bench(
        ["owo-fmtl", "cws"],
        scenarios="csi-prediction",
        settings={"num_slots": 16},
        grid={"link": [None, LINK, {"delay": 5}]},
        rounds=2,
        seeds=2,
        jobs=1,
        backend="serial",
        progress=False,
    )


def airtime(results):
    (section,) = sections(results.boards)
    return next(chart for chart in section.across if chart.name == "airtime")


def test_the_first_round_is_drawn_as_it_was_played(results):
    chart = airtime(results)
    titles = [panel.title for panel in chart.panels]
    assert titles == ["link=active=0.7 outage_db=-3.0", "link=delay=5"]
    env = gym.make("AIRAN-FairMTL-v0", scenario="csi-prediction", num_slots=16, link=LINK)
    env.reset(seed=0)
    active, heard, _ = env.unwrapped.on_air()
    shown = np.zeros((2, 16, 4), bool)
    for series, mask in zip(chart.panels[0].series, shown):
        mask[np.array(series.x, int) - 1, np.array(series.y, int) - 1] = True
    assert np.array_equal(shown[0], active & ~heard)
    assert np.array_equal(shown[1], heard)
    assert chart.panels[0].x_limits == (0.5, 16.5)
    assert chart.panels[0].y_limits == (0.5, 4.5)
    late = chart.panels[1].series[0]
    assert sorted(set(late.x)) == [12, 13, 14, 15, 16]  # is under way when the round ends


def test_tables_say_how_often_users_were_heard(results):
    records = results.to_pandas()
    masked = records[records["grid.link"] == "active=0.7 outage_db=-3.0"]
    assert masked["active edge"].between(0.5, 0.9).all()
    assert (masked["heard edge"] < masked["active edge"]).all()
    assert (masked["age edge"] > masked["age vehicular"]).all()
    late = records[records["grid.link"] == "delay=5"]
    assert late["heard edge"].tolist() == [11 / 16] * 4
    assert records[records["grid.link"].isna()]["heard edge"].isna().all()


def test_certificates_over_a_link_hold_and_promise_no_more(results):
    for board in results.boards:
        for runs in board.runs.values():
            checks = {check.name: check for check in checks_of(runs.values())}
            assert checks["certificate"].held == 1
            assert (set(checks) == {"certificate"}) == (board.variant.point["link"] is not None)


def test_without_a_link_there_is_nothing_to_draw():
    plain = owo_agents.bench(["cws"], rounds=2, seeds=1, jobs=1, backend="serial", progress=False)
    (section,) = sections(plain.boards)
    assert "airtime" not in [chart.name for chart in section.across]


CELLS = """
const all = [...document.querySelectorAll(".panel")];
const panels = all.filter((it) => it.querySelector("rect.cell"));
document.title = JSON.stringify({
  errors: window.seen,
  cells: panels.map((it) => it.querySelectorAll("rect.cell").length),
  wide: panels.every((it) => [...it.querySelectorAll("rect.cell")].every((cell) =>
    cell.getBBox().width > 1 && cell.getBBox().height > 10)),
});
"""


@pytest.mark.slow
def test_in_a_browser_every_job_is_a_cell(browser, results, tmp_path):
    found = browser.file(results.report(tmp_path / "report.html"), CELLS)
    assert found["errors"] == []
    jobs = [sum(len(series.x) for series in panel.series) for panel in airtime(results).panels]
    assert found["cells"] == jobs
    assert found["wide"]
