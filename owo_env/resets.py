"""What ``reset`` of a vector environment is given: seeds, a mask, and how rounds are reopened."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from gymnasium.vector import AutoresetMode
from numpy.typing import NDArray

from owo_env import checks

Mask = NDArray[np.bool_]


def seeds_of(seed: int | Sequence[int | None] | None, num_envs: int) -> list[int | None]:
    """A seed for each of N streams, None for those that go on."""
    if seed is None:
        return [None] * num_envs
    if np.ndim(seed) == 0:  # type: ignore[arg-type]
        first = checks.whole("seed", seed, low=0)
        return [first + n for n in range(num_envs)]
    seeds = list(seed)  # type: ignore[arg-type]
    if len(seeds) != num_envs:
        raise ValueError(f"seed: has {len(seeds)} entries, must have num_envs={num_envs}")
    return [checks.seed(f"seed[{n}]", one) for n, one in enumerate(seeds)]


def reset_mask_of(mask: object, num_envs: int) -> Mask:
    """Which streams are to be reset, (N,)."""
    if mask is None:
        return np.ones(num_envs, bool)
    if not isinstance(mask, np.ndarray) or mask.dtype != np.bool_:
        raise TypeError(f"options['reset_mask'] must be a numpy bool array, got {mask!r}")
    if mask.shape != (num_envs,):
        raise ValueError(f"options['reset_mask'] has shape {mask.shape}: must be ({num_envs},)")
    if not mask.any():
        raise ValueError("options['reset_mask'] must be True for at least one stream")
    return mask


def autoreset_mode_of(mode: AutoresetMode | str) -> AutoresetMode:
    """The mode that a name stands for."""
    try:
        return AutoresetMode(mode)
    except ValueError as error:
        allowed = ", ".join(m.value for m in AutoresetMode)
        raise ValueError(f"autoreset_mode={mode!r}: must be one of {allowed}") from error
