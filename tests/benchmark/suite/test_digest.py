"""Digests: whatever an agent is made of makes another cell when it changes, and nothing else."""

import dataclasses
import enum
import functools
import os
import re
import subprocess
import sys
import threading
import types

import cloudpickle
import numpy as np
import pytest
import torch
from bench_helpers import small
from places import TESTS

import owo_agents
from owo_agents.benchmark.run import backends, runner
from owo_agents.benchmark.run.results import Store
from owo_agents.benchmark.suite.digest import UNKNOWN, source_digest
from owo_agents.benchmark.suite.things import Undigestible, thing_digest
from owo_agents.registry import registry

AGENT = """
import numpy as np, owo_agents
class Mine(owo_agents.Agent):
    def act(self, obs, info):
        return {{"model": self.problem.initial_model + {}, "weights": np.ones(2)}}
"""


def made(source, name="mine"):
    """What a notebook's cells define, without a file."""
    space = {"__name__": "__main__", "np": np, "torch": torch, "functools": functools}
    space |= {"dataclasses": dataclasses, "enum": enum, "re": re}
    exec(source, space)
    return space[name]


def digests(*things):
    return [thing_digest(thing) for thing in things]


CHANGES = {  # what is made of § = 1 and of § = 2, or of what stands behind the bar
    "a constant": "def mine(): return §",
    "a default": "def mine(problem, rate=§): pass",
    "a default by keyword": "def mine(*, rate=§): pass",
    "a call": "def mine(x): return x.§()|mean|sum",
    "what is caught": "def mine():\n try: f()\n except §: pass|ValueError|KeyError",
    "a set": "def mine(x): return x in {'a', '§', 'c', 'd'}",
    "a lambda within": "def mine(): return lambda: §",
    "a closure": "def make(k):\n def agent(): return k\n return agent\nmine = make(§)",
    "a global": "RATE = §\ndef mine(): return RATE",
    "a global list": "RATES = [0, §]\ndef mine(): return RATES",
    "a helper": "def f(): return §\ndef mine(): return f()",
    "a helper's helper": "def g(): return §\ndef f(): return g()\ndef mine(): return f()",
    "a factory's class": "class A:\n x = §\ndef mine(problem): return A()",
    "a base class": "class A:\n def f(self): return §\nclass mine(A): pass",
    "a property": "class mine:\n @property\n def f(self): return §",
    "a class method": "class mine:\n @classmethod\n def f(cls): return §",
    "a cached property": "class mine:\n @functools.cached_property\n def f(self): return §",
    "what is cached": "@functools.lru_cache\ndef mine(): return §",
    "behind a decorator": "@torch.no_grad()\ndef mine(): return §",
    "partial arguments": "mine = functools.partial(max, §)",
    "an array": "X = np.zeros(2000); X[1000] = §\ndef mine(): return X",
    "an array's type": "X = np.zeros(2, §)\ndef mine(): return X|int|float",
    "an array of objects": "X = np.array([§, None])\ndef mine(): return X",
    "a masked array": "X = np.ma.array([0, 0], mask=[0, §])\ndef mine(): return X|0|1",
    "a generator": "R = np.random.default_rng(§)\ndef mine(): return R",
    "a tensor": "X = torch.full((2,), §, dtype=torch.bfloat16)\ndef mine(): return X",
    "a network": (
        "N = torch.nn.Linear(1, 1)\nfor p in N.parameters(): torch.nn.init.constant_(p, §)\n"
        "def mine(): return N"
    ),
    "a data class": (
        "@dataclasses.dataclass\nclass P:\n  a: int = 0\nX = P(§)\ndef mine(): return X"
    ),
    "a data class's default": "@dataclasses.dataclass\nclass mine:\n  a: int = §",
    "a pattern": "P = re.compile('§')\ndef mine(): return P.match",
    "an enumeration": "class E(enum.Enum):\n  A = §\ndef mine(): return E.A",
}


def two(change):
    """The sources before and after a change."""
    source, *values = CHANGES[change].split("|")
    return [source.replace("§", value) for value in values or "12"]


@pytest.mark.parametrize("change", CHANGES)
def test_what_an_agent_is_made_of_changes_its_digest_and_nothing_else_does(change):
    one, other = two(change)
    first, again, second = digests(made(one), made("\n\n" + one), made(other))
    assert first == again != second


@pytest.mark.parametrize("change", sorted(CHANGES.keys() - {"a cached property", "what is cached"}))
def test_what_was_sent_here_has_the_digest_of_what_was_sent(change):
    thing = made(two(change)[0])
    assert thing_digest(cloudpickle.loads(cloudpickle.dumps(thing))) == thing_digest(thing)


def test_digests_are_those_of_any_process_folder_and_hash_seed(tmp_path):
    code = "\n".join(
        [
            "import sys",
            f"sys.path.insert(0, {str(TESTS / 'benchmark' / 'suite')!r})",
            f"sys.path.insert(0, {str(TESTS)!r})",
            "from test_digest import CHANGES, made, digests, two",
            "print(digests(*[made(two(change)[0]) for change in CHANGES]))",
        ]
    )
    expected = digests(*[made(two(change)[0]) for change in CHANGES])
    environment = {**os.environ, "PYTHONHASHSEED": "7"}
    command = [sys.executable, "-c", code]
    there = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True)
    assert there.stdout.strip() == str(expected), there.stderr


def test_pickling_leaves_no_trace():
    cls = made("class mine:\n  a = 1")
    first = thing_digest(cls)
    cls().__reduce_ex__(4)  # Python notes the slots of the class in it
    assert "__slotnames__" in vars(cls)
    assert thing_digest(cls) == first


