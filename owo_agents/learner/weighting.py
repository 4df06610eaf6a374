"""Weighting: which priority p_k each user's gradient gets in the next slot."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from owo_env import checks
from owo_env.fairness import CONSTANTS, dual_gradient, dual_modulus, sum_users
from owo_env.problem import Problem

Floats = NDArray[np.floating]


class Weighting(ABC):
    """Priorities over leading batch axes: arrays are (..., K)."""

    def __init__(self, problem: Problem) -> None:
        self.problem = problem

    @abstractmethod
    def start(self, batch: tuple[int, ...]) -> Floats:
        """Priorities of a round's first slot, shape (*batch, K)."""

    @abstractmethod
    def update(self, p: Floats, utilities: Floats, slot: int) -> Floats:
        """Priorities of the next slot.

        Args:
            p: Those of the slot just played.
            utilities: The utilities of that slot.
            slot: Its number i in the round, counted from 1.
        """

    def state_dict(self) -> dict[str, Any]:
        """What is carried from round to round; most weightings restart each round."""
        return {}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on from ``state``."""


class Constant(Weighting):
    """Constant weights (CWS): ``weights`` are shares, scaled to the sum ``total``.

    Args:
        problem: The problem.
        weights: K shares ≥ 0, of any sum; default equal.
        total: Σ_k p_k; default K·((u_min + u_max)/2)^−α, where OWO-FMTL starts.

    Raises:
        ValueError: Not K shares, a negative or non-finite one, all zero, or ``total`` ≤ 0.
    """

    def __init__(
        self,
        problem: Problem,
        weights: Sequence[float] | None = None,
        total: float | None = None,
    ) -> None:
        super().__init__(problem)
        shares = _shares(problem, weights)
        self.p = shares * _total(problem, total)

    def start(self, batch: tuple[int, ...]) -> Floats:
        return np.broadcast_to(self.p, (*batch, len(self.p))).copy("F")

    def update(self, p: Floats, utilities: Floats, slot: int) -> Floats:
        return p


class Dual(Weighting):
    """The dual step of OWO-FMTL, eq. 9, restarted each round.

    w ← Π_W(w − γ_i g^w) with g^w = (−w)^{−1/α} − u, written in p = −w. The step is
    γ_i = α/(u_min^{1+α} i) by the slot i, which keeps bound (10); the paper's literal choices
    are options, to show what they do. At α = 0 W is a point and p stays 1.

    Args:
        problem: The problem.
        initial_weights: Priorities of each round's first slot, K numbers ≥ 0; default
            the centre utility's, ((u_min + u_max)/2)^−α each. At α = 0 only 1 each.
        step_index: ``"slot"``, or ``"round"`` as Algorithm 1 prints it.
        modulus: ``"corrected"`` u_min^{1+α}/α, or ``"paper"`` u_min^{1+1/α}/α.

    Raises:
        ValueError: An argument is outside its domain.
    """

    def __init__(
        self,
        problem: Problem,
        initial_weights: Sequence[float] | None = None,
        step_index: str = "slot",
        modulus: str = "corrected",
    ) -> None:
        super().__init__(problem)
        checks.one_of("step_index", step_index, ("slot", "round"))
        checks.one_of("modulus", modulus, CONSTANTS)
        self.step_index = step_index
        self.round = 0
        self.first_step = 1 / dual_modulus(problem.alpha, problem.utility_bounds[0], modulus)
        self.low, self.high = problem.priority_bounds
        if initial_weights is None:
            self.initial = np.full(problem.num_users, problem.centre_priority)
        else:
            self.initial = _vector("initial_weights", initial_weights, problem.num_users)
            if problem.alpha == 0 and (self.initial != 1).any():
                raise ValueError(
                    f"initial_weights={initial_weights!r}: at α = 0 W is a point, p = 1"
                )

    def start(self, batch: tuple[int, ...]) -> Floats:
        self.round += 1
        return np.broadcast_to(self.initial, (*batch, len(self.initial))).copy("F")

    def update(self, p: Floats, utilities: Floats, slot: int) -> Floats:
        if self.problem.alpha == 0:
            return p
        step = self.first_step / (slot if self.step_index == "slot" else self.round)
        return dual_step(p, utilities, step, self.problem.alpha, self.low, self.high)

    def state_dict(self) -> dict[str, Any]:
        return {"round": self.round}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        self.round = int(state["round"])


def dual_step(p: Any, utilities: Any, step: Any, alpha: float, low: float, high: float) -> Any:
    """Π_W of a step along −g^w, eq. 9 in p = −w; for numpy arrays and torch tensors alike.

    Args:
        p: Priorities, shape (..., K).
        utilities: Those of the slot just played, (..., K).
        step: γ_i, broadcast against ``p``.
        alpha: α > 0.
        low: 1/u_max^α.
        high: 1/u_min^α.
    """
    moved = dual_gradient(p, utilities, alpha)
    moved *= step
    moved += p
    return moved.clip(low, high)


class Normalized(Weighting):
    """Another weighting's shares at a constant total: fairness without a larger step.

    Args:
        inner: The weighting whose shares Σp-normalized are played.
        total: Σ_k p_k; default as for :class:`Constant`.
    """

    def __init__(self, inner: Weighting, total: float | None = None) -> None:
        super().__init__(inner.problem)
        self.inner = inner
        self.total = _total(inner.problem, total)

    def start(self, batch: tuple[int, ...]) -> Floats:
        self._p = self.inner.start(batch)
        return self._scaled(self._p)

    def update(self, p: Floats, utilities: Floats, slot: int) -> Floats:
        self._p = self.inner.update(self._p, utilities, slot)
        return self._scaled(self._p)

    def state_dict(self) -> dict[str, Any]:
        return self.inner.state_dict()

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        self.inner.load_state_dict(state)

    def _scaled(self, p: Floats) -> Floats:
        return p * (self.total / sum_users(p))[..., None]


def _total(problem: Problem, total: float | None) -> float:
    if total is None:
        return problem.num_users * problem.centre_priority
    return checks.number("total", total, low=0.0, open_low=True)


def _shares(problem: Problem, weights: Sequence[float] | None) -> Floats:
    if weights is None:
        return np.full(problem.num_users, 1 / problem.num_users)
    shares = _vector("weights", weights, problem.num_users)
    if not shares.any():
        raise ValueError(f"weights={list(weights)!r}: at least one must be positive")
    return shares / shares.sum()


def _vector(argument: str, values: Sequence[float], size: int) -> Floats:
    try:
        vector = np.array(values, float)
    except (TypeError, ValueError):
        vector = np.array(np.nan)
    if vector.shape != (size,) or not np.isfinite(vector).all() or (vector < 0).any():
        raise ValueError(f"{argument}={values!r}: must be {size} finite numbers ≥ 0, one a user")
    return vector
