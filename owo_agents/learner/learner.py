"""A learner composed of three parts: weighting, model step and initialization (Algorithm 1)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

import numpy as np

from owo_agents.agent import Action, Agent, Floats, Info, Observation, misfit
from owo_agents.learner import told
from owo_agents.learner.initialization import TARGETS, Initialization
from owo_agents.learner.participation import make_participation
from owo_agents.learner.step import ModelStep
from owo_agents.learner.weighting import Weighting
from owo_env import checks
from owo_env.problem import problem_of


class Learner(Agent):
    """Plays (θ, p); updates both from the values before the update (Jacobi).

    Args:
        weighting: p of the next slot.
        step: θ of the next slot.
        initialization: x of the next round.
        target: What stands for θ*_t in the outer loop: ``"exact"`` (hindsight's
            ``fairest_model``), ``"last"`` (θ after the round's last update) or ``"avg"`` (mean
            of the θ played). Default: exact where the environment reveals it, else last.
        reset_heads: Ask users to start each round with fresh local heads.
        participation: ``"inverse"`` (default) or ``"as-heard"``, over a link that may leave users
            out (:class:`owo_agents.learner.participation.Participation`).

    Attributes:
        model: The θ that :meth:`act` plays, shape (..., d).
        weights: The priorities p of the slot, (..., K); what :meth:`act` plays unless users are
            left out and that is corrected.
        delivered: What the users' gradients were multiplied by in the last step, (..., K); None
            where that is what was played.

    Raises:
        ValueError: ``target="exact"`` where the environment reveals no θ*, or parts that were
            made for different problems.
    """

    gradients: ClassVar[str | None] = "weighted"
    carried = ("weighting", "step", "initialization")

    def __init__(
        self,
        weighting: Weighting,
        step: ModelStep,
        initialization: Initialization,
        target: str | None = None,
        reset_heads: bool = False,
        participation: str | None = None,
    ) -> None:
        super().__init__(weighting.problem)
        # With gradients of its own a learner sees who is silent, and its weights shape nothing.
        made = make_participation(self.problem, participation)
        self.participation = made if self.gradients == "weighted" else None
        self._delay = 0 if self.problem.link is None else self.problem.link.delay
        self.delivered: Floats | None = None
        self.weighting, self.step, self.initialization = weighting, step, initialization
        for part in (step, initialization):
            if found := misfit(part.problem, self.problem):
                name, theirs, ours = found
                raise ValueError(
                    f"{type(part).__name__} was made for {name}={theirs!r}, "
                    f"{type(weighting).__name__} for {name}={ours!r}: make them for one problem"
                )
        if target is None:
            target = "exact" if self.problem.hindsight else "last"
        if target == "exact" and not self.problem.hindsight:
            raise ValueError(
                "target='exact': the environment reveals no fairest model (it needs a scenario "
                "with an exact oracle and hindsight=True); use target='last' or 'avg'"
            )
        checks.one_of("target", target, TARGETS if self.problem.hindsight else TARGETS[1:])
        self.target = target
        if reset_heads:
            self.reset_options = {"reset_heads": True}
        self.model: Floats = self.problem.initial_model
        self.weights: Floats = np.array([])
        self._slot: int | None = None  # none before the first round
        self._walls = told.Walls(self.problem)

    @property
    def learning_rate(self) -> float | None:  # type: ignore[override]
        """η of a constant model step."""
        return self.step.learning_rate

    def check(self, env: Any) -> None:
        super().check(env)
        if self.target == "exact" and not problem_of(env).hindsight:
            raise ValueError(
                f"agent {self} learns from the fairest model (target='exact'), which the "
                "environment does not reveal (hindsight=False): make it for this one"
            )

    def begin_round(self, obs: Observation, info: Info) -> None:
        batch = np.shape(obs["slot"])
        self.model = self.initialization.begin_round(batch)
        self.weights = self.weighting.begin_round(batch)
        self.step.begin_round(self.model)
        if self.participation is not None:
            self.participation.begin_round(batch)
        self._walls.begin_round(self.model)
        self._slot = 0
        self._sum = np.zeros_like(self.model) if self.target == "avg" else None

    def act(self, obs: Observation, info: Info) -> Action:
        if self._slot is None:
            raise RuntimeError(f"agent {self}: begin_round(obs, info) comes before act")
        return {"model": self.model.copy("K"), "weights": self._weighed()}

    def learn(self, obs: Observation, info: Info) -> None:
        """θ by eq. 5 and p by eq. 9 for the next slot, both from the values before."""
        if self._slot is None:
            raise RuntimeError(f"agent {self}: begin_round(obs, info) comes before learn")
        self.hear(obs)
        if self._sum is not None:
            self._sum = self._sum + self.model
        self._slot += 1
        model = self.step.update(self.model, self.direction(obs))
        if self._slot > self._delay:
            arrived = self._slot - self._delay
            self.weights = self.weighting.update(self.weights, obs["utilities"], arrived)
        self.model = model
        self._walls.step(model)

    def hear(self, obs: Observation) -> None:
        """Refuse a feedback from which nothing can be learned."""
        told.check(self, obs)

    def direction(self, obs: Observation) -> Floats:
        """The ascent direction that the model step follows."""
        if self.participation is None:
            return obs["gradient"]
        played = self._weighed()
        cap = self.participation.cap(played, obs)[..., None]
        self.delivered = cap * played * obs["heard"]
        self.participation.learn(obs)
        direction: Floats = obs["gradient"] * cap.astype(self.model.dtype)
        return direction

    def _weighed(self) -> Floats:
        if self.participation is None:
            return self.weights.copy("K")
        return self.weights * self.participation.factors()

    def end_round(self, obs: Observation, info: Info) -> None:
        if self.target == "exact":
            if "fairest_model" not in info:
                raise RuntimeError(
                    f"agent {self}: the round ends after {self._slot or 0} of "
                    f"{self.problem.num_slots} slots and reveals no fairest model: it was cut "
                    "(by Gymnasium's TimeLimit?)"
                )
            target = info["fairest_model"]
        elif self._sum is not None and self._slot:
            target = (self._sum / self._slot).astype(self.model.dtype)
        else:
            target = self.model
        self._walls.end_round(self)
        self.weighting.end_round()
        self.step.end_round(target)
        self.initialization.end_round(target)

    def report(self) -> Mapping[str, Any]:
        """What its parts tell."""
        return {**self.weighting.report(), **self.step.report(), **self.initialization.report()}
