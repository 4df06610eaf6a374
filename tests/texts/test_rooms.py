"""The house: who may import whom, read from the sources."""

import ast
import graphlib

import pytest
from places import REPOSITORY

FLOORS = ("suite", "run", "figures", "report", "api")  # of the benchmark, each uses those before it


def module_of(file):
    parts = file.relative_to(REPOSITORY).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


FILES = {
    module_of(file): ast.parse(file.read_text(encoding="utf-8"))
    for package in ("owo_env", "owo_agents")
    for file in sorted((REPOSITORY / package).rglob("*.py"))
}


def imported(tree, deep):
    """The package's own modules that a file imports, at its top or (``deep``) anywhere."""
    found = set()
    for node in ast.walk(tree) if deep else tree.body:
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            whole = {f"{node.module}.{alias.name}" for alias in node.names}
            found |= {name if name in FILES else node.module for name in whole}
    return found & FILES.keys()


def test_there_is_no_circle():
    """Where a module is imported through a package's face, the face must come first."""
    graph = {name: imported(tree, deep=False) for name, tree in FILES.items()}
    list(graphlib.TopologicalSorter(graph).static_order())


def test_the_users_know_nothing_of_the_learners():
    for name, tree in FILES.items():
        if name.split(".")[0] == "owo_env":
            assert not [m for m in imported(tree, deep=True) if m.startswith("owo_agents")], name


def test_the_benchmarks_floors_import_only_downwards():
    for name, tree in FILES.items():
        parts = name.split(".")
        if parts[:2] != ["owo_agents", "benchmark"] or len(parts) < 3:
            continue
        above = FLOORS[FLOORS.index(parts[2]) + 1 :]
        for other in imported(tree, deep=True):
            assert not other.startswith(tuple(f"owo_agents.benchmark.{f}" for f in above)), name


@pytest.mark.parametrize(
    ("room", "stranger"),
    [
        ("owo_env.vector_env", "owo_env.scenarios.least_squares"),
        ("owo_agents.playing.loop", "owo_env.scenarios"),
        ("owo_agents.learner", "owo_agents.benchmark"),
        ("owo_agents.benchmark", "owo_agents.command"),
    ],
)
def test_a_room_that_must_not_know_another_does_not(room, stranger):
    rooms = [tree for name, tree in FILES.items() if f"{name}.".startswith(f"{room}.")]
    assert rooms
    for tree in rooms:
        assert not [m for m in imported(tree, deep=True) if f"{m}.".startswith(f"{stranger}.")]
