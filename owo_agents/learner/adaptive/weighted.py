"""The form of `owo-adaptive` for convex problems whose feedback is one weighted gradient a slot.

One gradient has no curvature of K losses in it, so the experts are step rules: three outer loops,
each with the fixed η of Algorithm 1 and with steps learned from the rounds before (ARUBA; Khodak,
Balcan and Talwalkar, NeurIPS 2019), isotropic and, in small dimensions, by the whole matrix. All
move along the gradient at the played model and are mixed by AdaHedge. Not proved; measured.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Mapping
from typing import Any, ClassVar

import numpy as np

from owo_agents.agent import Floats, Info, Observation
from owo_agents.learner.adaptive.adahedge import AdaHedge, prior
from owo_agents.learner.adaptive.leader import dual_of
from owo_agents.learner.adaptive.streams import StreamsLast, streams_last, sum_over
from owo_agents.learner.participation import make_participation, weighed
from owo_agents.learner.step import default_rate
from owo_agents.learner.weighting import Weighting
from owo_env.problem import Problem

OUTER = {"running mean": 0.0, "reptile": 0.1, "continue": 1.0}
"""Outer rates; 0 stands for 1/t."""
SCALES = (0.125, 0.25, 0.5, 1.0, 2.0, 4.0)
"""Multiples of the isotropic ARUBA step."""
MATRIX_SCALES = (0.5, 1.0, 2.0)
MATRIX_DIM = 64
"""The largest d for which whole matrices are learned."""


class WeightedAdaptive(StreamsLast):
    """A mixture of step rules.

    Args:
        problem: A convex problem that reveals θ*.
        participation: Over a link that may leave users out, as of every learner.
    """

    gradients: ClassVar[str | None] = "weighted"
    carried = ("starts", "distances", "squares", "mix", "rounds")

    def __init__(self, problem: Problem, participation: str | None = None) -> None:
        super().__init__(problem)
        self.participation = make_participation(problem, participation)
        self._delay = 0 if problem.link is None else problem.link.delay
        self.dual = dual_of(problem, PriorSlotLeader)
        self.matrices = problem.dim <= MATRIX_DIM
        constant, falling = np.zeros(len(SCALES)), np.ones(len(SCALES))
        whole = np.zeros(len(MATRIX_SCALES) if self.matrices else 0)
        self._scales = np.array([1.0, *SCALES, *SCALES, *MATRIX_SCALES[: len(whole)]])
        self._falls = np.array([0.0, *constant, *falling, *whole]) > 0
        self._per_outer = len(self._scales)
        self.mix = AdaHedge(prior(len(OUTER) * self._per_outer))
        self.rounds = 0
        self.starts: Any = None  # x of each outer loop, (d, O, N)
        self.distances: Any = None  # ΣDDᵀ of each, (d, d, O, N)
        self.squares: Any = None  # Σggᵀ, (d, d, N)

    def begin_round(self, obs: Observation, info: Info) -> None:
        self._batch = np.shape(obs["slot"])
        n, d = int(np.prod(self._batch)), self.problem.dim
        if self.starts is None:
            x_1 = self.problem.initial_model.astype(float)[:, None, None]
            self.starts = np.repeat(np.repeat(x_1, len(OUTER), 1), n, 2)
            self.distances, self.squares = np.zeros((d, d, len(OUTER), n)), np.zeros((d, d, n))
        self.mix.begin(n)
        self.weights = self.dual.begin_round(self._batch)
        self._metrics = self._steps()
        self.experts = np.repeat(self.starts[:, :, None], self._per_outer, 2)  # (d, O, E, N)
        self.model = self._mixed()
        if self.participation is not None:
            self.participation.begin_round(self._batch)
        self._sent: deque[tuple[Floats, Floats]] = deque()  # models under way, and the experts'
        self._slot = 0

    def _steps(self) -> tuple[Floats, Floats]:
        """This round's steps: isotropic (O, 1 + 12, N), and matrices (d, d, O, 3, N)."""
        fixed, n = default_rate(self.problem), self.squares.shape[-1]
        count = 1 + 2 * len(SCALES)
        scales = self._scales[:, None]
        if not self.rounds:
            scales = np.minimum(scales, 1.0)
            isotropic = np.broadcast_to(fixed, (len(OUTER), n))
        else:
            length, squares = _trace(self.distances), _trace(self.squares)
            isotropic = np.sqrt(np.divide(length, squares, out=0 * length, where=squares > 0))
        steps = scales[:count] * isotropic[:, None]
        steps[:, 0] = fixed
        if not self.matrices:
            return steps, np.zeros((0, 0, 0, 0, 0))
        if self.rounds:
            whole = _geodesic(self.distances, self.squares)
        else:
            whole = np.eye(self.problem.dim)[:, :, None, None] * isotropic
        return steps, scales[count:] * whole[:, :, :, None]

    def learn(self, obs: Observation, info: Info) -> None:
        super().learn(obs, info)
        assert self._slot is not None
        self._sent.append((self.model, self.experts.copy()))
        arrived = self._slot - self._delay
        if arrived > 0:
            self._learn(obs, arrived, *self._sent.popleft())

    def _learn(self, obs: Observation, slot: int, model: Floats, experts: Floats) -> None:
        """Learn from the feedback of the slot in which these were played."""
        gradient = obs["gradient"]
        if self.participation is not None:
            played = weighed(self.participation, self.weights)
            gradient = gradient * self.participation.cap(played, obs)[..., None]
            self.participation.learn(obs)
        g = streams_last(gradient, 1)
        away = experts - model[:, None, None]
        self.mix.update(-sum_over(g[:, None, None] * away).reshape(-1, g.shape[-1]))
        self.squares = self.squares + g[:, None] * g
        self.weights = self.dual.update(self.weights, obs["utilities"], slot)
        steps, whole = self._metrics
        count = steps.shape[1]
        falls = np.where(self._falls[:count], math.sqrt(self.problem.num_slots / 4 / slot), 1)
        self.experts[:, :, :count] += (steps * falls[:, None]) * g[:, None, None]
        if self.matrices:
            self.experts[:, :, count:] += sum_over(whole * g[None, :, None, None], 1)
        self.experts = self.problem.project(self.experts)
        self.model = self._mixed()

    def end_round(self, obs: Observation, info: Info) -> None:
        self.rounds += 1
        away = streams_last(info["fairest_model"], 1)[:, None] - self.starts
        self.distances = self.distances + away[:, None] * away
        rates = np.array([rate or 1 / self.rounds for rate in OUTER.values()])
        self.starts = self.starts + rates[:, None] * away

    def report(self) -> Mapping[str, Any]:
        """The shares of the outer loops, and of the kinds of step."""
        shares = self.mix.shares.reshape(len(OUTER), self._per_outer, -1)
        outer, steps = sum_over(shares, 1), sum_over(shares)
        count = len(SCALES)
        told = {f"outer loop/{name}": share for name, share in zip(OUTER, outer)}
        told |= {"steps/fixed": steps[0], "steps/constant": sum_over(steps[1 : 1 + count])}
        told |= {"steps/falling": sum_over(steps[1 + count : 1 + 2 * count])}
        if self.matrices:
            told |= {"steps/matrix": sum_over(steps[1 + 2 * count :])}
        return {name: np.reshape(value, self._batch) for name, value in told.items()}

    def _mixed(self) -> Floats:
        """The played model (d, N)."""
        d, n = len(self.experts), self.experts.shape[-1]
        return self.mix.mean(self.experts.reshape(d, -1, n).swapaxes(0, 1))


