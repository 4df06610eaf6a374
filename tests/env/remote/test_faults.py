"""Whatever dies, stops or breaks: nobody else notices, no step is lost and none learned twice."""

import json
import os
import random
import signal
import time

import numpy as np
import pytest
import torch
from remote_helpers import Nursery, Proxy, Server, equal, free_port, rounds_of, wait_for

from owo_env.remote import RemoteError
from owo_env.remote.join import join_shipped
from owo_env.remote.keeping import Disk, Kept


@pytest.fixture(scope="module")
def nursery(tmp_path_factory):
    with Nursery(tmp_path_factory.mktemp("nursery")) as one:
        yield one


def user(nursery, server, number, name, address=None, **options):
    """A user in a process of its own; its pid."""
    token = server.folder / f"{number}.token"
    token.write_text(server.token(number).line)
    words = ["join", address or server.address, "--user", number, "--token-file", token]
    state = server.folder / f"user-{number}.safetensors"
    return nursery.owo(*words, "--state", state, log=str(server.folder / name), **options)


MOMENTS = {
    "u": [
        (1, 0, "opening before"), (1, 0, "opening after"),
        (1, 1, "answer before"), (1, 2, "answer after"),
        (1, 3, "all before"), (2, 1, "all after"),
        (2, 2, "answer half"), (2, 3, "answer half"), (2, 3, "all half"),
        (2, 4, "all before"), (3, 4, "opening before"), (3, 4, "opening after"),
    ],
    "label": [
        (1, 1, "all before"), (1, 1, "all half"), (1, 2, "all after"),
        (2, 4, "opening after"), (2, 3, "all half"), (3, 4, "all after"),
    ],
}  # fmt: skip


@pytest.mark.slow
@pytest.mark.parametrize("split", MOMENTS)
def test_a_user_that_is_killed_at_any_moment_loses_no_step(tmp_path, nursery, split):
    """kill -9 before, amid and after each thing that it keeps; the same command goes on."""
    with Server(tmp_path, rounds=4, deadline=60, split=split) as server:
        server.join(1)
        for n, moment in enumerate(MOMENTS[split]):
            pid = user(nursery, server, 2, f"{n}.log", die=moment)
            nursery.ended(pid)
        pid = user(nursery, server, 2, "last.log")
        server.finish()
        nursery.ended(pid)
    local, stream = rounds_of("rainbow-mnist", 4, **server.settings)
    equal(local, server.records)
    assert not server.errors
    kept = Disk(tmp_path / "user-2.safetensors").read()
    assert (kept.round, kept.slot, kept.pending) == (4, 4, False)
    heads, fronts = stream.users.exported()
    assert np.array_equal(kept.parts["head.weight"][0], heads[1].weight.detach().numpy())
    for front in fronts[1:]:
        assert np.array_equal(kept.parts["front.0.weight"], front[0].weight.detach().numpy())
    assert not list(tmp_path.glob(".*"))  # steps, half-written files


@pytest.mark.slow
def test_a_user_that_is_killed_in_the_middle_of_a_message(tmp_path, nursery):
    """kill -9 with half of what it says on the way: jobs, and answers to features."""
    with Server(tmp_path, rounds=3, split="u", deadline=60) as server:
        pids = []
        proxy = Proxy(
            server.address, cuts=[30_000, 90_000, 130_000], cut=lambda: os.kill(pids[-1], 9)
        )
        server.join(1)
        for n in range(4):
            pids.append(user(nursery, server, 2, f"{n}.log", address=proxy.address))
            if n < 3:
                nursery.ended(pids[-1])
        server.finish()
        nursery.ended(pids[-1])
        proxy.close()
    assert proxy.broken == 3
    equal(rounds_of("rainbow-mnist", 3, **server.settings)[0], server.records)


def test_a_line_that_breaks_in_the_middle_of_a_message(tmp_path):
    """The user comes back by itself within the deadline, and nothing is lost."""
    with Server(tmp_path, rounds=2, split="u", deadline=60) as server:
        proxy = Proxy(server.address, cuts=[40_000, 90_000, 130_000])
        server.join(1)
        server.join(2, address=proxy.address)
        server.finish()
        proxy.close()
    assert proxy.broken == 3
    equal(rounds_of("rainbow-mnist", 2, **server.settings)[0], server.records)


