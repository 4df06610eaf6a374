"""Model step: how the shared model follows the users' weighted gradient within a round."""

from __future__ import annotations

import math
import warnings
from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from owo_env import checks
from owo_env.problem import Problem

Floats = NDArray[np.floating]

# §IV's rate, for problems whose constants nobody knows.
PRACTICAL_RATE = 0.1


def largest_stable_rate(problem: Problem) -> float:
    """2/(K p_max L): gradient ascent's stability limit at full priority; ∞ where L is unknown."""
    if problem.smoothness is None:
        return math.inf
    _, p_max = problem.priority_bounds
    return 2 / (problem.num_users * p_max * problem.smoothness)


def default_rate(problem: Problem) -> float:
    """η = min(D_Θ/(G_Θ√m), 2/(K p_max L)): Algorithm 1's step, kept stable.

    Where D_Θ or G_Θ is unknown (Θ unbounded, deep scenarios) §IV's 0.1 takes the place of the
    first term; where L is unknown the second is ∞.
    """
    rate = PRACTICAL_RATE
    if problem.diameter is not None and problem.gradient_bound is not None:
        rate = problem.diameter / (problem.gradient_bound * math.sqrt(problem.num_slots))
    return min(rate, largest_stable_rate(problem))


class ModelStep(ABC):
    """θ ← Π_Θ(θ + η g), eq. 5, with g an ascent direction; a subclass says what η is.

    Models and gradients are (..., d) over leading batch axes.
    """

    def __init__(self, problem: Problem) -> None:
        self.problem = problem

    def begin_round(self, model: Floats) -> None:
        """A round opens at the start ``model`` = x_t."""

    @abstractmethod
    def rate(self, model: Floats, gradient: Floats) -> Floats | float:
        """η of this slot, broadcast against ``gradient``; called once a slot."""

    def update(self, model: Floats, gradient: Floats) -> Floats:
        """The next slot's model, shape (..., d), in the dtype of the problem."""
        step = self.rate(model, gradient) * gradient
        same = step.dtype == model.dtype and step.shape == model.shape
        moved = np.add(model, step, out=step if same else None)
        return self.problem.project(moved.astype(model.dtype, copy=False))

    def end_round(self, target: Floats) -> None:
        """The round is over; ``target`` is its θ*_t or what stands for it."""

    def state_dict(self) -> dict[str, Any]:
        """What the step carries over rounds; a constant step carries nothing."""
        return {}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on from ``state``."""


class GradientAscent(ModelStep):
    """A constant step η.

    Args:
        problem: The problem.
        learning_rate: η ≥ 0; default by :func:`default_rate`. Above the largest stable rate
            it warns, naming both.

    Raises:
        ValueError: η is negative or not finite.
    """

    def __init__(self, problem: Problem, learning_rate: float | None = None) -> None:
        super().__init__(problem)
        if learning_rate is None:
            self.learning_rate = default_rate(problem)
            return
        self.learning_rate = checks.number("learning_rate", learning_rate, low=0.0)
        stable = largest_stable_rate(problem)
        if self.learning_rate > stable * (1 + 1e-9):
            warnings.warn(
                f"learning_rate={self.learning_rate:g} is above the largest stable step "
                f"{stable:g} = 2/(K p_max L): the model may oscillate between the walls of Θ",
                stacklevel=2,
            )

    def rate(self, model: Floats, gradient: Floats) -> float:
        return self.learning_rate
