"""What a user of split learning works on in a round: ordinary torch datasets."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch.utils.data import (
    DataLoader,
    Dataset,
    IterableDataset,
    RandomSampler,
    TensorDataset,
    default_collate,
)

Tensor = torch.Tensor
Collate = Callable[[list[Any]], tuple[Tensor, Tensor]]

PARTS = ("train", "validation", "heldout")


@dataclass(frozen=True, eq=False)
class Task:
    """One user's task of a round; every dataset yields pairs (input, label).

    A dataset with a method ``batch(indices) -> (inputs, labels)`` is asked for whole batches,
    any other for its items one by one.

    Attributes:
        train: The jobs of the round's slots are batches of it.
        validation: Unseen data that judge the model at the end of the round, or None.
        heldout: Data on which utilities are measured with ``feedback="heldout"``, or None.
    """

    train: Dataset[Any]
    validation: Dataset[Any] | None = None
    heldout: Dataset[Any] | None = None


TaskStream = Sequence[Task] | Callable[[int, int], Task]
"""A user's tasks: a list that is gone through again and again, or a function of the round's
number (from 1) and the stream's seed that gives the same task whenever it is called with both."""


LABELS = ("label", "labels", "target", "targets", "y")
"""The keys of dict items that say which of two entries is the label."""


def taken(where: str, own: Any, batch_size: int) -> Any:
    """A user's tasks as the scenario wants them, where what was given can mean only one thing.

    A task stands for a list of it alone, a data set for ``Task(train=…)``, and a DataLoader for
    its data set, items of which its ``collate_fn`` puts together.

    Args:
        where: What it is, for errors.
        own: A stream of tasks, a task, a data set or a loader.
        batch_size: The scenario's.

    Raises:
        TypeError: A loader that says more than which data and how to collate them.
    """
    if isinstance(own, Task | Dataset | DataLoader):
        return [_task(f"{where}[0]", own, batch_size)]
    if callable(own) and not isinstance(own, type):
        return own
    if isinstance(own, list | tuple):
        return [_task(f"{where}[{i}]", one, batch_size) for i, one in enumerate(own)]
    return own


def _task(where: str, given: Any, batch_size: int) -> Any:
    if isinstance(given, Dataset | DataLoader):
        given = Task(given)  # type: ignore[arg-type]
    if not isinstance(given, Task):
        return given
    parts = {part: getattr(given, part) for part in PARTS}
    if not any(isinstance(data, DataLoader) for data in parts.values()):
        return given
    return Task(
        **{
            part: _loaded(f"{where}.{part}", data, batch_size if part == "train" else None)
            if isinstance(data, DataLoader)
            else data
            for part, data in parts.items()
        }
    )


def _loaded(where: str, loader: DataLoader[Any], batch_size: int | None) -> Dataset[Any]:
    """The data set of a loader; its batches and order are the scenario's business."""
    data, write = loader.dataset, f"{where}=loader.dataset"
    if isinstance(data, IterableDataset):
        raise TypeError(f"{where} is a DataLoader of an IterableDataset: must be map-style")
    if batch_size is not None:
        shuffled = type(loader.sampler) is RandomSampler and not loader.sampler.replacement
        if loader.batch_size != batch_size:
            raise TypeError(
                f"{where} is a DataLoader with batch_size={loader.batch_size}, the scenario has "
                f"{batch_size}: give both the same, or write {write}"
            )
        if not shuffled:
            raise TypeError(
                f"{where} is a DataLoader that is not shuffled, or has a sampler of its own: the "
                f"scenario goes through the data in random order; if that is meant, write {write}"
            )
    collate = loader.collate_fn
    return data if collate is default_collate else _Collated(data, collate)


class _Collated(Dataset[Any]):
    """A data set whose items a loader's function puts together."""

    def __init__(self, data: Dataset[Any], collate: Callable[[list[Any]], Any]) -> None:
        self.data, self.collate = data, collate

    def __len__(self) -> int:
        return size_of(self.data)

    def __getitem__(self, index: int) -> Any:
        return self.data[index]

    def batch(self, indices: Tensor) -> Any:
        return self.collate([self.data[int(i)] for i in indices])


def check_stream(user: int, tasks: object, collate: Collate | None) -> None:
    """Raise TypeError or ValueError unless ``tasks`` can be a user's, as far as is known now.

    All tasks of a list are looked at, and one item of its first one is read.
    """
    if callable(tasks) and not isinstance(tasks, type):
        return
    where = f"tasks[{user}]"
    if not isinstance(tasks, Sequence) or isinstance(tasks, str):
        raise TypeError(
            f"{where} is {_kind(tasks)}: must be a list of tasks, [Task(train=…), …], or a "
            "function (round, seed) → Task"
        )
    if not tasks:
        raise ValueError(f"{where} is empty: must be a list of tasks, at least one")
    for number, task in enumerate(tasks):
        check_task(f"{where}[{number}]", task)
    check_item(f"{where}[0]", tasks[0], collate)


