"""Two worker processes against one, on many short cells: start-up included, report left out."""

import subprocess
import sys
import time

import pytest

SUITE = """\
summary: 128 cells of 0.2 s or more
rounds: 256
seeds: 64
agents: {owo-fmtl: {target: last}, cws: {target: last}}
experiments: {it: {scenario: sinusoid, settings: {num_slots: 32}}}
"""

CODE = """\
import sys
from pathlib import Path
from owo_agents.benchmark import runner, suite
from owo_agents.benchmark.results import Store
chosen, store = suite.load(sys.argv[1]), Store(Path(sys.argv[2]))
runner.validate(chosen)
assert runner.run(chosen.cells(), store, jobs=int(sys.argv[3])).done == 128
"""


def _seconds(suite, out, jobs):
    command = [sys.executable, "-c", CODE, suite, out, jobs]
    started = time.perf_counter()
    subprocess.run(list(map(str, command)), check=True, stdout=subprocess.DEVNULL)
    return time.perf_counter() - started


@pytest.mark.benchmark
def test_two_processes_are_at_least_1_6_times_one(tmp_path):
    suite = tmp_path / "many.yaml"
    suite.write_text(SUITE)
    one = _seconds(suite, tmp_path / "one", 1)
    two = _seconds(suite, tmp_path / "two", 2)
    print(f"\n128 cells: one process {one:.1f} s, two {two:.1f} s, ratio {one / two:.2f}")
    assert one / two >= 1.6
