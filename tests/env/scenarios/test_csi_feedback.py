"""``csi-feedback``: what users measure, what they send, and how well it is reconstructed."""

import warnings

import gymnasium as gym
import numpy as np
import pytest
import torch
from gymnasium.utils.env_checker import check_env
from torch import nn

import owo_agents
from owo_agents.benchmark.api.bench import bench
from owo_env.radio.channel import Grid
from owo_env.radio.site import load
from owo_env.radio.site.array import array_channels
from owo_env.scenarios.csi_feedback import CsiFeedback
from owo_env.scenarios.csi_feedback.model import Quantized, nmse, sgcs
from owo_env.scenarios.csi_feedback.places import HELD_OUT

ID = "AIRAN-FairMTL-v0"
SMALL = dict(num_slots=3, antennas=8, subcarriers=4, code=8)


def make(**settings):
    return CsiFeedback(**SMALL | settings)


def opened(scenario, seed=0, rounds=1):
    stream = scenario.stream(np.random.default_rng(seed), None)
    for _ in range(rounds):
        stream.open_round({})
    return stream


def weights(users=4):
    return np.linspace(0.5, 2.0, users)


def of(data):
    """A data set as complex channels by angle and delay, (n, antennas, subcarriers)."""
    real, imag = data.tensors[0].numpy().reshape(len(data), 2, 8, 4).swapaxes(0, 1)
    return real + 1j * imag


def test_a_channel_is_that_of_the_site_in_shape():
    """By angle and delay, of norm 4, at a phase of its own; first on the street, at its start."""
    munich = load("munich")
    scenario = make(streets=["west", "east"], shuffle=False)
    data = opened(scenario).users.tasks[0]
    here = np.flatnonzero(munich.street == 2)[:121]
    grid = Grid(carrier=munich.carrier, subcarriers=4, spacing=1.25e6)
    h = array_channels(munich, grid, here, np.zeros(len(here)), 8)
    n, k = np.arange(8), np.arange(4)
    angles = np.exp(-2j * np.pi * np.outer(n, n) / 8)
    delays = np.exp(2j * np.pi * np.outer(k, k) / 4)
    h = np.einsum("an,bnk,kd->bad", angles, h, delays)
    h = (h / np.linalg.norm(h, axis=(1, 2), keepdims=True)).reshape(len(h), -1)
    found = np.concatenate([of(data.train), of(data.validation)]).reshape(-1, 32)
    assert np.abs(np.linalg.norm(found, axis=1) - 4).max() < 1e-5
    # Every tenth place is one that was traced; 176 of 1201 were drawn.
    alike = np.abs(found.conj() @ h.T / 4).max(axis=1) > 1 - 1e-5
    assert 5 < alike.sum() < 60


def test_no_place_of_a_round_comes_twice_and_those_held_out_are_others():
    scenario = make(shuffle=False, num_slots=32)
    pool = scenario.places._pools[2]
    stream = opened(scenario)
    task = stream.users.tasks[2]
    assert len(task.train) == 32 * 16 and len(task.validation) == HELD_OUT
    assert task.heldout is task.validation
    both = np.concatenate([of(task.train), of(task.validation)]).reshape(-1, 32)
    # Which place each channel is of, whatever its phase: of 5 cm on, it is another shape.
    product = both.conj() @ pool.T
    place = np.abs(product).argmax(axis=1)
    found = product[np.arange(len(both)), place]
    assert np.abs(np.abs(found) - 16).max() < 1e-4
    assert len(set(place)) == len(both)
    assert np.abs(np.mean(found)) < 16 * 3 / np.sqrt(len(both))  # turned by phases of chance
    order = stream.users.orders[2]["train"]  # and slots share none of them
    assert sorted(order.ravel()) == list(range(512))
    stream.open_round({})
    again = of(stream.users.tasks[2].train).reshape(-1, 32)
    assert np.abs(both[:1].conj() @ again[:1].T) < 16 - 1e-3


