"""The command ``owo``: what it does, and what it refuses in one line with exit code 2."""

import json
import shutil
import subprocess
import sys

import pytest
import yaml
from bench_helpers import SMALL
from typer.testing import CliRunner

import owo_agents
import owo_env
from owo_agents.benchmark.suite import reader as suite
from owo_agents.command import main as cli

runner = CliRunner()


def owo(*words):
    return runner.invoke(cli.app, [str(word) for word in words])


@pytest.fixture
def file(tmp_path):
    path = tmp_path / "small.yaml"
    path.write_text(yaml.safe_dump(SMALL))
    return path


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """The folder of a suite that was run; not to be changed."""
    folder = tmp_path_factory.mktemp("finished")
    (folder / "small.yaml").write_text(yaml.safe_dump(SMALL))
    done = owo("bench", folder / "small.yaml", "--backend", "serial", "--out", folder / "out")
    assert done.exit_code == 0, done.output
    return folder / "out"


def test_list_names_everything():
    text = owo("list").output
    for name in [*owo_env.scenario_names(), *owo_agents.names(), *suite.names()]:
        assert name in text


def test_run_prints_what_came_of_it(tmp_path):
    done = owo("run", "--rounds", 2, "--set", "num_slots=4", "--agent", "cws", "--arg", "total=0.5")
    assert done.exit_code == 0
    assert "cws on sinusoid: 2 rounds, seed 0" in done.output
    assert "regret" in done.output


def test_a_run_goes_on_from_its_folder(tmp_path):
    words = ["run", "--rounds", 2, "--set", "num_slots=4", "--out", tmp_path / "out"]
    assert owo(*words).exit_code == 0
    done = owo(*words, "--resume")
    assert done.exit_code == 0 and "1 runs were there already" in done.output
    refused = owo("run", "--resume")
    assert refused.exit_code == 2 and "--resume: needs --out" in refused.stderr


def test_run_takes_a_class_of_ones_own():
    done = owo("run", "--rounds", 2, "--agent", "bench_helpers:Still", "--set", "num_slots=4")
    assert done.exit_code == 0


def test_bench_writes_all_that_it_says(finished):
    lines = [json.loads(line) for line in (finished / "results.jsonl").read_text().splitlines()]
    assert {(line["label"], line["seed"]) for line in lines} == {
        (label, seed) for label in ("owo-fmtl", "equal") for seed in (0, 1)
    }
    assert all({"fairness", "regret", "worst_user", "versions"} <= set(line) for line in lines)
    figures = {path.name for path in (finished / "figures").iterdir()}
    assert figures == {
        f"short-{chart}.{suffix}"
        for chart in ("progress", "trade-off")
        for suffix in ("png", "svg")
    }
    assert (finished / "report.html").exists()


def test_only_runs_a_part_and_the_report_says_so(tmp_path, file):
    out = tmp_path / "out"
    done = owo("bench", file, "--backend", "serial", "--out", out, "--only", "agent=equal")
    assert done.exit_code == 0
    assert len(list((out / "cells").iterdir())) == 2
    assert "2 of 4 runs are done" in (out / "report.html").read_text()


def test_set_rounds_and_seeds_override(tmp_path, file):
    out = tmp_path / "out"
    options = ("--set", "alpha=2.0", "--rounds", 2, "--seeds", 1)
    assert owo("bench", file, "--backend", "serial", "--out", out, *options).exit_code == 0
    cells = [json.loads(path.read_text())["cell"] for path in (out / "cells").iterdir()]
    assert [(c["rounds"], c["seed"], c["settings"]["alpha"]) for c in cells] == [(2, 0, 2.0)] * 2


