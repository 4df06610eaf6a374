"""What torch, numpy and random keep globally: a stream works under its own, and puts all back.

Layers, losses and data sets draw from the global generators (dropout, a noisy channel,
augmentation), and torch's default type decides that of new tensors.
"""

from __future__ import annotations

import pickle
import random
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any, TypeVar

import numpy as np
import torch
from torch import nn
from torch.utils.data import TensorDataset

from owo_env.scenarios.split_learning.draws import torch_seed

Function = TypeVar("Function", bound=Callable[..., Any])

# Of torch's own layers those that may draw, in training or always.
_DRAWING = (
    *(nn.modules.dropout._DropoutNd, nn.RReLU, nn.FractionalMaxPool2d, nn.FractionalMaxPool3d),
    *(nn.MultiheadAttention, nn.RNNBase),
)


def surroundings(
    dtype: torch.dtype, device: torch.device, draws: bool
) -> AbstractContextManager[None]:
    """Inside, torch's default type is ``dtype``, and graphs are kept whatever the caller's mode.

    Args:
        dtype: Of tensors that say nothing else.
        device: Where something may be drawn.
        draws: Whether something may be; it then leaves no trace in the global generators.
    """
    usual = torch.is_grad_enabled() and not torch.is_inference_mode_enabled()
    if usual and not draws and torch.get_default_dtype() is dtype:
        return nullcontext()
    return _put_back(dtype, device, draws)


@contextmanager
def _put_back(dtype: torch.dtype, device: torch.device, draws: bool) -> Iterator[None]:
    before = torch.get_default_dtype()
    torch.set_default_dtype(dtype)
    try:
        fork = _forked(device) if draws else nullcontext()
        with torch.inference_mode(False), fork:  # the former allows graphs under no_grad as well
            yield
    finally:
        torch.set_default_dtype(before)


@contextmanager
def _forked(device: torch.device) -> Iterator[None]:
    own = [(generator, generator.get_state()) for generator in _generators(device)]
    numpys, pythons = np.random.get_state(), random.getstate()
    try:
        yield
    finally:
        for generator, state in own:
            generator.set_state(state)
        np.random.set_state(numpys)
        random.setstate(pythons)


def reseed(seed: int, device: torch.device) -> None:
    """Start the global generators from ``seed``; they are to be forked."""
    for generator in _generators(device):
        generator.manual_seed(torch_seed(seed))
    np.random.seed(seed % 2**32)
    random.seed(seed)


def position(device: torch.device) -> bytes:
    """Where the global generators stand; it differs once something was drawn."""
    own = [generator.get_state().numpy() for generator in _generators(device)]
    return pickle.dumps((own, np.random.get_state(), random.getstate()))


@contextmanager
def seeded(seed: int, dtype: torch.dtype = torch.float32) -> Iterator[None]:
    """Modules built inside are a function of ``seed``: of type ``dtype``, and on the CPU."""
    cpu = torch.device("cpu")
    with surroundings(dtype, cpu, draws=True), cpu:
        reseed(seed, cpu)
        yield


def quiet(function: Function) -> Function:
    """Mark a function that never draws; on classes and objects, ``draws = False`` says the same."""
    function.draws = False  # type: ignore[attr-defined]
    return function


def may_draw(thing: object) -> bool:
    """Whether a module, function or data set may draw from the global generators.

    Everything may, but what says ``draws = False``, torch's functions, its layers that never do,
    and a ``TensorDataset``.
    """
    if getattr(thing, "draws", None) is False or type(thing) is TensorDataset:
        return False
    if isinstance(thing, nn.Module):
        return _layer_may_draw(thing) or any(map(may_draw, thing.children()))
    return getattr(thing, "__module__", None) != "torch.nn.functional"


def _layer_may_draw(layer: nn.Module) -> bool:
    """Whether a module may do so by itself; hooks and a patched ``forward`` are somebody's own."""
    return (
        not type(layer).__module__.startswith("torch.nn.modules.")
        or isinstance(layer, _DRAWING)
        or bool(layer._forward_hooks or layer._forward_pre_hooks)
        or bool(layer._backward_hooks or layer._backward_pre_hooks)
        or "forward" in vars(layer)
    )


def _generators(device: torch.device) -> list[torch.Generator]:
    """Torch's global generators of the CPU and, if it is another, of the device."""
    found = [torch.default_generator]
    if device.type == "cuda":
        torch.cuda.init()
        index = torch.cuda.current_device() if device.index is None else device.index
        found.append(torch.cuda.default_generators[index])
    return found