def test_streets_are_fixed_or_dealt_anew_every_round():
    fixed, dealt = make(shuffle=False), make()
    assert fixed.user_classes == ["north", "east", "west", "square"] == list(dealt.class_names)
    assert dealt.user_classes is None
    seen = set()
    for rounds in range(1, 9):
        stream = opened(dealt, rounds=rounds)
        (names,) = stream.air()["user_class"]
        assert sorted(names) == sorted(fixed.user_classes)
        seen.add(tuple(names))
        # The data are the street's, whoever is there.
        user = int(np.flatnonzero(names == "west")[0])
        pool = dealt.places._pools[2]
        found = of(stream.users.tasks[user].train).reshape(-1, 32)
        assert (np.abs(found.conj() @ pool.T).max(axis=1) > 16 - 1e-3).all()
        assert opened(fixed, rounds=rounds).air()["user_class"].tolist() == [fixed.user_classes]
    assert len(seen) > 4
    assert opened(dealt, seed=1).air()["user_class"].tolist() != names.tolist()


def test_the_first_streets_that_are_long_enough_are_taken_in_any_city():
    florence = load("florence")
    served = np.bincount(florence.street)  # places half a metre apart
    long = [street.name for street, places in zip(florence.streets, served) if places > 122]
    scenario = make(site="florence", num_users=3)
    assert list(scenario.streets) == long[:3]
    stream = opened(scenario)
    utilities, _ = stream.play(0, scenario.problem.initial_model, weights(3), False)
    assert np.isfinite(utilities).all()


def by_hand(scenario, stream, slot, model, fronts):
    """The utilities and gradients of a slot by one autograd pass through the whole."""
    server = nn.Sequential(nn.Linear(8, 32), nn.ReLU(), nn.Linear(32, 64))
    if scenario.setup.front is None:
        server = nn.Sequential(nn.Linear(64, 8), *server)
    nn.utils.vector_to_parameters(torch.from_numpy(model), server.parameters())
    losses = []
    for k, front in enumerate(fronts):
        items = stream.users.orders[k]["train"][slot]
        x = stream.users.tasks[k].train.tensors[0][items]
        losses.append((server(front(x)) - x).square().sum() / x.square().sum())
    weighted = -sum(p * loss for p, loss in zip(weights(), losses))
    theta = torch.autograd.grad(weighted, list(server.parameters()), retain_graph=True)
    own = [p for front in fronts for p in front.parameters()]
    return (
        losses,
        torch.cat([g.flatten() for g in theta]),
        torch.autograd.grad(sum(losses), own) if own else (),
    )


@pytest.mark.parametrize("split", ["u", "label"])
def test_a_slot_is_one_step_of_autograd_through_the_whole(split):
    scenario = make(split=split)
    stream = opened(scenario, seed=2)
    assert (
        len(scenario.problem.initial_model)
        == {
            "u": 8 * 32 + 32 + 32 * 64 + 64,
            "label": 64 * 8 + 8 + 8 * 32 + 32 + 32 * 64 + 64,
        }[split]
    )
    model = scenario.problem.initial_model.copy()
    fronts = [nn.Linear(64, 8) for _ in range(4)] if split == "u" else [nn.Identity()] * 4
    if split == "u":
        for mine, theirs in zip(fronts, stream.users.fronts):
            mine.load_state_dict(theirs[0].state_dict())
    losses, gradient, own = by_hand(scenario, stream, 0, model, fronts)
    utilities, found = stream.play(0, model, weights(), False)
    assert np.abs(np.array(utilities) - [1 - loss.item() for loss in losses]).max() < 1e-5
    assert np.abs(found - gradient.numpy()).max() < 1e-5 * np.abs(found).max()
    if split == "u":  # each encoder took a step on its own loss, without its weight
        moved = [p for front in stream.users.fronts for p in front[0].parameters()]
        before = [p for front in fronts for p in front.parameters()]
        for now, was, g in zip(moved, before, own):
            assert torch.allclose(now, was - 0.15 * g, atol=1e-6)


