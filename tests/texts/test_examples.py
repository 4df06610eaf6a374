"""The scripts in examples/ run as they are."""

import functools
import importlib.util
import runpy

import pytest
import torch
from places import REPOSITORY
from remote_helpers import free_port

EXAMPLES = REPOSITORY / "examples"


@pytest.mark.slow
def test_a_server_and_two_users(monkeypatch, tmp_path, capfd):
    pytest.importorskip("grpc")
    monkeypatch.chdir(tmp_path)
    example = runpy.run_path(str(EXAMPLES / "remote_users.py"), run_name="example")
    monkeypatch.setitem(example["main"].__globals__, "ADDRESS", f"127.0.0.1:{free_port()}")
    assert example["main"]() == 0
    assert capfd.readouterr().out.count("the run is over: learned from 62 slots") == 2


@pytest.mark.slow
def test_three_losses_on_one_encoder(capsys):
    ran = runpy.run_path(str(EXAMPLES / "mixed_losses.py"), run_name="__main__")
    assert set(ran["last"]) == {"owo-adaptive", "owo-fmtl", "cws", "srl"}
    assert "user 2: validation loss" in capsys.readouterr().out


@pytest.mark.filterwarnings("ignore")  # Lightning has many on small data
def test_the_scalarizer_in_an_existing_loop(capsys):
    pytest.importorskip("torchjd")
    runpy.run_path(str(EXAMPLES / "existing_loop.py"), run_name="__main__")
    said = capsys.readouterr().out
    assert "plain PyTorch" in said
    if importlib.util.find_spec("lightning") is None:
        pytest.skip("Lightning is not installed: its part of the example was not run")
    assert "Lightning gives the same" in said


def test_lightnings_order_of_calls_gives_the_same_numbers(capsys):
    """Without Lightning: its closure runs backward after the training step has returned."""
    pytest.importorskip("torchjd")
    ran = runpy.run_path(str(EXAMPLES / "existing_loop.py"), run_name="example")
    network, weigh = ran["fresh"]()
    optimizer = torch.optim.Adam(network.parameters(), lr=0.01)

    def training_step(batch):
        losses = network(*batch)
        total = weigh(losses)
        weigh.update(losses)
        return total

    def closure(batch):
        total = training_step(batch)
        optimizer.zero_grad()
        total.backward()
        return total

    for _ in range(ran["EPOCHS"]):
        weigh.reset()
        for batch in ran["loader"]:
            optimizer.step(functools.partial(closure, batch))
    for p, q in zip(network.parameters(), ran["network"].parameters()):
        torch.testing.assert_close(p, q)


@pytest.mark.slow
def test_a_policy_of_ones_own(capsys):
    pytest.importorskip("stable_baselines3")
    ran = runpy.run_path(str(EXAMPLES / "own_policy.py"), run_name="__main__")
    assert ran["gap"] < 1e-6
    assert [slots for slots, _ in ran["watch"].evaluations] == [0, 1024, 2048]
