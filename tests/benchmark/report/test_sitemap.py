"""The map of a site: users where they were, in the colours of how they were served."""

import numpy as np
import pytest

import owo_agents
from owo_agents.benchmark.report import plots
from owo_agents.benchmark.report.gallery import sections
from owo_agents.benchmark.report.sitemap import GRAIN, STEPS
from owo_env.radio.site import load


@pytest.fixture(scope="module")
def results():
    return owo_agents.bench(
        {"cws": {}, "owo-fmtl": {}},
        scenarios="csi-prediction",
        settings={"site": "munich", "num_slots": 8},
        rounds=6,
        seeds=2,
        jobs=1,
        backend="serial",
        progress=False,
    )


def the_map(results):
    (section,) = sections(results.boards)
    return next(chart for _, chart in section.charts() if chart.name == "map")


def test_every_user_is_a_dot_at_its_place(results):
    chart = the_map(results)
    assert [panel.title for panel in chart.panels] == ["cws", "owo-fmtl"]
    assert "OpenStreetMap" in chart.caption
    runs = results.boards[0].runs["cws"]
    at = np.concatenate([np.reshape(run.extras["position"], (-1, 2)) for run in runs.values()])
    utility = np.concatenate([np.ravel(run.utilities) for run in runs.values()])
    *steps, transmitter = chart.panels[0].series
    assert (transmitter.x, transmitter.y) == ([8.5], [21.0])
    assert len(steps) == STEPS
    seen = 0
    for series in steps:
        low, high = map(float, series.label.split(" – "))
        for x, y in zip(series.x, series.y):
            dot = np.array([x, y]) / GRAIN
            cells = np.unique(np.round(at / GRAIN), axis=0)
            near = cells[np.abs(cells - dot).max(axis=1).argmin()]  # its mean place is rounded
            here = (np.round(at / GRAIN) == near).all(axis=1)
            assert low - 0.005 <= utility[here].min() <= high + 0.005
        seen += len(series.x)
    assert seen == len(np.unique(np.round(at / GRAIN), axis=0))


def test_what_is_built_is_drawn_where_it_stands(results):
    chart, munich = the_map(results), load("munich")
    (low, high), step = zip(*(chart.panels[0].x_limits, chart.panels[0].y_limits)), 2.0
    rng = np.random.default_rng(0)
    for at in rng.uniform(low, np.array(high) - step, (300, 2)):
        column, row = np.floor((at - munich.about["built_from"]) / step + 0.5).astype(int)
        if row < munich.built.shape[0] and column < munich.built.shape[1]:
            drawn = any(x <= at[0] < x + w and y <= at[1] < y + h for x, y, w, h in chart.built)
            assert drawn == munich.built[row, column]


def test_it_is_drawn_and_can_be_asked_for(results):
    axes = results.plot("map")
    assert len(np.ravel(axes)) == 2
    assert plots.draw(the_map(results), "Munich", ["svg"])["svg"].startswith(b"<?xml")


def test_elsewhere_there_is_no_map():
    plain = owo_agents.bench(["cws"], rounds=2, seeds=1, jobs=1, backend="serial", progress=False)
    (section,) = sections(plain.boards)
    assert "map" not in [chart.name for _, chart in section.charts()]


SEEN = """
const panels = [...document.querySelectorAll(".panel")].filter((it) => it.querySelector(".built"));
document.title = JSON.stringify({
  errors: window.seen,
  dots: panels.map((it) => it.querySelectorAll("svg circle").length),
  built: panels.every((it) => it.querySelector(".built").getBBox().width > 50),
});
"""


@pytest.mark.slow
def test_in_a_browser_every_dot_is_there(browser, results, tmp_path):
    found = browser.file(results.report(tmp_path / "report.html"), SEEN)
    assert found["errors"] == [] and found["built"]
    dots = [sum(len(s.x) for s in panel.series[:-1]) for panel in the_map(results).panels]
    assert found["dots"] == dots
