"""Agents and scenarios that installed packages offer by entry points, and those offered in vain."""

import json
import os
import shutil
import subprocess
import sys

import pytest
import yaml
from places import REPOSITORY

import owo_agents
import owo_env
from owo_agents.registry import registry as agents
from owo_env.scenarios import registry as scenarios

TEMPLATE = REPOSITORY / "examples" / "template"
OWO = [sys.executable, "-c", "from owo_agents.command.main import main; main()"]
GROUPS = {"agents": "owo_agents.agents", "scenarios": "owo_env.scenarios"}
SUITE = {
    "summary": "A package's agent and scenario.",
    "rounds": 2,
    "seeds": 2,
    "agents": {"proportional": None, "cws": None},
    "experiments": {"lines": {"scenario": "lines", "settings": {"num_slots": 4}}},
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """An empty folder into which the template was installed, as pip does it."""
    pytest.importorskip("setuptools")
    pytest.importorskip("pip")
    place = tmp_path_factory.mktemp("packages")
    shutil.copytree(TEMPLATE, place / "source")
    flags = ["--quiet", "--no-deps", "--no-build-isolation", "--no-index"]
    target = ["--target", str(place / "installed"), str(place / "source")]
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", "install", *flags]
    subprocess.run([*pip, *target], check=True)
    return place / "installed"


@pytest.fixture
def offer(tmp_path, monkeypatch):
    """Puts packages on the path as an installer leaves them; forgets them after the test."""
    monkeypatch.syspath_prepend(tmp_path)
    modules = set()

    def put(package, code, **groups):
        module = package.replace("-", "_")
        modules.add(module)
        (tmp_path / f"{module}.py").write_text(code)
        about = tmp_path / f"{module}-1.0.dist-info"
        about.mkdir()
        (about / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {package}\nVersion: 1.0\n")
        lines = []
        for group, points in groups.items():
            lines += [f"[{GROUPS[group]}]", *(f"{name} = {path}" for name, path in points.items())]
        (about / "entry_points.txt").write_text("\n".join(lines))

    yield put
    monkeypatch.undo()
    agents.look()
    scenarios.look()
    for module in modules:
        sys.modules.pop(module, None)


def owo(folder, here, *words):
    paths = os.pathsep.join([str(folder), str(REPOSITORY)])
    env = {**os.environ, "PYTHONPATH": paths, "COLUMNS": "160"}
    done = subprocess.run(
        [*OWO, *map(str, words)], cwd=here, env=env, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    return done


def results(folder):
    kept = [json.loads(line) for line in (folder / "results.jsonl").read_text().splitlines()]
    return {(one["label"], one["seed"]): one["fairness"] for one in kept}


def test_the_template_is_thirty_lines():
    code = (TEMPLATE / "owo_template.py").read_text(encoding="utf-8").splitlines()
    assert len([line for line in code if line.strip()]) <= 30


@pytest.mark.slow
def test_every_command_and_worker_knows_a_package_on_the_path(folder, tmp_path):
    told = owo(folder, tmp_path, "list").stdout
    for name in ("proportional", "lines"):
        assert next(line for line in told.splitlines() if f" {name} " in line).count("owo-template")
    assert "num_slots" in owo(folder, tmp_path, "list", "lines").stdout
    owo(folder, tmp_path, "run", "--agent", "proportional", "--scenario", "lines", "--rounds", 1)
    (tmp_path / "s.yaml").write_text(yaml.safe_dump(SUITE))
    for backend, jobs in (("serial", 1), ("process", 2)):
        owo(
            folder,
            tmp_path,
            "bench",
            "s.yaml",
            "--backend",
            backend,
            "--jobs",
            jobs,
            "--out",
            backend,
        )
    assert len(results(tmp_path / "serial")) == 4
    assert results(tmp_path / "serial") == results(tmp_path / "process")
    owo(folder, tmp_path, "report", "serial", "--format", "csv")


@pytest.mark.slow
@pytest.mark.cluster
def test_ray_knows_it_too(folder, tmp_path):
    pytest.importorskip("ray")
    (tmp_path / "s.yaml").write_text(yaml.safe_dump(SUITE))
    owo(folder, tmp_path, "bench", "s.yaml", "--backend", "ray", "--jobs", 2, "--out", "ray")
    assert len(results(tmp_path / "ray")) == 4


MINE = """\
import owo_agents

def mine(problem, *, total=1.0):
    return owo_agents.cws(problem, total=total)
"""


def test_what_a_package_offers_is_made_by_name_and_gone_with_it(offer):
    problem = owo_env.make_scenario("sinusoid").problem
    offer("owo-mine", MINE, agents={"mine": "owo_mine:mine"})
    assert owo_agents.names()["mine"] == "of owo-mine 1.0"
    assert "owo_mine" not in sys.modules
    assert owo_agents.make("mine", problem, total=2.0).weighting.start.sum() == pytest.approx(2.0)
    assert owo_agents.describe("mine").package == "owo-mine 1.0"


@pytest.mark.parametrize(
    ("code", "path", "message"),
    [
        (
            "import no_such_module_of_mine",
            "owo_bad:mine",
            "No module named 'no_such_module_of_mine'",
        ),
        ("raise RuntimeError('what a day')", "owo_bad:mine", "RuntimeError: what a day"),
        ("", "owo_bad:mine", "has no 'mine'"),
        ("mine = 3", "owo_bad:mine", "is not a class or function"),
        ("class mine: ...", "owo_bad:mine", "has no method act"),
    ],
)
def test_a_broken_one_is_named_with_its_package(offer, code, path, message):
    offer("owo-bad", code, agents={"mine": path})
    with pytest.raises((ValueError, ImportError), match=r"'mine' of owo-bad 1\.0") as caught:
        owo_agents.make("mine", owo_env.make_scenario("sinusoid").problem)
    assert message in str(caught.value)


def test_list_names_the_broken_ones_and_leaves_nothing_else_out(offer, capsys):
    from typer.testing import CliRunner

    from owo_agents.command import main as cli

    offer("owo-bad", "raise RuntimeError('what a day')", agents={"mine": "owo_bad:mine"})
    offer("owo-fine", MINE, agents={"yours": "owo_fine:mine", "cws": "owo_fine:mine"})
    done = CliRunner().invoke(cli.app, ["list"], env={"COLUMNS": "160"})
    assert done.exit_code == 0
    assert "what a day" in done.output
    assert "agent 'cws' of owo-fine 1.0: the name is taken" in done.output
    assert "owo-fine 1.0" in next(row for row in done.stdout.splitlines() if " yours " in row)
    assert not [row for row in done.stdout.splitlines() if row.startswith("│ mine ")]


def test_a_name_keeps_its_meaning(offer):
    before = agents.find("cws")
    offer("owo-one", MINE, agents={"cws": "owo_one:mine", "mine": "owo_one:mine"})
    offer("owo-two", MINE, agents={"mine": "owo_two:mine", "odd:name": "owo_two:mine"})
    assert agents.names()["mine"] == "of owo-one 1.0"
    assert agents.find("cws") is before
    assert len(agents.skipped) == 3


def test_it_may_be_uninstalled(offer, tmp_path):
    offer("owo-mine", MINE, agents={"mine": "owo_mine:mine"})
    assert "mine" in owo_agents.names()
    shutil.rmtree(tmp_path / "owo_mine-1.0.dist-info")
    assert "mine" not in owo_agents.names()


def test_its_code_is_part_of_a_cell(offer, tmp_path):
    from owo_agents.benchmark.suite import reader

    offer("owo-mine", MINE, agents={"mine": "owo_mine:mine"})
    suite = {
        **SUITE,
        "agents": {"mine": None},
        "experiments": {"sinusoid": {"scenario": "sinusoid"}},
    }
    before = reader.parse("s", suite).cells()[0]
    (tmp_path / "owo_mine.py").write_text(MINE.replace("1.0", "2.0"))
    after = reader.parse("s", suite).cells()[0]
    assert before.digest and after.digest and before.key != after.key