def test_the_defaults_are_the_models_of_the_page():
    assert CsiFeedback().problem.dim == 17_440 and CsiFeedback(split="label").problem.dim == 25_648
    one, other = make(model_seed=0).problem, make(model_seed=1).problem
    assert np.array_equal(one.initial_model, make().problem.initial_model)
    assert not np.array_equal(one.initial_model, other.initial_model)


@pytest.mark.parametrize("more", [{}, dict(split="label", bits=2), dict(shuffle=False)])
def test_scalar_and_vector_are_the_same_bits(more):
    settings = dict(scenario="csi-feedback", alpha=2.0) | SMALL | more
    vector = gym.make_vec(ID, num_envs=2, autoreset_mode="Disabled", **settings)
    together = list(owo_agents.play(vector, owo_agents.make("owo-fmtl", vector), 3, seed=5))
    for n in range(2):
        env = gym.make(ID, **settings)
        alone = list(owo_agents.play(env, owo_agents.make("owo-fmtl", env), 3, seed=5 + n))
        for one, all_ in zip(alone, together):
            for name in ("utilities", "fairness", "model"):
                np.testing.assert_array_equal(getattr(one, name), getattr(all_, name)[n])
            for name in ("user_class", "validation_loss", "validation_sgcs"):
                np.testing.assert_array_equal(one.extras[name], all_.extras[name][n])


def test_the_checker_passes_and_a_checkpoint_goes_on():
    env = gym.make(ID, scenario="csi-feedback", **SMALL)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".*Box (action|observation) space")
        check_env(env.unwrapped, skip_render_check=True)
    list(owo_agents.play(env, owo_agents.make("cws", env), 2, seed=3))
    again = gym.make(ID, scenario="csi-feedback", **SMALL)
    again.unwrapped.load_state_dict(env.unwrapped.state_dict())
    rounds = [list(owo_agents.play(e, owo_agents.make("cws", e), 1)) for e in (env, again)]
    np.testing.assert_array_equal(*(r[0].utilities for r in rounds))
    np.testing.assert_array_equal(*(r[0].extras["user_class"] for r in rounds))


def test_links_by_street():
    link = {"loss": {"north": 0.9, "east": 0.0, "west": 0.0, "square": 0.0}}
    env = gym.make(ID, scenario="csi-feedback", link=link, **SMALL | dict(num_slots=32))
    (record,) = owo_agents.play(env, owo_agents.make("owo-fmtl", env), 1, seed=0)
    heard = dict(zip(record.extras["user_class"], record.extras["heard_slots"]))
    assert heard.pop("north") < 12 and set(heard.values()) == {32}


def test_figures_are_those_of_their_definition():
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(2, 5, 64)).astype(np.float32)
    error = np.sum((x - y) ** 2) / np.sum(y**2)
    x, y = torch.from_numpy(x), torch.from_numpy(y)
    assert float(nmse(x, y)) == pytest.approx(error, rel=1e-6)
    h, g = (
        np.fft.fft(np.fft.ifft((z[:, :32] + 1j * z[:, 32:]).reshape(5, 8, 4), axis=1), axis=2)
        for z in (x.numpy(), y.numpy())
    )  # over antennas and subcarriers again
    kept = [
        abs(np.vdot(h[b, :, f], g[b, :, f])) ** 2
        / (np.linalg.norm(h[b, :, f]) * np.linalg.norm(g[b, :, f])) ** 2
        for b, f in np.ndindex(5, 4)
    ]
    assert float(sgcs(8, x, y)) == pytest.approx(np.mean(kept), rel=1e-6)
    # Blind to a phase and to a scale; 1 of what is reconstructed wholly, and 0 of nothing.
    assert float(sgcs(8, 3 * y, y)) == pytest.approx(1.0)
    turned = torch.cat([-y[:, 32:], y[:, :32]], dim=1)
    assert float(sgcs(8, turned, y)) == pytest.approx(1.0)
    assert float(sgcs(8, 0 * y, y)) == 0.0


