"""Join a running server as a user: with one's own data, or with a scenario that is shipped."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import nn
from torch.nn import functional as F

from owo_env import checks
from owo_env.remote.client import Client, Tell
from owo_env.remote.credentials import Token
from owo_env.scenarios import make_scenario
from owo_env.scenarios.split_learning.heads import Loss
from owo_env.scenarios.split_learning.link import Setup
from owo_env.scenarios.split_learning.metrics import Metrics, checked_metrics
from owo_env.scenarios.split_learning.scenario import SplitLearning, usable_device
from owo_env.scenarios.split_learning.surroundings import quiet
from owo_env.scenarios.split_learning.tasks import Collate, TaskStream, check_stream, taken

SHIPPED = ("rainbow-mnist", "csi-feedback")
"""Scenarios that a server may name for a user to run."""
OWN = ("data_root", "download", "device")
"""Settings of theirs that are the user's business, not the server's."""

Module = nn.Module | Callable[[], nn.Module]


@dataclass(frozen=True, eq=False)
class Joined:
    """What a user takes home.

    Attributes:
        head: As it is now, a module of its own.
        front: Its first layers, if it has any.
        round: The last one that it learned in.
        learned: Slots that it learned from in this call.
        reason: Why it ended.
    """

    head: nn.Module
    front: nn.Module | None
    round: int
    learned: int
    reason: str


def join(
    address: str,
    tasks: TaskStream | Any,
    head: Module,
    loss: Loss = F.cross_entropy,
    *,
    token: str,
    front: Module | None = None,
    metrics: Metrics | None = None,
    collate: Collate | None = None,
    state: str | Path | None = None,
    start_again: bool = False,
    patience: float = 10.0,
    device: str = "cpu",
    tell: Tell = lambda text: None,
) -> Joined:
    """Take part in a running server's rounds with data of one's own, until the run is over.

    What leaves this process are inputs, or what ``front`` makes of them; ∂ℓ/∂feature; losses, and
    figures of validation data. Labels, head and front stay.

    Args:
        address: ``host:port`` of the server.
        tasks: This user's stream of tasks, as
            :class:`~owo_env.scenarios.split_learning.SplitLearning` takes it of each user: a list
            of ``Task``, a function (round, seed) → ``Task``, a data set, or a ``DataLoader``.
        head: A module, or a function that makes one.
        loss: (outputs, labels) → mean loss ≥ 0.
        token: The line that the server made for this user.
        front: First layers, which keep inputs here, where the server's users have such.
        metrics: Name → function (outputs, labels) → number, of validation data; the server must
            have been told the same names.
        collate: A list of a data set's items to (inputs, labels), where items are no pairs.
        state: The file that keeps head and front, so that a process that was killed goes on;
            default ``owo-user-N.safetensors`` in the working folder.
        start_again: Begin with new private parts, whatever the file has.
        patience: [minutes] For which a server that is away is waited for.
        device: Where torch computes.
        tell: Hears in words what happens.

    Returns:
        Head and front as they are at the end.

    Raises:
        RemoteError: The server refused this user, or stayed away.
        ValueError: A task, or what the file has, does not fit.
        TypeError: Tasks are of the wrong kind.
        OSError: The file cannot be written.
    """
    if not isinstance(tasks, Sequence) and not callable(tasks):
        tasks = [tasks]

    def setup(welcome: Any) -> Setup:
        k, users = int(welcome.user), int(welcome.users)
        own = taken(f"tasks[{k}]", tasks, int(welcome.batch))
        check_stream(k, own, collate)
        nobody: list[Any] = [None] * users
        each = [*nobody[:k], own, *nobody[k + 1 :]]
        return Setup(
            encoder=nn.Identity(),
            head=_modules(head, users),
            front=None if front is None else _modules(front, users),
            tasks=each,
            collate=collate,
            metrics=checked_metrics(metrics, users),
            losses=[loss] * users,
            corrupt=_left_alone,
            num_slots=int(welcome.slots),
            l_max=[],
            batch_size=int(welcome.batch),
            head_learning_rate=[],  # the server says it
            heads="carried",
            weights_scale_heads=False,
            feedback=welcome.feedback,
            mode=welcome.mode or None,
            users_per_pass=1,
            device=usable_device(device),
            dtype=getattr(torch, welcome.dtype),
            wire=None,
            about=_nothing,
        )

    return take_part(address, token, setup, state, start_again, patience, tell)


def join_shipped(
    address: str,
    token: str,
    settings: Mapping[str, Any],
    state: str | Path | None = None,
    start_again: bool = False,
    patience: float = 10.0,
    tell: Tell = lambda text: None,
) -> Joined:
    """Take part as a user of the shipped scenario that the server plays; as :func:`join`.

    Args:
        address: ``host:port`` of the server.
        token: The line that the server made for this user.
        settings: Of the scenario, on top of what the server says; paths and devices are only
            taken from here.
        state: See :func:`join`; so the rest.
    """

    def setup(welcome: Any) -> Setup:
        if welcome.scenario not in SHIPPED:
            name = welcome.scenario or "one that this package does not ship"
            raise ValueError(
                f"the server plays {name}: join it from Python, with "
                "owo_env.remote.join(address, tasks=…, head=…, token=…)"
            )
        told = {k: v for k, v in json.loads(welcome.settings).items() if k not in OWN}
        made = make_scenario(welcome.scenario, **{**told, **settings})
        assert isinstance(made, SplitLearning)
        return replace(made.setup, encoder=nn.Identity(), wire=None)

    return take_part(address, token, setup, state, start_again, patience, tell)


def take_part(
    address: str,
    token: str,
    setup: Callable[[Any], Setup],
    state: str | Path | None,
    start_again: bool,
    patience: float,
    tell: Tell,
) -> Joined:
    """:func:`join` with what the user has as a function of the server's welcome."""
    mine = Token.read(token)
    path = Path(state or f"owo-user-{mine.user}.safetensors")
    checks.number("patience", patience, low=0.0)
    client = Client(address, mine, setup, path, start_again, patience, tell)
    reason = client.run()
    member = client.member
    assert member is not None
    heads, fronts = member.users.exported()
    front = fronts[0] if fronts else None
    return Joined(heads[0], front, member.kept.round, member.learned, reason)


def _modules(module: Module, users: int) -> Any:
    """As a setup has them; the one that is this user's is told apart by nothing but its draw."""
    return [module] * users if isinstance(module, nn.Module) else module


def _nothing(number: int, seed: int) -> dict[str, Any]:
    return {}


@quiet
def _left_alone(labels: torch.Tensor, user: int, slot: int, number: int) -> torch.Tensor:
    return labels
