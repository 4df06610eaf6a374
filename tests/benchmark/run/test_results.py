"""The results folder: what is written comes back, what is none is named and set aside."""

import json
import multiprocessing
import os
import socket
import subprocess
import sys

import numpy as np
import pytest
from bench_helpers import Still, small

from owo_agents.benchmark.run.execution import execute
from owo_agents.benchmark.run.results import Result, Store
from owo_agents.benchmark.suite.cells import Cell
from owo_agents.registry import registry
from owo_env import files
from owo_env.scenarios import make_scenario

CELLS = small().cells()


@pytest.fixture(scope="module")
def result():
    return execute(CELLS[0])


@pytest.fixture
def store(tmp_path):
    return Store(tmp_path / "results")


def test_a_result_comes_back_bit_for_bit(result):
    back = Result.from_json(result.to_json())
    assert back.cell == result.cell
    for (name, ours), (other, theirs) in zip(result.series(), back.series(), strict=True):
        assert name == other
        np.testing.assert_array_equal(ours, theirs, strict=ours.dtype.kind == "f")


def test_a_cell_is_a_pure_function(result):
    again = execute(CELLS[0])
    ours, theirs = (json.loads(r.to_json()) for r in (result, again))
    del ours["seconds"], theirs["seconds"]
    assert ours == theirs


def reporting(report, scenario="sinusoid"):
    """The result of an agent that reports ``report(t)`` as ``mine`` in each round t of 3."""

    class Tells(Still):
        def report(self):
            self.t = getattr(self, "t", 0) + 1
            return {"mine": report(self.t)}

    registry.entries = {**registry.entries, "tells": (Tells, "")}
    return execute(Cell(scenario, "tells", 3, 0, {"num_slots": 2}))


@pytest.fixture
def own_registry(monkeypatch):
    monkeypatch.setattr(registry, "entries", dict(registry.entries))


UNDEFINED = {
    "first": (lambda t: np.nan if t == 1 else 0.5, [np.nan, 0.5, 0.5]),
    "infinite": (lambda t: np.inf if t == 2 else 0.5, [0.5, np.nan, 0.5]),
    "none": (lambda t: None if t == 1 else 3, [np.nan, 3.0, 3.0]),
    "never": (lambda t: np.float32(np.nan), [np.nan] * 3),
    "some": (lambda t: np.array([np.nan, 1.0]), [[np.nan, 1.0]] * 3),
}


@pytest.mark.parametrize("kind", UNDEFINED)
def test_what_an_agent_leaves_undefined_is_kept_as_nan(own_registry, store, kind):
    report, expected = UNDEFINED[kind]
    result = reporting(report)
    store.save(result)
    assert store.tidy([result.cell.key]) == []
    back = store.load([result.cell.key])[result.cell.key]
    np.testing.assert_array_equal(back.extras["mine"], expected)
    assert back.to_json() == result.to_json()


LISTS = {
    "longer": (lambda t: list(range(t)), [[0], [0, 1], [0, 1, 2]]),
    "arrays": (lambda t: np.full(t, np.nan), [[None], [None] * 2, [None] * 3]),
    "a number once": (lambda t: 1.0 if t == 1 else [1.0, 2.0], [1.0, [1.0, 2.0], [1.0, 2.0]]),
}


@pytest.mark.parametrize("kind", LISTS)
def test_lists_of_changing_length_are_kept_as_they_are(own_registry, store, kind):
    report, expected = LISTS[kind]
    result = reporting(report)
    store.save(result)
    assert store.tidy([result.cell.key]) == []
    back = store.load([result.cell.key])[result.cell.key]
    assert back.extras["mine"].tolist() == expected
    assert [record.extras["mine"] for record in back.records()] == expected
    assert back.to_json() == result.to_json()


def test_what_a_scenario_is_measured_by_must_be_finite(result):
    records = list(result.records())
    records[1].extras["validation_loss"] = np.nan
    for record in (records[0], records[2]):
        record.extras["validation_loss"] = 1.0
    problem = make_scenario("sinusoid", num_slots=4).problem
    with pytest.raises(FloatingPointError, match="validation_loss is not finite in round 2"):
        Result.of(CELLS[0], problem, records, {}, 1.0)


def test_saving_and_loading(store, result):
    assert CELLS[0].key not in store
    store.save(result)
    assert CELLS[0].key in store
    (back,) = store.load([CELLS[0].key, CELLS[1].key]).values()
    assert back.cell == CELLS[0]
    assert store.tidy([CELLS[0].key]) == []


