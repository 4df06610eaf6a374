"""Spaces of one environment, and the checks that an action lies within them."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from gymnasium import spaces
from numpy.typing import NDArray

from owo_env.problem import Problem

Floats = NDArray[np.floating]

FLOAT = np.dtype(float)
MASKS = ("active", "heard")  # in observations where a link may leave users out
HEAVIEST = 1e30
"""The largest weight: more than any learner plays, and gradients in float32 stay finite."""
GRADIENTS = {"weighted": "gradient", "per_user": "gradients"}  # what an observation calls them


def action_space(problem: Problem) -> spaces.Dict:
    """``model`` within Θ, shape (d,), and ``weights`` p ≥ 0, shape (K,)."""
    low, high = problem.model_bounds or (-np.inf, np.inf)
    dtype = problem.initial_model.dtype.type
    return spaces.Dict(
        model=spaces.Box(low, high, (problem.dim,), dtype),
        weights=spaces.Box(0.0, HEAVIEST, (problem.num_users,), np.float64),
    )


def observation_space(problem: Problem, gradients: str) -> spaces.Dict:
    """``utilities`` (K,), ``gradient`` (d,) or ``gradients`` (K, d), ``slot``, and any masks."""
    seen = zeros(problem, gradients)
    masks = {name: spaces.MultiBinary(problem.num_users) for name in MASKS if name in seen}
    boxes = {
        name: spaces.Box(-np.inf, np.inf, z.shape, z.dtype.type)
        for name, z in seen.items()
        if name not in masks and name != "slot"
    }
    return spaces.Dict({**boxes, "slot": spaces.Discrete(problem.num_slots + 1), **masks})


def zeros(problem: Problem, gradients: str, *batch: int) -> dict[str, Any]:
    """What ``reset`` observes: zeros and slot 0; of a batch, with the streams last in memory."""
    users, dim, dtype = problem.num_users, problem.dim, problem.initial_model.dtype
    shape = (*batch, users, dim) if gradients == "per_user" else (*batch, dim)
    nothing = {
        "utilities": np.zeros((*batch, users), order="F"),
        GRADIENTS[gradients]: np.zeros(shape, dtype, "F"),
        "slot": np.zeros(batch, int) if batch else 0,
    }
    if problem.link is not None and problem.link.masked:
        nothing |= {name: np.zeros((*batch, users), np.int8, "F") for name in MASKS}
    return nothing


def real(values: Any, dtype: np.dtype[Any]) -> Floats:
    """``values`` as an array of ``dtype``, the very same where it is one.

    Raises:
        TypeError: They are complex: an imaginary part would be lost.
    """
    array = np.asarray(values)
    if array.dtype is dtype:
        return array
    if array.dtype.kind == "c":
        raise TypeError(f"{array.dtype} has an imaginary part")
    return array.astype(dtype, copy=False)


def within(values: Sequence[float], low: float, high: float) -> bool:
    """Whether all lie in [low, high], none being NaN; on a few numbers faster than numpy."""
    for value in values:  # noqa: SIM110 (a generator costs more than the comparisons)
        if not low <= value <= high:
            return False
    return True


def bad_action(
    model: Floats, weights: Floats, problem: Problem, batch: tuple[int, ...] = ()
) -> ValueError:
    """The error that says what is wrong with an action known to be outside the space."""
    for name, value, size, (low, high) in (
        ("model", model, problem.dim, problem.model_bounds or (-np.inf, np.inf)),
        ("weights", weights, problem.num_users, (0.0, HEAVIEST)),
    ):
        if value.shape != (*batch, size):
            return ValueError(f"action[{name!r}] has shape {value.shape}: must be {(*batch, size)}")
        for at in map(tuple, np.argwhere(~np.isfinite(value)).tolist()):
            return ValueError(f"action[{name!r}] is not finite: {value[at]} at index {at}")
        for at in map(tuple, np.argwhere((value < low) | (value > high)).tolist()):
            allowed = f"must lie in [{low:g}, {high:g}]"
            return ValueError(f"action[{name!r}] is {value[at]:g} at index {at}: {allowed}")
    return ValueError("the action is outside the action space")
