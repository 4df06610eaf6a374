"""A server and users that are far from each other: slow lines, and two network namespaces."""

import json
import secrets
import shutil
import subprocess
import time

import numpy as np
import pytest
from remote_helpers import Nursery, Proxy, Server, equal, rounds_of, wait_for

ONE_WAY = 0.03  # seconds
SERVER, USERS = "10.213.7.1", "10.213.7.2"


def test_over_a_slow_line_a_slot_takes_two_round_trips(tmp_path):
    """Slot, what is sent, features, the answer: each crosses once; the bits are the same."""
    with Server(tmp_path, rounds=2, deadline=30) as server:
        far = Proxy(server.address, delay=ONE_WAY)
        server.join(1, 2, address=far.address)
        wait_for(lambda: server.records)
        began = time.monotonic()
        server.finish()
        far.close()
    assert time.monotonic() - began >= (4 * 4 + 3) * ONE_WAY  # and the validation's three
    equal(rounds_of("rainbow-mnist", 2, **server.settings)[0], server.records)


def ip(*words):
    return subprocess.run(["ip", *words], capture_output=True, text=True)


@pytest.fixture
def namespaces():
    """Two of them with a line between; names of both."""
    tag = secrets.token_hex(3)
    names = [f"owo-{tag}-{end}" for end in "ab"]
    if shutil.which("ip") is None or ip("netns", "add", names[0]).returncode:
        pytest.skip("no network namespaces can be made here")
    try:
        ip("netns", "add", names[1])
        ends = [f"v{tag}{end}" for end in "ab"]
        ip("link", "add", ends[0], "type", "veth", "peer", "name", ends[1])
        for name, end, address in zip(names, ends, (SERVER, USERS)):
            ip("link", "set", end, "netns", name)
            ip("-n", name, "addr", "add", f"{address}/24", "dev", end)
            ip("-n", name, "link", "set", "lo", "up")
            if ip("-n", name, "link", "set", end, "up").returncode:
                pytest.skip("no veth line can be made here")
        yield list(zip(names, ends))
    finally:
        for name in names:
            ip("netns", "del", name)


@pytest.mark.slow
@pytest.mark.parametrize("impaired", [False, True])
def test_between_two_namespaces(tmp_path, namespaces, impaired):
    """Off loopback; with ``impaired`` with 20 ms one way and 1 % loss, where the kernel can."""
    (here, _), (there, _) = namespaces
    for name, end in namespaces if impaired else ():
        words = ["tc", "-n", name, "qdisc", "add", "dev", end, "root", "netem"]
        done = subprocess.run([*words, "delay", "20ms", "loss", "1%"], capture_output=True)
        if done.returncode:
            pytest.skip(f"this kernel has no netem: {done.stderr.decode().strip()}")
    address, out = f"{SERVER}:7411", tmp_path / "out"
    settings = ["--set", "num_slots=4", "--set", "batch_size=8", "--seed", 3]
    inside = [["ip", "netns", "exec", name] for name in (here, there)]
    with Nursery(tmp_path, inside[0]) as hosting, Nursery(tmp_path, inside[1]) as joining:
        server = hosting.owo("serve", "--rounds", 3, "--listen", address, "--out", out, *settings)
        tokens = [out / "seats" / f"user-{k}.token" for k in (1, 2)]
        wait_for(lambda: tokens[1].exists(), 60)
        began = time.monotonic()
        users = [
            joining.owo("join", address, "--token-file", token, "--state", f"{k}", log=f"{k}.log")
            for k, token in enumerate(tokens)
        ]
        for pid in (server, *users):
            hosting.ended(pid, 120)
        took = time.monotonic() - began
    (result,) = (json.loads(p.read_text()) for p in (out / "cells").glob("*.json"))
    local, _ = rounds_of("rainbow-mnist", 3, num_slots=4, batch_size=8)
    assert np.array_equal(result["utilities"], [r.utilities for r in local])
    if impaired:
        trips = 3 * (4 * 2 + 2)  # round trips of 40 ms
        assert trips * 0.04 <= took <= trips * 0.04 * 5 + 20
