"""The tally of a round in which users have jobs in some slots: means over a user's own jobs."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from owo_env.problem import Problem
from owo_env.score import Best, Scores, told

Floats = NDArray[np.floating]
Mask = NDArray[np.bool_]


def judged_by_jobs(problem: Problem, means: Floats, shares: Floats) -> Floats:
    """F of mean utilities (..., K), shape (...), as the link counts users.

    Args:
        problem: Its fairness and link.
        means: ū_k over a user's own jobs, l_max without any.
        shares: m_k/m, the share of slots in which a user had a job, (..., K).
    """
    fairness, link = problem.fairness, problem.link
    if link is None or link.count == "users":
        return fairness.value(means)
    return fairness.weighed(means, shares)


def without_jobs(problem: Problem) -> Any:
    """The utility of a user without a job: no loss. A number, or (K, 1) where users' differ."""
    best = problem.utility_bounds[1] if problem.l_max is None else problem.l_max
    return best if np.ndim(best) == 0 else np.array(best)[:, None]


class JobScores(Scores):
    """:class:`owo_env.score.Scores` that knows who has a job in which slot."""

    def __init__(self, problem: Problem, num_envs: int, place: Callable[[int], str]) -> None:
        super().__init__(problem.fairness, num_envs, place)
        self._problem = problem
        self._jobs = np.zeros((problem.num_users, num_envs), int)

    def open_rounds(self, mask: Mask) -> None:
        super().open_rounds(mask)
        np.copyto(self._jobs, 0, where=mask)

    def add_jobs(self, u: Floats, active: Mask, live: Mask | None = None) -> Floats:
        """Count a slot (K, N) of those who are ``active``; by how much F grew, (N,).

        Raises:
            FloatingPointError: A utility is not finite; it names the stream and the user.
        """
        self._checked(np.where(active, u, self._u_max), live)
        slot, counted = self.slot + 1, active if live is None else active & live
        jobs, sums = self._jobs + counted, self._sums + np.where(active, u, 0.0)
        value = judged_by_jobs(self._problem, self._mean(sums, jobs).T, (jobs / slot).T)
        self._jobs = jobs
        return self._settled(slot, sums, value, live)

    def _mean(self, sums: Floats, jobs: NDArray[np.integer]) -> Floats:
        return np.where(jobs > 0, sums / np.maximum(jobs, 1), without_jobs(self._problem))

    def means(self, ended: Mask) -> Floats:
        return self._mean(self._sums[:, ended], self._jobs[:, ended]).T


class JobScore:
    """The same for one stream, with the attributes and methods of :class:`owo_env.score.Score`."""

    def __init__(self, problem: Problem) -> None:
        self._scores, self._one = JobScores(problem, 1, lambda n: ""), np.ones(1, bool)

    @property
    def slot(self) -> int:
        return int(self._scores.slot[0])

    @property
    def fairness(self) -> float:
        return float(self._scores.fairness[0])

    @property
    def violations(self) -> int:
        return int(self._scores.violations[0])

    def open_round(self) -> None:
        self._scores.open_rounds(self._one)

    def add_jobs(self, utilities: Sequence[float], active: Mask) -> float:
        u = np.array(utilities, float)[:, None]
        return float(self._scores.add_jobs(u, active[:, None])[0])

    def diverged(self, user: int | None = None) -> str:
        return self._scores.diverged(0, user)

    def info(self, more: Mapping[str, Any], best: Best) -> dict[str, Any]:
        return told(self._scores.means(self._one)[0], self.fairness, self.violations, more, best)
