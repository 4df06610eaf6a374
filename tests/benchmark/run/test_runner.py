"""Running suites: the same bits everywhere, whatever is killed, and failures reported."""

import contextlib
import multiprocessing
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np
import pytest
from bench_helpers import contents, small
from places import REPOSITORY, TESTS

import owo_agents
import owo_env
from owo_agents.benchmark.run import backends, runner
from owo_agents.benchmark.run.callbacks import Callback
from owo_agents.benchmark.run.results import Store
from owo_agents.registry import registry
from owo_env.scenarios import make_scenario, traces
from owo_env.scenarios import registry as scenarios


@pytest.fixture(autouse=True)
def helpers_for_workers(monkeypatch):
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(map(str, (REPOSITORY, TESTS))))


@pytest.fixture(scope="module")
def serial(tmp_path_factory):
    """What an uninterrupted run in this process gives."""
    store = Store(tmp_path_factory.mktemp("serial"))
    outcome = runner.run(small().cells(), store, backend=backends.serial)
    assert (outcome.done, outcome.skipped, outcome.failures) == (4, 0, ())
    return contents(store)


def test_two_processes_give_the_same_bits(tmp_path, serial):
    store = Store(tmp_path)
    outcome = runner.run(small().cells(), store, backend=backends.process, jobs=2)
    assert outcome.done == 4
    assert contents(store) == serial


def test_what_is_done_is_skipped(tmp_path):
    store = Store(tmp_path)
    cells = small().cells()
    runner.run(cells[:3], store, backend=backends.serial)
    times = {path: path.stat().st_mtime_ns for path in tmp_path.glob("cells/*")}
    outcome = runner.run(cells, store, backend=backends.serial)
    assert (outcome.done, outcome.skipped) == (1, 3)
    assert all(path.stat().st_mtime_ns == times[path] for path in times)
    assert runner.run(cells, store, backend=backends.serial, force=True).done == 4


class Looks(Callback):
    """Notes what is there of a cell when the run begins."""

    def __init__(self, *paths):
        self.paths, self.found = paths, []

    def on_start(self, cells):
        self.found = [path.exists() for path in self.paths]


def test_force_means_anew(tmp_path):
    store = Store(tmp_path)
    (cell, *_) = small().cells()
    runner.run([cell], store, backend=backends.serial)
    stands = store.checkpoints / f"{cell.key}.safetensors"
    stands.parent.mkdir(exist_ok=True)
    stands.write_bytes(b"where the former code stood")
    looks = Looks(tmp_path / "cells" / f"{cell.key}.json", stands)
    runner.run([cell], store, backend=backends.serial, callbacks=[looks])
    assert looks.found == [True, True]
    runner.run([cell], store, backend=backends.serial, force=True, callbacks=[looks])
    assert looks.found == [False, False]
    assert cell.key in store


class Finds(owo_agents.Agent):
    """Starts where the file ``start`` of the present folder says."""

    def act(self, obs, info):
        start = float(Path("start").read_text())
        return {"model": self.problem.initial_model + start, "weights": np.ones(2)}


def test_workers_are_in_the_folder_of_who_sends_them(tmp_path, monkeypatch):
    found = []
    for name, start in (("a", "0.0"), ("b", "0.25")):
        (tmp_path / name).mkdir()
        monkeypatch.chdir(tmp_path / name)
        Path("start").write_text(start)
        agents = {"mine": {"agent": "test_runner:Finds"}}
        (cell,) = small(agents=agents, seeds=1).cells()
        store = Store(tmp_path / name / "out")
        assert runner.run([cell], store, backend=backends.process).done == 1
        found.append(float(store.load([cell.key])[cell.key].fairness[0]))
    assert found[0] != found[1]


def test_seeds_may_be_of_any_length(tmp_path):
    seeds = [0x9E3779B97F4A7C15F39CC0605CEDC834, 2**64]
    deep = {"scenario": "rainbow-mnist", "settings": {"heads": "reset"}, "seeded": ["model_seed"]}
    chosen = small(
        seeds=seeds,
        rounds=1,
        settings={"num_slots": 2},
        agents={"owo-fmtl": None},
        experiments={"deep": deep, "convex": {"scenario": "sinusoid"}},
    )
    store = Store(tmp_path)
    outcome = runner.run(chosen.cells(), store, backend=backends.serial)
    assert (outcome.done, outcome.failures) == (4, ())
    results = store.load(cell.key for cell in chosen.cells()).values()
    assert len({float(result.fairness[0]) for result in results}) == 4


