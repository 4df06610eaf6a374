"""What users as processes cost: slots over loopback with TLS and in one process, side by side.

Users share the machine's cores with the server. Run it where nothing else runs.
"""

import contextlib
import functools
import os
import subprocess
import sys
import time
from statistics import median

import gymnasium as gym
import numpy as np
import pytest
from interleaved import ratio, seconds

import owo_env
from owo_env.remote import credentials
from owo_env.remote.serving import served

pytestmark = pytest.mark.benchmark

ID, SLOTS, ROUNDS = "AIRAN-FairMTL-v0", 31, 10
CASES = [(2, "label", 1.6), (2, "u", 1.3), (8, "label", 1.8), (8, "u", 1.8)]


def rounds_of(env):
    """A function that plays a round with constant actions."""
    problem = env.unwrapped.problem
    action = {"model": problem.initial_model, "weights": np.ones(problem.num_users)}
    seeds = iter([0])

    def play():
        env.reset(seed=next(seeds, None))
        for _ in range(problem.num_slots):
            env.step(action)

    return play


@contextlib.contextmanager
def users_of(made, address, folder):
    """Processes of users, by ``owo join``."""
    with contextlib.ExitStack() as running:
        found = []
        for token in made.tokens:
            file = folder / f"{token.user}.token"
            file.write_text(token.line)
            state = folder / f"{token.user}.safetensors"
            code = (
                "import sys; from owo_agents.command.main import main; sys.argv[0] = 'owo'; main()"
            )
            words = ["join", address, "--token-file", str(file), "--state", str(state)]
            process = subprocess.Popen(
                [sys.executable, "-c", code, *words], stdout=subprocess.DEVNULL
            )
            running.callback(process.wait)
            running.callback(process.terminate)
            found.append(process.pid)
        yield found


def cpu(pid, thread=None):
    """CPU seconds of a process, or of one of its threads."""
    tasks = os.listdir(f"/proc/{pid}/task") if thread is None else [thread]
    total = 0
    for task in tasks:
        with open(f"/proc/{pid}/task/{task}/schedstat") as file:
            total += int(file.read().split()[0])
    return 1e-9 * total


def spent(pids):
    """CPU seconds: of the server's work, of users' work, and of all threads that only carry."""
    own, users = time.thread_time(), sum(cpu(pid, pid) for pid in pids)
    return np.array([own, users, time.process_time() + sum(map(cpu, pids)) - own - users])


def memory(pid):
    """MB that a process has resident, and how many are its own: no pages of files."""
    with open(f"/proc/{pid}/status") as file:
        words = [line.split() for line in file]
    found = {word[0]: int(word[1]) / 1000 for word in words if word[0].startswith(("VmR", "RssA"))}
    return found["VmRSS:"], found["RssAnon:"]


@pytest.mark.xfail(reason="on two idle cores: 1.6 to 1.7, 1.9, 2.0 and 1.8 (November 2026)")
@pytest.mark.skipif(
    not os.path.exists("/proc/self/schedstat"), reason="CPU times are read from /proc"
)
@pytest.mark.parametrize(("users", "split", "most"), CASES)
def test_a_slot_over_loopback(users, split, most, tmp_path):
    settings = dict(num_users=users, split=split, num_slots=SLOTS)
    made, began = credentials.made(users), time.perf_counter()
    joined = {}

    def tell(text):
        joined.setdefault(text, time.perf_counter() - began)

    scenario = owo_env.make_scenario("rainbow-mnist", **settings)
    with served(
        scenario, made, "127.0.0.1:0", run="speed", deadline=60.0, settings=settings, tell=tell
    ) as remote:
        began = time.perf_counter()
        with users_of(made, remote.address, tmp_path) as pids:
            played = {
                "local": rounds_of(gym.make(ID, scenario="rainbow-mnist", **settings)),
                "remote": rounds_of(gym.make(ID, scenario=remote)),
            }
            went = {"local": [], "remote": []}

            def counted(name):
                before = spent(pids)
                played[name]()
                went[name].append(1e3 * (spent(pids) - before) / SLOTS)

            times = seconds({name: functools.partial(counted, name) for name in played}, ROUNDS)
            resident, anonymous = max(map(memory, pids))
            remote.over = "over"
    slot = {name: 1e3 * median(values) / SLOTS for name, values in times.items()}
    server, theirs, wire = np.median(went["remote"][1:], axis=0)
    found = ratio(times["remote"], times["local"])
    there = max(when for text, when in joined.items() if "is there" in text)
    print(
        f"\nK={users} split={split}: {slot['remote']:.1f} ms a slot, {slot['local']:.1f} in one "
        f"process: {found:.2f} × (at most {most}); CPU {server:.1f} ms of the server, "
        f"{theirs:.1f} of all users, {wire:.1f} of threads that carry; the server waits "
        f"{slot['remote'] - server:.1f} ms; a user has {resident:.0f} MB, {anonymous:.0f} of its "
        f"own; all had joined after {there:.1f} s"
    )
    assert found <= most