@pytest.mark.parametrize("held", [threading.Lock(), (x for x in ()), types.ModuleType("m")])
def test_what_cannot_be_told_is_said(held):
    with pytest.raises(Undigestible):
        thing_digest(functools.partial(max, held))


def test_an_import_of_ones_own_within_a_function_cannot_be_told(tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(tmp_path)
    (tmp_path / "helper_of_mine.py").write_text("A = 1\n")
    with pytest.raises(Undigestible, match="helper_of_mine"):
        thing_digest(made("def mine():\n import helper_of_mine"))
    assert thing_digest(made("def mine():\n import numpy"))


def test_what_code_reads_in_a_module_of_ones_own_counts_and_no_more():
    def digest(**content):
        module = types.ModuleType("helper")
        vars(module).update(content, lock=threading.Lock())
        function = made("def mine(): return helper.rate")
        function.__globals__["helper"] = module
        return thing_digest(function)

    assert digest(rate=1, other=1) == digest(rate=1, other=2) != digest(rate=2, other=1)


def test_our_own_need_no_digest():
    for own in (owo_agents.cws, owo_agents.Agent, owo_agents.Learner):
        assert thing_digest(own) is None
    for name, (origin, *_) in registry.entries.items():
        module = origin if isinstance(origin, str) else origin.__module__
        if module.startswith("owo_"):  # other tests register theirs
            assert source_digest(name, registry.entries) is None
    for path in ("owo_agents.rivals.online:Hedge", "nowhere:It", "no name:at all"):
        assert source_digest(path, {}) is None


@pytest.fixture
def notebook(monkeypatch):
    """A registry to write into."""
    monkeypatch.setattr(registry, "entries", dict(registry.entries))


def run(store, agents, backend=backends.serial):
    cells = small(agents=agents, seeds=1, rounds=1).cells()
    outcome = runner.run(cells, store, backend=backend)
    assert not outcome.failures
    (cell,) = cells
    return outcome.done, float(store.load([cell.key])[cell.key].fairness[0])


def test_an_edited_notebook_class_is_played_and_not_taken_from_the_folder(tmp_path, notebook):
    found = []
    for start in (0.0, 0.25, 0.0):
        owo_agents.register("mine", made(AGENT.format(start), "Mine"))
        found.append(run(Store(tmp_path), {"mine": None}))
    (one, a), (two, b), (none, again) = found
    assert (one, two, none) == (1, 1, 0)
    assert a == again != b


def test_a_suite_that_was_read_before_the_edit_is_refused(tmp_path, notebook):
    owo_agents.register("mine", made(AGENT.format(0.0), "Mine"))
    cells = small(agents={"mine": None}).cells()
    runner.run(cells, Store(tmp_path), backend=backends.serial)
    owo_agents.register("mine", made(AGENT.format(0.25), "Mine"))
    with pytest.raises(ValueError, match=r"agent 'mine' .*not those of the suite as it was read"):
        runner.run(cells, Store(tmp_path), backend=backends.serial)
    owo_agents.register("mine", owo_agents.cws)
    with pytest.raises(ValueError, match="agent 'mine'"):
        runner.run(cells, Store(tmp_path), backend=backends.serial)


def test_what_cannot_be_told_is_played_anew_each_time(tmp_path, notebook, caplog):
    lock = threading.Lock()
    owo_agents.register("locked", lambda problem: lock and owo_agents.cws(problem))
    store = Store(tmp_path)
    assert [run(store, {"locked": None})[0] for _ in range(2)] == [1, 1]
    assert "locked: its code cannot be told" in caplog.text
    chosen = small(agents={"locked": None}, seeds=1)
    assert UNKNOWN in chosen.cells()[0].digest
    again = [runner.run(chosen.cells(), store, backend=backends.serial).done for _ in range(2)]
    assert again == [1, 1]


def test_an_agent_that_notes_something_in_a_global_goes_on(tmp_path, notebook):
    source = AGENT.format(0.0) + "\n    def end_round(self, obs, info): LOG.append(1)\nLOG = []"
    owo_agents.register("mine", made(source, "Mine"))
    cells = small(agents={"mine": None}, seeds=3).cells()
    assert runner.run(cells, Store(tmp_path), backend=backends.serial).done == 3


@pytest.mark.parametrize("backend", [backends.serial, backends.process])
def test_an_edited_file_is_played_in_the_same_session(tmp_path, monkeypatch, backend):
    name = f"edited_for_{backend.__name__}"
    monkeypatch.syspath_prepend(tmp_path)
    found = []
    for start in (0.25, 0.75):  # of one length, within a second: a .pyc would be taken for it
        (tmp_path / f"{name}.py").write_text(AGENT.format(start))
        found.append(run(Store(tmp_path / "out"), {"mine": {"agent": f"{name}:Mine"}}, backend))
    (one, a), (two, b) = found
    assert (one, two) == (1, 1)
    assert a != b


def test_a_file_that_is_edited_between_reading_and_playing_is_refused(tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(tmp_path)
    file = tmp_path / "edited_too_late.py"
    file.write_text(AGENT.format(0.25))
    cells = small(agents={"mine": {"agent": "edited_too_late:Mine"}}).cells()
    file.write_text(AGENT.format(0.75))
    with pytest.raises(ValueError, match="not those of the suite"):
        runner.run(cells, Store(tmp_path / "out"), backend=backends.serial)
    ((_, outcome), *_) = backends.serial(cells, 1, lambda *_: None)
    assert "not those of the suite" in outcome


@dataclasses.dataclass
class Plain:
    a: int = 1


class Colour(enum.Enum):
    RED = 1


def test_things_of_a_test_file_have_digests():
    assert len(set(digests(Plain, Plain(), Plain(2), Colour, Colour.RED, torch.float32))) == 6
    assert thing_digest(np.float64(1)) != thing_digest(1.0)
