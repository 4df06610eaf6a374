"""What agents are told: checked once a slot, for next to nothing, before anything is learned of it.

One NaN would turn model and priorities into NaN for good, and a vector that is too short ends in a
broadcast error far away, so both are refused where they come in, and the agent stays as it was.
"""

from __future__ import annotations

import math
import warnings
from typing import Any

import numpy as np

from owo_agents.agent import Agent, Floats, Observation
from owo_agents.learner.step import largest_stable_rate
from owo_env.problem import Problem

ENTRIES = {"weighted": "gradient", "per_user": "gradients", None: None}
FEW = 64
OFTEN = 3  # rounds that may end so by chance, less one


def check(agent: Agent, obs: Observation, finite_gradients: bool = True) -> None:
    """Refuse a feedback that is of another shape than the agent's problem, or not finite.

    Args:
        agent: Who is told.
        obs: What.
        finite_gradients: Whether gradients must be finite: some rivals do without those that
            are not.

    Raises:
        ValueError: The message names the agent, the entry, the user and the slot.
    """
    problem, key = agent.problem, ENTRIES[agent.gradients]
    try:
        u = obs["utilities"]
        g = u if key is None else obs[key]
        if (
            u.ndim == g.ndim == 1  # one stream, told one gradient
            and len(u) == problem.num_users
            and (key is None or len(g) == problem.dim)
            and _finite(u)
            and (not finite_gradients or _finite(g))
        ):
            return
    except (AttributeError, KeyError):  # the second look says what is missing
        pass
    _look(agent, obs, getattr(obs["slot"], "shape", ()), finite_gradients)


def _finite(values: Floats) -> bool:
    """Whether all of a vector are finite; a sum that overflows says no, and a second look decides.

    A few numbers are added faster by Python than NumPy can be asked.
    """
    if len(values) > FEW:
        return bool(np.isfinite(values).all())
    return math.isfinite(sum(values.tolist()))


def _look(agent: Agent, obs: Observation, batch: tuple[int, ...], finite_gradients: bool) -> None:
    """The second look, which takes its time."""
    users = (*batch, agent.problem.num_users)
    _entry(agent, obs, "utilities", users, True)
    if agent.gradients == "per_user":
        _entry(agent, obs, "gradients", (*users, agent.problem.dim), finite_gradients)
    elif agent.gradients == "weighted":
        _entry(agent, obs, "gradient", (*batch, agent.problem.dim), finite_gradients)


def _entry(agent: Agent, obs: Observation, name: str, shape: tuple[int, ...], finite: bool) -> None:
    values: Any = obs.get(name)
    if getattr(values, "shape", None) != shape:
        found = "missing" if values is None else f"a {type(values).__name__}"
        if hasattr(values, "shape"):
            found = f"of shape {values.shape}"
        raise ValueError(f"agent {agent}: {name} is {found}: must be an array of shape {shape}")
    if finite and not np.isfinite(values).all():
        raise ValueError(_not_finite(agent, obs, name, values))


def _not_finite(agent: Agent, obs: Observation, name: str, values: Any) -> str:
    *_, at = np.argwhere(~np.isfinite(values))[:1]
    value, slot = values[tuple(at)], np.ravel(obs["slot"])[0]
    if name == "gradient":
        what = f"entry {at[-1]} of the gradient, which sums all users',"
    else:
        axis = -1 if name == "utilities" else -2
        what = f"{'utility' if name == 'utilities' else 'gradient'} of user {at[axis]}"
    stream = f" in stream {at[0]}" if np.ndim(obs["slot"]) else ""
    return (
        f"agent {agent}: the {what} is {value} in slot {slot}{stream}: must be finite. Nothing was "
        "learned of it; leave a slot out rather than guess (docs/guide/your-loop.md)"
    )


class Walls:
    """Tells of a step so long that the model goes from wall to wall of Θ and back.

    Looked at where a round ends, in its last three models; said once.

    Args:
        problem: Its Θ; without bounds there are no walls.
    """

    def __init__(self, problem: Problem) -> None:
        self._problem, self._bounds = problem, problem.model_bounds
        self._trail: tuple[Floats, ...] = ()
        self._seen = 0
        self._said = False

    def begin_round(self, model: Floats) -> None:
        """The round's first model, (..., d)."""
        if self._bounds is not None:
            self._trail = (model,)

    def step(self, model: Floats) -> None:
        """The next slot's model."""
        if self._bounds is not None:
            self._trail = (*self._trail[-2:], model)

    def end_round(self, agent: Agent) -> None:
        """Warn where it is the third round (or stream) in which the model swings."""
        if self._said or len(self._trail) < 3 or self._bounds is None:
            return
        low, high = self._bounds
        there, back = self._trail[1] - self._trail[0], self._trail[2] - self._trail[1]
        swings = (abs(there) == high - low) & (back == -there)
        self._seen += int(np.count_nonzero(swings.any(axis=-1)))
        if self._seen >= OFTEN:
            self._said = True
            warnings.warn(self._words(agent), stacklevel=3)

    def _words(self, agent: Agent) -> str:
        low, high = self._bounds or (0.0, 0.0)
        what, cure = "its step", "take a shorter one"
        if rate := agent.learning_rate:
            stable = largest_stable_rate(self._problem)
            what = f"learning_rate={rate:g}"
            cure = f"the largest stable one is {stable:g}" if stable < rate else "halve it"
        return (
            f"agent {agent}: the model goes from wall to wall of Θ = [{low:g}, {high:g}] and back, "
            f"at the end of {self._seen} rounds so far: {what} is too long; {cure}"
        )
