"""One model per user: what fairness could be if a model's cost were no object."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import gymnasium as gym
import numpy as np
from typing_extensions import Unpack

from owo_agents.agent import Action, Floats, Info, Observation
from owo_agents.learner.learner import Learner
from owo_agents.learner.methods import Parts, cws
from owo_env import checks
from owo_env.env import AIRANEnv
from owo_env.problem import Problem
from owo_env.score import Score


class OneModelEach(gym.Env[dict[str, Any], dict[str, Any]]):
    """K copies of one stream, user k's utility taken from copy k alone.

    The copies share the data, seed by seed; in copy k only user k has priority, so that model k
    (and the heads trained on its features) is user k's. ``model`` is (K, d) in actions,
    ``gradient`` (K, d) in observations; everything else is as in the environment itself.

    Args:
        env: The environment to copy; its own stream is left alone.

    Raises:
        ValueError: ``env`` is a vector environment.
    """

    def __init__(self, env: Any) -> None:
        inner = env.unwrapped
        if not isinstance(inner, AIRANEnv):
            raise ValueError(f"agent 'single-task' plays in the scalar environment, not in {inner}")
        if inner.problem.link is not None:
            raise ValueError("agent 'single-task': cannot play over a link: link must be None")
        self.problem, self.gradients = inner.problem, inner.gradients
        fairness = self.problem.fairness
        self.copies = [
            AIRANEnv(inner.scenario, hindsight=inner.hindsight and k == 0, fairness=fairness)
            for k in range(self.problem.num_users)
        ]
        self._score = Score(fairness)
        self._seed_source = inner.np_random
        self._started = False

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[dict[str, Any], dict[str, Any]]:
        """As the environment's; without a seed the first reset draws one for all copies."""
        if seed is None and not self._started:
            (own,) = self._seed_source.spawn(1)  # which takes nothing from the environment's draws
            seed = int(own.integers(2**31))
        self._started = True
        self._score.open_round()
        opened = [copy.reset(seed=seed, options=options) for copy in self.copies]
        return self._merged([obs for obs, _ in opened]), opened[0][1]

    def step(self, action: Any) -> tuple[dict[str, Any], float, bool, bool, dict[str, Any]]:
        """Play one slot of every copy: ``model`` (K, d), ``weights`` (K,), one a user."""
        priorities = np.diag(action["weights"])
        played = [
            copy.step({"model": theta, "weights": p})
            for copy, theta, p in zip(self.copies, action["model"], priorities)
        ]
        obs = self._merged([one[0] for one in played])
        reward = self._score.add(obs["utilities"].tolist())
        return obs, reward, played[0][2], False, self._info([one[4] for one in played])

    def evaluate(self, model: Floats) -> Floats:
        """Utilities (m, K) of one shared ``model`` (d,), as the environment's."""
        return self.copies[0].evaluate(model)

    def _merged(self, observations: list[dict[str, Any]]) -> dict[str, Any]:
        return {
            "utilities": np.array([obs["utilities"][k] for k, obs in enumerate(observations)]),
            "gradient": np.array([obs["gradient"] for obs in observations]),
            "slot": observations[0]["slot"],
        }

    def _info(self, infos: list[dict[str, Any]]) -> dict[str, Any]:
        """Copy 0's; what a user has of his own comes from his copy, fairness from the whole."""
        users = self.problem.num_users
        info = dict(infos[0])
        for name, value in infos[0].items():
            if name != "fairest_model" and np.shape(value)[:1] == (users,):
                info[name] = np.array([other[name][k] for k, other in enumerate(infos)])
        info.pop("violations", None)  # of one model played to all; there is none here
        if "fairness" in info:
            info["fairness"] = self._score.fairness
        if "fairest_fairness" in info:
            info["regret"] = info["fairest_fairness"] - self._score.fairness
        return info


class SingleTask(Learner):
    """One constant-weights learner per user, each alone with its user at OWO-FMTL's first total.

    The total priority K·((u_min + u_max)/2)^−α of a slot all goes to the one user of a model, so
    that the step is that of equal weights on a common gradient. θ* of eq. 2 is the shared
    model's, of no use to a user alone: the outer loop follows the user's own models.

    Args:
        problem: The problem.
        shares: As of ``cws``.
        total: As of ``cws``: Σp of a slot; default that from which OWO-FMTL starts.
        parts: As for :func:`owo_agents.learner.methods.compose`, but ``target`` is ``"last"`` or
            ``"avg"``.

    Raises:
        ValueError: ``target="exact"``.
    """

    learning_rate = None  # bound (6) speaks of one model

    def __init__(
        self,
        problem: Problem,
        *,
        shares: Sequence[float] | None = None,
        total: float | None = None,
        **parts: Unpack[Parts],
    ) -> None:
        target = parts.setdefault("target", "last")
        checks.one_of("target", target, ("last", "avg"))
        plain = cws(problem, shares=shares, total=total, **parts)
        super().__init__(plain.weighting, plain.step, plain.initialization, target)
        self._played: tuple[Any, OneModelEach] | None = None

    def environment(self, env: Any) -> OneModelEach:
        super().environment(env)
        if self._played is None or self._played[0] is not env:
            self._played = env, OneModelEach(env)  # kept, so that a later play() goes on
        return self._played[1]

    def begin_round(self, obs: Observation, info: Info) -> None:
        if self._played is None:
            raise self.unshown()
        users = np.full(self.problem.num_users, obs["slot"])  # a batch of K streams
        super().begin_round({**obs, "slot": users}, info)

    def hear(self, obs: Observation) -> None:
        """The copies' feedback, a row a user."""

    def act(self, obs: Observation, info: Info) -> Action:
        return {**super().act(obs, info), "weights": self.weights.sum(axis=-1)}
