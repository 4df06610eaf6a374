"""The split: what crosses the link, who learns from what, and that memory of state is complete."""

import runpy

import gymnasium as gym
import numpy as np
import pytest
import torch
from places import REPOSITORY
from torch import nn
from torch.nn import functional as F
from torch.utils.data import Dataset, TensorDataset

import owo_agents
from owo_env.scenarios.split_learning.heads import (
    LinearHeads,
    ModuleHeads,
    make_heads,
    make_modules,
)
from owo_env.scenarios.split_learning.scenario import SplitLearning, initial_model
from owo_env.scenarios.split_learning.server import Server
from owo_env.scenarios.split_learning.tasks import Task, batch_of, batch_order

EXAMPLE = REPOSITORY / "examples" / "split_learning_digits.py"
K, BATCH, CLASSES = 5, 4, 3


def encoder(seed=0):
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return nn.Sequential(nn.Linear(6, 8), nn.Tanh(), nn.Linear(8, 7))


def task(seed, size=20):
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(size, 6, generator=generator)
    y = torch.randint(CLASSES, (size,), generator=generator)
    return Task(TensorDataset(x, y), TensorDataset(x[:9], y[:9]), TensorDataset(x, y))


def two_layers():
    return nn.Sequential(nn.Linear(7, 5), nn.ReLU(), nn.Linear(5, CLASSES))


def make(head=lambda: nn.Linear(7, CLASSES), users=K, **settings):
    arguments = {
        "encoder": encoder(),
        "head": head,
        "tasks": [[task(10 * k), task(10 * k + 1)] for k in range(users)],
        "num_slots": 3,
        "batch_size": BATCH,
    } | settings
    return SplitLearning(**arguments)


def opened(scenario, seed=0):
    stream = scenario.stream(np.random.default_rng(seed), None)
    stream.open_round({})
    return stream


def plain_network(scenario, model):
    network = encoder()
    nn.utils.vector_to_parameters(torch.from_numpy(model), network.parameters())
    return network


def weights(users=K):
    return np.linspace(0.2, 1.1, users)


def model_of(scenario, seed=3):
    """Some model of a scenario or a stream."""
    x_1 = initial_model(scenario.setup.encoder)
    return (x_1 + np.random.default_rng(seed).normal(0, 0.1, len(x_1))).astype(np.float32)


def heads_of(stream):
    """Each user's head as a module of its own, copied."""
    if isinstance(stream.users.heads, ModuleHeads):
        return make_modules(stream.users.heads.heads, K, 0)
    modules = []
    for weight, bias in zip(stream.users.heads.weight, stream.users.heads.bias, strict=True):
        module = nn.Linear(7, CLASSES)
        module.weight.data, module.bias.data = weight.clone(), bias.clone()
        modules.append(module)
    return modules


HEADS = {"linear": lambda: nn.Linear(7, CLASSES), "modules": two_layers}


@pytest.mark.parametrize("chunk", [1, 2, 4, 8])
@pytest.mark.parametrize("head", HEADS)
def test_gradient_is_autograds_on_the_plain_weighted_loss(head, chunk):
    scenario = make(HEADS[head], users_per_pass=chunk)
    stream, model, p = opened(scenario), model_of(scenario), weights()
    network, heads = plain_network(scenario, model), heads_of(stream)
    losses = torch.stack(
        [
            F.cross_entropy(heads[k](network(x)), y)
            for k, (x, y) in enumerate(stream.users.batch(k, "train", 0) for k in range(K))
        ]
    )
    (losses @ torch.from_numpy(p).float()).backward()
    expected = -torch.cat([q.grad.flatten() for q in network.parameters()])
    utilities, gradient = stream.play(0, model, p, False)
    assert np.abs(gradient - expected.numpy()).max() < 1e-5
    assert np.allclose(utilities, 3.3 - losses.detach().numpy(), atol=1e-6)
    assert gradient.dtype == np.float32


