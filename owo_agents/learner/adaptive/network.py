"""The network form of `owo-adaptive`: no θ*, a large d, one weighted gradient a slot.

A step that nobody tunes: gradients scaled by coordinate as AdaGrad does (Duchi, Hazan and Singer,
JMLR 2011), none longer than an average one, and η_i = e^s max(.08‖x_1‖, max_{j≤i}‖θ_j − x_1‖)/
√(Σ_{j≤i}‖r_j‖²), distance over gradients (Ivgi, Hinder and Carmon, ICML 2023). That starts short;
so s ∈ [0, log 8] follows the angle between one slot's r and the next, as hypergradients do (Almeida
et al. 1999; Baydin et al., ICLR 2018). And it only ever falls; so Σ‖r_j‖² is of the whole stream as
far as the stream goes on, and of one round as far as rounds start anew. Not proved; measured in
docs/results/adaptive.md.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

import numpy as np

from owo_agents.agent import Action, Agent, Floats, Info, Observation
from owo_agents.carrying import Carries
from owo_agents.learner.adaptive.adahedge import prior
from owo_agents.learner.adaptive.leader import dual_of
from owo_agents.learner.participation import make_participation, weighed
from owo_agents.learner.told import check
from owo_env import checks
from owo_env.problem import Problem

STARTS = ("continue", "running-mean", "reptile")
"""The outer loops whose starts are mixed."""

# Chosen on seeds 1000 to 1003 of Rainbow MNIST and the two small networks of no_tuning_deep.py.
_NUDGE = 0.08
_TURN, _MOST = 0.5, float(np.log(8))
_TRUST = 0.9  # the prior share of the first start
_REPTILE = 0.1
_TINY = np.finfo(float).tiny
_ZERO = np.float32(1e-30)  # a square so small that its coordinate has no gradient


class AdaptiveStep(Carries):
    """θ + η r along scaled gradients r, over arrays (..., d).

    Args:
        origin: x_1, (d,).

    Attributes:
        reach: max ‖θ_j − x_1‖ so far, (...).
        travel: Σ‖r_j‖² that the step is measured by, (...).
        whole: Σ‖r_j‖² of the whole stream, (...).
        squares: Σg², (..., d).
        last, size: g/√Σg² of the round's last slot, (..., d), and its ‖·‖², (...).
        stretch: s, (...).
        slots, rounds: How many were played.
        rate: η of the last slot, (...).
    """

    carried = ("reach", "travel", "whole", "squares", "last", "size", "stretch", "slots", "rounds")

    def __init__(self, origin: Floats) -> None:
        self._origin = origin
        self.reach: Any = _NUDGE * (float(np.linalg.norm(origin.astype(float))) or 1.0)
        self.travel: Any = 0.0
        self.whole: Any = 0.0
        self.squares: Any = None
        self.last: Any = None
        self.size: Any = None
        self.stretch: Any = 0.0
        self.slots = self.rounds = 0
        self.rate: Any = 0.0

    def end_round(self, going_on: Any) -> None:
        """What is carried on where the next round starts from the last model by a share (...).

        Its root, since in long streams the share falls although training goes on.
        """
        self.rounds += 1
        one = self.whole / self.rounds
        kept = np.sqrt(going_on)
        self.travel = one + kept * (self.whole - one)
        self.stretch = kept * self.stretch
        self.last = None

    def update(self, model: Floats, gradient: Floats) -> Floats:
        """The next model."""
        scaled = self._scaled(gradient)
        size = _dot(scaled, scaled).astype(float)
        self._turn(scaled, size)
        # r = √(slots/d) scaled; where ‖r‖ > 1 it is shortened to 1
        square = np.minimum(size * self.slots / gradient.shape[-1], 1.0)
        self.travel, self.whole = self.travel + square, self.whole + square
        moved = model - self._origin
        self.reach = np.maximum(self.reach, np.sqrt(_dot(moved, moved)))
        self.rate = np.exp(self.stretch) * self.reach / np.sqrt(np.maximum(self.travel, _TINY))
        length = self.rate * np.sqrt(square / np.maximum(size, _TINY))
        np.multiply(scaled, np.asarray(length, scaled.dtype)[..., None], out=moved)
        moved += model
        return moved

    def _scaled(self, gradient: Floats) -> Floats:
        """g/√Σg²."""
        self.slots += 1
        square = gradient * gradient
        if self.squares is None:
            self.squares = square + _ZERO
        else:
            self.squares += square
        scale = np.sqrt(self.squares, out=square)
        return np.divide(gradient, scale, out=scale)

    def _turn(self, scaled: Floats, size: Floats) -> None:
        """Longer steps while r keeps its direction, shorter ones where it turns back."""
        if self.last is not None:
            cosine = _dot(scaled, self.last) / np.sqrt(np.maximum(size * self.size, _TINY))
            self.stretch = np.minimum(np.maximum(self.stretch + _TURN * cosine, 0.0), _MOST)
        self.last, self.size = scaled, size


class MixedStarts(Carries):
    """x_{t+1}: the starts of several outer loops, mixed by how a round's gradients speak of them.

    A round's linear losses are L_o = −⟨Σ_i g_i, X_o⟩ and the shares π_o exp(−η Σ_t L_o), Hedge at
    the rate η = √(8 ln O/Σ_t s_t²), s_t the range of round t's losses (Orabona and Pál, *Scale-free
    online learning*, 2018). AdaHedge, whose rate is infinite until something was lost, throws its
    shares to and fro in the first rounds, and a network does not forget that.

    Args:
        names: The outer loops, the one trusted most first.

    Attributes:
        candidates: Their starts X_o, (O, ..., d).
        heard: The sum of the round's gradients, (..., d).
        losses: Those of all rounds, (O, ...).
        ranges: Σ s_t², (...).
        rounds: How many were played.
    """

    carried = ("candidates", "heard", "losses", "ranges", "rounds")

    def __init__(self, names: tuple[str, ...]) -> None:
        for name in names:
            checks.one_of("starts", name, STARTS)
        self.names, self.rounds = names, 0
        self.candidates: Any = None
        self.heard: Any = None
        self.losses: Any = np.zeros(len(names))
        self.ranges: Any = 0.0

    @property
    def shares(self) -> Floats:
        """Those of the starts, (O, ...)."""
        rate = (8 * np.log(len(self.names))) ** 0.5 / np.sqrt(np.maximum(self.ranges, _TINY))
        raised = (prior(len(self.names), share=_TRUST) * np.exp(-rate * self.losses).T).T
        return raised / np.sum(raised, axis=0)

    @property
    def going_on(self) -> Floats:
        """The share of `continue`, (...)."""
        return np.sum(self.shares[[name == "continue" for name in self.names]], axis=0)

    def begin(self, initial: Floats) -> Floats:
        """x_t; ``initial`` is x_1 in the same shape."""
        if self.candidates is None:
            return initial.copy()
        shares = self.shares.astype(initial.dtype)
        return np.sum(shares[..., None] * self.candidates, axis=0)

    def update(self, gradient: Floats) -> None:
        """Hear a slot's gradient."""
        if self.heard is None:
            self.heard = np.array(gradient)
        else:
            self.heard += gradient

    def end(self, model: Floats) -> None:
        """Learn from the round's gradients and its last model."""
        self.rounds += 1
        if self.candidates is None:
            self.candidates = np.stack([model] * len(self.names))
            self.losses = np.zeros(self.candidates.shape[:-1])
        elif self.heard is not None:
            first = self.candidates[0]
            lost = -np.stack([_dot(self.heard, x - first) for x in self.candidates]).astype(float)
            total = self.losses + lost
            self.losses = total - total.min(axis=0)
            self.ranges = self.ranges + np.ptp(lost, axis=0) ** 2
        self.heard = None
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
        self.step.end_round(self.starts.going_on)
        self.dual.end_round()

    def report(self) -> Mapping[str, Any]:
        """The last step size, and the shares of the starts."""
        starts = self.starts
        told = {f"starts/{name}": share for name, share in zip(starts.names, starts.shares)}
        told |= {"step/η": self.step.rate}
        streams = self.model.shape[:-1]
        return {name: np.broadcast_to(value, streams) for name, value in told.items()}


def _dot(one: Floats, other: Floats) -> Floats:
    """Over the last axis; (...)."""
    if one.ndim == 1:
        return np.dot(one, other)
    return np.einsum("...d,...d->...", one, other)
