"""How tensors cross between users and server: what arrives, and how many bytes that took."""

import gymnasium as gym
import numpy as np
import pytest
import torch
from torch import nn

import owo_env  # noqa: F401  (registers the environment)
from owo_env.scenarios.split_learning.wire import WIRES, Packed, pack

ID = "AIRAN-FairMTL-v0"


def crossed(tensor, wire, seed=0):
    return pack(tensor, wire, lambda: np.random.default_rng(seed)).tensor()


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.int64, torch.bool])
def test_without_a_format_everything_crosses_as_it_is(dtype):
    tensor = (torch.randn(3, 4, 5, 6) * 9).to(dtype)
    for sent in (tensor, tensor.permute(0, 2, 3, 1), tensor[1:, ::2], tensor[0, 0, 0, 0]):
        arrived = crossed(sent, None)
        assert arrived.dtype is dtype and torch.equal(arrived, sent)
    # The order in memory crosses too: convolutions compute other bits by it.
    last = tensor.float().to(memory_format=torch.channels_last)
    assert crossed(last, None).stride() == last.stride()


def test_halves_are_torchs_own_and_too_large_ones_are_refused():
    tensor = torch.randn(100) * 100
    assert torch.equal(crossed(tensor, "float16"), tensor.half().float())
    with pytest.raises(FloatingPointError, match=r"float16.*1e.06"):
        crossed(torch.tensor([1.0, 1e6]), "float16")


def test_a_byte_an_entry_has_the_right_mean_and_is_off_by_a_step_at_most():
    tensor = torch.rand(50) * 2 - 1
    many = torch.stack([crossed(tensor, "int8", seed) for seed in range(4000)])
    step = 2 * tensor.abs().max() / 255
    assert (many - tensor).abs().max() <= step * 1.001
    assert (many.mean(0) - tensor).abs().max() < 5 * step / 2 / 4000**0.5
    assert torch.equal(crossed(tensor, "int8", 7), crossed(tensor, "int8", 7))
    assert not torch.equal(crossed(tensor, "int8", 7), crossed(tensor, "int8", 8))
    assert torch.equal(crossed(torch.zeros(3), "int8"), torch.zeros(3))
    with pytest.raises(FloatingPointError, match="not finite"):
        crossed(torch.tensor([1.0, torch.nan]), "int8")


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        (dict(dtype="object"), "dtype 'object'"),
        (dict(shape=(3, 3)), "20 bytes|strides"),
        (dict(shape=(6,), strides=(1,)), "20 bytes: a float32 tensor of shape .6,. has 24"),
        (dict(strides=(0,)), "strides"),
        (dict(strides=(7,)), "strides"),
        (dict(shape=(0,)), "strides"),
    ],
)
def test_bytes_that_are_no_such_tensor_are_refused(wrong, said):
    sound = vars(pack(torch.arange(5.0), None, np.random.default_rng))
    with pytest.raises(ValueError, match=said):
        Packed(**{**sound, **wrong}).tensor()


def played(wire, split="label", **settings):
    env = gym.make(ID, scenario="rainbow-mnist", num_slots=3, split=split, wire=wire, **settings)
    obs, _ = env.reset(seed=1)
    theta = env.unwrapped.problem.initial_model
    for _ in range(3):
        obs, _, _, _, info = env.step({"model": theta, "weights": np.ones(2)})
    return obs, info


def test_a_format_decides_bytes_and_bits():
    plain, same = played(None), played("float32")
    assert np.array_equal(plain[0]["gradient"], same[0]["gradient"])
    for name in ("bytes_up", "bytes_down", "bytes_inputs"):
        full = plain[1][name]
        assert np.array_equal(same[1][name], full)
        assert np.array_equal(played("float16")[1][name], full // 2)
        assert np.array_equal(played("int8")[1][name], full // 4 + 4)
    for wire in ("float16", "int8"):
        coarse, again = played(wire), played(wire)
        assert not np.array_equal(plain[0]["gradient"], coarse[0]["gradient"])
        assert np.array_equal(coarse[0]["gradient"], again[0]["gradient"])
        cosine = np.corrcoef(plain[0]["gradient"], coarse[0]["gradient"])[0, 1]
        assert cosine > 0.9


def test_with_layers_at_the_users_their_gradient_is_coarse_too():
    full, coarse = played(None, "u")[1], played("int8", "u")[1]
    # Down: features and the gradient of what was sent; up: that, and the features' gradient.
    sent, features = 25 * 10 * 12 * 12, 25 * 50
    assert full["bytes_down"].tolist() == [4 * (sent + features)] * 2
    assert coarse["bytes_down"].tolist() == coarse["bytes_up"].tolist() == [sent + features + 8] * 2


def test_an_unknown_format_is_refused():
    with pytest.raises(ValueError, match=f"unknown wire 'int4'.*{WIRES[0]}"):
        gym.make(ID, scenario="rainbow-mnist", wire="int4")


def test_whole_numbers_cross_as_they_are():
    """Inputs of an embedding are indices, whatever the format of floats."""
    words = torch.utils.data.TensorDataset(torch.arange(60), torch.arange(60) % 2)
    encoder = nn.Sequential(nn.Embedding(60, 4), nn.Linear(4, 3))
    env = gym.make(
        ID, scenario="split-learning", encoder=encoder, head=lambda: nn.Linear(3, 2),
        tasks=[words, words], num_slots=2, wire="int8",
    )  # fmt: skip
    env.reset(seed=0)
    theta = env.unwrapped.problem.initial_model
    *_, info = env.step({"model": theta, "weights": np.ones(2)})
    assert info["bytes_inputs"].tolist() == [25 * 8] * 2
    assert info["bytes_down"].tolist() == [25 * 3 + 4] * 2
