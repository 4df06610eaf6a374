"""A Gymnasium vector environment as stable-baselines3 wants it."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import Any

import gymnasium as gym
import numpy as np
from gymnasium.vector import AutoresetMode, VectorEnv, VectorWrapper

from owo_env.extras import pip_line

try:
    from stable_baselines3.common.env_util import is_wrapped
    from stable_baselines3.common.vec_env import VecEnv
    from stable_baselines3.common.vec_env.base_vec_env import VecEnvIndices, VecEnvObs
except ImportError as error:
    raise ImportError(f"GymnasiumVecEnv needs stable-baselines3: {pip_line('rl')}") from error

Infos = list[dict[str, Any]]


class GymnasiumVecEnv(VecEnv):
    """Any Gymnasium vector environment that autoresets in the same step, as an SB3 ``VecEnv``.

    It gives what ``DummyVecEnv`` of the single environments gives, transition by transition: the
    last observation of an episode in ``infos[n]["terminal_observation"]``, the first info of the
    next one in ``reset_infos[n]``.

    Args:
        env: The vector environment, with ``metadata["autoreset_mode"]`` SAME_STEP.

    Raises:
        ValueError: Another autoreset mode.
    """

    def __init__(self, env: VectorEnv[Any, Any, Any]) -> None:
        mode = env.metadata.get("autoreset_mode")
        if mode is not AutoresetMode.SAME_STEP:
            raise ValueError(f"env has autoreset_mode={mode}: must be AutoresetMode.SAME_STEP")
        self.env = env
        super().__init__(env.num_envs, env.single_observation_space, env.single_action_space)

    def reset(self) -> VecEnvObs:
        options = self._options[0]
        if any(other != options for other in self._options):
            raise ValueError("a Gymnasium vector environment takes one set of options for all")
        seeds = None if all(s is None for s in self._seeds) else self._seeds
        obs, info = self.env.reset(seed=seeds, options=options or None)  # type: ignore[arg-type]
        self._reset_seeds()
        self._reset_options()
        self.reset_infos = unbatched(info, self.num_envs)
        return copy.deepcopy(obs)  # some environments reuse their arrays

    def step_async(self, actions: np.ndarray) -> None:
        self._actions = actions

    def step_wait(self) -> tuple[VecEnvObs, np.ndarray, np.ndarray, Infos]:
        obs, rewards, terminated, truncated, info = self.env.step(self._actions)
        done = np.asarray(terminated | truncated)
        infos = self._last_infos(info, done) if done.any() else unbatched(info, self.num_envs)
        for n, cut in enumerate((truncated & ~terminated).tolist()):
            infos[n]["TimeLimit.truncated"] = cut
        return copy.deepcopy(obs), rewards.astype(np.float32), done.copy(), infos

    def _last_infos(self, info: dict[str, Any], done: np.ndarray) -> Infos:
        """Infos of a step in which episodes ended: of those, the ended episode's own."""
        last_obs = info["final_obs"]
        last = unbatched(info.get("final_info", {}), self.num_envs)
        infos = unbatched({k: v for k, v in info.items() if "final_" not in k}, self.num_envs)
        for n in np.flatnonzero(done):
            self.reset_infos[n] = infos[n]
            infos[n] = last[n] | {"terminal_observation": last_obs[n]}
        return infos

    def close(self) -> None:
        self.env.close()

    def get_attr(self, attr_name: str, indices: VecEnvIndices = None) -> list[Any]:
        """The attribute of the single environments, or else that of the vector environment."""
        base: Any = self.env.unwrapped
        which = list(self._get_indices(indices))
        if hasattr(base, "get_attr"):
            values = base.get_attr(attr_name)
            return [values[n] for n in which]
        return [getattr(self._owner(attr_name), attr_name)] * len(which)

    def set_attr(self, attr_name: str, value: Any, indices: VecEnvIndices = None) -> None:
        """Set it for all environments together.

        Raises:
            ValueError: Only some of them are meant.
        """
        if len(list(self._get_indices(indices))) != self.num_envs:
            raise ValueError("indices: a Gymnasium vector environment sets attributes for all")
        base: Any = self.env.unwrapped
        if hasattr(base, "set_attr"):
            base.set_attr(attr_name, value)
        else:
            setattr(self._owner(attr_name), attr_name, value)

    def env_method(
        self, method_name: str, *args: Any, indices: VecEnvIndices = None, **kwargs: Any
    ) -> list[Any]:
        """Call a method of the single environments.

        Raises:
            AttributeError: The environments have none of their own (a native vector environment).
        """
        base: Any = self.env.unwrapped
        if not hasattr(base, "call"):
            raise AttributeError(f"{base} has no single environments to call {method_name!r} on")
        values = base.call(method_name, *args, **kwargs)
        return [values[n] for n in self._get_indices(indices)]

    def env_is_wrapped(
        self, wrapper_class: type[gym.Wrapper], indices: VecEnvIndices = None
    ) -> list[bool]:
        """Whether the single environments (or the vector environment) wear such a wrapper."""
        which = list(self._get_indices(indices))
        singles: Any = getattr(self.env.unwrapped, "envs", ())
        if singles:
            return [is_wrapped(singles[n], wrapper_class) for n in which]
        return [any(isinstance(env, wrapper_class) for env in self._wrappers())] * len(which)

    def _wrappers(self) -> list[Any]:
        """The vector environment and what it wraps, outermost first."""
        found: list[Any] = [self.env]
        while isinstance(found[-1], VectorWrapper):
            found.append(found[-1].env)
        return found

    def _owner(self, name: str) -> Any:
        return next((env for env in self._wrappers() if hasattr(env, name)), self.env)


def unbatched(info: Mapping[str, Any], num_envs: int) -> Infos:
    """Gymnasium's batched info, arrays each with its ``_mask``, as one dict an environment."""
    infos: Infos = [{} for _ in range(num_envs)]
    for key, value in info.items():
        if key.startswith("_") and key[1:] in info:
            continue
        mask = info.get(f"_{key}")
        if isinstance(value, Mapping):
            values: Any = unbatched(value, num_envs)
        elif isinstance(value, np.ndarray) and value.ndim == 1:
            values = value.tolist()
        else:
            values = value
        for n in range(num_envs) if mask is None else np.flatnonzero(mask).tolist():
            infos[n][key] = values[n]
    return infos
