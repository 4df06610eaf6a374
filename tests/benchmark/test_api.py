"""``owo_agents.bench``: a benchmark in three lines, and what came of it to work on."""

import asyncio
import gc
import json
import re
import subprocess
import sys

import numpy as np
import pytest
import yaml
from bench_helpers import SMALL, BlowsUp, Still, Waves
from typer.testing import CliRunner

import owo_agents
import owo_env
from owo_agents.benchmark.api.progress import Bar
from owo_agents.benchmark.figures import statistics
from owo_agents.benchmark.run.callbacks import Callback
from owo_agents.benchmark.suite import asked
from owo_agents.benchmark.suite import reader as suite
from owo_agents.benchmark.suite.selection import narrowed
from owo_agents.command import main as cli
from owo_agents.registry import registry
from owo_agents.rivals.online import Hedge
from owo_env.scenarios import registry as scenarios

SHORT = {"rounds": 3, "seeds": 4, "settings": {"num_slots": 4}, "backend": "serial"}
NOTEBOOKS = """
import numpy as np, owo_agents
class Mine(owo_agents.Agent):
    def act(self, obs, info):
        return {{"model": self.problem.initial_model + {}, "weights": np.ones(2)}}
"""


@pytest.fixture(autouse=True)
def own_names(monkeypatch):
    """No test leaves its classes behind."""
    for known in (registry, scenarios):
        monkeypatch.setattr(known, "entries", dict(known.entries))


@pytest.fixture(scope="module")
def results():
    """Of two agents on two scenarios; not to be changed."""
    return owo_agents.bench(["owo-fmtl", "cws"], scenarios=["sinusoid", "csi-prediction"], **SHORT)


def mine(start):
    """What a notebook's cell defines."""
    space = {"__name__": "__main__"}
    exec(NOTEBOOKS.format(start), space)
    return space["Mine"]


def cells(*paths):
    return [json.loads(path.read_text()) for folder in paths for path in folder.glob("cells/*")]