def test_failed_runs_are_reported_at_the_end_with_code_1(tmp_path):
    data = {**SMALL, "agents": {"owo-fmtl": None, "bad": {"agent": "bench_helpers:BlowsUp"}}}
    path = tmp_path / "failing.yaml"
    path.write_text(yaml.safe_dump(data))
    done = owo("bench", path, "--trust", "--backend", "serial", "--out", tmp_path / "out")
    assert done.exit_code == 1
    assert "agent BlowsUp: round 2, slot 2" in " ".join(done.stderr.split())
    assert "2 runs failed" in done.stderr
    assert "owo-fmtl" in done.output
    assert "agent BlowsUp: round 2, slot 2" in (tmp_path / "out" / "report.html").read_text()


def test_a_truncated_result_is_named_and_run_again_and_the_rest_is_skipped(
    finished, tmp_path, file
):
    out = shutil.copytree(finished, tmp_path / "out")
    victim = sorted((out / "cells").iterdir())[0]
    whole = victim.read_text()
    victim.write_text(whole[:100])
    done = owo("bench", file, "--backend", "serial", "--out", out)
    assert done.exit_code == 0
    assert victim.name in done.stderr
    assert "3 runs were there already" in done.output
    assert json.loads(victim.read_text())["fairness"] == json.loads(whole)["fairness"]


@pytest.mark.parametrize("format_", ["md", "csv", "latex", "parquet"])
def test_report_in_other_formats(finished, tmp_path, format_):
    if format_ == "parquet":
        pytest.importorskip("pyarrow")
    out = shutil.copytree(finished, tmp_path / "out")
    done = owo("report", out, "--format", format_)
    assert done.exit_code == 0, done.output
    suffix = {"latex": "tex"}.get(format_, format_)
    assert (out / f"leaderboard.{suffix}").stat().st_size > 100


def test_figures_for_a_paper(finished, tmp_path):
    out = shutil.copytree(finished, tmp_path / "out")
    assert owo("report", out, "--figures", "pdf").exit_code == 0
    assert (out / "figures" / "short-progress.pdf").read_bytes().startswith(b"%PDF")


def test_a_table_and_figures_for_a_paper(finished, tmp_path):
    out = shutil.copytree(finished, tmp_path / "out")
    shutil.rmtree(out / "figures")
    assert owo("report", out, "--format", "latex").exit_code == 0
    assert not (out / "figures").exists()
    words = ["--format", "latex", "--columns", "regret, worst user", "--figures", "pdf"]
    assert owo("report", out, *words).exit_code == 0
    assert "agent & regret & worst user" in (out / "leaderboard.tex").read_text()
    assert {path.suffix for path in (out / "figures").iterdir()} >= {".pdf"}
    refused = owo("report", out, "--format", "md", "--columns", "regert")
    assert refused.exit_code == 2 and "did you mean 'regret'" in refused.stderr
    assert owo("report", out, "--columns", "regret").exit_code == 2  # html has all, to be sorted


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["run", "--scenario", "sinusiod"], "unknown scenario 'sinusiod': did you mean 'sinusoid'"),
        (["run", "--agent", "owo-fmt"], "unknown agent 'owo-fmt': did you mean 'owo-fmtl'"),
        (["run", "--agent", "nowhere:It"], "there is no module 'nowhere'"),
        (["run", "--agent", "bench_helpers:Nobody"], "has no 'Nobody'"),
        (["run", "--agent", "bench_helpers:NoAct"], "no method act"),
        (["run", "--set", "alfa=1"], "did you mean 'alpha'"),
        (["run", "--set", "alpha=-1"], "alpha=-1"),
        (["run", "--set", "alpha"], "must be KEY=VALUE"),
        (["run", "--set", "alpha=[1"], "no YAML value"),
        (["run", "--arg", "rat=1"], "'rat'"),
        (["run", "--rounds", "0"], "rounds=0"),
        (["run", "--seed", "-1"], "seeds=-1"),
        (["run", "--out", "/proc/nowhere"], "/proc/nowhere: cannot be written"),
        (["bench", "quickstrat"], "did you mean 'quickstart'"),
        (["bench", "no.yaml"], "cannot be read"),
        (["bench", "quickstart", "--backend", "rey"], "did you mean 'ray'"),
        (["bench", "quickstart", "--jobs", "0"], "jobs=0"),
        (["bench", "quickstart", "--only", "agent=srll"], "did you mean 'srl'"),
        (["bench", "quickstart", "--only", "agnt=srl"], "did you mean 'agent'"),
        (["bench", "paper-fig2", "--digits", "mnist"], "has no rainbow-mnist"),
        (["report", "/proc"], "not a results folder"),
        (["record", "x.npz", "--scenario", "sinusoyd"], "known are csi-prediction, recorded, sinu"),
        (["record", "x.npz", "--scenario", "rainbow-mnist"], "has no least-squares samples"),
    ],
)
def test_refusals_take_one_line_and_code_2(words, message):
    done = owo(*words)
    assert done.exit_code == 2
    assert message in done.stderr
    assert done.stderr.count("\n") == 1
    assert "Traceback" not in done.output


