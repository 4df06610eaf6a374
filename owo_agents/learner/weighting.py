"""Weighting: which priority p_k each user's gradient gets in the next slot."""

from __future__ import annotations

import contextlib
from abc import abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import numpy as np

from owo_agents.agent import Floats
from owo_agents.learner.part import Part
from owo_env import checks
from owo_env.fairness import Fairness, sum_users
from owo_env.problem import Problem


class Weighting(Part):
    """Priorities over leading batch axes: arrays are (..., K).

    Attributes:
        start: Those of each round's first slot, (K,); by default the centre utility's.
    """

    def __init__(self, problem: Problem) -> None:
        super().__init__(problem)
        self.start: Floats = problem.fairness.start

    def begin_round(self, batch: tuple[int, ...]) -> Floats:
        """Priorities of a round's first slot, shape (*batch, K)."""
        return np.broadcast_to(self.start, (*batch, self.problem.num_users)).copy("F")

    @abstractmethod
    def update(self, p: Floats, utilities: Floats, slot: int) -> Floats:
        """Priorities of the next slot.

        Args:
            p: Those of the slot just played.
            utilities: The utilities of that slot.
            slot: Its number i in the round, counted from 1.
        """

    def end_round(self) -> None:
        """The round is over."""


class Constant(Weighting):
    """Constant weights (CWS).

    Args:
        problem: The problem.
        shares: K shares ≥ 0, of any sum; default those of the notion's centre priorities, which
            are equal but under a contract.
        total: Σ_k p_k, to which they are scaled; default K·((u_min + u_max)/2)^−α, where OWO-FMTL
            starts.

    Raises:
        ValueError: Not K shares, a negative or non-finite one, all zero, or ``total`` ≤ 0.
    """

    carried = ()

    def __init__(
        self, problem: Problem, shares: Sequence[float] | None = None, total: float | None = None
    ) -> None:
        super().__init__(problem)
        if shares is None:
            centre = problem.fairness.start
            shares = centre.tolist() if np.ptp(centre) else [1.0] * problem.num_users
        found = _vector("shares (or weights)", shares, problem.num_users)
        if not found.any():
            raise ValueError(f"shares (or weights)={list(shares)!r}: at least one must be positive")
        self.start = found / found.sum() * checked_total(problem, total)

    def update(self, p: Floats, utilities: Floats, slot: int) -> Floats:
        return p


class Dual(Weighting):
    """The dual step of OWO-FMTL, eq. 9, restarted each round.

    w ← Π_W(w − γ_i g^w) with g^w = (−w)^{−1/α} − u, written in p = −w. The step is
    γ_i = α/(u_min^{1+α} i) by the slot i, which keeps bound (10). The problem's fairness has it,
    and that of other notions: ordered ones average their subgradients.

    Args:
        problem: The problem.
        initial_weights: Priorities of each round's first slot, K numbers ≥ 0; default
            the centre utility's, ((u_min + u_max)/2)^−α each. At α = 0 only 1 each.
        constants: ``"corrected"``, or ``"paper"`` for the printed strong convexity, to show what
            it does.

    Raises:
        ValueError: An argument is outside its domain.
    """

    carried: ClassVar[tuple[str, ...] | None] = ()

    def __init__(
        self,
        problem: Problem,
        initial_weights: Sequence[float] | None = None,
        constants: str = "corrected",
    ) -> None:
        super().__init__(problem)
        self.fairness: Fairness = problem.fairness.with_constants(constants)
        if initial_weights is not None:
            self.start = _vector("initial_weights", initial_weights, problem.num_users)
            if self.fairness.modulus == np.inf and (self.start != self.fairness.start).any():
                raise ValueError(
                    f"initial_weights={initial_weights!r}: at {self.fairness} W is a point, "
                    f"p = {', '.join(f'{p:g}' for p in dict.fromkeys(self.fairness.start))}"
                )
        self._tiny = bool((self.start < self.fairness.priority_bounds[0]).any())

    def begin_round(self, batch: tuple[int, ...]) -> Floats:
        self.z = super().begin_round(batch)
        return self.z

    def update(self, p: Floats, utilities: Floats, slot: int) -> Floats:
        if not self._tiny:
            return self._stepped(p, utilities, slot)
        with np.errstate(divide="ignore", over="ignore"):  # W cuts even an infinite step
            return self._stepped(p, utilities, slot)

    def _stepped(self, p: Floats, utilities: Floats, slot: int) -> Floats:
        self.z = self.fairness.move(self.z, p, utilities, slot, self.problem.num_slots)
        return self.fairness.project(self.z)


class DualByRound(Dual):
    """The dual step with γ_t = α/(u_min^{1+α} t) by the round t, as Algorithm 1 prints it.

    Raises:
        ValueError: The notion's dual is not strongly convex, and its step counts nothing.
    """

    carried = ("round",)
    round = 0

    def __init__(self, problem: Problem, *args: Any, **given: Any) -> None:
        super().__init__(problem, *args, **given)
        if not problem.fairness.modulus:
            raise ValueError(
                f"step_index='round': the dual step of {problem.fairness} counts neither slots nor "
                "rounds; leave it out"
            )

    def begin_round(self, batch: tuple[int, ...]) -> Floats:
        self.round += 1
        return super().begin_round(batch)

    def update(self, p: Floats, utilities: Floats, slot: int) -> Floats:
        return super().update(p, utilities, self.round)


DUALS: dict[str, type[Dual]] = {"slot": Dual, "round": DualByRound}
"""By what the dual step counts."""


class Normalized(Weighting):
    """Another weighting's shares at a constant total: fairness without a larger step.

    Args:
        inner: The weighting whose shares Σp-normalized are played.
        total: Σ_k p_k; default as for :class:`Constant`.
    """

    carried = ("inner",)

    def __init__(self, inner: Weighting, total: float | None = None) -> None:
        super().__init__(inner.problem)
        self.inner = inner
        self.total = checked_total(inner.problem, total)

    def begin_round(self, batch: tuple[int, ...]) -> Floats:
        self._p = self.inner.begin_round(batch)
        return self._scaled(self._p)

    def update(self, p: Floats, utilities: Floats, slot: int) -> Floats:
        self._p = self.inner.update(self._p, utilities, slot)
        return self._scaled(self._p)

    def end_round(self) -> None:
        self.inner.end_round()

    def report(self) -> Mapping[str, Any]:
        return self.inner.report()

    def _scaled(self, p: Floats) -> Floats:
        return p * (self.total / sum_users(p))[..., None]


def checked_total(problem: Problem, total: float | None) -> float:
    """Σ_k p_k as given, or where OWO-FMTL starts."""
    if total is None:
        return problem.fairness.total
    return checks.number("total", total, low=0.0, open_low=True)


def _vector(argument: str, values: Sequence[float], size: int) -> Floats:
    vector = np.array(np.nan)
    with contextlib.suppress(TypeError, ValueError):
        if not np.iscomplexobj(values):  # whose imaginary parts would be lost
            vector = np.array(values, float)
    with np.errstate(over="ignore"):
        finite = np.isfinite(vector.sum())  # and so is each
    if vector.shape != (size,) or not finite or (vector < 0).any():
        raise ValueError(f"{argument}={values!r}: must be {size} finite numbers ≥ 0, one a user")
    return vector