FAILING = {"agents": {"bad": {"agent": "bench_helpers:BlowsUp"}, "owo-fmtl": None}}


@pytest.mark.parametrize("backend", [backends.serial, backends.process])
def test_an_agent_that_blows_up_ends_its_own_runs_only(tmp_path, backend):
    store = Store(tmp_path)
    cells = small(**FAILING).cells()
    outcome = runner.run(cells, store, backend=backend, jobs=2)
    assert outcome.done == 2
    assert [cell.agent for cell, _ in outcome.failures] == ["bench_helpers:BlowsUp"] * 2
    for cell, error in outcome.failures:
        assert "agent BlowsUp: round 2, slot 2" in error
        assert "not finite" in error
        assert store.failure(cell.key) == error
        assert cell.key not in store
    assert runner.run(cells, store, backend=backend, jobs=2).skipped == 2  # failures run again


@pytest.mark.slow
def test_a_worker_killed_alone_loses_nothing(tmp_path, serial):
    agents = {"killer": {"agent": "bench_helpers:KillsItsWorkerOnce", "flag": str(tmp_path / "x")}}
    store = Store(tmp_path / "results")
    cells = [*small(agents=agents).cells(), *small().cells()]
    outcome = runner.run(cells, store, backend=backends.process, jobs=2)
    assert (tmp_path / "x").exists(), "nobody was killed"
    assert outcome.done == len(cells)
    found = contents(store)
    assert {key: found[key] for key in serial} == serial


@pytest.mark.slow
def test_a_cell_that_always_kills_its_worker_is_given_up(tmp_path):
    agents = {"killer": {"agent": "bench_helpers:AlwaysKills"}, "owo-fmtl": None}
    cells = small(agents=agents, seeds=1).cells()
    outcome = runner.run(cells, Store(tmp_path), backend=backends.process, jobs=1)
    assert {cell.agent for cell, _ in outcome.failures} == {"bench_helpers:AlwaysKills"}
    assert all("died twice" in error for _, error in outcome.failures)
    assert outcome.done == 1


def _hears(*deaf):
    """As a shell in the foreground starts a command, except for the signals it is ``deaf`` to.

    Shells start background jobs, and so perhaps these tests, deaf to Ctrl-C; nohup to a hang-up.
    """
    signal.signal(signal.SIGINT, signal.default_int_handler)
    for number in (signal.SIGHUP, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN if number in deaf else signal.SIG_DFL)


def _bench(folder, *options, deaf=()):
    command = "import sys; from owo_agents.command.main import main; main()"
    return subprocess.Popen(
        [sys.executable, "-c", command, "bench", str(folder / "kill.yaml"), *options]
        + ["--out", str(folder / "results")],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
        preexec_fn=lambda: _hears(*deaf),
    )


KILL = """\
summary: cells of two thirds of a second
rounds: 400
seeds: 6
agents: {owo-fmtl: {target: last}, equal: {agent: cws, target: last}}
experiments: {it: {scenario: sinusoid, settings: {num_slots: 16}}}
"""


def _wait_for(condition, process):
    patience = time.monotonic() + 300  # a busy machine takes long to import torch
    while not condition():
        assert process.poll() is None, f"ended by itself with {process.poll()}"
        assert time.monotonic() < patience, "waited in vain"
        time.sleep(0.05)