@pytest.mark.parametrize("head", HEADS)
def test_per_user_gradients_add_up_to_the_weighted_one(head):
    scenario = make(HEADS[head])
    model, p = model_of(scenario), weights()
    one, other = opened(scenario), opened(scenario)
    u_weighted, weighted = one.play(0, model, p, False)
    u_each, each = other.play(0, model, p, True)
    assert each.shape == (K, scenario.problem.dim)
    assert np.abs(p @ each - weighted).max() < 1e-5
    assert np.allclose(u_weighted, u_each, atol=1e-6)
    for a, b in zip(heads_of(one), heads_of(other), strict=True):  # heads learn alike either way
        for x, y in zip(a.parameters(), b.parameters(), strict=True):
            assert torch.allclose(x, y, atol=1e-6)


@pytest.mark.parametrize("head", HEADS)
@pytest.mark.parametrize("scaled", [False, True])
def test_heads_take_an_sgd_step_on_their_own_loss_alone(head, scaled):
    scenario = make(HEADS[head], head_learning_rate=0.3, weights_scale_heads=scaled)
    stream, model, p = opened(scenario), model_of(scenario), weights()
    network, heads = plain_network(scenario, model), heads_of(stream)
    for k, module in enumerate(heads):
        x, y = stream.users.batch(k, "train", 0)
        optimizer = torch.optim.SGD(module.parameters(), lr=0.3 * (p[k] if scaled else 1.0))
        F.cross_entropy(module(network(x)), y).backward()
        optimizer.step()
    stream.play(0, model, p, False)
    for expected, found in zip(heads, heads_of(stream), strict=True):
        for x, y in zip(expected.parameters(), found.parameters(), strict=True):
            assert torch.allclose(x, y, atol=1e-6)


def test_a_users_head_does_not_notice_the_others():
    model, p = model_of(make()), weights()
    one, other = opened(make()), opened(make())
    stranger = task(999)
    other.users.tasks[2] = stranger
    one.play(0, model, p, False)
    other.play(0, model, p, False)
    same = (one.users.heads.weight == other.users.heads.weight).flatten(1).all(1)
    assert same.tolist() == [True, True, False, True, True]


def test_linear_heads_do_what_modules_do():
    modules = [nn.Linear(7, CLASSES) for _ in range(K)]
    losses = [F.cross_entropy] * K
    fast, slow = (
        kind(make_modules(modules, K, 0), *rest)
        for kind, rest in (
            (lambda m, d: make_heads(m, losses, d), [torch.device("cpu")]),
            (lambda m, d: ModuleHeads(m, losses, d), [torch.device("cpu")]),
        )
    )
    assert isinstance(fast, LinearHeads)
    for step in range(5):
        generator = torch.Generator().manual_seed(step)
        features = torch.randn(K, BATCH, 7, generator=generator)
        labels = list(torch.randint(CLASSES, (K, BATCH), generator=generator))
        rates = [0.1 * (k + 1) for k in range(K)]
        a = fast.answer(slice(0, K), features, labels, rates)
        b = slow.answer(slice(0, K), features, labels, rates)
        for x, y in zip(a, b, strict=True):
            assert torch.allclose(x, y, atol=1e-5)
    for k in range(K):
        x = torch.randn(9, 7)
        assert torch.allclose(
            fast.judge(k, x, labels[0].repeat(3)[:9])[1], slow.heads[k](x), atol=1e-5
        )


class Spy(Server):
    """Keeps all that ever crosses the link to and from the server."""

    def __init__(self, *arguments):
        super().__init__(*arguments)
        self.crossed = []

    def forward(self, inputs, return_gradient=False):
        features = super().forward(inputs, return_gradient)
        self.crossed += [inputs, features]
        return features

    def backward(self, upward, weights):
        back = super().backward(upward, weights)
        self.crossed += [upward, weights] + ([] if back is None else [back])
        return back


