"""Fair tuning: one grid for all, grown at its edge, on seeds that no table shows."""

from dataclasses import replace
from importlib.util import find_spec

import numpy as np
import pytest

from owo_agents.benchmark.figures import leaderboard
from owo_agents.benchmark.report import publish, tables
from owo_agents.benchmark.run import runner, tuning
from owo_agents.benchmark.run.execution import execute
from owo_agents.benchmark.run.results import Result, Store
from owo_agents.benchmark.suite import manifest
from owo_agents.benchmark.suite import reader as suite
from owo_agents.benchmark.suite.cells import Cell
from owo_agents.learner.step import default_rate
from owo_env.scenarios import make_scenario

ETA = default_rate(make_scenario("sinusoid").problem)


def small(**agents):
    return suite.parse(
        "small",
        {
            "summary": "small",
            "rounds": 2,
            "seeds": 1,
            "agents": agents or {"owo-fmtl": None},
            "experiments": {"one": {"scenario": "sinusoid", "settings": {"num_slots": 32}}},
        },
    )


class Landscape:
    """Results whose fairness is best at one step size, without playing."""

    def __init__(self, peak):
        self.peak, self.results, self.cells = peak, {}, []
        self.template = execute(Cell("sinusoid", "frozen", 1, 0, {"num_slots": 2}))

    def run(self, cells):
        self.cells += cells
        for cell in cells:
            away = abs(np.log10(cell.arguments["learning_rate"] / self.peak))
            values = vars(self.template) | {"fairness": np.array([-away])}
            self.results[cell.key] = Result(**values)

    def load(self, keys):
        return {key: self.results[key] for key in keys if key in self.results}


@pytest.mark.parametrize(("away", "decades"), [(1, 3), (10, 3), (100, 4), (1e-3, 5)])
def test_it_finds_the_peak_and_grows_the_grid_towards_it(away, decades):
    peak = away * ETA
    land = Landscape(peak)
    tuned = tuning.tune(small(), land, land.run)
    found = tuned.experiments[1].agents["owo-fmtl"].arguments["learning_rate"]
    assert found == pytest.approx(peak, rel=5e-3)
    assert {cell.seed for cell in land.cells} == set(tuning.SEEDS)
    assert not {cell.seed for cell in land.cells} & {cell.seed for cell in tuned.cells()}
    rates = {cell.arguments["learning_rate"] for cell in land.cells}
    assert max(rates) / min(rates) == pytest.approx(10**decades, 0.01)


def test_growth_ends_and_says_so():
    land = Landscape(1e9)
    tuned = tuning.tune(small(), land, land.run)
    rates = {cell.arguments["learning_rate"] for cell in land.cells}
    assert len(rates) == 7 + 2 * tuning.EXTENSIONS
    assert "the edge of its grid" in tuned.experiments[1].notes


def test_every_method_has_the_same_grid_and_some_have_none():
    agents = {
        "owo-fmtl": None,
        "ftl": None,
        "single-task": None,
        "frozen": None,
        "guess-free": {"agent": "owo-fmtl", "step": "guess-free"},
        "given": {"agent": "cws", "learning_rate": 0.1},
    }
    land = Landscape(ETA)
    tuned = tuning.tune(small(**agents), land, land.run)
    grids = {
        name: sorted({c.arguments["learning_rate"] for c in land.cells if c.agent == name})
        for name in {c.agent for c in land.cells}
    }
    assert set(grids) == {"owo-fmtl", "ftl", "single-task"}
    assert len(set(map(tuple, grids.values()))) == 1
    default, after = tuned.experiments
    assert default.agents["owo-fmtl"].arguments == {}
    assert after.agents["frozen"] == default.agents["frozen"]
    assert after.agents["given"] == default.agents["given"]
    assert set(after.untuned) == {"frozen", "guess-free", "given"}
    assert default.untuned == ()


def test_the_outer_loop_is_tuned_where_it_is_asked_for():
    """Each has a grid of its own; a method whose start is given, or that has none, keeps it."""
    agents = {"owo-fmtl": None, "srl": None, "cws": {"initialization": "reptile"}}
    land = Landscape(ETA)
    near = land.run

    def run(cells):  # with `continue` all is a little better
        near(cells)
        for cell in cells:
            if cell.arguments.get("initialization") == "continue":
                result = land.results[cell.key]
                values = vars(result) | {"fairness": result.fairness + 0.1}
                land.results[cell.key] = Result(**values)

    tuned = tuning.tune(small(**agents), land, run, starts=True).experiments[1]
    tried = {(c.agent, c.arguments.get("initialization")) for c in land.cells}
    starts = {("owo-fmtl", start) for start in tuning.STARTS}
    assert tried == starts | {("srl", None), ("cws", "reptile")}
    assert tuned.agents["owo-fmtl"].arguments["initialization"] == "continue"
    assert tuned.agents["cws"].arguments["initialization"] == "reptile"
    assert "outer loops tuned" in tuned.title and ", continue" in tuned.notes
    default = tuning.tune(small(**agents), land, run).experiments[1]
    assert "initialization" not in default.agents["owo-fmtl"].arguments


def test_tables_say_who_is_not_tuned(tmp_path):
    tuned = replace(small(**{"owo-fmtl": None, "frozen": None}).experiments[0], untuned=("frozen",))
    chosen = replace(small(), experiments=(tuned,))
    manifest.write(tmp_path, chosen, "owo bench")
    assert manifest.read(tmp_path)[0] == chosen
    store = Store(tmp_path)
    runner.run(chosen.cells(), store, backend=runner.choose("serial"))
    (board,) = leaderboard.boards(chosen, store)
    text = tables.markdown([board])
    assert "| frozen (not tuned) |" in text and "| owo-fmtl |" in text
    assert "frozen (not tuned)" in list(tables.terminal(board, 200).columns[0].cells)
    publish.publish(*manifest.read(tmp_path), [board], store, [])
    assert "frozen (not tuned)</td>" in (tmp_path / "report.html").read_text(encoding="utf-8")


def test_a_candidate_that_fails_does_not_win(tmp_path):
    store = Store(tmp_path)

    def run(cells):
        wild = [cell for cell in cells if cell.arguments["learning_rate"] > ETA * 1.01]
        tame = [cell for cell in cells if cell not in wild]
        return runner.run(tame, store, backend=runner.choose("serial"))

    tuned = tuning.tune(small(), store, run)
    assert tuned.experiments[1].agents["owo-fmtl"].arguments["learning_rate"] <= ETA * 1.01


def test_the_suite_of_rivals_is_sound():
    pytest.importorskip("torchjd")
    pytest.importorskip("mlxtend")
    rivals = suite.load("rivals")
    if not find_spec("ecos"):  # Nash-MTL's solver has no wheels for Python 3.13
        rivals = rivals.narrowed(lambda _, label: label != "nash-mtl")
    runner.validate(rivals)
