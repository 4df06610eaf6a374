"""What a module carries from one pass to the next: parameters, buffers, and plain attributes."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from torch import nn

Tensor = torch.Tensor


def tensors(module: nn.Module) -> dict[str, Tensor]:
    """Its parameters, buffers (saved by torch or not) and plain attributes, by their paths.

    They are the tensors themselves, not copies. An attribute that hangs on a graph is a result
    that somebody looks at, and no memory.
    """
    found: dict[str, Tensor] = {}
    for path, part in module.named_modules():
        for name, value in {**vars(part), **part._parameters, **part._buffers}.items():
            if isinstance(value, nn.Parameter) or (
                isinstance(value, Tensor) and not value.requires_grad
            ):
                found[f"{path}.{name}" if path else name] = value
    return found


def numbers(module: nn.Module) -> dict[str, float]:
    """The plain numbers among its attributes, by their paths."""
    return {
        f"{path}.{name}" if path else name: value
        for path, part in module.named_modules()
        for name, value in vars(part).items()
        if isinstance(value, int | float) and name != "training"
    }


def moved(module: nn.Module, original: nn.Module) -> dict[str, Any]:
    """Tensors and numbers that are no longer what they are in the ``original``, but for what it
    learns by gradients."""
    was: dict[str, Any] = tensors(original)
    changed: dict[str, Any] = {
        name: value.detach()
        for name, value in tensors(module).items()
        if not value.requires_grad and not _equal(value, was.get(name))
    }
    counted = numbers(original)
    return changed | {n: v for n, v in numbers(module).items() if v != counted.get(n)}


@torch.no_grad()
def restore(module: nn.Module, state: Mapping[str, Any]) -> None:
    """Put back what :func:`tensors` or :func:`moved` gave."""
    for path, value in state.items():
        owner, _, name = path.rpartition(".")
        part = module.get_submodule(owner)
        here = getattr(part, name, None)
        if isinstance(here, Tensor) and here.shape == value.shape:
            here.copy_(value)
        else:
            setattr(part, name, value)


@contextmanager
def kept(*modules: nn.Module) -> Iterator[None]:
    """Whatever the modules change in themselves inside is undone, but for what learns."""
    parts = [part for module in modules for part in module.modules()]
    attributes = [(part, dict(vars(part)), dict(part._buffers)) for part in parts]
    resting = [t for module in modules for t in tensors(module).values() if not t.requires_grad]
    values = [t.clone() for t in resting]
    try:
        yield
    finally:
        for part, own, buffers in attributes:
            vars(part).update(own)
            for name, buffer in buffers.items():
                if getattr(part, name) is not buffer:
                    setattr(part, name, buffer)
        with torch.no_grad():
            for t, value in zip(resting, values, strict=True):
                t.copy_(value)


def _equal(value: Tensor, other: object) -> bool:
    return isinstance(other, Tensor) and torch.equal(value.cpu(), other.cpu())


def as_arrays(state: Mapping[str, Any]) -> dict[str, Any]:
    """Tensors as copied arrays; numbers stay."""
    return {
        name: value.detach().cpu().numpy().copy() if isinstance(value, Tensor) else value
        for name, value in state.items()
    }


def as_tensors(state: Mapping[str, Any]) -> dict[str, Any]:
    """The inverse of :func:`as_arrays`."""
    return {
        name: torch.tensor(value) if isinstance(value, np.ndarray) else value
        for name, value in state.items()
    }
