"""What people give split learning: tasks, data sets and modules are checked, in words."""

import gymnasium as gym
import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional as F
from torch.utils.data import DataLoader, Dataset, IterableDataset, TensorDataset

import owo_agents
from owo_env.scenarios.split_learning import SplitLearning, Task
from owo_env.scenarios.split_learning.heads import LinearHeads, ModuleHeads

ID, K = "AIRAN-FairMTL-v0", 2
X = torch.randn(50, 8, generator=torch.Generator().manual_seed(0))
Y = torch.randint(3, (50,), generator=torch.Generator().manual_seed(1))
PAIRS = TensorDataset(X, Y)


def make(tasks, **settings):
    torch.manual_seed(0)
    arguments = {"encoder": nn.Linear(8, 6), "head": lambda: nn.Linear(6, 3), "batch_size": 5}
    return SplitLearning(tasks=tasks, **arguments | {"num_slots": 3} | settings)


def utilities(scenario):
    env = gym.make(ID, scenario=scenario)
    return next(owo_agents.play(env, owo_agents.make("cws", env), 1, seed=0)).utilities.tolist()


class Named(Dataset):
    """Items are dicts, as many detection sets have them."""

    def __len__(self):
        return 50

    def __getitem__(self, index):
        return {"image": X[index], "label": int(Y[index])}


class Hub(Named):
    """Has the methods of a Hugging Face data set: ``batch`` takes a size, rows come by slices."""

    def __getitem__(self, index):
        if not isinstance(index, int):
            raise TypeError(f"wrong key type {type(index)}")
        return super().__getitem__(index)

    def batch(self, batch_size, drop_last_batch=False, num_proc=None):
        return self


class Boxes(Named):
    """Items are dicts whose meaning is not plain."""

    def __init__(self, *keys):
        self.keys = keys or ("image", "label", "boxes")

    def __getitem__(self, index):
        return dict.fromkeys(self.keys, X[index])


class HubOfPairs(TensorDataset):
    batch = Hub.batch


class Stream(IterableDataset):
    def __iter__(self):
        yield X[0], Y[0]


class Letters(Dataset):
    def __len__(self):
        return 50

    def __getitem__(self, index):
        return "word", int(Y[index])


WRONG = {
    "classes": ([Task] * K, r"tasks\[0\] is the class Task: must be a list of tasks"),
    "a mapping": ({0: [Task(PAIRS)], 1: [Task(PAIRS)]}, "tasks is a dict: must be a list"),
    "an iterator": (iter([[Task(PAIRS)]] * K), "tasks is a list_iterator: must be a list"),
    "nothing": ([[Task(PAIRS)], None], r"tasks\[1\] is None: must be a list of tasks"),
    "no Task": ([[Task(PAIRS)], [X]], r"tasks\[1\]\[0\] is a Tensor: must be a Task"),
    "a later one": ([[Task(PAIRS), 3]] * K, r"tasks\[0\]\[1\] is a int: must be a Task"),
    "a class of data": ([[Task(Named)]] * K, "train is the class Named: must be a map-style"),
    "another batch": ([DataLoader(PAIRS, 4, shuffle=True)] * K, "batch_size=4, the scenario has 5"),
    "in order": ([[Task(DataLoader(PAIRS, 5))]] * K, "not shuffled.* write .*train=loader.dataset"),
    "a sampler": ([DataLoader(PAIRS, 5, sampler=range(9))] * K, "or has a sampler of its own"),
    "a loader's stream": ([[Task(PAIRS, DataLoader(Stream()))]] * K, "DataLoader of an IterableD"),
    "a stream": ([[Task(Stream())]] * K, "train is a Stream: must be a map-style dataset"),
    "a dict of data": ([[Task({"x": X})]] * K, "train is a dict: must be a map-style"),
    "no data": ([[Task(None)]] * K, "train is None: must be a map-style"),
    "dicts": ([[Task(Boxes())]] * K, r"keys \['boxes', 'image', 'label'\].*write collate="),
    "unnamed": ([[Task(Boxes("image", "boxes"))]] * K, r"keys \['boxes', 'image'\].* called label"),
    "two labels": ([[Task(Boxes("label", "y"))]] * K, r"keys \['label', 'y'\]"),
    "three": ([[Task(TensorDataset(X, Y, Y))]] * K, "a tuple of 3: must be a pair"),
    "one": ([[Task(TensorDataset(X))]] * K, "a tuple of 1: must be a pair"),
    "two tensors": ([[Task((X, Y))]] * K, "is a Tensor: must be a pair .*TensorDataset"),
    "words": ([[Task(Letters())]] * K, r"\(a (tuple|list), a Tensor\): must be two tensors"),
}


