"""Scenarios of a server that has an encoder and no data: these are where the users are."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar, NoReturn

import torch
from torch import nn
from typing_extensions import Unpack

from owo_env import checks
from owo_env.scenarios.split_learning.scenario import Settings, SplitLearning


class Hosted(SplitLearning):
    """An encoder that K users elsewhere train: ``owo serve`` plays it.

    Args:
        encoder: The shared model, copied; θ is its trainable parameters.
        num_users: K.
        input_shape: Of one item that a user sends: of its inputs, or of what its first layers
            make of them; without the batch.
        input_dtype: Its type, torch's name.
        front: Whether users keep first layers of their own, and with them their inputs.
        metrics: Names of figures that users report of their validation data.
        mode: As for :class:`SplitLearning`.
        settings: Likewise.

    Raises:
        ValueError: A setting is outside its domain.
    """

    name: ClassVar[str] = "hosted"
    proven = True  # it draws nothing

    def __init__(
        self,
        encoder: nn.Module,
        num_users: int,
        input_shape: Sequence[int],
        input_dtype: str = "float32",
        front: bool = False,
        metrics: Sequence[str] = (),
        mode: str | None = None,
        **settings: Unpack[Settings],
    ) -> None:
        users = checks.whole("num_users", num_users, low=2)
        super().__init__(
            encoder,
            head=_elsewhere,
            tasks=[_elsewhere] * users,
            front=_elsewhere if checks.flag("front", front) else None,
            metrics={name: [None] * users for name in metrics},
            mode=mode,
            **settings,
        )
        self.input_shape = tuple(checks.whole("input_shape", n, low=1) for n in input_shape)
        if not isinstance(getattr(torch, input_dtype, None), torch.dtype):
            raise ValueError(f"input_dtype={input_dtype!r}: must be the name of a torch type")
        self.input_dtype = input_dtype


def _elsewhere(*_: Any) -> NoReturn:
    raise ValueError("the users of this scenario are elsewhere: owo serve plays it with them")
