"""Metrics of somebody's own on users' validation data."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch

Tensor = torch.Tensor
Metric = Callable[[Tensor, Tensor], Any]
Metrics = Mapping[str, Metric | Sequence[Metric | None]]
"""Name → function (outputs, labels) → number, for all users or K of them."""

TAKEN = ("loss", "accuracy")


def checked_metrics(metrics: Metrics | None, users: int) -> dict[str, list[Metric | None]]:
    """Name → each user's function, or None.

    Raises:
        ValueError: A name that is taken, or functions for other users.
        TypeError: No mapping of names, or what is no function.
    """
    if metrics is None:
        return {}
    if not isinstance(metrics, Mapping):
        raise TypeError(f"metrics={metrics!r}: must be a mapping {{name: function}}")
    found: dict[str, list[Metric | None]] = {}
    for name, given in metrics.items():
        if not isinstance(name, str) or not name.isidentifier() or name in TAKEN:
            raise ValueError(
                f"metrics: the name {name!r} must be an identifier, and none of {', '.join(TAKEN)}"
            )
        each: list[Metric | None] = [given] * users if callable(given) else list(given)
        if len(each) != users:
            raise ValueError(
                f"metrics[{name!r}] has {len(each)}: must be one, or one a user, {users}"
            )
        for k, one in enumerate(each):
            if one is not None and not callable(one):
                raise TypeError(f"metrics[{name!r}][{k}]={one!r}: must be a function or None")
        found[name] = each
    return found


def measured(
    metrics: Mapping[str, Sequence[Metric | None]],
    user: int,
    where: str,
    seen: Sequence[tuple[Tensor, Tensor]],
) -> dict[str, float]:
    """A user's figures by name; NaN where it has none.

    Args:
        metrics: As :func:`checked_metrics` gives them.
        user: Which.
        where: The user and the round, for errors.
        seen: Outputs and labels, in batches.

    Raises:
        ValueError: A metric raises, or gives something else than a number.
    """
    outputs, labels = (torch.cat(parts) for parts in zip(*seen))
    found = {}
    for name, each in metrics.items():
        metric, found[name] = each[user], math.nan
        if metric is None:
            continue
        try:
            given = metric(outputs, labels)
        except Exception as error:
            why = f"{type(error).__name__}: {error}"
            raise ValueError(f"metric {name!r} {where} fails ({why})") from error
        shape = tuple(getattr(given, "shape", ()))
        try:
            if shape not in ((), (1,)):
                raise TypeError
            found[name] = float(given)
        except (TypeError, ValueError):
            what = f"an array of shape {shape}" if shape else repr(given)
            raise ValueError(f"metric {name!r} {where} gives {what}: must be a number") from None
    return found