def damaged(result):
    text = result.to_json()
    other = json.loads(text)
    other["cell"]["seed"] = 99
    short = json.loads(text)
    short["utilities"] = short["utilities"][:-1]
    return {
        "empty": "",
        "truncated": text[: len(text) // 2],
        "not JSON": "hello",
        "other JSON": "[1, 2]",
        "another cell's": json.dumps(other),
        "too few rounds": json.dumps(short),
        "unknown entries": json.dumps({**json.loads(text), "more": 1}),
        "not text": "\udcff",
    }


@pytest.mark.parametrize(
    "kind",
    [
        "empty",
        "truncated",
        "not JSON",
        "other JSON",
        "another cell's",
        "too few rounds",
        "unknown entries",
        "not text",
    ],
)
def test_damaged_files_are_named_and_set_aside(store, result, kind):
    path = store.folder / "cells" / f"{CELLS[0].key}.json"
    path.write_bytes(damaged(result)[kind].encode("utf-8", "surrogateescape"))
    (line,) = store.tidy([CELLS[0].key])
    assert str(path) in line
    assert "set-aside" in line
    assert CELLS[0].key not in store
    assert len(list((store.folder / "set-aside").iterdir())) == 1
    assert store.load([CELLS[0].key]) == {}


def test_foreign_files_and_folders_are_set_aside_and_kept(store):
    cells = store.folder / "cells"
    (cells / "notes.txt").write_text("mine")
    (cells / "0123.json").write_text("{}")
    (cells / "folder").mkdir()
    assert len(store.tidy([])) == 3
    assert (store.folder / "set-aside" / "notes.txt").read_text() == "mine"
    (cells / "notes.txt").write_text("mine too")
    store.tidy([])
    assert (store.folder / "set-aside" / "notes.txt.2").read_text() == "mine too"


def test_temporary_files_of_the_living_stay(store):
    cells = store.folder / "cells"
    dead = subprocess.run([sys.executable, "-c", "import os; print(os.getpid())"], stdout=-1)
    host = socket.gethostname()
    mine = cells / f".{host}.{os.getpid()}.abc.tmp"
    elsewhere = cells / ".another-host.1.abc.tmp"
    gone = cells / f".{host}.{int(dead.stdout)}.abc.tmp"
    for path in (mine, elsewhere, gone):
        path.write_text("{")
    (line,) = store.tidy([])
    assert gone.name in line
    assert mine.exists()
    assert elsewhere.exists()


def test_a_failed_write_leaves_what_was_there(tmp_path, monkeypatch):
    path = tmp_path / "a.json"
    files.write(path, "old")

    def fail(*_):
        raise OSError("no space left")

    monkeypatch.setattr(os, "fsync", fail)
    with pytest.raises(OSError, match="no space"):
        files.write(path, "new")
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def _write_often(path, text):
    for _ in range(60):
        files.write(path, text)


def test_writers_at_the_same_time_never_mix(tmp_path):
    path = tmp_path / "a.json"
    texts = ["a" * 200_000, "b" * 100_000]
    context = multiprocessing.get_context("fork")
    writers = [context.Process(target=_write_often, args=(path, text)) for text in texts]
    for writer in writers:
        writer.start()
    while any(writer.is_alive() for writer in writers):
        if path.exists():
            assert path.read_text() in texts
    for writer in writers:
        writer.join()
    assert [p.name for p in tmp_path.iterdir()] == ["a.json"]


def test_figures_that_are_not_finite_are_refused(result):
    records = list(result.records())
    object.__setattr__(records[1], "utilities", np.array([np.nan, 1.0]))
    with pytest.raises(FloatingPointError, match=r"agent owo-fmtl: utilities .* round 2"):
        Result.of(result.cell, _problem(), records, {}, 1.0)


def _problem():
    from owo_env import make_scenario

    return make_scenario("sinusoid", num_slots=4).problem


def test_a_folder_that_cannot_be_written(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(OSError, match=r"file/results: cannot be written"):
        Store(tmp_path / "file" / "results")


def test_failures_are_kept_until_the_cell_succeeds(store, result):
    store.save_failure(CELLS[0].key, "it broke")
    assert store.failure(CELLS[0].key) == "it broke"
    store.save(result)
    assert store.failure(CELLS[0].key) is None


@pytest.mark.parametrize("part", ["cells", "failures", "checkpoints", "set-aside"])
def test_a_part_of_the_folder_that_leads_elsewhere_is_refused(tmp_path, part):
    (tmp_path / "out").mkdir()
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "out" / part).symlink_to(tmp_path / "elsewhere")
    with pytest.raises(ValueError, match=f"{part}: leads out of the folder"):
        Store(tmp_path / "out")
    assert list((tmp_path / "elsewhere").iterdir()) == []


def test_results_and_failures_that_are_links_are_not_read(store, tmp_path, result):
    store.save(result)
    path = store.folder / "cells" / f"{CELLS[0].key}.json"
    theirs = path.rename(tmp_path / path.name)
    path.symlink_to(theirs)
    assert len(store.tidy([CELLS[0].key])) == 1
    assert CELLS[0].key not in store and theirs.exists()
    secret = tmp_path / "secret.json"
    secret.write_text('{"error": "secret"}')
    (store.folder / "failures").mkdir(exist_ok=True)
    (store.folder / "failures" / path.name).symlink_to(secret)
    assert store.failure(CELLS[0].key) is None


def test_nothing_is_stored_where_the_folder_was_moved(store, tmp_path, result):
    store.folder.rename(tmp_path / "moved")
    with pytest.raises(FileNotFoundError):
        store.save(result)
    with pytest.raises(FileNotFoundError):
        store.save_failure(CELLS[0].key, "error")
    assert not store.folder.exists()


def test_a_result_that_is_kept_takes_the_place_of_its_checkpoint(store, result):
    store.checkpoints.mkdir()
    mine = [store.checkpoints / (result.cell.key + end) for end in (".safetensors", ".records")]
    other = store.checkpoints / "other.records"
    for file in (*mine, other):
        file.touch()
    store.save(result)
    assert list(store.checkpoints.iterdir()) == [other]
