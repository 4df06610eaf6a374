"""Rainbow MNIST: 56 tasks = 7 background colours × 2 scales × 4 rotations of MNIST (paper §IV)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn.functional import avg_pool2d, pad
from torch.utils.data import Dataset

from owo_env.scenarios.rainbow_mnist.digits import Digits
from owo_env.scenarios.split_learning.draws import Draw, generator
from owo_env.scenarios.split_learning.tasks import Task

Tensor = torch.Tensor

# Seven background colours, red to violet. The paper names no values, and they matter: see
# docs/scenarios/rainbow-mnist.md.
_PALETTES = {
    "rainbow": "ff0000 ff7f00 ffff00 00ff00 0000ff 4b0082 9400d3",  # as usually written in RGB
    "hues": "ff0000 ffdb00 49ff00 00ff92 0092ff 4900ff ff00db",  # seven equal steps of hue
    "web": "ff0000 ffa500 ffff00 008000 0000ff 4b0082 ee82ee",  # CSS colours of those names
}
PALETTES = {
    name: torch.tensor([[*bytes.fromhex(c)] for c in colours.split()], dtype=torch.float32) / 255
    for name, colours in _PALETTES.items()
}
NUM_TASKS = 56
TASK_SIZE, TRAIN_SIZE, VALIDATION_SIZE = 1225, 784, 196


def render(images: Tensor, task: int, palette: str = "rainbow", normalize: bool = False) -> Tensor:
    """Draw grey digits as a task shows them: a white digit on colour c, c(1 − g) + g.

    Args:
        images: uint8, shape (B, 28, 28).
        task: 0 … 55 = (colour × 2 + scale) × 4 + rotation. Scale 1 is half: 2×2 means, framed
            by the background. Rotation counts quarter turns.
        palette: One of ``PALETTES``.
        normalize: Map [0, 1] to [−1, 1].

    Returns:
        float32, shape (B, 3, 28, 28), in channels-last memory.
    """
    ink = images.float().div_(255)
    if task // 4 % 2:
        ink = pad(avg_pool2d(ink, 2), (7, 7, 7, 7))
    if task % 4:
        ink = torch.rot90(ink, task % 4, (1, 2)).contiguous()
    colour = PALETTES[palette][task // 8].to(ink.device)
    image = colour + (1 - colour) * ink[..., None]
    if normalize:
        image.mul_(2).sub_(1)
    return image.permute(0, 3, 1, 2)


@dataclass(eq=False)
class RainbowTask(Dataset[tuple[Tensor, Tensor]]):
    """Part of one task: digits kept as shared uint8 images, rendered when they are read.

    Attributes:
        digits: The pool.
        members: Which of the pool belong to this part, shape (n,).
        draw: Images and task to pictures: :func:`render` or a partial of it.
        task: 0 … 55.
    """

    draws: ClassVar[bool] = False  # from no generator

    digits: Digits
    members: Tensor
    draw: Callable[[Tensor, int], Tensor]
    task: int

    def __len__(self) -> int:
        return len(self.members)

    def __getitem__(self, index: int) -> tuple[Tensor, Tensor]:
        images, labels = self.batch(torch.tensor([index]))
        return images[0], labels[0]

    def batch(self, indices: Tensor) -> tuple[Tensor, Tensor]:
        """Images (B, 3, 28, 28) and labels (B,)."""
        chosen = self.members[indices].to(self.digits.images.device)
        images = self.digits.images[chosen]
        return self.draw(images, self.task), self.digits.labels[chosen]


def members_of(task: int, pool: int, seed: int, cycle: int) -> NDArray[np.integer]:
    """Which 1225 of the pool's images a task has, shape (1225,); no image twice.

    A pool of 68,600 or more is dealt to the 56 tasks without overlap; from a smaller one each
    task takes its own random 1225, so tasks share images.

    Args:
        task: 0 … 55.
        pool: How many digits there are.
        seed: The stream's.
        cycle: How often the pool was dealt before; it is dealt anew every 56 rounds.
    """
    if pool >= NUM_TASKS * TASK_SIZE:
        dealt = generator(Draw.DEAL, seed, cycle).permutation(pool)
        return dealt[task * TASK_SIZE : (task + 1) * TASK_SIZE]
    return generator(Draw.SHARE, seed, cycle, task).permutation(pool)[:TASK_SIZE]


def task_number(user: int, number: int, seed: int) -> int:
    """Which task a user has in round ``number`` (from 1): 0 … 55.

    A round's tasks are distinct, and in each cycle of 56 rounds every user meets every task once.
    """
    cycle, place = divmod(number - 1, NUM_TASKS)
    rng = generator(Draw.TASKS, seed, cycle)
    order, start = rng.permutation(NUM_TASKS), rng.permutation(NUM_TASKS)
    return int(order[(place + start[user]) % NUM_TASKS])


def rainbow_task(
    digits: Digits, draw: Callable[[Tensor, int], Tensor], user: int, number: int, seed: int
) -> Task:
    """A user's task of a round: 784 training and 196 validation images, the rest held out."""
    task = task_number(user, number, seed)
    members = members_of(task, len(digits.labels), seed, (number - 1) // NUM_TASKS)
    parts = torch.from_numpy(members).tensor_split([TRAIN_SIZE, TRAIN_SIZE + VALIDATION_SIZE])
    return Task(*(RainbowTask(digits, part, draw, task) for part in parts))