@pytest.mark.slow
@pytest.mark.parametrize("backend", ["serial", "process"])
def test_kill_9_and_again_gives_the_same_bits(tmp_path, backend):
    (tmp_path / "kill.yaml").write_text(KILL)
    cells = tmp_path / "results" / "cells"
    first = _bench(tmp_path, "--backend", backend, "--jobs", "2")
    _wait_for(lambda: cells.exists() and len(list(cells.glob("*.json"))) >= 2, first)
    os.killpg(first.pid, signal.SIGKILL)
    first.wait()
    done = contents(Store(tmp_path / "results"))
    assert 2 <= len(done) < 12, "killed too late to show anything"
    assert _bench(tmp_path, "--backend", backend, "--jobs", "2").wait() == 0
    from owo_agents.benchmark.suite import reader as suite

    whole = Store(tmp_path / "whole")
    runner.run(suite.load(tmp_path / "kill.yaml").cells(), whole, backend=backends.serial)
    assert contents(Store(tmp_path / "results")) == contents(whole)


@pytest.mark.slow
def test_ctrl_c_keeps_what_is_done(tmp_path):
    (tmp_path / "kill.yaml").write_text(KILL)
    cells = tmp_path / "results" / "cells"
    process = _bench(tmp_path, "--jobs", "2")
    _wait_for(lambda: cells.exists() and len(list(cells.glob("*.json"))) >= 2, process)
    os.killpg(process.pid, signal.SIGINT)  # as a terminal does
    assert process.wait(timeout=300) == 130
    assert len(contents(Store(tmp_path / "results"))) >= 2
    assert (tmp_path / "results" / "report.html").exists()


DAWDLING = """\
summary: a cell that takes an hour
rounds: 1
seeds: 3
agents: {{slow: {{agent: "bench_helpers:Dawdles", flag: {flag}}}}}
experiments: {{it: {{scenario: sinusoid, settings: {{num_slots: 2}}}}}}
"""


@pytest.mark.slow
def test_ctrl_c_does_not_wait_for_the_cells_that_run(tmp_path):
    (tmp_path / "kill.yaml").write_text(DAWDLING.format(flag=tmp_path / "begun"))
    process = _bench(tmp_path, "--jobs", "2", "--trust")
    _wait_for((tmp_path / "begun").exists, process)
    os.killpg(process.pid, signal.SIGINT)
    try:
        assert process.wait(timeout=300) == 130
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)


@pytest.mark.slow
def test_two_benches_on_one_folder_do_no_harm(tmp_path):
    (tmp_path / "kill.yaml").write_text(KILL)
    both = [_bench(tmp_path, "--backend", "serial", "--rounds", "40") for _ in range(2)]
    assert [process.wait() for process in both] == [0, 0]
    assert len(contents(Store(tmp_path / "results"))) == 12
    assert not (tmp_path / "results" / "set-aside").exists()
    assert not list((tmp_path / "results").rglob("*.tmp"))


class Heard(Callback):
    """Notes what it hears."""

    def __init__(self):
        self.rounds, self.results, self.failures, self.cells, self.ended = [], [], [], [], 0

    def on_start(self, cells):
        self.cells = list(cells)

    def on_round(self, cell, record):
        self.rounds.append((cell.key, record.round, float(record.fairness)))

    def on_result(self, cell, result):
        self.results.append(cell.key)

    def on_failure(self, cell, error):
        self.failures.append(cell.key)

    def on_end(self):
        self.ended += 1


def test_callbacks_hear_the_same_from_every_backend(tmp_path):
    heard = []
    for backend in (backends.serial, backends.process):
        heard.append(Heard())
        cells = small(**FAILING).cells()
        store = Store(tmp_path / backend.__name__)
        runner.run(cells, store, backend=backend, jobs=2, callbacks=[heard[-1]])
    here, there = heard
    assert here.cells == there.cells
    done = set(here.results)
    assert done == set(there.results)
    assert len(done) == 2
    assert set(here.failures) == set(there.failures)
    of_done = sorted(r for r in here.rounds if r[0] in done)
    assert of_done == sorted(there.rounds)
    assert here.ended == there.ended == 1


def test_tensorboard_gets_every_round(tmp_path):
    pytest.importorskip("tensorboard")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    from owo_agents.benchmark.run.tensorboard import TensorBoard

    store = Store(tmp_path / "results")
    sink = TensorBoard(tmp_path / "events")
    (cell, *_) = small().cells()
    runner.run([cell], store, backend=backends.serial, callbacks=[sink])
    (run,) = {path.parent for path in (tmp_path / "events").rglob("events*")}
    events = EventAccumulator(str(run))
    events.Reload()
    (result,) = store.load([cell.key]).values()
    written = [event.value for event in events.Scalars("fairness")]
    assert written == pytest.approx(result.fairness.tolist())
    assert [e.value for e in events.Scalars("utility/user 2")] == pytest.approx(
        result.utilities[:, 1].tolist()
    )


