"""What strangers may send: suites and folders that would run code, and that nothing of it ran."""

import os
import pickle
import subprocess
import sys

import pytest
import yaml
from bench_helpers import SMALL
from places import REPOSITORY, TESTS
from typer.testing import CliRunner

from owo_agents.command import main as cli
from owo_agents.command import trust

FILE = """\
from pathlib import Path
Path({mark!r}).touch()
from bench_helpers import Still
class Mine(Still): ...
"""


def owo(*words, **options):
    return CliRunner().invoke(cli.app, [str(word) for word in words], **options)


@pytest.fixture
def mark(tmp_path):
    """The file that is there if something ran."""
    return tmp_path / "RAN"


@pytest.fixture
def here(tmp_path, monkeypatch):
    """The working folder; what was imported from it is forgotten."""
    folder = tmp_path / "here"
    folder.mkdir()
    monkeypatch.chdir(folder)
    monkeypatch.setattr(sys, "path", list(sys.path))
    yield folder
    for name in ("strange", "torch_", "parent"):
        sys.modules.pop(name, None)


def suite_of(folder, name="s.yaml", **changes):
    (folder / name).write_text(yaml.safe_dump({**SMALL, "rounds": 1, "seeds": 1, **changes}))
    return folder / name


class Bomb:
    def __init__(self, mark):
        self.mark = mark

    def __reduce__(self):
        return os.mkdir, (str(self.mark),)


def attacks(mark, bomb):
    touch = f"touch {mark}"
    load = {"agent": "aggregator", "options": {"f": bomb, "weights_only": False}}
    return {
        "os:system as a scalarizer": {
            "agent": "scalarizer",
            "scalarizer": "os:system",
            "options": {"command": touch},
        },
        "os:system as an aggregator": {
            "agent": "aggregator",
            "aggregator": "os:system",
            "options": {"command": touch},
        },
        "a pager as an agent": {"agent": "pydoc:pipepager", "cmd": touch},
        "a class that starts a program": {
            "agent": "aggregator",
            "aggregator": "joblib.externals.loky.backend.popen_loky_posix:Popen",
            "options": {"process_obj": touch},
        },
        "a library's reader of pickles": {**load, "aggregator": "torch:load"},
        "a name that a library took from Python's": {
            "agent": "scalarizer",
            "scalarizer": "torch.utils.cpp_extension:_join_cuda_home",
            "options": {},
        },
        "our own writer of files": {"agent": "owo_env.files:write", "content": "x"},
        "a program of a library": {"agent": "pip.__main__:Agent"},
    }


@pytest.mark.parametrize("attack", attacks("", ""))
def test_what_a_path_names_is_judged_before_it_is_called(here, mark, attack):
    pytest.importorskip("torchjd")
    bomb = here / "bomb.pt"
    bomb.write_bytes(pickle.dumps(Bomb(mark)))
    file = suite_of(here, agents={"x": attacks(mark, str(bomb))[attack]})
    done = owo("bench", file, "--backend", "serial", "--trust")
    assert done.exit_code == 2, done.output
    assert "'" in done.stderr and "Traceback" not in done.stderr
    assert not mark.exists()


def test_our_own_functions_are_no_scenarios(here, mark):
    experiments = {
        "x": {
            "scenario": "owo_env.files:write",
            "settings": {"path": str(mark), "content": "x"},
        }
    }
    done = owo("bench", suite_of(here, experiments=experiments), "--trust")
    assert done.exit_code == 2
    assert "does not say that it makes Scenario" in done.stderr
    assert not mark.exists()


def test_a_tag_of_yaml_makes_no_object(here, mark):
    (here / "s.yaml").write_text(f"summary: !!python/object/apply:os.mkdir [{mark}]\n")
    done = owo("bench", "s.yaml")
    assert done.exit_code == 2 and "s.yaml:1" in done.stderr
    assert not mark.exists()


@pytest.fixture
def strangers(tmp_path, mark):
    """A suite that lies elsewhere, with a module beside it."""
    folder = tmp_path / "elsewhere"
    (folder / "parent").mkdir(parents=True)
    for file in (folder / "strange.py", folder / "parent" / "__init__.py"):
        file.write_text(FILE.format(mark=str(mark)))
    return suite_of(folder, agents={"x": {"agent": "strange:Mine"}, "y": {"agent": "parent.x:Y"}})