@pytest.mark.parametrize("case", WRONG)
def test_wrong_tasks_are_found_when_the_scenario_is_made(case):
    tasks, message = WRONG[case]
    with pytest.raises(TypeError, match=message):
        make(tasks)


@pytest.mark.parametrize("case", ["no Task", "in order", "dicts", "three"])
def test_what_a_function_of_tasks_gives_is_found_when_the_round_opens(case):
    wrong, message = WRONG[case]
    env = gym.make(ID, scenario=make([lambda number, seed: wrong[1][0]] * K))
    with pytest.raises(TypeError, match=message.split("] ")[-1].replace("is a int", "")):
        env.reset(seed=0)


def test_an_empty_list_of_tasks():
    with pytest.raises(ValueError, match=r"tasks\[1\] is empty"):
        make([[Task(PAIRS)], []])


def collate(items):
    return torch.stack([i["image"] for i in items]), torch.tensor([i["label"] for i in items])


@pytest.mark.parametrize("data", [Named(), Hub()])
def test_items_that_are_dicts_play_where_collate_says_how(data):
    plain = utilities(make([[Task(PAIRS)]] * K))
    assert utilities(make([[Task(data)]] * K, collate=collate)) == plain


def doubled(items):
    return torch.stack([2 * x for x, _ in items]), torch.stack([y for _, y in items])


@pytest.mark.parametrize(
    "own",
    [
        Task(PAIRS),
        PAIRS,
        [PAIRS],
        DataLoader(PAIRS, 5, shuffle=True),
        [Task(DataLoader(PAIRS, 5, shuffle=True))],
        Named(),
        [Task(Hub())],
        lambda number, seed: PAIRS,
        lambda number, seed: DataLoader(PAIRS, 5, shuffle=True),
    ],
)
def test_what_can_mean_only_one_thing_is_taken(own):
    assert utilities(make([own] * K)) == utilities(make([[Task(PAIRS)]] * K))


def test_a_loaders_own_collate_holds_for_its_data():
    loader = DataLoader(PAIRS, 5, shuffle=True, collate_fn=doubled)
    twice = utilities(make([[Task(TensorDataset(2 * X, Y))]] * K))
    assert utilities(make([loader] * K)) == twice


def test_the_order_and_batches_of_validation_data_do_not_matter():
    task = Task(PAIRS, DataLoader(PAIRS, 7))
    env = gym.make(ID, scenario=make([task] * K))
    (record,) = owo_agents.play(env, owo_agents.make("cws", env), 1, seed=0)
    assert record.extras["validation_loss"].shape == (K,)


def test_collate_must_give_two_tensors():
    with pytest.raises(TypeError, match=r"tasks\[0\]\[0\]\.train.*must be a pair"):
        make([[Task(Named())]] * K, collate=lambda items: items[0]["image"])


def test_another_method_named_batch_is_left_alone():
    assert utilities(make([[Task(HubOfPairs(X, Y))]] * K)) == utilities(make([[Task(PAIRS)]] * K))


class Doubled(TensorDataset):
    def __getitem__(self, index):
        assert isinstance(index, int)
        x, y = super().__getitem__(index)
        return 2 * x, y