@pytest.fixture
def ray_backend():
    ray = pytest.importorskip("ray")
    yield backends.ray()
    ray.shutdown()


@pytest.mark.cluster
@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")  # Ray's own sockets and deprecations
def test_ray_gives_the_same_bits_even_if_a_worker_is_killed(tmp_path, serial, ray_backend):
    agents = {"killer": {"agent": "bench_helpers:KillsItsWorkerOnce", "flag": str(tmp_path / "x")}}
    killers = small(agents=agents).cells()
    cells = [*killers, *small().cells()]
    store = Store(tmp_path / "results")
    outcome = runner.run(cells, store, backend=ray_backend, jobs=2)
    assert (tmp_path / "x").exists(), "nobody was killed"
    assert outcome.failures == ()
    found = contents(store)
    assert {key: found[key] for key in serial} == serial
    again = Store(tmp_path / "again")
    runner.run(killers, again, backend=backends.serial)  # the flag is there: it kills no more
    assert {cell.key: found[cell.key] for cell in killers} == contents(again)


def test_what_an_agent_reports_and_nobody_can_keep_fails_its_own_runs_only(tmp_path):
    agents = {"odd": {"agent": "bench_helpers:ReportsAnObject"}, "owo-fmtl": None}
    store = Store(tmp_path)
    outcome = runner.run(small(agents=agents).cells(), store, backend=backends.serial)
    assert outcome.done == 2
    for cell, error in outcome.failures:
        assert "what it reported cannot be kept" in error and store.failure(cell.key) == error


def test_more_rounds_than_a_trace_has_are_refused_before_any_work(tmp_path):
    traces.write(make_scenario("sinusoid", num_slots=2), tmp_path / "t.npz", rounds=3, seed=0)
    experiments = {"t": {"scenario": "recorded", "settings": {"trace": str(tmp_path / "t.npz")}}}
    runner.validate(small(experiments=experiments))
    with pytest.raises(ValueError, match=r"t\.settings: rounds=4: the scenario has only 3"):
        runner.validate(small(experiments=experiments, rounds=4))


def test_workers_know_what_was_registered_here(tmp_path, monkeypatch):
    from bench_helpers import Still

    monkeypatch.setattr(registry, "entries", dict(registry.entries))
    monkeypatch.setattr(scenarios, "entries", dict(scenarios.entries))

    class Mine(Still):
        """Of no module that a worker could import by name."""

    owo_agents.register("mine", Mine)
    owo_env.register_scenario("waves", "owo_env.scenarios.sinusoid:Sinusoid")
    owo_env.register_scenario("other", "bench_helpers:Waves")
    for scenario in ("waves", "other", "bench_helpers:Waves"):
        experiments = {"short": {"scenario": scenario, "settings": {"num_slots": 4}}}
        chosen = small(agents={"mine": None}, experiments=experiments)
        runner.validate(chosen)
        store = Store(tmp_path / scenario)
        assert runner.run(chosen.cells(), store, backend=backends.process, jobs=1).done == 2


def test_backends_are_named():
    with pytest.raises(ValueError, match="did you mean 'serial'"):
        runner.choose("seril")
    with pytest.raises(ValueError, match="only for backend 'ray'"):
        runner.choose("process", "auto")


def test_what_cannot_be_sent_to_a_worker_stops_nobody_else(tmp_path, monkeypatch):
    monkeypatch.setattr(registry, "entries", dict(registry.entries))
    lock = threading.Lock()
    owo_agents.register("locked", lambda problem: lock and owo_agents.cws(problem))
    store = Store(tmp_path)
    agents = {"cws": None, "locked": None}
    outcome = runner.run(small(agents=agents).cells(), store, backend=backends.process, jobs=2)
    assert outcome.done == 2
    assert {cell.agent for cell, _ in outcome.failures} == {"locked"}
    assert all("cannot be sent to another process" in error for _, error in outcome.failures)


