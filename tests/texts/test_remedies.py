"""What the package tells people to type works today: every pip line, through pip itself."""

import importlib.metadata
import re
import shlex
import subprocess
import sys

import pytest
from places import REPOSITORY

from owo_env.extras import DISTRIBUTION, pip_line

SOURCES = [f for top in ("owo_env", "owo_agents") for f in (REPOSITORY / top).rglob("*.py")]
TEXTS = [
    REPOSITORY / "README.md",
    *(REPOSITORY / "docs").rglob("*.md"),
    *(REPOSITORY / "notebooks").glob("*.ipynb"),
]


def read(files):
    return "\n".join(file.read_text(encoding="utf-8").replace('\\"', '"') for file in files)


NOT_HERE = {"site"} if sys.version_info < (3, 11) else set()  # sionna-rt is for later ones
EXTRAS = sorted({*re.findall(r"""pip_line\(["'](\w+)["']\)""", read(SOURCES))} - NOT_HERE)
# Of the sources those that are written out, of the texts those in code.
PRINTED = re.findall(r'pip install [a-z][^"{]*(?=")', read(SOURCES))
WRITTEN = re.findall(r"`(?:\S*/)?(pip install [^`]+)`", read(TEXTS))
IN_BLOCKS = re.findall(r"^(pip install [^#\n]+)", read(TEXTS), flags=re.M)


def test_the_lines_are_found():
    assert {"mtl", "rl", "digits", "parquet"} <= set(EXTRAS)
    assert "pip install matplotlib" in PRINTED
    assert any("-e '.[" in line for line in WRITTEN)


def test_no_line_trusts_a_registry_to_know_the_package():
    lines = [*PRINTED, *WRITTEN, *IN_BLOCKS, *map(pip_line, EXTRAS)]
    assert [line for line in lines if DISTRIBUTION in line] == []


@pytest.mark.parametrize("extra", EXTRAS)
def test_an_extra_is_named_by_its_own_requirements(extra):
    assert extra in importlib.metadata.metadata(DISTRIBUTION).get_all("Provides-Extra")
    line = pip_line(extra)
    assert re.fullmatch(r'pip install( "[a-z][\w.-]*(\[[\w,-]+\])?[<>=!~,.\d]*")+', line)


def test_without_metadata_the_answer_leads_to_a_clone(monkeypatch):
    def nothing(name):
        raise importlib.metadata.PackageNotFoundError(name)

    monkeypatch.setattr(importlib.metadata, "requires", nothing)
    assert pip_line("mtl") == 'pip install -e ".[mtl]", in a clone of airan-fairmtl'


@pytest.mark.slow
@pytest.mark.parametrize("editable", [False, True])
def test_pip_takes_all_lines(editable):
    """Those that name requirements together, and those for a clone together, to be sooner."""
    pytest.importorskip("pip")
    lines = map(shlex.split, {*PRINTED, *WRITTEN, *IN_BLOCKS, *map(pip_line, EXTRAS)})
    given = sorted({word for line in lines if ("-e" in line) == editable for word in line[2:]})
    if editable:
        found = {extra for word in given for extra in re.findall(r"\w+", word)}
        given = ["-e", f".[{','.join(sorted(found - {'e'}))}]"]
    words = [sys.executable, "-m", "pip", "install", "--dry-run", "--quiet", *given]
    done = subprocess.run(words, cwd=REPOSITORY, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
