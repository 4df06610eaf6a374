"""The results folder: what is written comes back, what is none is named and set aside."""

import json
import multiprocessing
import os
import socket
import subprocess
import sys

import numpy as np
import pytest
from bench_helpers import small

from owo_agents.benchmark.run.execution import execute
from owo_agents.benchmark.run.results import Result, Store
from owo_env import files

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


def test_a_result_that_is_kept_takes_the_place_of_its_checkpoint(store, result):
    store.checkpoints.mkdir()
    mine = [store.checkpoints / (result.cell.key + end) for end in (".safetensors", ".records")]
    other = store.checkpoints / "other.records"
    for file in (*mine, other):
        file.touch()
    store.save(result)
    assert list(store.checkpoints.iterdir()) == [other]
