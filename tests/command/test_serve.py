"""``owo serve`` and ``owo join``: what they print, keep and refuse."""

import json
import os
import signal

import numpy as np
import pytest
from remote_helpers import Nursery, free_port, wait_for
from typer.testing import CliRunner

from owo_agents.command.main import app

SMALL = ["--set", "num_slots=4", "--set", "batch_size=8", "--seed", "5"]


@pytest.fixture(scope="module")
def nursery(tmp_path_factory):
    with Nursery(tmp_path_factory.mktemp("nursery")) as one:
        yield one


def refused(*words):
    result = CliRunner().invoke(app, list(map(str, words)))
    assert result.exit_code == 2, result.output
    return " ".join(result.output.split())


def text(path):
    return path.read_text() if path.exists() else ""


@pytest.mark.slow
def test_a_run_over_a_link_is_interrupted_resumed_and_equal_to_one_in_a_process(tmp_path, nursery):
    out, port = tmp_path / "out", free_port()
    words = ["serve", "--rounds", 12, *SMALL, "--listen", f"127.0.0.1:{port}", "--out", out]
    log = tmp_path / "serve.log"
    server = nursery.owo(*words, log=str(log))
    wait_for(lambda: "--user 2" in text(log), 60, lambda: text(log))
    seats = out / "seats"
    users = [
        nursery.owo("join", f"127.0.0.1:{port}", "--user", k, "--token-file",
                    seats / f"user-{k}.token", "--state", tmp_path / f"{k}.state",
                    log=str(tmp_path / f"{k}.log"))
        for k in (1, 2)
    ]  # fmt: skip
    wait_for(lambda: list((out / "checkpoints").glob("*.safetensors")), 60, lambda: text(log))
    os.kill(server, signal.SIGINT)
    nursery.ended(server)
    said = text(log)
    assert "certificate SHA-256" in said and f"listening at 127.0.0.1:{port}" in said
    assert "user 1 is there" in said and "user 2 is there" in said
    assert "interrupted: what is done is kept" in said and "Traceback" not in said
    nursery.ended(nursery.owo(*words, "--resume", log=str(tmp_path / "again.log")), 120)
    for pid in users:
        nursery.ended(pid)
    for k in (1, 2):
        assert "the run is over: learned from" in text(tmp_path / f"{k}.log")
    secrets = [text(seats / f"user-{k}.token").split("-")[2] for k in (1, 2)]
    everything = "".join(text(path) for path in tmp_path.glob("*.log")) + text(out / "suite.json")
    assert not any(secret in everything for secret in secrets)

    alone = tmp_path / "alone"
    ran = CliRunner().invoke(
        app, ["run", "--scenario", "rainbow-mnist", "--rounds", "12", *SMALL, "--out", str(alone)]
    )
    assert ran.exit_code == 0, ran.output
    (one,), (other,) = ([*(d / "cells").glob("*.json")] for d in (alone, out))
    assert one.name == other.name
    local, remote = json.loads(one.read_text()), json.loads(other.read_text())
    for name in ("fairness", "utilities", "weights"):
        assert local[name] == remote[name]
    for name, values in local["extras"].items():
        assert np.array_equal(values, remote["extras"][name]), name


def test_what_cannot_be_served_or_joined_is_refused(tmp_path):
    serve = ["serve", "--listen", "127.0.0.1:0", "--out", tmp_path / "out"]
    assert "'sinusoid' has no users of split learning" in refused(*serve, "--scenario", "sinusoid")
    assert "is drawn, and this link is there" in refused(*serve, "--set", "link={loss: 0.5}")
    assert "give both or neither" in refused(*serve, "--key", tmp_path / "key")
    assert "deadline=0" in refused(*serve, "--deadline", "0")
    assert "cannot be had" in refused("serve", "--out", tmp_path / "x", "--listen", "nowhere.x:1")
    token = tmp_path / "out" / "seats" / "user-2.token"
    assert f"--user 1: {token} is the token of user 2" in refused(
        "join", "127.0.0.1:1", "--user", 1, "--token-file", token
    )
    assert "must be HOST:PORT" in refused("join", "nowhere", "--token-file", token)
    token.write_text("nonsense")
    assert "not what the server made" in refused("join", "127.0.0.1:1", "--token-file", token)
    assert "No such file" in refused("join", "127.0.0.1:1", "--token-file", tmp_path / "none")