def test_a_suite_from_elsewhere_is_not_read_unless_somebody_agrees(
    here, mark, strangers, monkeypatch
):
    """Reading it would import the package ``parent``, to look for the module in it."""
    monkeypatch.syspath_prepend(strangers.parent)
    done = owo("bench", strangers)
    assert done.exit_code == 2
    first, last = done.stderr.splitlines()
    assert first.endswith("s.yaml imports parent, strange")
    assert "lies outside the working folder" in last and "--trust" in last
    assert not mark.exists()


@pytest.mark.parametrize("answer", ["n", "y"])
def test_on_a_terminal_one_is_asked(here, mark, strangers, monkeypatch, answer):
    monkeypatch.syspath_prepend(strangers.parent)
    suite_of(strangers.parent, agents={"x": {"agent": "strange:Mine"}})
    monkeypatch.setattr(trust, "_asks", lambda: True)
    done = owo("bench", strangers, "--backend", "serial", input=f"{answer}\n")
    assert "Do you know these modules?" in done.stderr
    assert (done.exit_code == 0) == mark.exists() == (answer == "y")


@pytest.mark.parametrize("words", [["--trust"], []])
def test_a_suite_of_ones_own_says_what_it_imports_and_finds_it_here(here, mark, words):
    (here / "strange.py").write_text(FILE.format(mark=str(mark)))
    file = suite_of(here, agents={"x": {"agent": "strange:Mine"}})
    done = owo("bench", file.name, "--backend", "serial", *words)
    assert done.exit_code == 0, done.output
    assert "s.yaml imports strange" in done.stderr
    assert mark.exists()
    assert sys.path[-1] == str(here)  # after all others


def test_the_working_folder_is_not_looked_into_where_nothing_names_a_module_there(here):
    (here / "strange.py").touch()
    before = list(sys.path)
    assert owo("bench", suite_of(here), "--backend", "serial").exit_code == 0
    trust.look_here(["cws", "torch:Tensor", "key=value", "https://strange", "nowhere:It"])
    assert sys.path == before
    trust.look_here(["scalarizer=strange:Mine"])
    assert sys.path == [*before, str(here)]


LIBRARIES = ("torch", "numpy", "scipy", "pyarrow", "matplotlib", "joblib", "pandas", "strange")


def command(folder, *words):
    """The installed command, whose own folder is the first on Python's path."""
    script = folder.parent / "bin" / "owo"
    script.parent.mkdir(exist_ok=True)
    script.write_text("from owo_agents.command.main import main\nmain()\n")
    env = {**os.environ, "PYTHONPATH": os.pathsep.join(map(str, (REPOSITORY, TESTS)))}
    return subprocess.run(
        [sys.executable, script, *words], cwd=folder, env=env, capture_output=True, text=True
    )


def lay(folder, mark):
    for name in LIBRARIES:
        (folder / f"{name}.py").write_text(f"open({str(mark)!r}, 'w')\n")


@pytest.mark.slow
def test_a_results_folder_runs_nothing(here, mark):
    """Nor the module that its ``suite.json`` names, unless one says that it is known."""
    lay(here, mark)
    (here / "strange.py").write_text("from bench_helpers import Still\nclass Mine(Still): ...\n")
    agents = {"x": {"agent": "strange:Mine"}}
    done = owo("bench", suite_of(here, agents=agents), "--backend", "serial", "--out", here)
    assert done.exit_code == 0, done.output
    (here / "strange.py").write_text(FILE.format(mark=str(mark)))
    for words in (["report", "."], ["report", ".", "--format", "parquet"]):
        assert command(here, *words).returncode == 0
        assert not mark.exists()
    assert command(here, "report", ".", "--format", "md", "--trust").returncode == 0
    assert mark.exists()


@pytest.mark.slow
@pytest.mark.skipif(sys.version_info < (3, 11), reason="needs PYTHONSAFEPATH")
def test_workers_import_nothing_from_the_working_folder(here, mark):
    suite_of(here)
    lay(here, mark)
    done = command(here, "bench", "s.yaml", "--jobs", "2")
    assert done.returncode == 0, done.stderr
    assert not mark.exists()


def test_a_working_folder_that_is_gone_is_said_in_one_line(here):
    code = (
        "import os, sys, owo_agents.command.main as m; os.rmdir(os.getcwd()); "
        "sys.argv = ['owo', 'list']; m.main()"
    )
    env = {**os.environ, "PYTHONPATH": str(REPOSITORY)}
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=here, env=env, capture_output=True, text=True
    )
    assert done.returncode == 2
    assert done.stderr == "owo: the working folder is gone: go to another\n"
