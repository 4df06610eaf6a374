"""`owo-adaptive`: a learner that nobody has to tune."""

from __future__ import annotations

from typing import Any

from owo_agents.agent import Agent
from owo_agents.learner.adaptive.convex import ConvexAdaptive
from owo_agents.learner.adaptive.network import NetworkAdaptive
from owo_agents.learner.adaptive.weighted import WeightedAdaptive
from owo_env import checks
from owo_env.problem import Problem

FEEDBACK = {"per_user": ConvexAdaptive, "weighted": WeightedAdaptive}
"""The forms where θ* is revealed and losses are convex; elsewhere there is one alone."""


def owo_adaptive(problem: Problem, *, feedback: str | None = None, **options: Any) -> Agent:
    """The form of `owo-adaptive` that fits a problem.

    Args:
        problem: The problem.
        feedback: ``"per_user"`` (default where losses are convex and θ* is revealed) or
            ``"weighted"``.
        options: Of the form: of :class:`ConvexAdaptive`, :class:`WeightedAdaptive` or
            :class:`NetworkAdaptive`. None is needed.

    Raises:
        ValueError: Per-user feedback for a network, or an argument outside its domain.
        TypeError: An argument that the form does not have.
    """
    known = problem.convex and problem.hindsight
    if not known and feedback == "per_user":
        raise ValueError(
            "feedback='per_user': needs convex losses and a revealed θ*; here 'weighted' alone"
        )
    if feedback is not None:
        checks.one_of("feedback", feedback, FEEDBACK if known else ["weighted"])
    form = FEEDBACK[feedback or "per_user"] if known else NetworkAdaptive
    checks.keywords("agent 'owo-adaptive'", form, options, first=1, also=["feedback"])
    return form(problem, **options)


__all__ = ["ConvexAdaptive", "NetworkAdaptive", "WeightedAdaptive", "owo_adaptive"]
