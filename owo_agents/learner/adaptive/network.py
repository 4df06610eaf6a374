"""The network form of `owo-adaptive`: no θ*, a large d, one weighted gradient a slot.

A step that nobody tunes: gradients scaled by coordinate as Adam does (Kingma and Ba, 2015), and
η_i = e^s max(.03‖x_1‖, max_{j≤i}‖θ_j − x_1‖)/√(Σ_{j≤i}‖r_j‖²) over the whole stream, distance over
gradients (Ivgi, Hinder and Carmon, ICML 2023). That only ever falls once the reach is found, and
is too short where rounds start anew; so s ∈ [0, log 8] follows the angle between one slot's r and
the next, as hypergradients do (Almeida et al. 1999; Baydin et al., ICLR 2018). Not proved; measured
in docs/results/adaptive.md.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

import numpy as np

from owo_agents.agent import Action, Agent, Floats, Info, Observation
from owo_agents.carrying import Carries
from owo_agents.learner.adaptive.adahedge import AdaHedge, prior
from owo_agents.learner.adaptive.leader import dual_of
from owo_agents.learner.participation import make_participation, weighed
from owo_agents.learner.told import check
from owo_env import checks
from owo_env.problem import Problem

STARTS = ("continue", "running-mean", "reptile")
"""The outer loops whose starts are mixed."""
TRUST = 0.99
"""The prior share of the first: chosen on Rainbow MNIST's seeds 1000 to 1003."""

_NUDGE = 0.03
_DECAY = 0.9
_TURN, _MOST = 0.3, float(np.log(8))  # chosen on the seeds of TRUST
_REPTILE = 0.1


class AdaptiveStep(Carries):
    """θ + η r along scaled gradients r, over arrays (..., d).

    Args:
        origin: x_1, (d,).

    Attributes:
        reach: max ‖θ_j − x_1‖ so far, (...).
        travelled: Σ‖r_j‖² so far, (...).
        second: The running mean of g², (..., d).
        before, size: r of the slot before, (..., d), and its ‖r‖², (...).
        stretch: s, (...).
        slots: How many were played.
        rate: η of the last slot, (...).
    """

    carried = ("reach", "travelled", "second", "before", "size", "stretch", "slots")

    def __init__(self, origin: Floats) -> None:
        self._origin = origin
        self.reach: Any = _NUDGE * (float(np.linalg.norm(origin.astype(float))) or 1.0)
        self.travelled: Any = 0.0
        self.second: Any = None
        self.before: Any = None
        self.size: Any = None
        self.stretch: Any = 0.0
        self.slots = 0
        self.rate: Any = 0.0

    def update(self, model: Floats, gradient: Floats) -> Floats:
        """The next model."""
        if self.second is None:
            self.second = np.zeros_like(gradient)
        self.slots += 1
        square = gradient * gradient
        square *= 1 - _DECAY
        self.second *= _DECAY
        self.second += square
        scale = np.sqrt(self.second, out=square)
        scale *= (gradient.shape[-1] / (1 - _DECAY**self.slots)) ** 0.5
        scale[scale == 0] = 1.0  # its gradient is 0 as well
        scaled = np.divide(gradient, scale, out=scale)
        size = _dot(scaled, scaled)
        self._turn(scaled, size)
        self.travelled = self.travelled + size
        away = model - self._origin
        self.reach = np.maximum(self.reach, np.sqrt(_dot(away, away)))
        self.rate = self.reach / np.sqrt(np.maximum(self.travelled, np.finfo(float).tiny))
        self.rate = np.exp(self.stretch) * self.rate
        moved = scaled * np.asarray(self.rate, scaled.dtype)[..., None]
        moved += model
        return moved

    def _turn(self, scaled: Floats, size: Floats) -> None:
        """Longer steps while r keeps its direction, shorter ones where it turns back."""
        if self.before is not None:
            both = np.maximum(np.sqrt(size * self.size), np.finfo(float).tiny)
            cosine = _dot(scaled, self.before) / both
            self.stretch = np.clip(self.stretch + _TURN * cosine, 0.0, _MOST)
        self.before, self.size = scaled, size


