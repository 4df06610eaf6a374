"""Two worker processes against one: `owo bench` as a whole, on many short cells."""

import subprocess
import sys
import time
from pathlib import Path

import pytest

SUITE = """\
summary: 128 cells of 0.2 s or more
rounds: 256
seeds: 64
agents: {owo-fmtl: {target: last}, cws: {target: last}}
experiments: {it: {scenario: sinusoid, settings: {num_slots: 32}}}
"""


def _seconds(suite, out, jobs):
    owo = Path(sys.executable).with_name("owo")
    command = [owo, "bench", suite, "--out", out, "--jobs", jobs]
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
