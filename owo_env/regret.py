"""Regret, its certificate in every round, and the bounds of Theorem 1 with corrected constants.

The paper's theory in three layers, each checkable on what was played:

* every round and every learner: regret ≤ (R^θ + R^w)/m + residual (:func:`certify`). With the
  exact R^θ and R^w this is an identity in disguise, up to two gaps of convexity: it checks the
  bookkeeping, not the learning.
* what speaks of the learner: R^θ ≤ (6) (:func:`primal_bound`) and R^w ≤ (10)
  (:func:`dual_bound`); constant weights outside W break (10), as they should.
* over T rounds: Theorem 1 (:func:`theorem_bound`), to which the mean residual is to be added; the
  paper omits it.

Where a constant is wrong in print, ``constants="paper"`` gives the paper's; see
docs/reference/mathematics.md. Sums over users run in explicit order.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from owo_env import checks
from owo_env.fairness import sum_users
from owo_env.problem import Problem

Floats = NDArray[np.floating]


@dataclass(frozen=True, eq=False)
class Certificate:
    """The terms of one round's certificate; arrays have the batch axes of what was certified.

    Attributes:
        regret: F_α(ū(θ*_t)) − F_α(ū_t), the round's fairness regret. A static comparator: the
            regret of a learner that adapts within the round can be negative.
        primal_regret: R_t^θ = Σ_i Ψ_ti(w_ti, θ*_t) − Ψ_ti(w_ti, θ_ti), of what was delivered.
        dual_regret: R_t^w = Σ_i Ψ_ti(w_ti, θ_ti) − min_{w ∈ W} Σ_i Ψ_ti(w, θ_ti); infinite where
            a priority is outside the conjugate's domain (0 at α ≤ 1, other than 1 at α = 0).
        residual: (1/m) Σ_i (w_ti − w̄_t)ᵀ u_ti(θ*_t), which vanishes for restricted adversaries.
        num_slots: m.
        missed: B, that part of the primal regret which no gradient spoke of, feedback not being
            delivered as often as a user had jobs; 0 without a link.
    """

    regret: Floats
    primal_regret: Floats
    dual_regret: Floats
    residual: Floats
    num_slots: int
    missed: Floats | float = 0.0

    @property
    def bound(self) -> Floats:
        """(R^θ + R^w + B)/m + residual."""
        three = self.primal_regret + self.dual_regret + self.missed
        return three / self.num_slots + self.residual

    @property
    def slack(self) -> Floats:
        """What the certificate leaves over: ``bound − regret`` ≥ 0, up to round-off."""
        return self.bound - self.regret


def certify(
    problem: Problem,
    weights: ArrayLike,
    utilities: ArrayLike,
    fairest_utilities: ArrayLike,
    active: ArrayLike | None = None,
    delivered: ArrayLike | None = None,
) -> Certificate:
    """Certify rounds from what was played in each slot.

    Over a link the round's means are over a user's own jobs, α_ik = a_ik/m_k (a_ik/m where jobs
    count), and for any priorities p the regret is at most (R_ω + R^w + B)/m + residual with

    R_ω = Σ ω_ik p_ik (u_ik(θ*) − u_ik(θ_i)), B = Σ (mα_ik − ω_ik) p_ik (u_ik(θ*) − u_ik(θ_i)),

    R^w = m Σ α_ik (C_k(p_ik) + p_ik u_ik(θ_i)) − mF(ū), residual = −Σ α_ik (p_ik − p̄_k) u_ik(θ*),

    where ω_ik p_ik is what multiplied ∇u_ik in the model's step.

    Args:
        problem: The problem; its fairness, link and m are read.
        weights: Priorities p_ti = −w_ti, shape (..., m, K).
        utilities: u_ti(θ_ti), shape (..., m, K).
        fairest_utilities: u_ti(θ*_t), likewise (``env.unwrapped.evaluate(info["fairest_model"])``).
        active: a, who had a job, likewise; None: everybody.
        delivered: ωp, likewise; None: the priorities of those who were active.

    Raises:
        ValueError: Shapes differ or do not end in (m, K), a figure is not finite, or some had no
            job and the notion is no sum over users.
    """
    p, u, best = (np.asarray(a, float) for a in (weights, utilities, fairest_utilities))
    m, users = problem.num_slots, problem.num_users
    jobs = np.ones(u.shape) if active is None else np.asarray(active, float)
    given = np.zeros(u.shape) if delivered is None else np.asarray(delivered, float)
    named = {"weights": p, "utilities": u, "fairest_utilities": best, "active": jobs}
    for name, array in (named | {"delivered": given}).items():
        if array.shape != u.shape or array.shape[-2:] != (m, users):
            raise ValueError(f"{name} has shape {array.shape}: must be (..., {m}, {users})")
        if not np.isfinite(array).all():
            raise ValueError(f"{name}: must be finite")
    omega_p = p * jobs if delivered is None else given
    share, mean_p, mean_u, mean_best = _averaged(problem, jobs, p, u, best)
    shares = None if active is None else (_sum_slots(share) / m)
    played = _judged(problem, mean_u, shares)
    terms = np.where(share > 0, problem.fairness.conjugate_terms(p), 0.0)
    exact = active is None and delivered is None
    return Certificate(
        regret=_judged(problem, mean_best, shares) - played,
        primal_regret=_sum(omega_p * (best - u)),
        dual_regret=_sum(share * terms) + _sum(share * p * u) - m * played,
        residual=-_sum(share * (p - mean_p[..., None, :]) * best) / m,
        num_slots=m,
        missed=0.0 if exact else _sum((share * p - omega_p) * (best - u)),
    )


def certifiable(problem: Problem) -> bool:
    """Whether :func:`certify` knows users without jobs, if the problem has any."""
    left_out = problem.link is not None and problem.link.idles
    return not left_out or problem.fairness.separable


def _averaged(problem: Problem, jobs: Floats, *values: Floats) -> list[Floats]:
    """mα (..., m, K), and the means (..., K) of values over each user's own jobs.

    mα is 1 where nobody is without a job: then all has the bits of the theory without a link.
    """
    counts = _sum_slots(jobs)[..., None, :]
    if problem.link is not None and problem.link.count == "jobs":
        share = jobs
    else:
        share = np.divide(jobs * problem.num_slots, counts, out=np.zeros_like(jobs), where=jobs > 0)
    total = np.where(counts[..., 0, :] > 0, _sum_slots(share), 1.0)
    return [share, *(_sum_slots(share * value) / total for value in values)]


def _judged(problem: Problem, means: Floats, shares: Floats | None) -> Floats:
    """F of mean utilities (..., K): of each user's term so much, and 0 of one without jobs."""
    fairness = problem.fairness
    if shares is None:
        return fairness.value(means)
    if not fairness.separable:
        raise ValueError(f"active: {fairness} is no sum over users that has terms()")
    return fairness.weighed(means, shares)