@pytest.mark.parametrize("head", HEADS)
@pytest.mark.parametrize("front", [None, lambda: nn.Linear(6, 6)])
def test_only_features_and_their_gradients_cross(head, front):
    scenario = make(HEADS[head], front=front, users_per_pass=2)
    stream = opened(scenario)
    stream.server = Spy(scenario.setup.encoder, scenario.setup.device)
    stream.play(0, model_of(scenario), weights(), False)
    server = stream.server
    assert len(server.crossed) == 3 * (4 if front is None else 5)
    for tensor in server.crossed:  # no graph leads from the server into a head or a loss, or back
        assert tensor.grad_fn is None
    own = {q.data_ptr() for q in server.encoder.parameters()}
    private = {t.data_ptr() for t in stream.users.heads.state_dict().values()}
    private |= {stream.users.batch(k, "train", 0)[1].data_ptr() for k in range(K)}
    assert not own & private
    held = [v for v in vars(server).values() if isinstance(v, torch.Tensor)]
    assert not {t.data_ptr() for t in held} & private
    for tensor in server.crossed:  # labels are the only integers
        assert tensor.is_floating_point()
    if front is not None:  # raw inputs stay with the user
        raw = torch.cat([stream.users.batch(k, "train", 0)[0] for k in range(2)])
        assert not any(t.shape == raw.shape and torch.equal(t, raw) for t in server.crossed)


def test_front_layers_take_a_step_on_their_users_own_loss():
    scenario = make(front=lambda: nn.Linear(6, 6), head_learning_rate=0.2)
    stream, model, p = opened(scenario), model_of(scenario), weights()
    network, heads = plain_network(scenario, model), heads_of(stream)
    fronts = make_modules(stream.users.fronts, K, 0)
    for k, front in enumerate(fronts):
        x, y = stream.users.batch(k, "train", 0)
        F.cross_entropy(heads[k](network(front(x))), y).backward()
    p[1] = 0.0  # a user without priority gets nothing back to learn from
    stream.play(0, model, p, False)
    for k, (front, own) in enumerate(zip(fronts, stream.users.fronts, strict=True)):
        for before, after in zip(front.parameters(), own.parameters(), strict=True):
            step = 0.0 if k == 1 else 0.2
            assert torch.allclose(before - step * before.grad, after, atol=1e-6)


def test_bytes_over_the_link_by_hand():
    # 4 samples of 7 float32 features: 4·7·4 = 112 bytes down and as many up; raw inputs 4·6·4.
    stream = opened(make(users_per_pass=2))
    stream.play(0, model_of(stream), weights(), False)
    info = stream.slot_info()
    assert info["bytes_down"].tolist() == info["bytes_up"].tolist() == [112] * K
    assert info["bytes_inputs"].tolist() == [96] * K
    # With front layers 6 → 6: their output up (96) and its gradient down (96), no raw inputs.
    stream = opened(make(front=lambda: nn.Linear(6, 6)))
    for per_user in (False, True):
        stream.play(0, model_of(stream), weights(), per_user)
        info = stream.slot_info()
        assert info["bytes_down"].tolist() == info["bytes_up"].tolist() == [208] * K
        assert info["bytes_inputs"].tolist() == [0] * K
    # Held-out feedback sends a second batch's features down.
    stream = opened(make(feedback="heldout"))
    stream.play(0, model_of(stream), weights(), False)
    info = stream.slot_info()
    assert info["bytes_down"].tolist() == [224] * K and info["bytes_up"].tolist() == [112] * K
    assert info["bytes_inputs"].tolist() == [192] * K
    assert info["bytes_up"] is not stream.slot_info()["bytes_up"]


def play_rounds(stream, rounds, model, options=()):
    out = []
    for _ in range(rounds):
        stream.open_round(dict(options))
        for slot in range(stream.setup.num_slots):
            utilities, gradient = stream.play(slot, model, weights(), False)
            out.append((tuple(utilities), gradient.tobytes()))
        out.append({name: value.tolist() for name, value in stream.round_info().items()})
    return out