class PriorSlotLeader(Weighting):
    """Follow-the-leader with one slot at the centre utility before the round's first."""

    carried = ()

    def begin_round(self, batch: tuple[int, ...]) -> Floats:
        u_min, u_max = self.problem.fairness.bounds
        self._sum: Any = (u_min + u_max) / 2
        return super().begin_round(batch)

    def update(self, p: Floats, utilities: Floats, slot: int) -> Floats:
        self._sum = self._sum + utilities
        _, u_max = self.problem.fairness.bounds
        return self.problem.fairness.priorities(np.minimum(self._sum / (slot + 1), u_max))


def _trace(matrices: Floats) -> Floats:
    """Over the first two axes, in order."""
    return sum_over(np.stack([matrices[j, j] for j in range(len(matrices))]))


def _geodesic(A: Floats, B: Floats) -> Floats:
    """B^{−½}(B^½AB^½)^½B^{−½}: the H that minimizes tr(H⁻¹A) + tr(HB).

    A is (d, d, O, N), B (d, d, N), positive semidefinite.
    """
    A, B = np.moveaxis(A, (0, 1), (-2, -1)), np.moveaxis(B, (0, 1), (-2, -1))
    values, vectors = np.linalg.eigh(B)
    least = 1e-12 * values[:, -1:] + np.finfo(float).tiny
    root = np.sqrt(np.maximum(values, least))[:, None]
    half = (vectors * root) @ vectors.swapaxes(-1, -2)
    inverse = (vectors / root) @ vectors.swapaxes(-1, -2)
    squares, axes = np.linalg.eigh(half @ A @ half)
    middle = (axes * np.sqrt(np.maximum(squares, 0.0))[..., None, :]) @ axes.swapaxes(-1, -2)
    return np.moveaxis(inverse @ middle @ inverse, (-2, -1), (0, 1))
