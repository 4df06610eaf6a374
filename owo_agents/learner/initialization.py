"""Initialization: the model x_{t+1} at which the next round starts (the outer loop, eq. 7)."""

from __future__ import annotations

import math
from abc import abstractmethod
from typing import Any

import numpy as np

from owo_agents.agent import Floats
from owo_agents.learner.part import Part
from owo_env import checks
from owo_env.problem import Problem


class Initialization(Part):
    """Carries x_t from round to round, over leading batch axes."""

    carried = ("rounds", "x")
    rounds = 0
    x: Floats | None = None

    def begin_round(self, batch: tuple[int, ...]) -> Floats:
        """A copy of x_t, shape (*batch, d); x_1 is the problem's initial model."""
        if self.x is None:
            x_1 = np.broadcast_to(self.problem.initial_model, (*batch, self.problem.dim))
            self.x = x_1.copy("F")
        if self.x.shape[:-1] != batch:
            raise ValueError(
                f"the agent was begun on a batch {self.x.shape[:-1]} of streams, now it is {batch}"
            )
        return self.x.copy("K")

    def end_round(self, target: Floats) -> None:
        """Learn from the round's θ*_t (or what stands for it), shape (..., d)."""
        self.rounds += 1
        x = self.begin_round(target.shape[:-1])
        self.x = self.problem.project(self._next(x, target).astype(x.dtype))

    def starts(self, targets: Floats) -> Floats:
        """x_t of each of T rounds of one stream whose θ*_t are known beforehand; learns from all.

        Args:
            targets: θ*_t, shape (T, d).

        Returns:
            Shape (T, d), the bits of as many calls of :meth:`begin_round` and :meth:`end_round`.
        """
        found = []
        for target in targets:
            found.append(self.begin_round(()))
            self.end_round(target)
        return np.array(found, order="F")

    @abstractmethod
    def _next(self, x: Any, target: Any) -> Any:
        """x_{t+1} from x_t and θ*_t."""


class ByCoordinate(Initialization):
    """An initialization whose ``_next`` is the same formula for a number as for an array."""

    def starts(self, targets: Floats) -> Floats:
        start = self.begin_round(())
        if start.dtype != np.float64:  # numbers would not be rounded as arrays are
            return super().starts(targets)
        x: list[float] = start.tolist()
        low, high = self.problem.model_bounds or (-math.inf, math.inf)
        found = []
        for target in targets.tolist():  # numbers cost less than arrays of a few
            found.append(x)
            self.rounds += 1
            moved = [self._next(x_j, target_j) for x_j, target_j in zip(x, target)]
            x = [min(max(x_j, low), high) for x_j in moved]  # rounding may lead out of Θ
        self.x = np.array(x)
        return np.array(found, order="F")


class RunningMean(ByCoordinate):
    """x_{t+1} = x_t − β_t (x_t − θ*_t)/η with β_t = η/t: exactly the mean of θ*_1 … θ*_t."""

    carried = Initialization.carried

    def _next(self, x: Any, target: Any) -> Any:
        return x + (target - x) / self.rounds


class Reptile(ByCoordinate):
    """x_{t+1} = x_t − rate·(x_t − θ*_t): §IV's constant outer rate.

    Args:
        problem: The problem.
        rate: In (0, 1].
    """

    carried = Initialization.carried

    def __init__(self, problem: Problem, rate: float = 0.1) -> None:
        super().__init__(problem)
        self.rate = checks.number("rate", rate, low=0.0, high=1.0, open_low=True)

    def _next(self, x: Any, target: Any) -> Any:
        return x + self.rate * (target - x)


class Continue(ByCoordinate):
    """x_{t+1} = θ*_t (β = η): with the target LAST, training simply goes on."""

    carried = Initialization.carried

    def _next(self, x: Any, target: Any) -> Any:
        return target


class Reset(ByCoordinate):
    """x_{t+1} = x_1: every round from scratch."""

    carried = Initialization.carried

    def _next(self, x: Any, target: Any) -> Any:
        return x


INITIALIZATIONS: dict[str, type[Initialization]] = {
    "running-mean": RunningMean,
    "reptile": Reptile,
    "continue": Continue,
    "reset": Reset,
}

TARGETS = ("exact", "last", "avg")


def make_initialization(problem: Problem, name: str, rate: float | None = None) -> Initialization:
    """An initialization by name; ``rate`` is reptile's alone.

    Raises:
        ValueError: An unknown name, or a rate for one that has none.
    """
    checks.one_of("initialization", name, INITIALIZATIONS)
    if rate is None:
        return INITIALIZATIONS[name](problem)
    if name != "reptile":
        raise ValueError(f"rate={rate!r}: only initialization='reptile' takes a rate")
    return Reptile(problem, rate)