@pytest.mark.parametrize(
    ("module", "words", "line"),
    [
        ("ray", ["bench", "quickstart", "--backend", "ray"], 'pip install "ray'),
        ("torch.utils.tensorboard", ["run", "--tensorboard", "x"], 'pip install "tensorboard'),
    ],
)
def test_a_missing_extra_names_the_pip_line(monkeypatch, module, words, line):
    monkeypatch.setitem(sys.modules, module, None)
    done = owo(*words)
    assert done.exit_code == 2
    assert line in done.stderr


def test_help_waits_for_neither_torch_nor_matplotlib():
    code = """
import sys, owo_agents.command.main
print([name for name in ("torch", "matplotlib") if name in sys.modules])
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_nothing_is_made_by_a_refused_call(tmp_path, file):
    out = tmp_path / "out"
    assert owo("bench", file, "--set", "alpha=-1", "--out", out).exit_code == 2
    assert not out.exists()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--set", "hindsigt=false"], "did you mean 'hindsight'"),
        (["--set", "hindsight=nope"], "hindsight='nope': must be true or false"),
        (["--set", "scenario=recorded"], "scenario='recorded' is no setting beside another"),
        (["--set", "alpha=.inf"], 'alpha=inf: is max-min fairness: use fairness="max-min"'),
        (["--arg", "problem=1"], "unknown argument of agent 'owo-fmtl' 'problem'"),
        (["--arg", "agent=cws"], "give it as --agent"),
        (["--scenario", "split-learning"], "scenario 'split-learning' needs encoder, head, tasks"),
        (["--scenario", "nowhere:A"], "scenario 'nowhere:A': there is no module 'nowhere'"),
    ],
)
def test_what_is_wrong_with_a_run_is_said_in_one_line(options, message):
    result = owo("run", "--rounds", 2, *options)
    assert result.exit_code == 2
    assert message in result.stderr and len(result.stderr.splitlines()) == 1


def test_a_run_does_not_replace_the_report_of_a_suite(finished, tmp_path):
    folder = shutil.copytree(finished, tmp_path / "out")
    refused = owo("run", "--rounds", 1, "--out", folder)
    assert refused.exit_code == 2 and "has the results of suite 'small'" in refused.stderr
    assert (folder / "suite.json").read_bytes() == (finished / "suite.json").read_bytes()


def test_workers_are_counted_by_the_cores_that_this_process_may_use(file, tmp_path, monkeypatch):
    counted = []

    def run(*_, jobs, **options):
        counted.append(jobs)
        raise ValueError("enough")

    monkeypatch.setattr(cli.runner, "run", run)
    monkeypatch.setattr("os.cpu_count", lambda: 64)
    for cores in ({0}, {0, 1, 2}):
        monkeypatch.setattr("os.sched_getaffinity", lambda _, cores=cores: cores, raising=False)
        owo("bench", file, "--out", tmp_path / "out")
    monkeypatch.setenv("LOKY_MAX_CPU_COUNT", "2")  # stands for a container's quota
    owo("bench", file, "--out", tmp_path / "out")
    assert counted == [1, 3, 2]
