"""Split learning with a user's own PyTorch encoder, heads, losses and tasks (Fig. 1)."""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, TypedDict

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn
from torch.nn import functional as F

from owo_env import checks
from owo_env.checks import Each
from owo_env.fairness import Fairness
from owo_env.problem import Problem
from owo_env.scenarios.base import Scenario
from owo_env.scenarios.split_learning.heads import Loss, Modules, refuse_lazy
from owo_env.scenarios.split_learning.link import Setup
from owo_env.scenarios.split_learning.metrics import Metrics, checked_metrics
from owo_env.scenarios.split_learning.modes import MODES, has_batch_norm, warn_of_resting
from owo_env.scenarios.split_learning.stream import SplitStream
from owo_env.scenarios.split_learning.surroundings import quiet, reseed, surroundings
from owo_env.scenarios.split_learning.tasks import Collate, TaskStream, check_stream, taken
from owo_env.scenarios.split_learning.wire import WIRES

Floats = NDArray[np.floating]
Tensor = torch.Tensor

HEADS = ("carried", "reset")
FEEDBACK = ("train", "heldout")


class Settings(TypedDict, total=False):
    """The arguments of :class:`SplitLearning` that do not depend on what is learned."""

    num_slots: int
    batch_size: int
    l_max: Each
    utility_bounds: tuple[Each, Each]
    head_learning_rate: Each
    heads: str
    weights_scale_heads: bool
    feedback: str
    users_per_pass: int
    device: str
    wire: str | None


class SplitLearning(Scenario):
    """K users and a server share a network: the server has the encoder, each user its head.

    In a slot the server computes features of every user's batch; each user computes its loss on
    its own head and returns ∂ℓ_k/∂feature; the server scales it by p_k and backpropagates. Heads
    learn from their own loss. A user's utility is ``l_max`` − its loss.

    Users are served ``users_per_pass`` at a time, so memory does not grow with K.

    Layers run in ``eval`` mode, unless ``mode="train"``: batch norm rests at its statistics, and
    dropout does nothing, while θ and heads learn.

    What layers, losses, data sets and functions of tasks draw from the global generators of
    torch, numpy and random is a function of stream, round, user and slot, and leaves no trace in
    them. That costs a tenth of a millisecond a slot; ``draws = False`` on a class, an object or a
    function of your own says that it never draws.

    Args:
        encoder: The shared model, copied; θ is its trainable parameters, x_1 their present values.
        head: The users' heads: a function that makes one, or K modules. K ``nn.Linear`` with
            ``F.cross_entropy`` run batched and in closed form.
        tasks: One stream of tasks for each user: a list of :class:`Task` that is gone through
            again and again, or a function (round from 1, stream's seed) → :class:`Task`. A data
            set, or a shuffled ``DataLoader`` of the same batch size, stands for a task of it.
        loss: (outputs, labels) → mean loss ≥ 0; one for all or one a user.
        num_slots: [slots] m, of a round.
        batch_size: [items] Of each user in a slot.
        l_max: The loss of a user without the system; a number, or K where losses differ.
        utility_bounds: (u_min, u_max) of the dual space; l_max ≤ u_max. Each a number, or K.
        head_learning_rate: η of heads and front layers; a number, or K.
        heads: ``"carried"`` over rounds, or ``"reset"`` at the start of each.
        weights_scale_heads: Whether p_k scales the step of user k's head too; not where per-user
            gradients are asked for, which no weight shapes.
        feedback: Where utilities are measured: on the batch that is trained on, before the
            update (``"train"``), or on held-out data (``"heldout"``).
        front: The users' own first layers (a function that makes them, or K modules), which
            keep raw inputs at the user (``split="u"``); None sends inputs to the server.
        users_per_pass: [users] Served in one pass.
        device: Where torch computes.
        wire: How floats cross between users and server: ``"float32"``, ``"float16"``, or
            ``"int8"``, a byte an entry on 255 steps between plus and minus a user's largest,
            rounded at random so that the mean is exact. None leaves them as they are.
        mode: How batch norm, dropout and the like behave while users learn. ``"eval"``: they
            rest, batch norm at the statistics that it came with. ``"train"``: as in a training
            loop, each user's batch by its own statistics, one user a pass; running statistics
            are kept at the server for each user, and judge held-out and validation data and
            ``evaluate``. None is ``"eval"``, with a warning where there are such layers.
        collate: A list of a data set's items to (inputs, labels), where items are no pairs.
        metrics: Name → function (outputs, labels) → number of all of a user's validation data, or
            K of them, None for a user to whom it means nothing. They are in the records as
            ``validation_NAME``, (K,), NaN where there is none.

    Raises:
        ValueError: A setting is outside its domain.
        TypeError: Tasks, or what their data sets give, are of the wrong kind.
    """

    name: ClassVar[str] = "split-learning"
    takes_delay = False  # it would have to keep K gradients of d entries for each slot

    def __init__(
        self,
        encoder: nn.Module,
        head: Modules,
        tasks: Sequence[TaskStream],
        loss: Loss | Sequence[Loss] = F.cross_entropy,
        num_slots: int = 31,
        batch_size: int = 25,
        l_max: Each = 3.3,
        utility_bounds: tuple[Each, Each] = (1.0, 3.3),
        head_learning_rate: Each = 0.1,
        heads: str = "carried",
        weights_scale_heads: bool = False,
        feedback: str = "train",
        front: Modules | None = None,
        users_per_pass: int = 4,
        device: str = "cpu",
        wire: str | None = None,
        mode: str | None = None,
        collate: Collate | None = None,
        metrics: Metrics | None = None,
    ) -> None:
        checks.one_of("heads", heads, HEADS)
        checks.one_of("feedback", feedback, FEEDBACK)
        for name, value, allowed in (("mode", mode, MODES), ("wire", wire, WIRES)):
            if value is not None:
                checks.one_of(name, value, allowed)
        least = 2 if mode == "train" and has_batch_norm(encoder) else 1
        x_1 = initial_model(encoder)
        dtype, found = torch.from_numpy(x_1).dtype, usable_device(device)
        batch_size = checks.whole("batch_size", batch_size, low=least)
        if isinstance(tasks, Sequence):
            tasks = [taken(f"tasks[{k}]", own, batch_size) for k, own in enumerate(tasks)]
        users = _checked_streams(tasks, collate, dtype)
        self.problem = Problem(
            num_users=checks.whole("the number of tasks' streams", users, low=2),
            dim=len(x_1),
            num_slots=num_slots,
            utility_bounds=utility_bounds,
            l_max=l_max,
            initial_model=x_1,
        )
        self.setup = Setup(
            encoder=_copied([encoder])[0],
            head=_one_a_user("head", head, users),
            front=None if front is None else _one_a_user("front", front, users),
            tasks=list(tasks),
            collate=collate,
            metrics=checked_metrics(metrics, users),
            losses=_losses(loss, users),
            corrupt=self.corrupt,
            num_slots=self.problem.num_slots,
            l_max=checks.one_each("l_max", l_max, users),
            batch_size=batch_size,
            head_learning_rate=checks.one_each(
                "head_learning_rate", head_learning_rate, users, low=0.0
            ),
            heads=heads,
            weights_scale_heads=checks.flag("weights_scale_heads", weights_scale_heads),
            feedback=feedback,
            users_per_pass=checks.whole("users_per_pass", users_per_pass, low=1),
            mode=mode,
            device=found,
            dtype=dtype,
            wire=wire,
            about=self.about,
        )
        if mode is None:
            warn_of_resting("encoder", [encoder])

    def stream(self, rng: np.random.Generator, fairness: Fairness | None) -> SplitStream:
        return SplitStream(self.setup, rng)

    @quiet
    def corrupt(self, labels: Tensor, user: int, slot: int, number: int) -> Tensor:
        """What an adversary makes of a user's labels in a slot (from 0); here nothing."""
        return labels

    def about(self, number: int, seed: int) -> Mapping[str, NDArray[Any]]:
        """What is to be told of a round (from 1) of a stream, each (K,): ``user_class``."""
        return {}


