"""The Python of README runs as it is printed, and the guide's recipes play together."""

import re
import subprocess
import sys

import gymnasium as gym
import numpy as np
import pytest
from places import REPOSITORY

import owo_agents
import owo_env
from owo_agents.registry import registry

README = REPOSITORY / "README.md"
GUIDE = REPOSITORY / "docs" / "guide"
# Read before any test registers its own.
NAMED = {"Scenarios": set(owo_env.scenario_names()), "Agents": set(owo_agents.names())}


def blocks(file):
    return re.findall(r"```python\n(.*?)```", file.read_text(encoding="utf-8"), flags=re.S)


BLOCKS = blocks(README)


@pytest.mark.parametrize("number", range(len(BLOCKS)))
def test_python_block(number, capsys):
    exec(compile(BLOCKS[number], f"README block {number + 1}", "exec"), {"__name__": "readme"})


@pytest.mark.slow
def test_the_code_has_types(tmp_path):
    """All but torch's ``Tensor.backward``, whose own types are missing."""
    pytest.importorskip("mypy")
    for number, code in enumerate(BLOCKS, 1):
        (tmp_path / f"block{number}.py").write_text(code, encoding="utf-8")
    flags = ["--strict", "--allow-untyped-calls", "--follow-imports=silent"]
    own = ["--config-file", str(REPOSITORY / "pyproject.toml")]
    files = sorted(map(str, tmp_path.glob("block*.py")))
    done = subprocess.run(
        [sys.executable, "-m", "mypy", *flags, *own, *files],
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
    )
    assert [line for line in done.stdout.splitlines() if "block" in line and "error" in line] == []
    assert "checked" in done.stdout or "Success" in done.stdout


def test_own_agent_fits_in_fifteen_lines():
    block = next(b for b in BLOCKS if "class " in b)
    body = block[block.index("class ") : block.index("\nenv = ")]
    assert len([line for line in body.splitlines() if line.strip()]) <= 15


def test_the_example_of_split_learning_is_the_tested_file():
    example = (README.parent / "examples" / "split_learning_digits.py").read_text(encoding="utf-8")
    code = example.split('"""\n', 1)[1].strip()
    assert code in (GUIDE / "your-model.md").read_text(encoding="utf-8")
    assert len(code.splitlines()) <= 40


@pytest.mark.parametrize("title", NAMED)
def test_the_tables_name_every_scenario_and_agent(title):
    section = README.read_text(encoding="utf-8").split(f"\n## {title}\n")[1].split("\n## ")[0]
    first = [line.split("|")[1] for line in section.splitlines() if line.startswith("|")]
    assert set(re.findall(r"`([^`]+)`", " ".join(first))) == NAMED[title]


def test_the_two_commands_are_there():
    text = README.read_text(encoding="utf-8")
    assert "make demo" in text and "make test" in text


def test_the_guide_s_scenario_and_agents_play_together(tmp_path, monkeypatch):
    recipes = blocks(GUIDE / "your-scenario.md") + blocks(GUIDE / "your-agent.md")
    monkeypatch.setattr(registry, "entries", dict(registry.entries))
    (tmp_path / "mine.py").write_text("\n".join(recipes))
    monkeypatch.syspath_prepend(tmp_path)
    id_, settings = "AIRAN-FairMTL-v0", {"scenario": "mine:Lines", "num_slots": 8}
    one = gym.make(id_, **settings)
    many = gym.make_vec(id_, num_envs=3, autoreset_mode="Disabled", **settings)
    for env, batch in ((one, ()), (many, (3,))):
        for name in ("mine:Mine", "even"):
            agent = owo_agents.make(name, env)
            records = list(owo_agents.play(env, agent, 2, seed=0, certify=True))
            assert np.shape(records[-1].regret) == batch
            assert np.all(records[-1].regret < 0.3)  # without learning 0.34 and more
            assert agent.savable()