def primal_bound(problem: Problem, learning_rate: float, distance: ArrayLike) -> Floats:
    """Bound (6) on R^θ of projected gradient ascent with step η: ‖x − θ*‖²/(2η) + η G_Θ² m/2.

    Args:
        problem: The problem; it must know G_Θ, which holds for p ∈ W and utilities ≥ u_min.
        learning_rate: η > 0.
        distance: ‖x_t − θ*_t‖, any shape.

    Raises:
        ValueError: η ≤ 0, or nobody knows G_Θ.
    """
    eta = checks.number("learning_rate", learning_rate, low=0.0, open_low=True)
    if problem.gradient_bound is None:
        raise ValueError("problem: has no gradient_bound G_Θ, which bound (6) needs")
    squared = np.asarray(distance, float) ** 2
    return squared / (2 * eta) + eta / 2 * problem.gradient_bound**2 * problem.num_slots


def dual_bound(problem: Problem, constants: str = "corrected") -> float:
    """Bound (10) on R^w of the dual step; for α-fairness G_W² (1 + log m)/(2 modulus).

    Args:
        problem: The problem.
        constants: ``"corrected"``, or of α-fairness ``"paper"`` for the printed G_W and modulus,
            with which it can fail.
    """
    return problem.fairness.with_constants(constants).dual_bound(problem.num_slots)


def theorem_bound(
    problem: Problem,
    rounds: int,
    spread: float | None = None,
    learning_rate: float | None = None,
    constants: str = "corrected",
) -> float:
    """Theorem 1's bound on the mean regret over rounds, without the mean residual.

    With step η it is (1/m)[D*²/(2η) + η G_Θ² m/2 + D_Θ²/(2η)·(1 + log T)/T + (10)]; the paper's
    η = D*/(G_Θ √m) gives its printed form.

    Args:
        problem: The problem; it must know D_Θ and G_Θ.
        rounds: T.
        spread: D*_Θ, the diameter of the set of all θ*_t; default D_Θ.
        learning_rate: η > 0; default the paper's.
        constants: As for :func:`dual_bound`.

    Raises:
        ValueError: A setting is outside its domain, or nobody knows D_Θ or G_Θ.
    """
    checks.whole("rounds", rounds, low=1)
    if problem.diameter is None or problem.gradient_bound is None:
        raise ValueError(
            "problem: has no diameter D_Θ or no gradient_bound G_Θ, needed by Theorem 1"
        )
    spread = problem.diameter if spread is None else spread
    checks.number("spread", spread, low=0.0, open_low=True)
    if learning_rate is None:
        learning_rate = spread / (problem.gradient_bound * problem.num_slots**0.5)
    start = problem.diameter**2 / (2 * learning_rate) * (1 + math.log(rounds)) / rounds
    primal = float(primal_bound(problem, learning_rate, spread))
    return (primal + start + dual_bound(problem, constants)) / problem.num_slots


def round_average(regret: ArrayLike) -> float:
    """The RAF regret R_T = (1/T) Σ_t regret_t, over any batch as well.

    Raises:
        ValueError: Nothing to average, or a figure is not finite.
    """
    regret = np.asarray(regret, float)
    if not regret.size or not np.isfinite(regret).all():
        raise ValueError("regret: must be one finite figure a round, and at least one")
    return float(regret.mean())


def _sum_slots(values: Floats) -> Floats:
    """Σ_i over the last axis but one."""
    return sum_users(values.swapaxes(-1, -2))


def _sum(values: Floats) -> Floats:
    """Σ_i Σ_k over the last two axes."""
    return sum_users(_sum_slots(values))