def test_importing_the_package_waits_for_none_of_it():
    code = """
import sys, owo_agents
print([name for name in ("torch", "matplotlib", "rich", "pandas") if name in sys.modules])
print("bench" in dir(owo_agents) or "bench" in owo_agents.__all__)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split("\n")[:2] == ["[]", "True"]
    with pytest.raises(AttributeError, match="bunch"):
        owo_agents.bunch


def test_the_results_are_those_of_the_command(results, tmp_path):
    data = {
        "summary": "the same",
        "rounds": 3,
        "seeds": 4,
        "charts": [],
        "settings": {"num_slots": 4},
        "agents": {"owo-fmtl": None, "cws": None},
        "experiments": {name: {"scenario": name} for name in ("sinusoid", "csi-prediction")},
    }
    (tmp_path / "s.yaml").write_text(yaml.safe_dump(data))
    words = ["bench", tmp_path / "s.yaml", "--backend", "serial", "--out", tmp_path / "out"]
    assert CliRunner().invoke(cli.app, list(map(str, words))).exit_code == 0
    ours, theirs = cells(results.folder), cells(tmp_path / "out")
    of = {json.dumps(one["cell"]): one["utilities"] for one in ours}
    assert len(of) == 16
    assert of == {json.dumps(one["cell"]): one["utilities"] for one in theirs}


def test_it_shows_itself_as_text_and_as_html(results):
    for shown in (repr(results), results._repr_html_()):
        for word in ("owo-fmtl", "cws", "sinusoid", "csi-prediction", "regret", "±"):
            assert word in shown
        assert "failed" not in shown and "runs are done" not in shown


def test_the_leaderboard_is_a_list_of_records_best_first(results):
    records = results.leaderboard()
    assert [record["experiment"] for record in records] == ["sinusoid"] * 2 + ["csi-prediction"] * 2
    first, second = records[:2]
    assert first["regret"].value <= second["regret"].value
    assert first["regret"].low <= first["regret"].value <= first["regret"].high
    assert {first["difference"] is None, second["difference"] is None} == {True, False}
    assert first["utility edge"] is None and records[2]["utility edge"] is not None
    assert "0 " not in repr(results.leaderboard()).splitlines()[0]


def test_agents_are_compared_by_pairs_of_runs_at_the_same_seed(results):
    figures = results.figures()
    regrets = {
        agent: np.array(
            [
                one["regret"]
                for one in figures
                if (one["agent"], one["experiment"]) == (agent, "sinusoid")
            ]
        )
        for agent in ("owo-fmtl", "cws")
    }
    (first, second) = results.compare("cws", "owo-fmtl")
    gains = regrets["cws"] - regrets["owo-fmtl"]
    assert first["difference"].value == pytest.approx(float(statistics.iqm(gains)), abs=1e-12)
    assert first["P(cws better)"].value == np.mean(gains < 0)  # less regret is better
    assert first["difference"].low <= first["difference"].value <= first["difference"].high
    assert second["difference"].value > 0  # constant weights lose among radio users
    (higher, _) = results.compare("cws", "owo-fmtl", "fairness")
    assert higher["P(cws better)"].value == first["P(cws better)"].value  # the same thing, F* fixed
    with pytest.raises(ValueError, match="unknown agent 'cw': did you mean 'cws'"):
        results.compare("cw", "owo-fmtl")
    with pytest.raises(ValueError, match="unknown figure 'regrets': did you mean 'regret'"):
        results.compare("cws", "owo-fmtl", "regrets")


def test_figures_are_of_every_run_and_go_into_a_data_frame(results):
    pandas = pytest.importorskip("pandas")
    assert len(results.figures()) == 16
    frame = results.to_pandas()
    assert isinstance(frame, pandas.DataFrame) and len(frame) == 16
    mean = frame.groupby(["experiment", "agent"]).regret.mean()
    assert mean["csi-prediction", "owo-fmtl"] < mean["csi-prediction", "cws"]


def test_pandas_is_asked_for_in_words(results, monkeypatch):
    monkeypatch.setitem(sys.modules, "pandas", None)
    with pytest.raises(ImportError, match="pip install pandas"):
        results.to_pandas()


def test_plots_are_axes_to_work_on(results):
    plt = pytest.importorskip("matplotlib.pyplot")
    plt.switch_backend("Agg")
    axes = results.plot("regret")
    assert [axis.get_xlabel() for axis in axes] == ["regret", "regret"]
    assert len(results.plot("progress")) == 4  # regret and fairness of each
    own = plt.figure().subplots(1, 2)
    assert list(results.plot("worst_user", own)) == list(own)
    with pytest.raises(ValueError, match="1 are given for 2 panels"):
        results.plot("regret", own[0])
    with pytest.raises(ValueError, match=r"unknown figure or chart 'regrt': .* progress, .* users"):
        results.plot("regrt")
    with pytest.raises(ValueError, match=r"known are (?!.*validation)"):  # of networks alone
        results.plot("validations")
    plt.close("all")


def test_a_grid_is_one_table_and_a_curve():
    plt = pytest.importorskip("matplotlib.pyplot")
    plt.switch_backend("Agg")
    short = {**SHORT, "settings": None, "seeds": 2, "grid": {"num_slots": [4, 8]}}
    found = owo_agents.bench(["cws", ("cws", {"total": 0.5})], **short)
    assert "cws, total=0.5" in repr(found) and repr(found).count("num_slots") == 1
    assert {record["grid.num_slots"] for record in found.figures()} == {4, 8}
    assert found.plot().get_xlabel() == "num_slots"
    plt.close("all")


def test_the_report_is_one_file(results, tmp_path):
    path = results.report(tmp_path / "r.html")
    assert "csi-prediction" in path.read_text(encoding="utf-8")
    assert not (results.folder / "report.html").exists()


def test_claims_are_held_against_the_figures():
    claims = {
        "it is fair": {"figure": "fairness", "agent": "owo-fmtl", "at_least": 0},
        "it is worse": {"figure": "fairness", "agent": "owo-fmtl", "at_most": 0},
    }
    found = owo_agents.bench({**SMALL, "claims": claims}, backend="serial")
    assert [record["here"] for record in found.claims()] == ["holds", "does not hold"]
    assert "it is worse" in repr(found)


def test_a_temporary_folder_goes_with_the_results():
    found = owo_agents.bench(["cws"], **{**SHORT, "seeds": 1})
    folder = found.folder
    assert len(cells(folder)) == 1
    del found
    gc.collect()
    assert not folder.exists()


def factory(problem, *, total=1.0):
    return owo_agents.make("cws", problem, total=total)


def test_agents_and_scenarios_may_be_classes_functions_pairs_and_mappings():
    found = asked.suite(
        [Still, factory, (factory, {"total": 2.0}), ("cws", {"total": 1.0}), {"agent": "cws"}],
        scenarios={"waves": Waves, "short": (Waves, {"num_slots": 4}), "csi-prediction": None},
    )
    one, two, three = found.experiments
    assert list(one.agents) == ["Still", "factory", "factory, total=2.0", "cws, total=1.0", "cws"]
    still, made, other, *_ = one.agents.values()
    assert made.agent == other.agent == f"{__name__}:factory" != still.agent
    assert still.digest and made.digest and still.digest != made.digest
    assert (one.scenario, two.scenario) == ("bench_helpers:Waves",) * 2 and one.digest
    assert two.variants[0].settings == {"num_slots": 4} and three.scenario == "csi-prediction"


def test_a_registered_thing_keeps_its_name():
    owo_agents.register("known", factory)
    found = asked.suite([factory, Hedge], rounds=1)
    assert [spec.agent for spec in found.experiments[0].agents.values()] == ["known", "hedge"]


def test_two_functions_of_one_name_are_two():
    def make(total):
        return lambda problem: factory(problem, total=total)

    found = owo_agents.bench({"one": make(1.0), "two": make(0.1)}, **{**SHORT, "seeds": 1})
    one, two = found.figures()
    assert one["regret"] != two["regret"]
    assert one["total_weight"] == pytest.approx(1.0) and two["total_weight"] == pytest.approx(0.1)


def test_an_edited_class_is_never_answered_with_the_old_ones_figures(tmp_path):
    short = {**SHORT, "seeds": 1, "folder": tmp_path}
    old = owo_agents.bench([mine(0.0)], **short)
    new = owo_agents.bench([mine(0.5)], **short)
    again = owo_agents.bench([mine(0.0)], **short)
    assert (old.skipped, new.skipped, again.skipped) == (0, 0, 1)
    (a,), (b,), (c,) = old.figures(), new.figures(), again.figures()
    assert a["regret"] == c["regret"] != b["regret"]


BAD = [
    (dict(), "give a suite, or agents="),
    (dict(what=[]), r"agents=\[\]: must name one agent or more"),
    (dict(what=["cws"], scenarios=[]), r"scenarios=\[\]: must name one"),
    (dict(what=["owo-fmt"]), "unknown agent 'owo-fmt': did you mean 'owo-fmtl'"),
    (dict(what=["cws"], scenarios="sinusiod"), "unknown scenario 'sinusiod'.*'sinusoid'"),
    (dict(what="quickstrat"), "did you mean 'quickstart'"),
    (dict(what=["cws"], seeds=0), "seeds=0: must be a whole number, at least 1"),
    (dict(what="quickstart", seeds=0), "seeds=0: must be a whole number, at least 1"),
    (dict(what="quickstart", seeds=[1, 1]), "must be different seeds"),
    (dict(what=["cws"], rounds=0), "rounds=0: must be a whole number, at least 1"),
    (dict(what=["cws"], jobs=0), "jobs=0: must be a whole number, at least 1"),
    (dict(what=["cws"], backend="rey"), "did you mean 'ray'"),
    (dict(what=["cws"], settings={"alfa": 1}), "did you mean 'alpha'"),
    (dict(what=["cws"], settings={"alpha": -1}), "alpha=-1"),
    (dict(what=[("cws", {"totl": 1})]), "did you mean 'total'"),
    (dict(what=["cws", "cws"]), "'cws' is there twice: give a mapping of labels"),
    (dict(what=["cws"], agents=["srl"]), "are the agents already"),
    (dict(what="quickstart", agents=["srl"]), "a suite says that itself"),
    (dict(what=["cws"], baseline="srl"), "unknown agent 'srl': known are cws"),
    (dict(what=[3]), "agents: 3: must be a name, a class or a function"),
    (dict(what=3), "3: must be a suite's name"),
    (dict(what=[str]), "no method act"),
    (dict(what=["cws"], skip="agent=srl"), "unknown agent in skip 'srl': known are cws"),
    (dict(what=["cws"], skip="agent=*"), "nothing of the suite is left"),
    (dict(what=["cws"], only="agnt=cws"), "did you mean 'agent'"),
]


@pytest.mark.parametrize(("given", "message"), BAD)
def test_what_cannot_be_meant_is_said_before_anything_is_made(given, message, tmp_path):
    with pytest.raises((ValueError, TypeError), match=message):
        owo_agents.bench(folder=tmp_path / "out", **given)
    assert not (tmp_path / "out").exists()


def test_an_object_is_no_agent_of_a_benchmark():
    one = owo_agents.make("cws", owo_env.make_scenario("sinusoid").problem)
    with pytest.raises(ValueError, match="a run makes its own objects"):
        owo_agents.bench([one])


def test_an_agent_that_needs_an_extra_says_which(monkeypatch):
    monkeypatch.setitem(sys.modules, "torchjd", None)
    monkeypatch.setitem(sys.modules, "torchjd.aggregation", None)
    with pytest.raises(ImportError, match=r"pip install \"torchjd\["):
        owo_agents.bench(["mgda"])


def test_a_folder_is_bound_to_what_was_run_in_it(tmp_path):
    short = {**SHORT, "folder": tmp_path}
    owo_agents.bench(agents={"mine": "cws"}, **short)
    renamed = owo_agents.bench(agents={"renamed": "cws", "srl": None}, **short)
    assert renamed.skipped == 4
    with pytest.raises(ValueError, match="no run in common"):
        owo_agents.bench(["owo-fmtl"], **short)
    with pytest.raises(ValueError, match="no run in common"):
        owo_agents.bench(["cws"], **{**short, "settings": {"num_slots": 8}})


def test_owo_report_reads_the_folder_of_a_notebook(tmp_path):
    owo_agents.bench([mine(0.0), "cws"], folder=tmp_path, **SHORT)
    for known in [name for name in registry.entries if name.endswith(":Mine")]:
        del registry.entries[known]  # as in another process
    done = CliRunner().invoke(cli.app, ["report", str(tmp_path), "--format", "md"])
    assert done.exit_code == 0, done.output
    assert "| Mine |" in (tmp_path / "leaderboard.md").read_text(encoding="utf-8")


def test_an_agent_that_fails_in_every_run_is_named_by_the_leaderboard():
    found = owo_agents.bench([BlowsUp, "cws"], **SHORT)
    failed, fine = sorted(found.leaderboard(), key=lambda record: record["agent"] == "cws")
    assert (failed["agent"], failed["failed"], failed["regret"]) == ("BlowsUp", 4, None)
    assert fine["failed"] == 0 and fine["regret"].seeds == 4
    for shown in (repr(found), found._repr_html_()):
        assert re.search(r"BlowsUp.*sinusoid.*4 of 4.*round 2, slot 2", " ".join(shown.split()))
        assert "4 of 8 runs are done" in shown
    alone = owo_agents.bench([BlowsUp], **SHORT)
    assert "BlowsUp" in repr(alone) and alone.leaderboard()[0]["failed"] == 4
    for nothing in (alone.plot, lambda: alone.report("r.html")):
        with pytest.raises(ValueError):
            nothing()
    with pytest.raises(ValueError, match="no seed at which"):
        found.compare("cws", "BlowsUp")


HOSTILE = ["<img src=x onerror=alert(1)>", "</table><script>alert(2)</script>", "\x1b[31m\u202etxt"]

TAGS = {"p", "table", "caption", "thead", "tbody", "tr", "th", "td"}


def test_what_people_named_is_inert():
    agents = {name: ("cws", {"total": 0.5 + i}) for i, name in enumerate(HOSTILE)}
    agents["<b>bad</b>"] = (BlowsUp, {})
    found = owo_agents.bench(agents=agents, scenarios={"<i>x</i>": "sinusoid"}, **SHORT)
    pages = [found, found.leaderboard(), found.figures(), found.compare(*HOSTILE[:2])]
    for page in (one._repr_html_() for one in pages):
        assert "&lt;img src=x" in page
        assert set(re.findall(r"<(\w+)", page)) <= TAGS
        assert not {"\x1b", "\u202e"} & set(page)
    assert not {"\x1b", "\u202e"} & set(repr(found) + repr(found.leaderboard()))


class Interrupts(Callback):
    """As somebody who presses Ctrl-C after some runs."""

    def __init__(self, after):
        self.after = after

    def on_result(self, cell, result):
        self.after -= 1
        if self.after == 0:
            raise KeyboardInterrupt


def test_an_interrupt_keeps_what_is_done(tmp_path):
    short = {**SHORT, "folder": tmp_path}
    found = owo_agents.bench(["owo-fmtl", "cws"], callbacks=[Interrupts(3)], **short)
    assert found.interrupted and len(found.figures()) == 3
    assert "interrupted: 3 of 8 runs are done" in repr(found)
    assert "interrupted: 3 of 8 runs are done" in found._repr_html_()
    rest = owo_agents.bench(["owo-fmtl", "cws"], **short)
    assert (rest.skipped, rest.interrupted, len(rest.figures())) == (3, False, 8)


def test_skip_and_only_know_wildcards():
    agents = {"cws one": {"agent": "cws"}, "cws [two]": {"agent": "cws"}, "srl": {}, "frozen": {}}
    whole = suite.parse("s", {**SMALL, "agents": agents})

    def left(**given):
        return list(narrowed(whole, **given).experiments[0].agents)

    assert left(skip=["agent=cws"]) == left(skip=["agent=cws *"]) == ["srl", "frozen"]
    assert left(skip=["agent=cws [two]"]) == ["cws one", "srl", "frozen"]
    assert left(only=["agent=cws*", "agent=srl"], skip=["agent=*two*"]) == ["cws one", "srl"]
    with pytest.raises(ValueError, match="unknown agent in skip 'srll': did you mean 'srl'"):
        left(skip=["agent=srll"])


def test_the_command_skips_too(tmp_path):
    (tmp_path / "s.yaml").write_text(yaml.safe_dump(SMALL))
    words = ["bench", tmp_path / "s.yaml", "--backend", "serial", "--out", tmp_path / "out"]
    done = CliRunner().invoke(cli.app, [*map(str, words), "--skip", "agent=owo-*"])
    assert done.exit_code == 0, done.output
    assert {one["cell"]["agent"] for one in cells(tmp_path / "out")} == {"cws"}


class Lines:
    """Keeps what a line is told."""

    def __init__(self):
        self.said, self.done, self.stopped = [], [], 0

    def start(self, total):
        self.total = total

    def show(self, done, text):
        self.done.append(done)
        self.said.append(text())

    def tell(self, text):
        self.said.append(text)

    def stop(self):
        self.stopped += 1


def test_the_line_counts_every_round_and_says_what_failed():
    line = Lines()
    owo_agents.bench([BlowsUp, "cws"], **{**SHORT, "seeds": 2}, progress=line)
    assert line.total == line.done[-1] == 12 and line.done == sorted(line.done)
    assert line.said[-1].startswith("4 of 4 runs in") and "2 failed" in line.said[-1]
    assert any(text.startswith("BlowsUp on sinusoid, seed 0: agent") for text in line.said)
    assert line.stopped == 1


class Took:
    def __init__(self, seconds):
        self.seconds = seconds


def test_the_line_says_which_agent_holds_things_up():
    found = asked.suite(["cws", "nash-mtl"], rounds=2, seeds=3)
    line, runs = Lines(), found.cells()
    bar = Bar(line, found.run_names(), found.labels(), jobs=2)
    bar.on_start(runs)
    for cell in runs[:2]:
        bar.on_result(cell, Took(33.0 if cell.agent == "nash-mtl" else 0.5))
    assert "34 s left · most for nash-mtl (2 runs, 33 s each)" in line.said[-1]  # 67 s on two


def test_nothing_is_shown_where_nobody_looks(capfd):
    owo_agents.bench(["cws"], **{**SHORT, "seeds": 1})
    owo_agents.bench(["cws"], **{**SHORT, "seeds": 1}, progress=False)
    assert capfd.readouterr() == ("", "")
    owo_agents.bench(["cws"], **{**SHORT, "seeds": 1}, progress=True)
    assert "1 of 1 runs" in capfd.readouterr().err


SLOW = """
import pathlib, time, numpy as np, owo_agents
class Mine(owo_agents.Agent):
    start = {start}
    def begin_round(self, obs, info):
        if self.problem.num_slots == 5 and pathlib.Path("go").exists():
            pathlib.Path("waits").touch()
            time.sleep(3600)
    def act(self, obs, info):
        return {{"model": self.problem.initial_model + self.start, "weights": np.ones(2)}}
