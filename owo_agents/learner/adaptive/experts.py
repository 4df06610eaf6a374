"""Experts of the convex form: minimizers of quadratic surrogates of the losses seen.

For a loss ℓ whose root is convex, h = ∇ℓ∇ℓᵀ/(2ℓ) gives ℓ(θ) ≥ ℓ + ∇ℓᵀ(θ−θ_i) + ½‖θ−θ_i‖²_h: a
curvature that nobody has to know (for least squares of one sample an equality). In utilities u =
l_max − ℓ the surrogate of user k's past slots is ½θᵀQ_kθ − q_kᵀθ, Q_k = Σh_k, q_k = Σ∇u_k + h_kθ_i.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from owo_agents.agent import Floats
from owo_agents.learner.adaptive.quadratic import minimize
from owo_agents.learner.adaptive.streams import sum_over
from owo_env.problem import Problem

_TINY = 1e-200  # where no gradient was ever seen, θ stays where it is held


class Experts:
    """Leaders, slot leaders and trackers of one round, streams last.

    A leader minimizes all of the round's surrogates, weighted with the present priorities, and is
    held at x_t by ½cλ‖θ − x_t‖²; a slot leader likewise, but weighted with the priorities at the
    last slot's utilities: it turns to those who were just served badly. A tracker minimizes the
    last slot's surrogate and is held at its own last θ.

    Args:
        problem: The problem.
        leaders, slot_leaders, trackers: The c of each; slot leaders need ``reweight``.
        curvature: Whether the surrogates have any.
        reweight: Whether past slots count with the present priorities, else with their own.
        start: x_t, (d, N).

    Attributes:
        models: θ of the experts in this order, (d, E, N).
    """

    def __init__(
        self,
        problem: Problem,
        leaders: tuple[float, ...],
        slot_leaders: tuple[float, ...],
        trackers: tuple[float, ...],
        curvature: bool,
        reweight: bool,
        start: Floats,
    ) -> None:
        self.problem, self.start = problem, start
        self.curvature, self.reweight = curvature, reweight
        self._leaders, self._slot_leaders = len(leaders), len(slot_leaders)
        self._strengths = np.array([*leaders, *slot_leaders, *trackers])[:, None]
        self.models = np.repeat(start[:, None], len(self._strengths), 1)
        best = problem.utility_bounds[1] if problem.l_max is None else problem.l_max
        self._best: Any = best if np.ndim(best) == 0 else np.array(best)[:, None]
        self._Q: Any = 0.0  # (d, d, K, N), or (d, d, 1, N) with the priorities in it
        self._q: Any = 0.0

    def learn(
        self, model: Floats, utilities: Floats, gradients: Floats, p: Floats, by_slot: Floats
    ) -> Floats:
        """Take in a slot; Σ_k p_k Q_k (d, d, N) of all slots comes back.

        Args:
            model: θ_i as played, (d, N).
            utilities: u_k, (K, N).
            gradients: ∇u_k, (d, K, N).
            p: The priorities that the slot has, (K, N).
            by_slot: Those at its utilities, (K, N).
        """
        loss = np.maximum(self._best - utilities, 1e-12 * self._best)
        bent = gradients / (2 * loss) * self.curvature
        h: Floats = gradients[:, None] * bent
        q: Floats = gradients + gradients * sum_over(bent * model[:, None])
        self._slot = sum_over(p * h, -2), sum_over(p * q, -2)
        if not self.reweight:
            h, q = self._slot[0][:, :, None], self._slot[1][:, None]
            p = np.ones(p[:1].shape)
        self._Q, self._q = self._Q + h, self._q + q
        self._past = sum_over(p * self._Q, -2), sum_over(p * self._q, -2)
        if self._slot_leaders:
            self._past_by_slot = sum_over(by_slot * self._Q, -2), sum_over(by_slot * self._q, -2)
        return self._past[0]

    def move(self, pull: Floats) -> None:
        """Go to the minimizers, held by λ = ``pull`` (N,)."""
        strengths, d = self._strengths * pull + _TINY, len(self.models)
        leaders = self._leaders
        n = leaders + self._slot_leaders
        A, b = np.empty((d, *self.models.shape)), np.empty_like(self.models)
        parts = [(slice(leaders), self._past), (slice(n, None), self._slot)]
        if self._slot_leaders:
            parts.append((slice(leaders, n), self._past_by_slot))
        for part, (Q, q) in parts:
            A[:, :, part], b[:, part] = Q[:, :, None], q[:, None]
        A[range(d), range(d)] += strengths
        b[:, :n] += strengths[:n] * self.start[:, None]
        b[:, n:] += strengths[n:] * self.models[:, n:]
        self.models = minimize(A, b, self.models, self.problem.model_bounds)
