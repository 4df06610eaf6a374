"""A user's own modules: which files they are, and that they hold what those hold now."""

import importlib
import os
import sys

import pytest

from owo_env import sources
from owo_env.registry import load


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A folder that modules are found in."""
    monkeypatch.syspath_prepend(tmp_path)
    known = set(sys.modules)
    yield tmp_path
    for name in set(sys.modules) - known:
        del sys.modules[name]


def written(folder, **files):
    for name, text in files.items():
        path = folder / f"{name.replace('__in__', '/')}.py"
        path.parent.mkdir(exist_ok=True)
        path.write_text(text)


def test_the_digest_of_a_file_is_that_of_its_content(tmp_path):
    file = tmp_path / "t"
    found = []
    for text in ("a", "b", "a"):  # of one length, in no time
        file.write_text(text)
        found.append(sources.file_digest(file))
    assert found[0] == found[2] != found[1]
    assert sources.file_digest(tmp_path / "nothing") is None


def test_a_file_that_was_just_written_is_read_whatever_its_times_say(tmp_path, monkeypatch):
    file = tmp_path / "t"
    file.write_text("a")
    first, stat = sources.file_digest(file), os.stat(file)
    file.write_text("b")
    monkeypatch.setattr(os, "stat", lambda *_, **__: stat)  # as within one tick of the clock
    assert sources.file_digest(file) != first


def test_a_pyc_of_the_same_second_and_length_is_not_taken_for_the_file(folder, monkeypatch):
    monkeypatch.setattr(sys, "dont_write_bytecode", False)
    for value in (1, 2):
        written(folder, mine_e=f"X = {value}\n")
        os.utime(folder / "mine_e.py", (0, 0))
        sys.modules.pop("mine_e", None)
        assert load("agent", "mine_e:X", object) == value
        sys.modules.pop("mine_e")
        importlib.import_module("mine_e")  # leaves a .pyc


def test_the_digest_of_a_folder_is_that_of_its_files(tmp_path):
    (tmp_path / "part").write_text("a")
    first = sources.file_digest(tmp_path)
    (tmp_path / "part").write_text("b")
    second = sources.file_digest(tmp_path)
    (tmp_path / "part").rename(tmp_path / "other")
    assert len({first, second, sources.file_digest(tmp_path)}) == 3


def test_what_a_module_imports_of_ones_own_belongs_to_it(folder):
    written(
        folder,
        mine_a="import numpy, owo_env, json\nimport helper_a\n",
        helper_a="def f():\n    from pack_a.inner import X\n",
        pack_a__in____init__="",
        pack_a__in__inner="from . import other\nfrom .other import X\n",
        pack_a__in__other="X = 1\n",
        apart_a="",
    )
    wanted = ["helper_a", "mine_a", "pack_a", "pack_a.inner", "pack_a.other"]
    assert list(sources.files_of("mine_a")) == wanted
    assert not set(wanted) & set(sys.modules)  # nothing was imported to know it


@pytest.mark.parametrize("edited", ["mine_b", "pack_b__in____init__", "pack_b__in__rates"])
def test_editing_any_of_its_files_is_seen(folder, edited):
    files = {
        "mine_b": "from pack_b import RATE\nOWN = 1\ndef f(): return RATE, OWN\n",
        "pack_b__in____init__": "from .rates import RATE\nRATE = RATE + 1\n",
        "pack_b__in__rates": "RATE = 1\n",
    }
    written(folder, **files)
    before, digest = load("agent", "mine_b:f", object), sources.module_digest("mine_b")
    assert load("agent", "mine_b:f", object) is before
    files[edited] = files[edited].replace("1", "5")
    written(folder, **files)
    assert sources.module_digest("mine_b") != digest
    after = load("agent", "mine_b:f", object)
    assert after() != before()
    files[edited] = files[edited].replace("5", "1")
    written(folder, **files)
    assert sources.module_digest("mine_b") == digest
    assert load("agent", "mine_b:f", object)() == before()


def test_modules_that_import_each_other_are_all_new(folder):
    text = "import {}\nX = 1\ndef f(): return X, {}.X\n"
    written(folder, left_c=text.format(*["right_c"] * 2), right_c=text.format(*["left_c"] * 2))
    assert load("agent", "left_c:f", object)() == (1, 1)
    written(folder, right_c=text.format(*["left_c"] * 2).replace("1", "2"))
    assert load("agent", "left_c:f", object)() == (1, 2)


def test_a_module_that_its_user_imported_is_looked_at_too(folder):
    written(folder, mine_d="X = 1\n")
    importlib.import_module("mine_d")
    written(folder, mine_d="X = 2\n")
    assert load("agent", "mine_d:X", object) == 2
    importlib.reload(sys.modules["mine_d"])
    written(folder, mine_d="X = 3\n")
    assert load("agent", "mine_d:X", object) == 3


def test_a_library_that_another_environment_links_to_is_not_imported_again(folder, monkeypatch):
    """As uv installs it there; torch cannot be set up twice."""
    monkeypatch.setattr(sources, "_PLACES", (f"{folder.resolve()}/",))
    written(folder, library_f="X = object()\n")
    os.utime(folder / "library_f.py", (0, 0))
    first = importlib.import_module("library_f").X
    os.link(folder / "library_f.py", folder / "elsewhere.py")
    assert load("agent", "library_f:X", object) is first
    os.utime(folder / "library_f.py")  # but one that was replaced is
    assert load("agent", "library_f:X", object) is not first


def test_what_is_installed_is_known_by_its_name():
    for name in ("json", "sys", "numpy", "torch.nn", "owo_env.env"):
        assert sources.foreign(name)
    assert not sources.foreign("bench_helpers")
    assert not sources.foreign("__main__")