@pytest.mark.slow
@pytest.mark.parametrize("end", [signal.SIGHUP, signal.SIGKILL])
def test_no_worker_outlives_the_one_that_stores(tmp_path, end):
    """A terminal that is closed, or a parent killed alone."""
    (tmp_path / "kill.yaml").write_text(DAWDLING.format(flag=tmp_path / "begun"))
    process = _bench(tmp_path, "--jobs", "2", "--trust")
    try:
        _wait_for((tmp_path / "begun").exists, process)
        process.send_signal(end)
        assert process.wait(timeout=60) == {signal.SIGHUP: 130, signal.SIGKILL: -9}[end]
        patience = time.monotonic() + 30
        with pytest.raises(ProcessLookupError):  # once nobody of its session is left
            while time.monotonic() < patience:
                os.killpg(process.pid, 0)
                time.sleep(0.1)
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)


@pytest.mark.slow
def test_nohup_is_respected(tmp_path):
    (tmp_path / "kill.yaml").write_text(DAWDLING.format(flag=tmp_path / "begun"))
    process = _bench(tmp_path, "--backend", "serial", "--trust", deaf=(signal.SIGHUP,))
    _wait_for((tmp_path / "begun").exists, process)
    process.send_signal(signal.SIGHUP)
    time.sleep(1)
    assert process.poll() is None
    process.send_signal(signal.SIGTERM)
    assert process.wait(timeout=60) == 130


def test_where_no_worker_can_start_is_said_before_any_work(tmp_path, monkeypatch):
    cells, heard = small().cells(), Heard()
    monkeypatch.setitem(multiprocessing.current_process()._config, "daemon", True)
    with pytest.raises(ValueError, match="a daemonic process starts no workers; use 'serial'"):
        runner.run(cells, Store(tmp_path), backend=backends.process, callbacks=[heard])
    assert (heard.cells, heard.ended) == ([], 0)
    monkeypatch.undo()
    (tmp_path / "gone").mkdir()
    monkeypatch.chdir(tmp_path / "gone")
    (tmp_path / "gone").rmdir()
    with pytest.raises(ValueError, match="the working folder is gone"):
        runner.run(cells, Store(tmp_path), backend=backends.process)


def test_whatever_ends_a_run_ends_its_workers(tmp_path):
    """Here a callback that fails, as a disk does that is full."""
    closed = []

    def backend(cells, jobs, on_round, checkpoints):
        try:
            yield from backends.serial(cells, jobs, on_round, checkpoints)
        finally:
            closed.append(True)

    class Full(Callback):
        def on_result(self, cell, result):
            raise OSError(28, "No space left on device")

    with pytest.raises(OSError) as kept:
        runner.run(small().cells(), Store(tmp_path), backend=backend, callbacks=[Full()])
    assert closed and kept  # though the error still holds the frames


@pytest.mark.cluster
@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")  # Ray's own sockets and deprecations
def test_a_ray_that_runs_already_is_used_and_left_running(tmp_path, serial):
    ray = pytest.importorskip("ray")
    ray.init(num_cpus=1, include_dashboard=False, logging_level=40)
    try:
        mine = ray.put("mine")
        for address in (None, "auto"):
            store = Store(tmp_path / str(address))
            backend = backends.ray(address)
            assert runner.run(small().cells(), store, backend=backend, jobs=2).done == 4
            assert contents(store) == serial
            assert ray.is_initialized() and ray.get(mine) == "mine"
    finally:
        ray.shutdown()


@pytest.mark.skipif(not hasattr(signal, "pthread_sigmask"), reason="Windows has no such masks")
def test_a_worker_hears_nothing_of_ctrl_c_from_its_first_moment():
    """A terminal sends it to all; a worker that is just starting would print joblib's traceback."""
    pool = backends._pool(1, ("ctrl-c",))
    with backends._unheard():
        masked = pool.submit(signal.pthread_sigmask, signal.SIG_BLOCK, ())
    assert signal.SIGINT in masked.result()
    assert signal.SIGINT not in signal.pthread_sigmask(signal.SIG_BLOCK, ())
    pool.shutdown(wait=True, kill_workers=True)
