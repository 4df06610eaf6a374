"""Tensors in messages: packed as they cross, checked before they are used."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch

from owo_env.scenarios.split_learning.wire import Packed

HEADER = 4096  # bytes: more than any message is beside its tensor's data


def told(packed: Packed) -> dict[str, Any]:
    """The fields of a message ``Tensor``."""
    about = {name: getattr(packed, name) for name in ("dtype", "wire", "shape", "strides")}
    return {**about, "data": packed.data.tobytes()}


def heard(message: Any) -> Packed:
    """What crosses in a message ``Tensor``; nothing is checked yet."""
    return Packed(
        dtype=message.dtype,
        wire=message.wire,
        shape=tuple(message.shape),
        strides=tuple(message.strides),
        data=np.frombuffer(message.data, np.uint8),
    )


def checked(
    what: str,
    packed: Packed,
    wire: str | None,
    dtype: str | None = None,
    shape: Sequence[int] | None = None,
) -> torch.Tensor:
    """The tensor, if it is what was to come.

    Args:
        what: It is, for errors.
        packed: What came.
        wire: How floats are to cross.
        dtype: The type it must be of, if that is known.
        shape: Likewise.

    Raises:
        ValueError: It is another, or holds what is not finite.
    """
    kind = wire if wire is not None and packed.dtype.startswith("float") else packed.dtype
    for name, found, expected in (
        ("dtype", packed.dtype, dtype),
        ("wire format", packed.wire, kind),
        ("shape", packed.shape, None if shape is None else tuple(shape)),
    ):
        if expected is not None and found != expected:
            raise ValueError(f"{what} has {name} {found!r}: must be {expected!r}")
    try:
        tensor = packed.tensor()
    except ValueError as error:
        raise ValueError(f"{what}: {error}") from error
    if tensor.is_floating_point() and not np.isfinite(tensor.numpy()).all():  # torch takes 20 ×
        raise ValueError(f"{what} has entries that are not finite")
    return tensor
