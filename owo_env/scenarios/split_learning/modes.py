"""Layers that do one thing in training and another at rest: batch norm, dropout."""

from __future__ import annotations

import warnings
from collections.abc import Sequence

from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm, _NormBase
from torch.nn.modules.dropout import _DropoutNd

MODES = ("eval", "train")


def warn_of_resting(what: str, modules: Sequence[nn.Module], stacklevel: int = 3) -> None:
    """Say that such layers rest, where nobody chose that; ``what`` are the modules."""
    found = {type(layer).__name__ for one in modules for layer in one.modules() if _rests(layer)}
    if found:
        warnings.warn(
            f"{what} has {' and '.join(sorted(found))}: in eval mode batch norm keeps the "
            "statistics that it came with, and dropout does nothing. mode='train' lets them work "
            "(each user's batch is normalized by its own statistics), as do layers without running "
            "statistics, such as nn.GroupNorm; mode='eval' says that it is meant, as for a "
            "pretrained encoder",
            stacklevel=stacklevel,
        )


def has_batch_norm(module: nn.Module) -> bool:
    """Whether it has layers that need two items to learn from."""
    return any(isinstance(layer, _BatchNorm) for layer in module.modules())


def mixes_users(encoder: nn.Module) -> bool:
    """Whether its batch norm goes by the present batch even at rest, whoever is in it."""
    norms = [layer for layer in encoder.modules() if isinstance(layer, _BatchNorm)]
    return any(norm.running_mean is None for norm in norms)


def _rests(layer: nn.Module) -> bool:
    """Whether eval mode changes what it does."""
    if isinstance(layer, _NormBase):
        return layer.running_mean is not None
    return isinstance(layer, _DropoutNd) and layer.p > 0
