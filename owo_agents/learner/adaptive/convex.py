"""The convex form of `owo-adaptive`: experts on quadratic surrogates, mixed by AdaHedge.

For a loss ℓ whose root is convex, h = ∇ℓ∇ℓᵀ/(2ℓ) gives ℓ(θ) ≥ ℓ + ∇ℓᵀ(θ−θ_i) + ½‖θ−θ_i‖²_h: a
curvature that nobody has to know (least squares of one sample: an equality).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

import numpy as np

from owo_agents.agent import Action, Agent, Floats, Info, Observation
from owo_agents.carrying import Carries
from owo_agents.learner.adaptive.adahedge import AdaHedge, prior
from owo_agents.learner.adaptive.quadratic import minimize
from owo_agents.learner.adaptive.streams import streams_last, sum_over
from owo_env.problem import Problem

LEADERS = (0.25, 1.0, 4.0, 16.0, 1e6)
"""Multiples of λ_t that hold the leaders at x_t."""
TRACKERS = (0.25, 1.0, 4.0)
"""Multiples of λ_t that hold the trackers at their own last θ."""
RATES = (0.0, 1.0, 0.5, 0.25, 0.125, 0.0625)
"""Of the outer loop, each at least 1/t; 0 is the running mean."""

_TINY = 1e-200  # where no gradient was ever seen, θ stays at x_t


class Starts(Carries):
    """x_{t+1}: outer rates tried side by side, mixed by the squared distance to θ*_t.

    Attributes:
        candidates: X_r (rates, d, N).
        rounds: t.
    """

    carried = ("rounds", "candidates", "mix")

    def __init__(self, rates: tuple[float, ...] = RATES) -> None:
        self.rates = np.array(rates)
        self.mix = AdaHedge(prior(len(rates), 0))
        self.rounds = 0
        self.candidates: Floats | None = None

    def begin(self, initial: Floats) -> Floats:
        """x_t (d, N); ``initial`` is x_1 in the same shape."""
        self.mix.begin(initial.shape[-1])
        if self.candidates is None:
            self.candidates = np.repeat(initial[None], len(self.rates), 0)
        return self.mix.mean(self.candidates)

    def end(self, target: Floats) -> None:
        """Learn from θ*_t (d, N)."""
        assert self.candidates is not None
        away = target - self.candidates
        self.rounds += 1
        self.mix.update(sum_over(np.square(away), 1))
        rate = np.maximum(self.rates, 1 / self.rounds)[:, None, None]
        self.candidates = self.candidates + rate * away

    def rate(self) -> Floats:
        """The mean outer rate of the next round, (N,)."""
        each = np.maximum(self.rates, 1 / max(self.rounds, 1))
        return self.mix.mean(np.broadcast_to(each[:, None], self.mix.shares.shape))


class ConvexAdaptive(Agent):
    """Knows K, d, m, the notion of fairness, x_1 and the projection onto Θ, and tunes nothing.

    Args:
        problem: A convex problem that reveals θ*.
        leaders: Multiples of λ_t for the leaders; must contain 1, which plays the first round.
        trackers: Multiples of λ_t for the trackers.
        rates: Outer rates; the first is the one that is trusted most.

    Attributes:
        pull: λ_t, (N,): how strongly the round's experts are held at x_t.
        mix: The experts' shares.
        starts: The outer loop.
    """

    gradients: ClassVar[str | None] = "per_user"
    carried = ("distances", "squares", "served", "mix", "starts")

    def __init__(
        self,
        problem: Problem,
        leaders: tuple[float, ...] = LEADERS,
        trackers: tuple[float, ...] = TRACKERS,
        rates: tuple[float, ...] = RATES,
    ) -> None:
        super().__init__(problem)
        self.strengths = np.array([*leaders, *trackers])[:, None]
        self.num_leaders, self.main = len(leaders), leaders.index(1.0)
        self.mix = AdaHedge(prior(len(self.strengths), self.main))
        self.starts = Starts(rates)
        self.distances: Any = None  # Σ_s D_s² of the rounds before, (N,)
        self.squares: Any = None  # Σ_s G_s²
        self.served: Any = None  # v, the running mean of mean utilities, (K, N)
        self._slot: int | None = None

    def begin_round(self, obs: Observation, info: Info) -> None:
        problem, self._batch = self.problem, np.shape(obs["slot"])
        n, d, users = int(np.prod(self._batch)), problem.dim, problem.num_users
        initial = np.repeat(problem.initial_model.astype(float)[:, None], n, 1)
        self.start = self.model = self.starts.begin(initial)
        self.mix.begin(n)
        self.experts = np.repeat(self.start[:, None], len(self.strengths), 1)  # (d, E, N)
        self._Q, self._q = np.zeros((d, d, users, n)), np.zeros((d, users, n))
        self._sum, self._round_squares = np.zeros((users, n)), np.zeros(n)
        self._shown = np.zeros((len(self.strengths), n))
        if self.served is None:
            self.weights = np.repeat(np.asarray(problem.fairness.start)[:, None], n, 1)
            self.pull = None
        else:
            self.weights = self._priorities(self.served)
            with np.errstate(divide="ignore", invalid="ignore"):
                pull = np.sqrt(self.squares / self.distances)
            self.pull = np.nan_to_num(pull, nan=0.0, posinf=np.finfo(float).max ** 0.25)
        self._slot = 0

    def act(self, obs: Observation, info: Info) -> Action:
        if self._slot is None:
            raise RuntimeError(f"agent {self}: begin_round(obs, info) comes before act")
        model = self.problem.project(self.model.T.astype(self.problem.initial_model.dtype))
        users = self.problem.num_users
        return {
            "model": model.reshape(*self._batch, self.problem.dim),
            "weights": self.weights.T.reshape(*self._batch, users),
        }

    def learn(self, obs: Observation, info: Info) -> None:
        if self._slot is None:
            raise RuntimeError(f"agent {self}: begin_round(obs, info) comes before learn")
        problem = self.problem
        self._slot += 1
        u, gradients = streams_last(obs["utilities"], 1), streams_last(obs["gradients"], 2)
        if not np.isfinite(gradients).all():
            raise FloatingPointError(f"agent {self}: a user's gradient is not finite")
        self._sum = self._sum + u
        self.weights = p = self._priorities(self._sum / self._slot)
        best = problem.utility_bounds[1] if problem.l_max is None else problem.l_max
        loss = np.maximum(best - u, 1e-12 * best)
        bent = gradients / (2 * loss)
        curvature = gradients[:, None] * bent  # h_k (d, d, K, N)
        pull = gradients + gradients * sum_over(bent * self.model[:, None], 0)  # ∇u_k + h_kθ_i
        self._Q += curvature
        self._q += pull
        ascent = _users(p * gradients)
        if self.pull is not None:
            away = self.experts - self.model[:, None]
            self.mix.update(-sum_over(ascent[:, None] * away, 0))
        self._round_squares = self._round_squares + sum_over(ascent * ascent, 0)
        self._move(p, curvature, pull)
        self._shown = self._shown + self.mix.shares

    def _move(self, p: Floats, curvature: Floats, pull: Floats) -> None:
        """The experts' next θ and their mixture."""
        past, held = _users(p * self._Q), self.pull
        if held is None:  # the first round has no other scale than the curvature itself
            held = np.trace(past) / (self.problem.dim * self._slot)
        strength = self.strengths * held + _TINY
        count, d = self.num_leaders, self.problem.dim
        A = np.empty((d, d, *self.experts.shape[1:]))
        A[:, :, :count], A[:, :, count:] = past[:, :, None], _users(p * curvature)[:, :, None]
        A[range(d), range(d)] += strength
        b = np.empty_like(self.experts)
        b[:, :count] = _users(p * self._q)[:, None] + strength[:count] * self.start[:, None]
        b[:, count:] = _users(p * pull)[:, None] + strength[count:] * self.experts[:, count:]
        self.experts = minimize(A, b, self.experts, self.problem.model_bounds)
        if self.pull is None:
            self.model = self.experts[:, self.main]
        else:
            self.model = self.mix.mean(self.experts.swapaxes(0, 1))

    def end_round(self, obs: Observation, info: Info) -> None:
        target = streams_last(info["fairest_model"], 1)
        means = self._sum / self.problem.num_slots
        distance = sum_over(np.square(target - self.start), 0)
        self._held = 0.0 if self.pull is None else self.pull
        if self.served is None:
            self.distances, self.squares, self.served = 0.0, 0.0, means
        self.distances = self.distances + distance
        self.squares = self.squares + self._round_squares
        self.starts.end(target)
        self.served = self.served + (means - self.served) / self.starts.rounds

    def report(self) -> Mapping[str, Any]:
        shares = (self._shown / self.problem.num_slots).T
        told = {"pull": self._held + np.zeros(len(shares)), "outer_rate": self.starts.rate()}
        told = {name: value.reshape(self._batch) for name, value in told.items()}
        return {**told, "expert_shares": shares.reshape(*self._batch, -1)}

    def _priorities(self, means: Floats) -> Floats:
        """∂F/∂u (K, N) at mean utilities (K, N), none above u_max."""
        _, u_max = self.problem.utility_bounds
        return self.problem.fairness.priorities(np.minimum(means, u_max).T).T


def _users(values: Floats) -> Floats:
    """Σ_k over the last axis but one, in order."""
    return sum_over(values, -2)
