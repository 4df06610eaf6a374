"""The notebooks as committed; that they run is checked by nbmake (``make test``)."""

import json
import sys
import tempfile
from pathlib import Path

import pytest
from places import REPOSITORY

NOTEBOOKS = sorted((REPOSITORY / "notebooks").glob("*.ipynb"))


def test_they_are_there():
    assert [path.name[:2] for path in NOTEBOOKS] == [
        "01",
        "02",
        "03",
        "04",
        "05",
        "06",
        "07",
        "08",
        "09",
        "10",
    ]


def code(path):
    cells = json.loads(path.read_text(encoding="utf-8"))["cells"]
    return ["".join(cell["source"]) for cell in cells if cell["cell_type"] == "code"]


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_agents_are_compared_by_the_benchmark(path):
    assert any("owo_agents.bench(" in cell for cell in code(path))


def test_a_benchmark_of_ones_own_agent_takes_six_lines():
    (cell,) = [cell for cell in code(NOTEBOOKS[1]) if "owo_agents.bench(" in cell]
    assert "scheduler" in cell and cell.count("\n") < 6


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_outputs_are_committed_whole_and_tell_nothing_of_the_machine(path):
    text = path.read_text(encoding="utf-8")
    notebook = json.loads(text)
    cells = [cell for cell in notebook["cells"] if cell["cell_type"] == "code"]
    assert [cell["execution_count"] for cell in cells] == list(range(1, len(cells) + 1))
    outputs = [output for cell in cells for output in cell["outputs"]]
    assert any("image/png" in output.get("data", {}) for output in outputs)
    assert not [o for o in outputs if o["output_type"] == "error" or o.get("name") == "stderr"]
    places = (str(REPOSITORY), str(Path.home()), tempfile.gettempdir() + "/", sys.prefix)
    assert not [place for place in places if len(place) > 2 and place in text]
    assert notebook["metadata"]["kernelspec"]["name"] == "python3"
    assert path.stat().st_size < 600_000
