"""The README's Python runs as it is printed."""

import re
from pathlib import Path

import pytest

README = Path(__file__).parents[1] / "README.md"
BLOCKS = [
    block
    for block in re.findall(r"```python\n(.*?)```", README.read_text(encoding="utf-8"), flags=re.S)
    if "SplitLearning" not in block  # the same text as examples/, which has its own test
]


@pytest.mark.parametrize("number", range(len(BLOCKS)))
def test_python_block(number, capsys):
    exec(compile(BLOCKS[number], f"README block {number + 1}", "exec"), {"__name__": "readme"})


def test_own_agent_fits_in_fifteen_lines():
    block = next(b for b in BLOCKS if "class " in b)
    body = block[block.index("class ") : block.index("\nenv = ")]
    assert len([line for line in body.splitlines() if line.strip()]) <= 15


def test_the_example_of_split_learning_is_the_tested_file():
    example = (README.parent / "examples" / "split_learning_digits.py").read_text(encoding="utf-8")
    code = example.split('"""\n', 1)[1].strip()
    assert code in README.read_text(encoding="utf-8")
    assert len(code.splitlines()) <= 40


def test_the_two_commands_are_there():
    text = README.read_text(encoding="utf-8")
    assert "make demo" in text and "make test" in text