@pytest.mark.parametrize("head", HEADS)
@pytest.mark.parametrize("front", [None, lambda: nn.Linear(6, 6)])
def test_same_seed_same_bits_and_resume_from_state(head, front):
    scenario = make(HEADS[head], front=front)
    model = model_of(scenario)
    torch.manual_seed(1)
    whole = play_rounds(scenario.stream(np.random.default_rng(5), False), 4, model)
    torch.manual_seed(2)  # the global generator plays no part
    half = scenario.stream(np.random.default_rng(5), False)
    first = play_rounds(half, 2, model)
    state = half.state_dict()
    play_rounds(half, 1, model)  # the saved state is not touched by going on
    resumed = scenario.stream(np.random.default_rng(99), False)
    resumed.load_state_dict(state)
    assert first + play_rounds(resumed, 2, model) == whole
    other = play_rounds(scenario.stream(np.random.default_rng(6), False), 1, model)
    assert other != whole[: len(other)]


def test_the_global_generator_is_not_disturbed():
    torch.manual_seed(7)
    before = torch.get_rng_state()
    play_rounds(make().stream(np.random.default_rng(0), False), 1, model_of(make()))
    assert torch.equal(before, torch.get_rng_state())


@pytest.mark.parametrize("settings", [{"heads": "reset"}, {}])
def test_heads_are_reset_or_carried(settings):
    scenario = make(**settings)
    stream = opened(scenario)
    model = model_of(scenario)
    stream.play(0, model, weights(), False)
    trained = stream.users.heads.weight.clone()
    stream.open_round({})
    assert torch.equal(trained, stream.users.heads.weight) == (not settings)
    stream.open_round({"reset_heads": True})
    assert not torch.equal(trained, stream.users.heads.weight)


def test_evaluate_repeats_what_was_played_and_changes_nothing():
    scenario = make(head_learning_rate=0.0)
    stream, model = opened(scenario), model_of(scenario)
    played = [stream.play(slot, model, weights(), False)[0] for slot in range(3)]
    before = stream.round_info()["validation_loss"].tolist()
    assert np.allclose(stream.evaluate(model), played, atol=1e-6)
    stream.evaluate(scenario.problem.initial_model)
    assert stream.round_info()["validation_loss"].tolist() == before


def test_validation_against_plain_torch():
    scenario = make()
    stream, model = opened(scenario), model_of(scenario)
    stream.play(0, model, weights(), False)
    info, network, heads = stream.round_info(), plain_network(scenario, model), heads_of(stream)
    for k in range(K):
        x, y = task(10 * k).validation.tensors
        outputs = heads[k](network(x))
        assert np.isclose(info["validation_loss"][k], F.cross_entropy(outputs, y).item())
        accuracy = (outputs.argmax(1) == y).float().mean().item()
        assert np.isclose(info["validation_accuracy"][k], accuracy)


class Items(Dataset):
    """An ordinary dataset, item by item."""

    def __init__(self, tensors):
        self.tensors = tensors

    def __len__(self):
        return len(self.tensors[0])

    def __getitem__(self, index):
        return self.tensors[0][index], int(self.tensors[1][index])


def test_any_dataset_gives_the_same_batches():
    data = task(0).train
    indices = np.array([3, 1, 4, 1])
    for a, b in zip(batch_of(data, indices), batch_of(Items(data.tensors), indices), strict=True):
        assert torch.equal(a, b)


def test_batches_go_through_the_data_without_repeats():
    order = batch_order(np.random.default_rng(0), size=23, batch_size=5, num_slots=10)
    assert order.shape == (10, 5)
    for start in range(0, 8, 4):  # four full batches a pass, three items left over
        assert len(np.unique(order[start : start + 4])) == 20


