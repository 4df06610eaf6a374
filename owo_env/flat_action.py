"""The environment with one Box as its action, for libraries that know only Boxes."""

from __future__ import annotations

from typing import Any

import gymnasium as gym
import numpy as np
from gymnasium import spaces
from gymnasium.utils import RecordConstructorArgs
from numpy.typing import NDArray

from owo_env.problem import problem_of


class FlatAction(gym.ActionWrapper, RecordConstructorArgs):  # type: ignore[type-arg]
    """θ and p one after the other, as one array (d + K,): ``Box`` actions for any RL library.

    The model lies within Θ as before. The weights lie between 0 and the largest priority that the
    notion of fairness can ask for, so that ``RescaleAction`` maps [−1, 1] to weights that mean
    something, and ``ClipAction`` cuts to them. An action that rounding in float32 puts beyond its
    end, by a millionth of the range, is cut; all others outside are refused.

    Args:
        env: An environment whose action is ``{"model": θ, "weights": p}``.
    """

    def __init__(self, env: gym.Env[Any, Any]) -> None:
        RecordConstructorArgs.__init__(self)
        gym.ActionWrapper.__init__(self, env)
        problem = problem_of(env)
        self._dim, users = problem.dim, problem.num_users
        low, high = problem.model_bounds or (-np.inf, np.inf)
        heaviest = problem.fairness.priority_bounds[1]
        ends = np.repeat([[low, 0.0], [high, heaviest]], [self._dim, users], axis=1)
        dtype = problem.initial_model.dtype.type
        self.action_space = spaces.Box(*ends.astype(dtype), dtype=dtype)
        span = self.action_space.high - self.action_space.low
        self._slack = np.where(np.isfinite(span), 1e-6 * span, 0.0)

    def action(self, action: NDArray[Any]) -> dict[str, NDArray[Any]]:
        """The environment's own action.

        Raises:
            ValueError: It is no array of d + K numbers within the Box.
        """
        box: spaces.Box = self.action_space  # type: ignore[assignment]
        given = np.asarray(action)
        if given.shape != box.shape or given.dtype.kind not in "fiu":
            raise ValueError(f"action={action!r}: must be {box.shape[0]} numbers")
        inside = np.clip(given, box.low, box.high)
        for at in np.flatnonzero(~(np.abs(given - inside) <= self._slack)):
            allowed = f"must lie in [{box.low[at]:g}, {box.high[at]:g}]"
            raise ValueError(f"action[{at}] is {given[at]:g}: {allowed}")
        return {"model": inside[: self._dim], "weights": inside[self._dim :]}

    def flat(self, action: dict[str, NDArray[Any]]) -> NDArray[Any]:
        """The way back: an agent's action as one array; what is beyond the Box is cut to it."""
        box: spaces.Box = self.action_space  # type: ignore[assignment]
        both = np.concatenate([action["model"], action["weights"]])
        return np.clip(both, box.low, box.high).astype(box.dtype)