class MixedStarts(Carries):
    """x_{t+1}: the starts of several outer loops, mixed by how the gradients speak of them.

    Args:
        names: The outer loops, the one trusted most first.

    Attributes:
        candidates: Their starts X_o, (O, ..., d).
        start: x_t, their mean, (..., d).
        rounds: How many were played.
        mix: Their shares.
    """

    carried = ("candidates", "start", "rounds", "mix")

    def __init__(self, names: tuple[str, ...]) -> None:
        for name in names:
            checks.one_of("starts", name, STARTS)
        self.names, self.rounds = names, 0
        self.candidates: Any = None
        self.start: Any = None
        self.mix = AdaHedge(prior(len(names), share=TRUST))

    def begin(self, initial: Floats) -> Floats:
        """x_t; ``initial`` is x_1 in the same shape."""
        self.mix.begin(initial[..., 0].size)
        if self.candidates is None:
            return initial.copy()
        shares = self.mix.shares.reshape(len(self.names), *initial.shape[:-1], 1)
        self.start = np.sum(shares.astype(initial.dtype) * self.candidates, axis=0)
        return self.start

    def update(self, gradient: Floats) -> None:
        """Learn from a slot: −g·X_o is the start's linear loss."""
        if self.candidates is not None:
            played = _dot(gradient, self.start)
            gains = [_dot(gradient, x) - played for x in self.candidates]
            self.mix.update(-np.reshape(gains, (len(gains), -1)))

    def end(self, model: Floats) -> None:
        """Learn from the round's last model."""
        self.rounds += 1
        if self.candidates is None:
            self.candidates = np.stack([model] * len(self.names))
        for name, x in zip(self.names, self.candidates):
            rate = {"continue": 1.0, "running-mean": 1 / self.rounds, "reptile": _REPTILE}[name]
            x += np.asarray(rate, x.dtype) * (model - x)


class NetworkAdaptive(Agent):
    """Plays networks: nothing to tune, one weighted gradient a slot, memory of a few models.

    Args:
        problem: The problem.
        starts: The outer loops to mix, the one trusted most first.
        participation: Over a link that may leave users out, as of every learner.
    """

    gradients: ClassVar[str | None] = "weighted"
    carried = ("step", "starts", "dual")

    def __init__(
        self,
        problem: Problem,
        starts: tuple[str, ...] = STARTS,
        participation: str | None = None,
    ) -> None:
        super().__init__(problem)
        self.participation = make_participation(problem, participation)
        self._delay = 0 if problem.link is None else problem.link.delay
        self.step, self.starts = AdaptiveStep(problem.initial_model), MixedStarts(starts)
        self.dual = dual_of(problem)
        self._slot: int | None = None

    def begin_round(self, obs: Observation, info: Info) -> None:
        batch, x_1 = np.shape(obs["slot"]), self.problem.initial_model
        self.model = self.starts.begin(np.broadcast_to(x_1, (*batch, len(x_1))))
        self.weights = self.dual.begin_round(batch)
        if self.participation is not None:
            self.participation.begin_round(batch)
        self._slot = 0

    def act(self, obs: Observation, info: Info) -> Action:
        if self._slot is None:
            raise RuntimeError(f"agent {self}: begin_round(obs, info) comes before act")
        return {"model": self.model, "weights": weighed(self.participation, self.weights)}

    def learn(self, obs: Observation, info: Info) -> None:
        if self._slot is None:
            raise RuntimeError(f"agent {self}: begin_round(obs, info) comes before learn")
        check(self, obs)
        self._slot += 1
        arrived = self._slot - self._delay
        if arrived <= 0:
            return
        gradient = obs["gradient"]
        if self.participation is not None:
            cap = self.participation.cap(weighed(self.participation, self.weights), obs)
            gradient = gradient * cap[..., None].astype(gradient.dtype)
            self.participation.learn(obs)
        self.starts.update(gradient)
        self.model = self.problem.project(self.step.update(self.model, gradient))
        self.weights = self.dual.update(self.weights, obs["utilities"], arrived)

    def end_round(self, obs: Observation, info: Info) -> None:
        self.starts.end(self.model)
        self.dual.end_round()

    def report(self) -> Mapping[str, Any]:
        """The last step size, and the shares of the starts."""
        starts = self.starts
        told = {f"starts/{name}": share for name, share in zip(starts.names, starts.mix.shares)}
        told |= {"step/η": self.step.rate}
        return {name: np.reshape(value, self.model.shape[:-1]) for name, value in told.items()}


def _dot(one: Floats, other: Floats) -> Floats:
    """Over the last axis; (...)."""
    if one.ndim == 1:
        return np.dot(one, other)
    return np.einsum("...d,...d->...", one, other)
