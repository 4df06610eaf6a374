"""Model step: how the shared model follows the users' gradients within a round."""

from __future__ import annotations

import math
import warnings
from abc import abstractmethod
from collections.abc import Callable
from typing import Any

import numpy as np

from owo_agents.agent import Floats
from owo_agents.learner.part import Part
from owo_env import checks
from owo_env.problem import Problem

# §IV's rate, for problems whose constants nobody knows.
PRACTICAL_RATE = 0.1


def largest_stable_rate(problem: Problem) -> float:
    """2/(K p_max L): gradient ascent's stability limit at full priority; ∞ where L is unknown.

    Other notions than α-fairness have a limit and a largest Σp of their own. With gradients that
    are D slots late it is sin(π/(2(2D + 1))) of that: x ← x − a x_{−D} is stable up to twice that.
    """
    if problem.curvature is None:
        return math.inf
    limit = problem.fairness.limit * math.sin(math.pi / (2 * (2 * _delay(problem) + 1)))
    return limit / problem.curvature


def _delay(problem: Problem) -> int:
    return 0 if problem.link is None else problem.link.delay


def default_rate(problem: Problem) -> float:
    """η = min(D_Θ/(G_Θ√m), 2/(K p_max L)): Algorithm 1's step, kept stable.

    Gradients that are D slots late count √(1 + 2D) times (Zinkevich, Langford and Smola, NeurIPS
    2009; Quanrud and Khashabi, NeurIPS 2015). Where D_Θ or G_Θ is unknown (Θ unbounded, deep
    scenarios) §IV's 0.1 takes the place of the first term; where L is unknown the second is ∞.
    """
    rate = PRACTICAL_RATE
    if problem.diameter is not None and problem.gradient_bound is not None:
        slots = problem.num_slots * (1 + 2 * _delay(problem))
        rate = problem.diameter / (problem.gradient_bound * math.sqrt(slots))
    return min(rate, largest_stable_rate(problem))


class ModelStep(Part):
    """θ ← Π_Θ(θ + η g), eq. 5, with g an ascent direction; a subclass says what η is.

    Models and gradients are (..., d) over leading batch axes.

    Attributes:
        learning_rate: η where it is a constant, else None.
    """

    learning_rate: Any = None

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


class GradientAscent(ModelStep):
    """A constant step η.

    Args:
        problem: The problem.
        learning_rate: η ≥ 0; default by :func:`default_rate`. Above the largest stable rate
            it warns, naming both.

    Raises:
        ValueError: η is negative or not finite.
    """

    carried = ()

    def __init__(self, problem: Problem, learning_rate: float | None = None) -> None:
        super().__init__(problem)
        given = default_rate(problem) if learning_rate is None else learning_rate
        self.learning_rate = checks.number("learning_rate", given, low=0.0)
        stable = largest_stable_rate(problem)
        if self.learning_rate > stable * (1 + 1e-9):
            warnings.warn(
                f"learning_rate={self.learning_rate:g} is above the largest stable step "
                f"{stable:g} = 2/(K p_max L): the model may oscillate between the walls of Θ",
                stacklevel=2,
            )

    def rate(self, model: Floats, gradient: Floats) -> float:
        return self.learning_rate


def _square(vector: Floats) -> Floats:
    """‖·‖² over the last axis, kept, in float64."""
    return np.sum(np.square(vector, dtype=np.float64), axis=-1, keepdims=True)


def _ratio(above: Floats | float, below: Floats) -> Floats:
    """√(above/below), 0 where there was no gradient yet."""
    return np.sqrt(np.divide(above, below, out=np.zeros_like(below), where=below > 0))


class AdaGradNorm(ModelStep):
    """η_i = D_Θ/√(2 Σ_{j≤i} ‖g_j‖²), restarted each round: knows D_Θ, but neither G_Θ nor L.

    Streeter and McMahan (2010); the constant is Orabona's, *A Modern Introduction to Online
    Learning* (2019), §4.2.

    Args:
        problem: The problem.
        diameter: D_Θ; default the problem's.

    Raises:
        ValueError: D_Θ is unknown, or not positive.
    """

    carried = ()

    def __init__(self, problem: Problem, diameter: float | None = None) -> None:
        super().__init__(problem)
        given = problem.diameter if diameter is None else diameter
        if given is None:
            raise ValueError(
                "step='adagrad-norm': this problem has no diameter D_Θ; pass it as learning_rate"
            )
        self.diameter = checks.number("diameter", given, low=0.0, open_low=True)

    def begin_round(self, model: Floats) -> None:
        self._squares = np.zeros((*model.shape[:-1], 1))

    def rate(self, model: Floats, gradient: Floats) -> Floats:
        self._squares = self._squares + _square(gradient)
        return _ratio(self.diameter**2 / 2, self._squares)


class GuessFree(ModelStep):
    """A step size that knows no constant of the problem: learned from the rounds before.

    A round's regret is at most D_s²/(2η) + η G_s²/2 with D_s = ‖θ*_s − x_s‖ and
    G_s² = Σ_i ‖g_si‖². Over the rounds so far the best constant is η_t = √(Σ_s D_s²/Σ_s G_s²):
    follow-the-leader on these bounds, ARUBA of Khodak et al., *Adaptive Gradient-Based
    Meta-Learning Methods* (NeurIPS 2019), which the paper's footnote 2 points to. The first
    round takes distance-over-gradients steps, Ivgi et al. (ICML 2023):
    η_i = max(r, max_{j≤i} ‖θ_j − x_1‖)/√(Σ_{j≤i} ‖g_j‖²) with r = 0.01 (1 + ‖x_1‖).
    """

    carried = ("distances", "gradients")
    distances: Any = None  # Σ_s D_s² of the rounds before, (..., 1)
    gradients: Any = None  # Σ_s G_s²
    _NUDGE = 0.01

    def begin_round(self, model: Floats) -> None:
        self._start = model
        self._squares = np.zeros((*model.shape[:-1], 1))
        self._reach = self._NUDGE**2 * (1 + np.sqrt(_square(model))) ** 2

    def rate(self, model: Floats, gradient: Floats) -> Floats:
        self._squares = self._squares + _square(gradient)
        if self.distances is not None:
            return _ratio(self.distances, self.gradients)
        self._reach = np.maximum(self._reach, _square(model - self._start))
        return _ratio(self._reach, self._squares)

    def end_round(self, target: Floats) -> None:
        if self.distances is None:
            self.distances = self.gradients = 0.0
        self.distances = self.distances + _square(target - self._start)
        self.gradients = self.gradients + self._squares


STEPS: dict[str, Callable[..., ModelStep]] = {
    "fixed": GradientAscent,
    "guess-free": GuessFree,
    "adagrad-norm": AdaGradNorm,
}


def make_step(problem: Problem, name: str, learning_rate: float | None = None) -> ModelStep:
    """A model step by name.

    Args:
        problem: The problem.
        name: ``"fixed"``, ``"guess-free"`` or ``"adagrad-norm"``.
        learning_rate: η of ``"fixed"``, or what stands for D_Θ in ``"adagrad-norm"``.

    Raises:
        ValueError: An unknown name, or a learning rate for the step that learns its own.
    """
    checks.one_of("step", name, STEPS)
    if learning_rate is None:
        return STEPS[name](problem)
    if name == "guess-free":
        raise ValueError(
            f"learning_rate={learning_rate!r}: step='guess-free' learns its own; leave it out"
        )
    return STEPS[name](problem, learning_rate)