def check_task(where: str, task: object) -> None:
    """Raise TypeError unless it is a Task of map-style datasets."""
    if not isinstance(task, Task):
        raise TypeError(f"{where} is {_kind(task)}: must be a Task(train=…)")
    for part in PARTS:
        data = getattr(task, part)
        if data is not None or part == "train":
            _check_data(f"{where}.{part}", data)


def check_item(where: str, task: Task, collate: Collate | None) -> None:
    """Read one item of the training data; TypeError where it is no pair."""
    if size_of(task.train):
        try:
            batch_of(task.train, np.zeros(1, int), collate)
        except TypeError as error:
            raise TypeError(f"{where}.train: {error}") from error


def task_of(
    tasks: TaskStream,
    number: int,
    seed: int,
    user: int = 0,
    collate: Collate | None = None,
    batch_size: int = 1,
) -> Task:
    """A user's task in round ``number`` of the stream with this ``seed``; TypeError for another
    thing that its function gives."""
    if not callable(tasks):
        return tasks[(number - 1) % len(tasks)]
    where = f"tasks[{user}]({number}, {seed})"
    task = _task(where, tasks(number, seed), batch_size)
    check_task(where, task)
    check_item(where, task, collate)
    return task


def size_of(data: Dataset[Any]) -> int:
    """How many items a map-style dataset has."""
    return len(data)  # type: ignore[arg-type]


def batch_of(
    data: Dataset[Any], indices: NDArray[np.integer], collate: Collate | None = None
) -> tuple[Tensor, Tensor]:
    """The items ``indices`` of a dataset, stacked: (inputs, labels).

    Args:
        data: Any map-style dataset.
        indices: Which, (B,).
        collate: A list of items to (inputs, labels); None stacks pairs.

    Raises:
        TypeError: That gives no pair of tensors.
    """
    batch: Any
    kind: Any = type(data)
    if collate is not None:
        batch = collate([data[int(i)] for i in indices])
    elif _gives_batches(kind):
        batch = data.batch(torch.from_numpy(indices))  # type: ignore[attr-defined]
    elif getattr(kind, "__getitem__", None) is TensorDataset.__getitem__:
        batch = data[torch.from_numpy(indices)]
    else:
        items = [_of_dict(data[int(i)]) for i in indices]
        _check_pair(f"an item of {type(data).__name__}", items[0])
        batch = default_collate(items)
    what = f"a batch of {type(data).__name__}"
    _check_pair(what, batch)
    inputs, labels = batch
    if not isinstance(inputs, Tensor) or not isinstance(labels, Tensor):
        raise TypeError(
            f"{what} is ({_kind(inputs)}, {_kind(labels)}): must be two tensors; a collate=, a "
            "function of a list of items, can make them"
        )
    return inputs, labels


def batch_order(
    rng: np.random.Generator, size: int, batch_size: int, num_slots: int
) -> NDArray[np.integer]:
    """Which items make up each slot's batch: shape (m, batch_size).

    The data are gone through in random order without repeats, anew whenever they run out of
    full batches.
    """
    per_pass = size // batch_size
    passes = [
        rng.permutation(size)[: per_pass * batch_size].reshape(per_pass, batch_size)
        for _ in range(-(-num_slots // per_pass))
    ]
    return np.concatenate(passes)[:num_slots]


def _of_dict(item: Any) -> Any:
    """A pair of an item with two entries, one of which is called a label; others as they are."""
    if not isinstance(item, Mapping) or len(item) != 2:
        return item
    named = [key for key in item if str(key).lower() in LABELS]
    if len(named) != 1:
        return item
    (other,) = (key for key in item if key not in named)
    return item[other], item[named[0]]


def _check_data(where: str, data: object) -> None:
    map_style = hasattr(data, "__len__") and hasattr(data, "__getitem__")
    if not map_style or isinstance(data, IterableDataset | Mapping | str | type):
        raise TypeError(
            f"{where} is {_kind(data)}: must be a map-style dataset, with len() and [index], of "
            "pairs (input, label)"
        )


def _check_pair(what: str, found: object) -> None:
    if isinstance(found, Mapping):
        raise TypeError(
            f"{what} is a mapping with the keys {sorted(map(str, found))}: must be a pair "
            f"(input, label), or two entries of which one is called {', '.join(LABELS)}; else "
            "write collate=lambda items: (torch.stack([item[INPUT] for item in items]), "
            "torch.tensor([item[LABEL] for item in items]))"
        )
    if not isinstance(found, tuple | list) or len(found) != 2:
        size = f" of {len(found)}" if isinstance(found, tuple | list) else ""
        raise TypeError(
            f"{what} is {_kind(found)}{size}: must be a pair (input, label); of a tensor of inputs "
            "and one of labels a TensorDataset makes pairs"
        )


def _kind(thing: object) -> str:
    if isinstance(thing, type):
        return f"the class {thing.__name__}"
    return "None" if thing is None else f"a {type(thing).__name__}"


@functools.cache
def _gives_batches(kind: type) -> bool:
    """Whether a class has the method ``batch(indices)``; Hugging Face's takes a size instead."""
    method = getattr(kind, "batch", None)
    if not callable(method):
        return False
    names = list(inspect.signature(method).parameters)
    return len(names) > 1 and names[1] != "batch_size"