def test_regression_users_and_classifiers_side_by_side():
    def numbers(seed):
        x = torch.randn(20, 6, generator=torch.Generator().manual_seed(seed))
        return Task(TensorDataset(x, x[:, :2] * 0.1))

    classes = Task(task(0).train)
    scenario = SplitLearning(
        encoder=encoder(),
        head=[nn.Linear(7, 2), nn.Linear(7, CLASSES)],
        loss=[F.mse_loss, F.cross_entropy],
        tasks=[[numbers(0)], [classes]],
        num_slots=2,
        batch_size=5,
    )
    stream = opened(scenario)
    utilities, gradient = stream.play(0, scenario.problem.initial_model, np.ones(2), False)
    assert np.isfinite(utilities).all() and np.isfinite(gradient).all()
    assert stream.round_info() == {}


def test_encoders_with_dropout_and_batch_norm_have_no_hidden_state():
    network = nn.Sequential(nn.Linear(6, 7), nn.BatchNorm1d(7), nn.Dropout(0.5))
    made = (make(encoder=network, users_per_pass=chunk, mode="eval") for chunk in (1, 4))
    one, other = map(opened, made)
    x_1 = initial_model(one.setup.encoder)
    a, b = one.play(0, x_1, weights(), False), other.play(0, x_1, weights(), False)
    assert np.allclose(a[0], b[0], atol=1e-6) and np.allclose(a[1], b[1], atol=1e-5)


def test_frozen_parameters_are_no_part_of_the_model():
    network = encoder()
    network[0].requires_grad_(False)
    assert make(encoder=network).problem.dim == 8 * 7 + 7