@pytest.mark.slow
def test_a_user_that_stands_still_is_unheard_then_away_then_there_again(tmp_path, nursery):
    """SIGSTOP for longer than the deadline, then SIGCONT."""
    with Server(tmp_path, rounds=5, deadline=3.0) as server:
        slow = Proxy(server.address, delay=0.02)  # so that there is time
        server.join(1, address=slow.address)
        pid = user(nursery, server, 2, "log")
        wait_for(lambda: server.records, 60)
        os.kill(pid, signal.SIGSTOP)
        server.until("user 2 is silent")
        time.sleep(0.5)
        os.kill(pid, signal.SIGCONT)
        server.finish()
        nursery.ended(pid)
        slow.close()
    active = np.array([r.extras["active_slots"] for r in server.records])
    heard = np.array([r.extras["heard_slots"] for r in server.records])
    assert (active[:, 0] == 4).all() and (heard[:, 0] == 4).all()
    assert (active - heard)[:, 1].sum() <= 1  # one deadline was missed, of a slot or a round
    assert 0 < heard[:, 1].sum() < 19 and heard[-1, 1] == 4  # away meanwhile, there at the end
    kept = Disk(tmp_path / "user-2.safetensors").read()
    assert (kept.round, kept.slot) == (5, 4)


@pytest.mark.slow
def test_who_leaves_is_away_and_takes_its_seat_again(tmp_path, nursery):
    """Ctrl-C says what is kept; F is over those who were there."""
    with Server(tmp_path, rounds=12, deadline=20.0) as server:
        slow = Proxy(server.address, delay=0.02)
        server.join(1, address=slow.address)
        pid = user(nursery, server, 2, "first.log")
        wait_for(lambda: server.records, 60)
        os.kill(pid, signal.SIGINT)
        nursery.ended(pid)
        played = len(server.records)
        wait_for(lambda: len(server.records) > played + 1, 30)
        pid = user(nursery, server, 2, "second.log")
        server.finish()
        nursery.ended(pid)
        slow.close()
    said = (tmp_path / "first.log").read_text()
    assert "interrupted: head and front are kept in" in said and "Traceback" not in said
    active = [r.extras["active_slots"][1] for r in server.records]
    assert active[0] == 4 and 0 in active and active[-1] == 4
    away = server.records[active.index(0)]
    assert away.utilities[1] == 3.3  # as of users without jobs everywhere
    assert away.extras["validated"].tolist() == [1, 0]
    assert np.isnan(away.extras["validation_loss"]).tolist() == [False, True]
    assert sum(r.extras["began_again"].sum() for r in server.records) == 0


def test_a_state_that_is_older_or_of_another_run_is_refused_and_may_begin_again(tmp_path):
    """By its user, both named; the record says so."""
    with Server(tmp_path, rounds=1) as server:
        server.join(1, 2)
        server.finish()
    old = (tmp_path / "user-2.safetensors").read_bytes()
    with Server(tmp_path, rounds=25, run="another") as server:
        slow = Proxy(server.address, delay=0.01)
        with pytest.raises(RemoteError, match="round 1, slot 4 of run a-run, and this is run anot"):
            again(server, 2)
        (tmp_path / "user-1.safetensors").unlink()
        (tmp_path / "user-2.safetensors").unlink()
        server.join(1, address=slow.address)
        server.join(2, address=slow.address)
        wait_for(lambda: server.records, 30)
        young = (tmp_path / "user-2.safetensors").read_bytes()
        wait_for(lambda: len(server.records) > 1, 30)
        server.remote.seats.refuse(1, "for this test")  # as if it had said what cannot be
        wait_for(lambda: 2 in server.errors, 30)
        for content, text in [
            (None, "user 2 has no state, and was heard until round"),
            (young, r"older than round \d+, slot \d of run another"),
            (old, "of run a-run, and this is run another"),
        ]:
            path = tmp_path / "user-2.safetensors"
            path.unlink() if content is None else path.write_bytes(content)
            with pytest.raises(RemoteError, match=text):
                again(server, 2)
        server.errors.clear()
        server.join(2, start_again=True)
        server.finish()
        slow.close()
    assert sum(r.extras["began_again"] for r in server.records).tolist() == [0, 1]