def test_reports_have_nmse_and_sgcs_by_street():
    results = bench(
        ["cws"], scenarios=[("csi-feedback", SMALL)], rounds=2, seeds=2, backend="serial"
    )
    (row,) = [r for board in results.boards for r in board.rows]
    keys = {metric.key: metric for board in results.boards for metric in board.metrics}
    for street in ("north", "east", "west", "square"):
        loss = 1 - row.figures[f"utility {street}"].value
        assert row.figures[f"nmse_db {street}"].value == pytest.approx(
            10 * np.log10(loss), abs=0.05
        )
        assert 0 < row.figures[f"sgcs {street}"].value < 1
    assert keys["sgcs north"].better == 1
    assert not [key for key in keys if key.startswith("validation_sgcs")]  # once is enough


def test_quantized_codes_have_as_many_levels_as_bits_say():
    code = torch.linspace(-4, 4, 4001, requires_grad=True)
    sent = Quantized(3)(code)
    levels = sent.detach().unique()
    assert torch.allclose(levels, torch.linspace(-1, 1, 8), atol=1e-6)
    assert (sent - torch.tanh(code)).abs().max() <= 1 / 7 + 1e-6
    (slope,) = torch.autograd.grad(sent.sum(), code)
    assert torch.allclose(slope, 1 - torch.tanh(code) ** 2, atol=1e-6)
    stream = opened(make(bits=2))
    _, up = stream.users.send(slice(0, 4), 0)
    assert set(np.round(up.unique().tolist(), 4)) <= {-1.0, -0.3333, 0.3333, 1.0}


def test_other_streets_can_judge():
    scenario = make(streets=["north", "west"], held_out=["square"], shuffle=False)
    square = make(streets=["square", "square"]).places._pools[0]
    task = opened(scenario).users.tasks[1]
    for data, inside in ((task.validation, True), (task.train, False)):
        found = of(data).reshape(-1, 32)
        assert (np.abs(found.conj() @ square.T).max(axis=1) > 16 - 1e-3).all() == inside


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (dict(site="atlantis"), "unknown site 'atlantis'"),
        (dict(streets=["north", "main"]), "unknown street 'main'"),
        (dict(streets="north"), "streets='north': must be a list of 2 names or more"),
        (dict(streets=["north"]), "must be a list of 2 names or more"),
        (dict(streets=["north", "west"], num_users=3), "num_users=3: but 2 streets are given"),
        (dict(streets=["north", "square"], stretch_m=120.0), "'square' is served over 89 m"),
        (dict(num_users=70), r"num_users=70: the site has \d+ streets of 60 m"),
        (dict(num_users=1), "num_users=1"),
        (dict(code=7), "code=7: must be a whole number, at least 8 and at most 64"),
        (dict(code=65), "code=65"),
        (dict(bits=0), "bits=0"),
        (dict(split="v"), "unknown split 'v'"),
        (dict(num_slots=68), "num_slots=68, batch_size=16: with the 128 held out .* 1216 places"),
        (dict(stretch_m=5.0), "stretch_m leaves 101"),
        (dict(stretch_m=float("nan")), "stretch_m=nan"),
        (dict(held_out="west"), "held_out='west'"),
        (dict(held_out=["main"]), "unknown street 'main'"),
        (dict(antennas=0), "antennas=0"),
        (dict(subcarrier_spacing_khz=0), "subcarrier_spacing_khz=0"),
        (dict(shuffle="no"), "shuffle='no'"),
        (dict(model_seed=-1), "model_seed=-1"),
    ],
)
def test_bad_input_is_named(settings, message):
    with pytest.raises(ValueError, match=message):
        make(**settings)