def initial_model(encoder: nn.Module) -> Floats:
    """x_1: the encoder's trainable parameters, flattened in order."""
    refuse_lazy("encoder is", encoder)
    parameters = [p.detach() for p in encoder.parameters() if p.requires_grad]
    kinds = {p.dtype for p in parameters}
    if len(kinds) != 1 or not kinds <= {torch.float32, torch.float64}:
        raise ValueError(
            f"encoder={type(encoder).__name__}: needs trainable parameters, all float32 or all "
            f"float64; it has {sorted(map(str, kinds)) or 'none'}"
        )
    return torch.cat([p.reshape(-1).cpu() for p in parameters]).numpy().copy()


def usable_device(device: str) -> torch.device:
    """The torch device, or ValueError where this machine has none such."""
    try:
        found = torch.device(device)
        torch.empty(1, device=found)
    except (RuntimeError, AssertionError, NotImplementedError) as error:
        raise ValueError(
            f"device={device!r}: this machine has no such device for torch ({error}); "
            "device='cpu' always works"
        ) from error
    return found


def _one_a_user(argument: str, modules: Modules, users: int) -> Modules:
    if isinstance(modules, nn.Module):
        raise TypeError(
            f"{argument} is one {type(modules).__name__}: give a function that makes one for each "
            f"user, or a list of {users} modules"
        )
    if isinstance(modules, Sequence) and len(modules) != users:
        raise ValueError(f"{argument} has {len(modules)} modules: must be one a user, {users}")
    if not isinstance(modules, Sequence):
        return modules
    for module in modules:
        refuse_lazy(f"{argument} has", module)
    return _copied(modules)


def _copied(modules: Sequence[nn.Module]) -> list[nn.Module]:
    """Copies, which nobody else trains; ordinary ones of what ``inference_mode`` has made."""
    with torch.inference_mode(False):
        return [copy.deepcopy(module) for module in modules]


def _checked_streams(
    tasks: Sequence[TaskStream], collate: Collate | None, dtype: torch.dtype
) -> int:
    """How many users have tasks."""
    if not isinstance(tasks, Sequence):
        raise TypeError(
            f"tasks is a {type(tasks).__name__}: must be a list with one stream of tasks a user, "
            "each a list of Task or a function (round, seed) → Task"
        )
    cpu = torch.device("cpu")
    with surroundings(dtype, cpu, draws=True):
        reseed(0, cpu)
        for user, own in enumerate(tasks):
            check_stream(user, own, collate)
    return len(tasks)


def _losses(loss: Loss | Sequence[Loss], users: int) -> list[Loss]:
    if callable(loss):
        return [loss] * users
    if len(loss) != users:
        raise ValueError(f"loss has {len(loss)} functions: must be one, or one a user, {users}")
    return list(loss)
