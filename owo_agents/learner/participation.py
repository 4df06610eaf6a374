"""Participation: what a learner makes of users who are heard in some slots more than in others."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from owo_agents.agent import Floats, Observation
from owo_env import checks
from owo_env.fairness import sum_users
from owo_env.problem import Problem

PARTICIPATION = ("inverse", "as-heard")


class Participation:
    """Factors on priorities by how often each user was heard.

    Lost feedback and idleness act on ascent like contract weights: what is climbed is not Σ f_k
    but Σ (m_k/m) ρ_k f_k, with ρ_k how often a job of user k is heard. The factors take that back:
    of the slots (or, where jobs count, of the user's jobs) so far, plus one, over those heard,
    plus one. They are known before the slot. Their price is noise, so what is delivered is capped
    at the largest Σp that the dual itself can play (Σ p_k L_k where users' losses differ).

    Args:
        problem: One whose link may leave users out.
        kind: ``"inverse"``, or ``"as-heard"``, which changes nothing: the control.
    """

    def __init__(self, problem: Problem, kind: str) -> None:
        checks.one_of("participation", kind, PARTICIPATION)
        self.corrects, self._most = kind == "inverse", problem.fairness.most
        self._steepness: Floats | None = None
        if np.ndim(problem.smoothness):
            assert problem.curvature is not None
            self._steepness = np.asarray(problem.smoothness, float)
            self._most = problem.curvature
        assert problem.link is not None
        self._by_jobs, self._users = problem.link.count == "jobs", problem.num_users
        self._delay = problem.link.delay

    def begin_round(self, batch: tuple[int, ...]) -> None:
        """Nothing was heard yet."""
        self._active = np.zeros((*batch, self._users), np.int64)
        self._heard = np.zeros_like(self._active)
        self._slots = 0

    def learn(self, obs: Observation) -> None:
        """Count the slot whose feedback this is; before ``delay`` slots there is none."""
        if self._delay and int(np.max(obs["slot"])) <= self._delay:
            return
        self._slots += 1
        self._active = self._active + obs["active"]
        self._heard = self._heard + obs["heard"]

    def factors(self) -> Floats:
        """By what each user's priority is multiplied when it is played, (..., K)."""
        if not self.corrects:
            return np.ones(self._heard.shape)
        due: NDArray[np.integer] | int = self._active if self._by_jobs else self._slots
        return (due + 1) / (self._heard + 1)

    def cap(self, played: Floats, obs: Observation) -> Floats:
        """By what the gradient is multiplied, (...), where ``played`` (..., K) were the weights."""
        if not self.corrects:
            return np.ones(played.shape[:-1])
        each = obs["heard"] * played
        total = sum_users(each if self._steepness is None else each * self._steepness)
        return np.divide(self._most, total, out=np.ones(total.shape), where=total > self._most)


def weighed(participation: Participation | None, p: Floats) -> Floats:
    """Priorities (..., K) as they are played."""
    return p if participation is None else p * participation.factors()


def make_participation(problem: Problem, kind: str | None) -> Participation | None:
    """None where every user is heard in every slot.

    Args:
        problem: The problem.
        kind: ``"inverse"`` (default) or ``"as-heard"``.

    Raises:
        ValueError: Another name.
    """
    if kind is not None:
        checks.one_of("participation", kind, PARTICIPATION)
    if problem.link is None or not problem.link.masked:
        return None
    return Participation(problem, "inverse" if kind is None else kind)