BAD = {
    "batch": ({"batch_size": 21}, ValueError, r"batch_size=21.*at most 20.*user 0.*round 1"),
    "device": ({"device": "nonsense"}, ValueError, "device='nonsense'"),
    "one head": ({"head": nn.Linear(7, 3)}, TypeError, "head is one Linear"),
    "heads": ({"head": [nn.Linear(7, 3)] * 2}, ValueError, "head has 2 modules"),
    "losses": ({"loss": [F.cross_entropy]}, ValueError, "loss has 1 functions"),
    "one user": ({"tasks": [[task(0)]]}, ValueError, "at least 2"),
    "l_max": ({"l_max": 4.0}, ValueError, "l_max=4.0"),
    "policy": ({"heads": "carry"}, ValueError, "carried"),
    "feedback": ({"feedback": "test"}, ValueError, "heldout"),
    "no parameters": ({"encoder": nn.Flatten()}, ValueError, "trainable parameters"),
    "float16": ({"encoder": encoder().half()}, ValueError, "float16"),
    "no heldout": (
        {"feedback": "heldout", "tasks": [[Task(task(k).train)] for k in range(K)]},
        ValueError,
        "no heldout data",
    ),
    "some validation": (
        {"tasks": [[task(0)], *([Task(task(k).train)] for k in range(1, K))]},
        ValueError,
        "either every user's task has validation data or none",
    ),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_settings(case):
    settings, error, message = BAD[case]
    with pytest.raises(error, match=message):
        opened(make(**settings))


@pytest.mark.skipif(torch.cuda.is_available(), reason="this machine has CUDA")
def test_cuda_without_a_gpu_is_a_clear_error():
    with pytest.raises(ValueError, match="device='cuda': this machine has no such device"):
        make(device="cuda")


def test_soft_labels_need_a_loss_of_their_own():
    soft = Task(TensorDataset(torch.randn(20, 6), torch.rand(20, CLASSES)))
    stream = opened(make(tasks=[[soft]] * K))
    with pytest.raises(TypeError, match="int64 classes"):
        stream.play(0, model_of(stream), weights(), False)


def test_the_example_runs_and_learns(capsys):
    pytest.importorskip("sklearn")
    assert len(EXAMPLE.read_text().splitlines()) <= 40
    ran = runpy.run_path(str(EXAMPLE))
    assert ran["record"].extras["validation_accuracy"].min() > 0.7
    assert len(capsys.readouterr().out.splitlines()) == 6


def test_gym_takes_the_scenario_object():
    env = gym.make("AIRAN-FairMTL-v0", scenario=make())
    agent = owo_agents.make("cws", env)
    record = next(owo_agents.play(env, agent, 1, seed=0))
    assert record.extras["bytes_up"].tolist() == [112] * K


def test_a_round_that_is_refused_does_not_move_the_stream():
    tasks = [[task(10 * k), task(10 * k + 1, size=3 if k == 1 else 20)] for k in range(2)]
    env = gym.make("AIRAN-FairMTL-v0", scenario=make(tasks=tasks, heads="reset"))
    agent = owo_agents.make("cws", env)
    list(owo_agents.play(env, agent, 1, seed=0))
    stream = env.unwrapped._stream
    before = stream.state_dict()
    for _ in range(2):
        with pytest.raises(ValueError, match="train data"):
            env.reset()
    after = stream.state_dict()
    assert before["round"] == after["round"] == 1
    for name, array in before["users"]["heads"].items():
        np.testing.assert_array_equal(array, after["users"]["heads"][name])


def test_weights_shape_nothing_where_per_user_gradients_are_asked_for():
    def losses(p):
        stream = opened(make(weights_scale_heads=True))
        start = initial_model(stream.setup.encoder)
        return [stream.play(slot, start, p, True)[0] for slot in range(3)]

    assert losses(weights()) == losses(weights()[::-1].copy())


@pytest.mark.parametrize("p", [0.0, 1e-42, 1e-39, 1e-37])
def test_next_to_no_priority_leaves_front_layers_finite(p):
    stream = opened(make(front=lambda: nn.Linear(6, 6)))
    given = weights()
    given[1] = p
    for slot in range(3):
        utilities, gradient = stream.play(slot, initial_model(stream.setup.encoder), given, False)
        assert np.isfinite(utilities).all() and np.isfinite(gradient).all()


@pytest.mark.parametrize("bounds", [(1.0, 2.0, 3.3), 3.0, (2.0, 1.0)])
def test_utility_bounds_are_a_pair(bounds):
    with pytest.raises(ValueError, match="utility_bounds"):
        make(utility_bounds=bounds)


def test_equal_numbers_by_user_are_one_number():
    def played(**settings):
        env = gym.make("AIRAN-FairMTL-v0", scenario=make(**settings))
        agent = owo_agents.make("owo-fmtl", env)
        return [(*r.utilities, *r.model) for r in owo_agents.play(env, agent, 2, seed=0)]

    each = {"l_max": [3.3] * K, "head_learning_rate": [0.1] * K, "utility_bounds": ([1.0] * K, 3.3)}
    assert played() == played(**each)
    assert played() != played(head_learning_rate=[0.1] * (K - 1) + [0.2])


@pytest.mark.parametrize("name", ["l_max", "head_learning_rate"])
def test_numbers_for_other_users_are_refused(name):
    with pytest.raises(ValueError, match=f"{name}=.*must have {K} numbers, one a user"):
        make(**{name: [1.5] * (K - 1)})


def test_a_raw_mse_that_diverges_is_named_beside_others():
    """Its gradient ends the shared encoder, and with it everybody's utility."""
    losses = [
        F.cross_entropy,
        lambda outputs, labels: 1e4 * (outputs[:, 0] - labels).square().mean(),
    ]
    env = gym.make(
        "AIRAN-FairMTL-v0", scenario=make(users=2, head=two_layers, loss=losses, num_slots=20)
    )
    agent = owo_agents.make("owo-fmtl", env)
    with pytest.raises(
        owo_agents.AgentError, match=r"user 1 diverged: its last finite utility was -"
    ):
        list(owo_agents.play(env, agent, 5, seed=0))
