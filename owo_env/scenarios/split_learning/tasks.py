"""What a user of split learning works on in a round: ordinary torch datasets."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch.utils.data import Dataset, TensorDataset, default_collate

Tensor = torch.Tensor


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


def task_of(tasks: TaskStream, number: int, seed: int) -> Task:
    """A user's task in round ``number`` of the stream with this ``seed``."""
    return tasks(number, seed) if callable(tasks) else tasks[(number - 1) % len(tasks)]


def size_of(data: Dataset[Any]) -> int:
    """How many items a map-style dataset has; TypeError for one that does not say."""
    try:
        return len(data)  # type: ignore[arg-type]
    except TypeError as error:
        raise TypeError(
            f"{type(data).__name__} has no length: a task's datasets must be map-style"
        ) from error


def batch_of(data: Dataset[Any], indices: NDArray[np.integer]) -> tuple[Tensor, Tensor]:
    """The items ``indices`` of a dataset, stacked: (inputs, labels)."""
    if hasattr(data, "batch"):
        inputs, labels = data.batch(torch.from_numpy(indices))
    elif isinstance(data, TensorDataset):
        inputs, labels = data[torch.from_numpy(indices)]
    else:
        inputs, labels = default_collate([data[int(i)] for i in indices])
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
