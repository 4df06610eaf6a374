"""What a notion of fairness is: a concave function of the users' mean utilities, with its dual."""

from __future__ import annotations

import dataclasses
import functools
from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from owo_env import checks

Floats = NDArray[np.floating]


def sum_users(values: Floats) -> Floats:
    """Σ_k over the last axis, in order, whatever the memory layout."""
    total = values[..., 0]
    for k in range(1, values.shape[-1]):
        total = total + values[..., k]
    return total


def as_number(value: Any) -> Any:
    """A number as it is, K of them as an array."""
    return np.array(value, float) if np.ndim(value) else value


class Fairness(ABC):
    """A fairness F of the mean utilities of K users, to be maximized (eq. 1).

    With priorities p = −w in P = −W it is F(u) = min_{p ∈ P} C(p) + pᵀu, where C(p) = (−F)*(−p).
    That holds for every real u: where a utility leaves its bounds below, F goes on along its
    tangent.

    Users lie on the last axis of arrays, batches in front. Sums over users run in explicit order,
    so that a batch gives the same bits as its members one by one.

    Attributes:
        num_users: K.
        utility_bounds: (u_min, u_max), which bound P; each a number, or K where users' differ.
        limit: Gradient ascent is stable up to the step limit/(``most``·L).
        modulus: The strong convexity of Ψ in w on W, of the user who has least; 0 where there is
            none, ∞ where W is a point.
        proven: Whether it is known to be what it says. A notion of somebody's own is looked at
            when it is first used (``proof.py``), unless it says so itself.
    """

    limit: ClassVar[float] = 2.0
    modulus: Any = 0.0
    proven: bool = False
    num_users: int
    utility_bounds: tuple[Any, Any]

    @functools.cached_property
    def bounds(self) -> tuple[Any, Any]:
        """(u_min, u_max) to reckon with: numbers, or arrays (K,) where users' differ."""
        u_min, u_max = self.utility_bounds
        return as_number(u_min), as_number(u_max)

    @property
    def separable(self) -> bool:
        """Whether it is a sum over users that says what its :meth:`terms` are."""
        return type(self).terms is not Fairness.terms

    def terms(self, u: Floats) -> Floats:
        """Each user's own term f_k of F(u) = Σ_k f_k(u_k), (..., K).

        A notion of somebody's own may do without; then users cannot be counted by their jobs
        (``link={"count": "jobs"}``), nor rounds certified in which some had none.
        """
        raise NotImplementedError(f"{type(self).__name__} does not say what its terms are")

    def weighed(self, u: Floats, shares: Floats) -> Floats:
        """Σ_k c_k f_k(u_k) of utilities and shares c (..., K), shape (...)."""
        return sum_users(shares * self.terms(u))

    @property
    @abstractmethod
    def most(self) -> float:
        """max Σ_k p_k over P."""

    @property
    @abstractmethod
    def start(self) -> Floats:
        """The priorities of a round's first slot, (K,): those of the centre utility."""

    @property
    def total(self) -> float:
        """Σ_k of :attr:`start`."""
        return float(sum_users(self.start))

    @property
    @abstractmethod
    def priority_bounds(self) -> tuple[float, float]:
        """The least and the largest priority that a user can have in P."""

    @abstractmethod
    def value(self, u: Floats, above: bool = False) -> Floats:
        """F of utilities (..., K), shape (...).

        Args:
            u: The utilities.
            above: Whether all are known to be at least u_min, which spares a look at them.
        """

    def value_of(self, means: Sequence[float]) -> float:
        """F of one vector of plain numbers: the bits of :meth:`value`."""
        return float(self.value(np.array(means)))

    @abstractmethod
    def priorities(self, u: Floats) -> Floats:
        """∂F/∂u (..., K), a supergradient of F: the p in P that are best against ``u``."""

    @abstractmethod
    def conjugate_terms(self, p: Floats) -> Floats:
        """What sums up to C(p) over the users, (..., K); infinite outside its domain."""

    def conjugate(self, p: Floats) -> Floats:
        """C(p) of priorities (..., K), shape (...)."""
        return sum_users(self.conjugate_terms(p))

    @property
    def priority_box(self) -> tuple[Floats, Floats]:
        """The least and the largest priority of each user in P, (K,) both."""
        low, high = self.priority_bounds
        return np.full(self.num_users, low), np.full(self.num_users, high)

    @abstractmethod
    def project(self, z: Floats) -> Floats:
        """The nearest priorities in P, (..., K)."""

    @abstractmethod
    def move(self, z: Floats, p: Floats, u: Floats, slot: Any, num_slots: int) -> Floats:
        """Where the dual step leads before it is projected, eq. 9; its projection is played next.

        Args:
            z: What this gave after the slot before, :attr:`start` in a round's first; (..., K).
            p: The priorities of the slot, (..., K).
            u: The utilities of the slot, (..., K).
            slot: Its number i in the round, from 1.
            num_slots: m.
        """

    def described(self) -> dict[str, Any]:
        """What ``fairness=`` takes to make this notion again, in plain JSON.

        By default the path of its class and, of a dataclass, its fields.
        """
        kind = type(self)
        fields: Sequence[dataclasses.Field[Any]] = ()
        if dataclasses.is_dataclass(self):
            fields = dataclasses.fields(self)
        own = [f.name for f in fields if f.init and f.name not in ("num_users", "utility_bounds")]
        path = f"{kind.__module__}:{kind.__qualname__}"
        return {"name": path, **{name: getattr(self, name) for name in own}}

    def with_constants(self, constants: str) -> Fairness:
        """This notion with another choice of constants in its bounds and steps.

        Args:
            constants: ``"corrected"``; a notion that a paper got wrong may offer that paper's.

        Raises:
            ValueError: A choice that this notion does not have.
        """
        checks.one_of("constants", constants, ("corrected",))
        return self

    @abstractmethod
    def dual_bound(self, num_slots: int) -> float:
        """Bound (10) on the dual regret R^w of :meth:`move` in a round of so many slots."""


class Smooth(Fairness):
    """A sum over users of functions with a continuous derivative, as Newton's method wants it.

    Newton's method asks for the way, not for the height: all is in units of the largest of the
    users' priorities at ``u``, which itself may lie beyond the range of a float.
    """

    @abstractmethod
    def relative_priorities(self, u: Floats) -> Floats:
        """The :meth:`Fairness.priorities` over the largest of them, (..., K)."""

    @abstractmethod
    def change(self, u: Floats, change: Floats) -> Floats:
        """The growth of each user's term from ``u`` to ``u + change``, without cancellation.

        Both are (..., K), and so is the growth; sums over them are F(u + change) − F(u), in units
        of the largest priority at ``u``. A fall that is too deep for a float is −∞, with numpy's
        warning.
        """

    @abstractmethod
    def bend(self, u: Floats, p: Floats) -> Floats:
        """−∂²F/∂u_k² (..., K) where the priorities are ``p``, in any unit; 0 if F is straight."""

    def surplus(self, u: Floats, p: Floats) -> Floats:
        """How much more F bends than it needs to be concave, (...).

        An r ≥ 0 for which an increasing φ with φ''/φ' = r leaves φ(F) concave, where the
        priorities are ``p``, in any unit; 0 where none is known.
        """
        return np.zeros(u.shape[:-1])

    def raised(self, u_min: float) -> Smooth:
        """This notion going on along its tangent from a larger u_min on: one that is easier."""
        return self