def test_a_tensor_data_set_with_items_of_its_own_is_asked_for_items():
    twice = utilities(make([[Task(TensorDataset(2 * X, Y))]] * K))
    assert utilities(make([[Task(Doubled(X, Y))]] * K)) == twice


def own_cross_entropy(outputs, labels):
    return F.cross_entropy(outputs, labels)


def test_labels_that_are_left_out():
    y = Y.clone()
    y[::3] = -100
    heads = [nn.Linear(6, 3), nn.Linear(6, 3)]
    tasks = [[Task(TensorDataset(X, y), TensorDataset(X, y))]] * K
    found = []
    for loss in (F.cross_entropy, own_cross_entropy):
        env = gym.make(ID, scenario=make(tasks, head=heads, loss=loss, num_slots=9))
        kind = LinearHeads if loss is F.cross_entropy else ModuleHeads
        record = next(owo_agents.play(env, owo_agents.make("cws", env), 1, seed=0))
        stream = env.unwrapped._stream
        assert isinstance(stream.users.heads, kind)
        info = stream.round_info()
        found.append((record.utilities, record.model, *info.values()))
    for one, other in zip(*found, strict=True):
        assert np.allclose(one, other, atol=1e-5)
    # Loss and accuracy are means over the labels that count, by hand.
    features, heads = stream.server.infer(X), stream.users.heads.heads
    for k in range(K):
        outputs = heads[k](features)[y != -100]
        right = (outputs.argmax(1) == y[y != -100]).float().mean().item()
        assert info["validation_accuracy"][k] == pytest.approx(right)
        loss = F.cross_entropy(outputs, y[y != -100]).item()
        assert info["validation_loss"][k] == pytest.approx(loss, abs=1e-5)


def test_other_labels_that_are_no_classes_are_refused():
    for bad in (-1, 3):
        y = Y.clone()
        y[:] = bad
        with pytest.raises((RuntimeError, IndexError), match="out of bounds"):
            utilities(make([[Task(TensorDataset(X, y))]] * K))


def test_many_validation_batches_weigh_by_labels_that_count():
    x, y = X.repeat(8, 1), Y.repeat(8)
    y[:300] = -100  # all of the first batch of 256, and some of the second
    env = gym.make(ID, scenario=make([[Task(PAIRS, TensorDataset(x, y))]] * K))
    one = next(owo_agents.play(env, owo_agents.make("cws", env), 1, seed=0)).extras
    env = gym.make(ID, scenario=make([[Task(PAIRS, TensorDataset(x[300:], y[300:]))]] * K))
    other = next(owo_agents.play(env, owo_agents.make("cws", env), 1, seed=0)).extras
    for name in ("validation_loss", "validation_accuracy"):
        assert np.allclose(one[name], other[name], atol=1e-6)


def test_lazy_layers_are_refused():
    tasks = [[Task(PAIRS)]] * K
    with pytest.raises(ValueError, match="encoder is a Sequential with a lazy layer"):
        make(tasks, encoder=nn.Sequential(nn.LazyLinear(6)))
    with pytest.raises(ValueError, match="head has a LazyLinear with a lazy layer"):
        make(tasks, head=[nn.LazyLinear(3)] * K)
    with pytest.raises(ValueError, match="gives a LazyLinear with a lazy layer"):
        gym.make(ID, scenario=make(tasks, head=lambda: nn.LazyLinear(3))).reset(seed=0)


@pytest.mark.parametrize("give", [lambda h: (h, h), lambda h: {"out": h}, lambda h: h.mean(0)])
def test_an_encoder_gives_one_tensor(give):
    class Odd(nn.Linear):
        def forward(self, x):
            return give(super().forward(x))

    with pytest.raises(TypeError, match=r"encoder gives .*: must be one tensor"):
        utilities(make([[Task(PAIRS)]] * K, encoder=Odd(8, 6)))
