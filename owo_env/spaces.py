"""Spaces of one environment, and the checks that an action lies within them."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from gymnasium import spaces
from numpy.typing import NDArray

from owo_env.problem import Problem

Floats = NDArray[np.floating]

GRADIENTS = ("weighted", "per_user")


def action_space(problem: Problem) -> spaces.Dict:
    """``model`` within Θ, shape (d,), and ``weights`` p ≥ 0, shape (K,)."""
    low, high = problem.model_bounds or (-np.inf, np.inf)
    dtype = problem.initial_model.dtype.type
    return spaces.Dict(
        model=spaces.Box(low, high, (problem.dim,), dtype),
        weights=spaces.Box(0.0, np.inf, (problem.num_users,), np.float64),
    )


def observation_space(problem: Problem, gradients: str) -> spaces.Dict:
    """``utilities`` (K,), ``gradient`` (d,) or ``gradients`` (K, d), and ``slot``."""
    zeros = zero_observation(problem, gradients)
    boxes = {
        name: spaces.Box(-np.inf, np.inf, zero.shape, zero.dtype.type)
        for name, zero in zeros.items()
        if name != "slot"
    }
    return spaces.Dict({**boxes, "slot": spaces.Discrete(problem.num_slots + 1)})


def zero_observation(problem: Problem, gradients: str) -> dict[str, Any]:
    """What ``reset`` observes: zeros and slot 0."""
    users, dim = problem.num_users, problem.dim
    name, shape = ("gradients", (users, dim)) if gradients == "per_user" else ("gradient", (dim,))
    dtype = problem.initial_model.dtype
    return {"utilities": np.zeros(users), name: np.zeros(shape, dtype), "slot": 0}


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
    low, high = problem.model_bounds or (-np.inf, np.inf)
    for name, value, size, bottom, top in (
        ("model", model, problem.dim, low, high),
        ("weights", weights, problem.num_users, 0.0, np.inf),
    ):
        if value.shape != (*batch, size):
            return ValueError(f"action[{name!r}] has shape {value.shape}: must be {(*batch, size)}")
        if not np.isfinite(value).all():
            at = tuple(int(i) for i in np.argwhere(~np.isfinite(value))[0])
            return ValueError(f"action[{name!r}] is not finite: {value[at]} at index {at}")
        wrong = np.argwhere((value < bottom) | (value > top))
        if len(wrong):
            at = tuple(int(i) for i in wrong[0])
            allowed = f"must lie in [{bottom:g}, {top:g}]"
            return ValueError(f"action[{name!r}] is {value[at]:g} at index {at}: {allowed}")
    return ValueError("the action is outside the action space")