"""
BENCH = """
results = owo_agents.bench(
    [Mine, "cws"], rounds=2, seeds=2, jobs=2, folder="out", grid={"num_slots": [4, 5]})
results
"""
TELL = "print(results.interrupted, results.skipped, [r['regret'] for r in results.figures()])"


@pytest.mark.slow
def test_in_a_real_notebook_an_interrupt_keeps_runs_and_an_edited_class_is_another(tmp_path):
    nbformat = pytest.importorskip("nbformat")
    nbclient = pytest.importorskip("nbclient")
    sources = [
        SLOW.format(start=0.0) + "\npathlib.Path('go').touch()",
        BENCH,  # is interrupted while two runs wait
        TELL,
        "pathlib.Path('go').unlink()",
        BENCH,  # the same class: goes on
        TELL,
        SLOW.format(start=0.5),
        BENCH,  # the cell was edited and run again
        TELL,
    ]
    notebook = nbformat.v4.new_notebook(cells=list(map(nbformat.v4.new_code_cell, sources)))
    client = nbclient.NotebookClient(
        notebook, timeout=240, resources={"metadata": {"path": str(tmp_path)}}
    )
    done = tmp_path / "out"

    async def interrupt():
        while not (tmp_path / "waits").exists() or len(cells(done)) < 5:  # all but those that wait
            await asyncio.sleep(0.1)
        await client.km.interrupt_kernel()

    async def both():
        await asyncio.gather(client.async_execute(), interrupt())

    asyncio.run(both())
    told = [notebook.cells[i].outputs[0]["text"].split(" ", 2) for i in (2, 5, 8)]
    assert [(interrupted, int(skipped)) for interrupted, skipped, _ in told] == [
        ("True", 0),
        ("False", 5),
        ("False", 4),  # those of cws
    ]
    (_, _, old), (_, _, new) = told[1:]
    assert len(set(json.loads(old)) & set(json.loads(new))) == 4
    for i in (1, 4, 7):
        bar, shown = notebook.cells[i].outputs
        line = bar["data"]["text/plain"]
        assert "runs in" in line and "\n" not in line
        assert "<table>" in shown["data"]["text/html"]
