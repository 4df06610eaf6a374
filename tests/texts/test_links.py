"""Every file that a text names is there."""

import json
import re

import pytest
from places import REPOSITORY

TEXTS = [*REPOSITORY.glob("*.md"), *REPOSITORY.glob("docs/**/*.md"), *REPOSITORY.glob("*/*.ipynb")]
CODE = [*REPOSITORY.glob("owo_*/**/*.py"), *REPOSITORY.glob("speed/*.py")]


def words(file):
    text = file.read_text(encoding="utf-8")
    if file.suffix == ".ipynb":
        cells = json.loads(text)["cells"]
        return "".join(line for cell in cells for line in cell["source"])
    return text


@pytest.mark.parametrize("file", TEXTS, ids=lambda file: file.name)
def test_links_lead_somewhere(file):
    links = re.findall(
        r"\]\(([^)#:\s]+)(?:#[^)]*)?\)", re.sub(r"```.*?```", "", words(file), flags=re.S)
    )
    assert [link for link in links if not (file.parent / link).exists()] == []


@pytest.mark.parametrize("file", [*TEXTS, *CODE], ids=lambda file: file.name)
def test_pages_and_measurements_named_in_passing_are_there(file):
    named = re.findall(r"\b((?:docs|speed|tests|examples)/[\w/.-]+\.(?:md|py|yml))\b", words(file))
    assert [path for path in named if not (REPOSITORY / path).exists()] == []
