"""Text files are UTF-8, whatever the locale says."""

import ast
import os
import subprocess
import sys

import pytest
import yaml
from bench_helpers import SMALL
from places import REPOSITORY

FILES = [
    f for top in ("owo_env", "owo_agents", "examples") for f in (REPOSITORY / top).rglob("*.py")
]
TEXTS = {"read_text", "write_text", "open", "fdopen"}


def careless(tree):
    """Calls that read or write a text in the locale's encoding."""
    for node in ast.walk(tree):
        if not isinstance(node, ast.Call):
            continue
        name = getattr(node.func, "attr", getattr(node.func, "id", ""))
        given = {keyword.arg for keyword in node.keywords}
        modes = [a.value for a in node.args if isinstance(a, ast.Constant)]
        binary = any(isinstance(mode, str) and "b" in mode for mode in modes)
        ours = name == "open" and isinstance(node.func, ast.Attribute) and not node.args
        if name in TEXTS and not (given & {"encoding", "force_zip64"} or binary or ours):
            yield f"{name} in line {node.lineno}"


@pytest.mark.parametrize("file", FILES, ids=lambda file: str(file.relative_to(REPOSITORY)))
def test_no_text_is_read_or_written_in_the_locales_encoding(file):
    assert list(careless(ast.parse(file.read_text(encoding="utf-8")))) == []


ALL = """
import sys, warnings
warnings.filterwarnings("error", category=EncodingWarning, module="owo_")
from owo_agents.command.main import app
for words in (["list"], ["bench", "s.yaml", "--backend", "serial"], ["report", "results/s"]):
    app(words, standalone_mode=False)
"""


def test_python_warns_of_no_default_encoding(tmp_path):
    data = {**SMALL, "agents": {"α-fair": {"agent": "cws"}}, "rounds": 1, "charts": []}
    text = yaml.safe_dump(data, allow_unicode=True)
    (tmp_path / "s.yaml").write_text(text, encoding="utf-8")
    command = [sys.executable, "-X", "warn_default_encoding", "-c", ALL]
    path = {"PYTHONPATH": str(REPOSITORY), "PYTHONIOENCODING": "utf-8"}
    done = subprocess.run(
        command, cwd=tmp_path, env={**os.environ, **path}, capture_output=True, encoding="utf-8"
    )
    assert done.returncode == 0, done.stderr
    assert "α-fair" in done.stdout
    assert "α-fair" in (tmp_path / "results/s/report.html").read_text(encoding="utf-8")