def again(server, number):
    where = server.address, server.token(number).line
    return join_shipped(*where, {}, server.folder / f"user-{number}.safetensors")


def test_a_state_of_other_modules_or_a_damaged_one_is_refused(tmp_path):
    path = tmp_path / "state"
    path.write_bytes(b"nonsense")
    with Server(tmp_path, rounds=1) as server:
        with pytest.raises(ValueError, match="damaged or no user's state"):
            join_shipped(server.address, server.token(1).line, {}, path)
        parts = {"head.weight": np.zeros((3, 3), np.float32)}
        Disk(path).write(Kept(run="a-run", parts=parts))
        with pytest.raises(ValueError, match=r"other private parts.*head.bias, head.weight"):
            join_shipped(server.address, server.token(1).line, {}, path)


def test_patience_is_a_time(tmp_path):
    """Nobody at the address: tried again and again, for as long as was said."""
    with Server(tmp_path) as server:
        token = server.token(1).line
    said, began = [], time.monotonic()
    with pytest.raises(RemoteError, match=r"for 0.01 minutes.*user is kept"):
        join_shipped(server.address, token, {}, tmp_path / "user", patience=0.01, tell=said.append)
    assert 0.6 <= time.monotonic() - began < 10
    assert len(said) == 1 and "trying again" in said[0]


@pytest.mark.slow
def test_a_server_killed_at_random_moments_gives_the_bits_of_one_that_was_not(tmp_path, nursery):
    """kill -9 and --resume ten times; its users wait for it and go back with it."""
    port, rng = free_port(), random.Random(25)
    words = ["serve", "--rounds", 20, "--seed", 3, "--set", "num_slots=6", "--set", "split=u",
             "--set", "batch_size=8", "--listen", f"127.0.0.1:{port}", "--out", tmp_path / "r",
             "--deadline", 60]  # fmt: skip
    pid = nursery.owo(*words, log=str(tmp_path / "log"))
    seats = tmp_path / "r" / "seats"
    wait_for(lambda: (seats / "user-2.token").exists(), 60)
    pids = [
        nursery.owo("join", f"127.0.0.1:{port}", "--token-file", seats / f"user-{k}.token",
                    "--state", tmp_path / f"user-{k}", log=str(tmp_path / f"{k}.log"))
        for k in (1, 2)
    ]  # fmt: skip
    checkpoints = tmp_path / "r" / "checkpoints"
    midway = 0
    for _ in range(10):
        before = log_of(tmp_path).count("is there")
        wait_for(lambda b=before: log_of(tmp_path).count("is there") >= b + 2 or done(tmp_path), 60)
        time.sleep(rng.uniform(0.0, 0.25))
        midway += not done(tmp_path)
        os.kill(pid, signal.SIGKILL)
        nursery.ended(pid)
        pid = nursery.owo(*words, "--resume", log=str(tmp_path / "log"))
    for one in (pid, *pids):
        nursery.ended(one, 120)
    assert midway == 10
    local, stream = rounds_of("rainbow-mnist", 20, 3, num_slots=6, split="u", batch_size=8)
    (result,) = (json.loads(p.read_text()) for p in (tmp_path / "r" / "cells").glob("*.json"))
    for name in ("fairness", "utilities", "weights"):
        assert np.array_equal(result[name], [getattr(r, name) for r in local]), name
    for name, values in result["extras"].items():
        if name in local[0].extras:
            assert np.array_equal(values, [r.extras[name] for r in local]), name
    heads, _ = stream.users.exported()
    for k in (1, 2):
        kept = Disk(tmp_path / f"user-{k}").read()
        assert torch.equal(torch.tensor(kept.parts["head.weight"][0]), heads[k - 1].weight)
        assert "the run is over" in (tmp_path / f"{k}.log").read_text()
    assert not list(checkpoints.iterdir())


def log_of(folder):
    return (folder / "log").read_text() if (folder / "log").exists() else ""


def done(folder):
    return bool(list((folder / "r" / "cells").glob("*.json")))
