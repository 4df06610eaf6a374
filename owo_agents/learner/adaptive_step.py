"""Model steps that need not know the problem's constants: AdaGrad-norm and a learned step."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from owo_agents.learner.model_step import GradientAscent, ModelStep
from owo_env import checks
from owo_env.problem import Problem

Floats = NDArray[np.floating]


def _square(vector: Floats) -> Floats:
    """‖·‖² over the last axis, kept, in float64."""
    return np.sum(np.square(vector, dtype=np.float64), axis=-1, keepdims=True)


def _ratio(above: Floats, below: Floats) -> Floats:
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

    def __init__(self, problem: Problem, diameter: float | None = None) -> None:
        super().__init__(problem)
        if diameter is None and problem.diameter is None:
            raise ValueError(
                "step='adagrad-norm': this problem has no diameter D_Θ; pass it as learning_rate"
            )
        given = problem.diameter if diameter is None else diameter
        self.diameter = checks.number("diameter", given, low=0.0, open_low=True)

    def begin_round(self, model: Floats) -> None:
        self._squares = np.zeros((*model.shape[:-1], 1))

    def rate(self, model: Floats, gradient: Floats) -> Floats:
        self._squares = self._squares + _square(gradient)
        return _ratio(np.full_like(self._squares, self.diameter**2 / 2), self._squares)


class GuessFree(ModelStep):
    """A step size that knows no constant of the problem: learned from the rounds before.

    A round's regret is at most D_s²/(2η) + η G_s²/2 with D_s = ‖θ*_s − x_s‖ and
    G_s² = Σ_i ‖g_si‖². Over the rounds so far the best constant is η_t = √(Σ_s D_s²/Σ_s G_s²):
    follow-the-leader on these bounds, ARUBA of Khodak et al., *Adaptive Gradient-Based
    Meta-Learning Methods* (NeurIPS 2019), which the paper's footnote 2 points to. The first
    round takes distance-over-gradients steps, Ivgi et al. (ICML 2023):
    η_i = max(r, max_{j≤i} ‖θ_j − x_1‖)/√(Σ_{j≤i} ‖g_j‖²) with r = 0.01 (1 + ‖x_1‖).
    """

    _NUDGE = 0.01

    def __init__(self, problem: Problem) -> None:
        super().__init__(problem)
        self._distances: Floats | None = None  # Σ_s D_s² of the rounds before, (..., 1)
        self._gradients: Floats | None = None  # Σ_s G_s²

    def begin_round(self, model: Floats) -> None:
        self._start = model
        self._squares = np.zeros((*model.shape[:-1], 1))
        self._reach = self._NUDGE**2 * (1 + np.sqrt(_square(model))) ** 2

    def rate(self, model: Floats, gradient: Floats) -> Floats:
        self._squares = self._squares + _square(gradient)
        if self._distances is not None and self._gradients is not None:
            return _ratio(self._distances, self._gradients)
        self._reach = np.maximum(self._reach, _square(model - self._start))
        return _ratio(self._reach, self._squares)

    def end_round(self, target: Floats) -> None:
        distance = _square(target - self._start)
        if self._distances is None or self._gradients is None:
            self._distances, self._gradients = distance, self._squares
        else:
            self._distances = self._distances + distance
            self._gradients = self._gradients + self._squares

    def state_dict(self) -> dict[str, Any]:
        if self._distances is None or self._gradients is None:
            return {}
        return {"distances": self._distances.copy(), "gradients": self._gradients.copy()}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        self._distances = np.array(state["distances"]) if state else None
        self._gradients = np.array(state["gradients"]) if state else None


STEPS = ("fixed", "guess-free", "adagrad-norm")


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
    if name == "fixed":
        return GradientAscent(problem, learning_rate)
    if name == "adagrad-norm":
        return AdaGradNorm(problem, learning_rate)
    if learning_rate is not None:
        raise ValueError(
            f"learning_rate={learning_rate!r}: step='guess-free' learns its own; leave it out"
        )
    return GuessFree(problem)
