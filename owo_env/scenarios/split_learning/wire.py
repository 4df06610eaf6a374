"""Tensors as they cross the link: raw bytes in one of a few formats, and back.

What arrives is a function of what was sent, the format and the dither alone, whether it crosses a
real link or none.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from owo_env.link.feedback import at_levels, levels

Tensor = torch.Tensor
Dither = Callable[[], np.random.Generator]
"""Makes the generator that decides which way entries are rounded, where any are."""

WIRES = ("float32", "float16", "int8")
"""Floats as they cross; whole numbers cross as they are."""

BITS = 8
PLAIN = ("float32", "float64", "float16", "uint8", "int8", "int16", "int32", "int64", "bool")
SCALE = np.dtype("<f4")  # before the numbers of int8: the largest entry in size


@dataclass(frozen=True, eq=False)
class Packed:
    """A tensor as it crosses.

    Attributes:
        dtype: The tensor's, one of ``PLAIN``.
        wire: The type of its entries on the way: of ``PLAIN``, or of ``WIRES``; ``int8`` of floats
            is a float32 scale and then a byte an entry.
        shape: The tensor's.
        strides: Their order in memory, which decides bits too: convolutions look at it.
        data: The bytes, little-endian, (n,) uint8.
    """

    dtype: str
    wire: str
    shape: tuple[int, ...]
    strides: tuple[int, ...]
    data: NDArray[np.uint8]

    @property
    def rounds(self) -> bool:
        """Whether entries are numbers of steps."""
        return self.wire == "int8" and self.dtype.startswith("float")

    def tensor(self) -> Tensor:
        """The tensor that arrives.

        Raises:
            ValueError: These are not the bytes of such a tensor.
        """
        return unpacked(self)


def pack(tensor: Tensor, wire: str | None, dither: Dither) -> Packed:
    """A tensor as it crosses.

    Args:
        tensor: Any shape.
        wire: One of ``WIRES``; None leaves floats as they are.
        dither: For ``int8``.

    Raises:
        FloatingPointError: An entry that the format does not have.
    """
    tensor = tensor.detach().cpu()
    if not dense(tensor.shape, tensor.stride()):
        tensor = tensor.contiguous()
    flat = tensor.as_strided((tensor.numel(),), (1,)).numpy()
    dtype = str(tensor.dtype).removeprefix("torch.")
    kind = wire if wire is not None and dtype.startswith("float") else dtype
    if kind == "int8" and dtype != "int8":
        data = _rounded(flat.astype(np.float32, copy=False), dither())
    else:
        with np.errstate(over="ignore"):
            data = flat.astype(np.dtype(kind).newbyteorder("<"), copy=False)
        if kind == "float16" and not np.isfinite(data).all():
            raise FloatingPointError(
                f"wire='float16': an entry is {np.abs(flat).max():g}, more than it has"
            )
    raw = np.ascontiguousarray(data).view(np.uint8)
    return Packed(dtype, kind, tuple(tensor.shape), tuple(tensor.stride()), raw)


def _rounded(flat: NDArray[np.float32], rng: np.random.Generator) -> NDArray[np.uint8]:
    """The scale and a number of steps an entry."""
    if not np.isfinite(flat).all():
        raise FloatingPointError("wire='int8': an entry is not finite")
    dither = rng.random(flat.shape, np.float32)
    numbers, size = levels(flat[:, None], BITS, dither[:, None])
    scale = size.astype(SCALE).view(np.uint8)
    return np.concatenate([scale, numbers[:, 0].clip(0, 2**BITS - 1).astype(np.uint8)])


def unpacked(packed: Packed) -> Tensor:
    """:meth:`Packed.tensor`."""
    count = math.prod(packed.shape)
    for name in (packed.dtype, packed.wire):
        if name not in PLAIN:
            raise ValueError(f"dtype {name!r}: must be one of {', '.join(PLAIN)}")
    if not dense(packed.shape, packed.strides):
        raise ValueError(f"strides {packed.strides} are not those of a shape {packed.shape}")
    kind = np.dtype("u1" if packed.rounds else packed.wire).newbyteorder("<")
    before = SCALE.itemsize if packed.rounds else 0
    if len(packed.data) != before + count * kind.itemsize:
        raise ValueError(
            f"{len(packed.data)} bytes: a {packed.wire} tensor of shape {packed.shape} has "
            f"{before + count * kind.itemsize}"
        )
    flat = packed.data[before:].view(kind)
    if packed.rounds:
        size = packed.data[:before].copy().view(SCALE).astype(np.float32)
        flat = at_levels(flat[:, None].astype(np.float32), size, BITS)[:, 0]
    made = torch.empty(count, dtype=getattr(torch, packed.dtype))
    made.numpy()[:] = flat  # into memory aligned as torch has it: products' bits may go by that
    return made.as_strided(packed.shape, packed.strides)


def dense(shape: Sequence[int], strides: Sequence[int]) -> bool:
    """Whether entries lie side by side, in whatever order of the axes."""
    if len(shape) != len(strides) or 0 in shape:
        return False
    expected = 1
    for stride, size in sorted((s, n) for s, n in zip(strides, shape) if n > 1):
        if stride != expected:
            return False
        expected *= size
    return True
