"""The outer loop of the convex form: outer rates tried side by side, and mixed."""

from __future__ import annotations

from typing import Any

import numpy as np

from owo_agents.agent import Floats
from owo_agents.carrying import Carries
from owo_agents.learner.adaptive.adahedge import AdaHedge, prior
from owo_agents.learner.adaptive.streams import sum_over


class Starts(Carries):
    """x_{t+1}: an AdaHedge mean of X_r ← X_r + max(r, 1/t)(θ*_t − X_r) on ‖θ*_t − X_r‖².

    Args:
        rates: The r; 0 is the running mean. The first has half of the prior.

    Attributes:
        rounds: t, how many were played.
        candidates: X_r, (rates, d, N).
        mix: Their shares.
    """

    carried = ("rounds", "candidates", "mix")

    def __init__(self, rates: tuple[float, ...]) -> None:
        self._rates = np.array(rates)
        self.mix = AdaHedge(prior(len(rates)))
        self.rounds = 0
        self.candidates: Any = None

    def begin(self, initial: Floats) -> Floats:
        """x_t (d, N); ``initial`` is x_1 in the same shape."""
        self.mix.begin(initial.shape[-1])
        if self.candidates is None:
            self.candidates = np.repeat(initial[None], len(self._rates), 0)
        return self.mix.mean(self.candidates)

    def end(self, target: Floats) -> None:
        """Learn from θ*_t (d, N)."""
        self.rounds += 1
        away = target - self.candidates
        self.mix.update(sum_over(np.square(away), 1))
        self.candidates = self.candidates + self._each()[:, None, None] * away

    def rate(self) -> Floats:
        """The mean outer rate of the round just ended, (N,)."""
        return self.mix.mean(np.broadcast_to(self._each()[:, None], self.mix.shares.shape))

    def _each(self) -> Floats:
        return np.maximum(self._rates, 1 / self.rounds)
