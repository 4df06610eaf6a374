"""The priorities alone as an action: what a learned policy controls, and what it sees.

The model step and the initialization are those of OWO-FMTL; the policy takes the place of the
dual step. Nothing it sees or plays depends on the scenario's units.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, cast

import gymnasium as gym
import numpy as np
from gymnasium import spaces
from gymnasium.utils import RecordConstructorArgs
from gymnasium.vector import AutoresetMode, VectorEnv, VectorWrapper
from gymnasium.vector.utils import batch_space
from numpy.typing import NDArray
from typing_extensions import Unpack

from owo_agents.agent import Floats
from owo_agents.learner.learner import Learner
from owo_agents.learner.methods import Parts, compose
from owo_agents.learner.weighting import Constant
from owo_env import checks
from owo_env.env import AIRANEnv
from owo_env.fairness import Smooth
from owo_env.problem import Problem, problem_of
from owo_env.vector_env import AIRANVectorEnv

ROUNDING = 1e-6
"""How far beyond ±1 an action may lie: float32, as of RescaleAction, misses by 1e-7."""

VISIBLE = 2.0
"""Normalised utilities are clipped to ±VISIBLE: half of [u_min, u_max] more on either side."""


class WeightMap:
    """Actions in [−1, 1]^K ↔ priorities in P.

    User by user from his least priority to his largest: affine in the logarithm under a smooth
    notion (α-fairness, contracts), where P is that box, and affine under others, where the point
    is projected to P.

    Raises:
        ValueError: P is a point, as at α = 0, and there is nothing to control.
    """

    def __init__(self, problem: Problem) -> None:
        self._fairness = fairness = problem.fairness
        if fairness.modulus == np.inf:
            fixed = ", ".join(f"{p:g}" for p in dict.fromkeys(fairness.start.tolist()))
            named = f"alpha={problem.alpha}" if problem.alpha == 0 else f"fairness {fairness}"
            raise ValueError(
                f"{named}: every priority is {fixed} and there are no weights to learn; must be > 0"
            )
        low, high = fairness.priority_box
        alike = np.ptp(low) == 0 == np.ptp(high)
        self.low: Any = fairness.priority_bounds[0] if alike else low
        self.high: Any = fairness.priority_bounds[1] if alike else high
        self._log = isinstance(fairness, Smooth)
        ends = [np.log(p) if self._log else p for p in (self.low, self.high)]
        self._centre, self._half = (ends[1] + ends[0]) / 2, (ends[1] - ends[0]) / 2

    def priorities(self, action: Floats) -> Floats:
        """p of an action in [−1, 1]; shape (..., K)."""
        p = self._centre + self._half * np.asarray(action, np.float64)
        if not self._log:
            return self._fairness.project(p)
        return np.minimum(np.maximum(np.exp(p), self.low), self.high)

    def actions(self, p: Floats) -> Floats:
        """The action of priorities p; those outside the box are clipped."""
        given = np.log(p) if self._log else p
        return np.clip((given - self._centre) / self._half, -1.0, 1.0)


class RoundView:
    """What a policy sees of the round so far, over leading batch axes.

    The observation (..., 3K + 1), float32: running mean utilities and last utilities, each
    (u − centre)/half-width of [u_min, u_max], clipped to ±2; last weights as actions; the share
    of the round played. All are 0 before the first slot.
    """

    def __init__(self, problem: Problem) -> None:
        self.problem = problem
        self.map = WeightMap(problem)
        u_min, u_max = problem.fairness.bounds
        self._centre, self._half = (u_max + u_min) / 2, (u_max - u_min) / 2

    @property
    def space(self) -> spaces.Box:
        """The space of :meth:`observe` for one environment."""
        users = self.problem.num_users
        high = np.repeat([VISIBLE, 1.0], [2 * users, users + 1]).astype(np.float32)
        low = -high
        low[-1] = 0.0
        return spaces.Box(low, high)

    def begin_round(self, batch: tuple[int, ...]) -> None:
        """A round opens: nothing is known."""
        self._sum = np.zeros((*batch, self.problem.num_users))
        self._seen = np.zeros((*batch, 3 * self.problem.num_users + 1), np.float32)

    def add(self, utilities: Floats, p: Floats, slot: Any) -> None:
        """A slot was played.

        Args:
            utilities: Its utilities (..., K).
            p: Its priorities (..., K).
            slot: Its number in the round, from 1; one for all or shape (...).
        """
        users = self.problem.num_users
        played = np.asarray(slot, float)[..., None]
        self._sum = self._sum + utilities
        seen = np.empty_like(self._seen)
        seen[..., :users] = self._normal(self._sum / played)
        seen[..., users : 2 * users] = self._normal(utilities)
        seen[..., 2 * users : -1] = self.map.actions(p)
        seen[..., -1:] = played / self.problem.num_slots
        self._seen = seen

    def observe(self) -> NDArray[np.float32]:
        """The observation; a fresh array."""
        return self._seen.copy()

    def _normal(self, u: Floats) -> Floats:
        return np.clip((u - self._centre) / self._half, -VISIBLE, VISIBLE)


class _Control:
    """What the scalar and the vector wrapper share: the learner whose priorities are commanded."""

    def __init__(self, env: Any, parts: Parts) -> None:
        problem = problem_of(env)
        if problem.num_slots < 2:
            raise ValueError(
                f"num_slots={problem.num_slots}: the weights of a slot act on the slots after it; "
                "there must be at least 2 to learn them"
            )
        self.view = RoundView(problem)
        self._problem, self._parts = problem, parts
        self.restart()
        self.learner.check(env)

    def restart(self) -> None:
        """A learner that has learned nothing yet."""
        self.learner: Learner = compose(Constant(self._problem), **self._parts)

    def begin_round(self, obs: Mapping[str, Any], info: Mapping[str, Any]) -> Floats:
        self.learner.begin_round(obs, info)
        self.view.begin_round(np.shape(obs["slot"]))
        return self.view.observe()

    def act(self, action: Any) -> dict[str, Any]:
        action = np.asarray(action)
        expected = self.learner.weights.shape
        odd = action.dtype.kind not in "fiub" or action.shape != expected
        if odd or not (np.abs(action) <= 1 + ROUNDING).all():
            raise ValueError(f"action={action!r}: must be {expected} numbers in [-1, 1]")
        self.learner.weights = self.view.map.priorities(np.clip(action, -1, 1))
        return self.learner.act({}, {})

    def learn(self, obs: Mapping[str, Any], info: Mapping[str, Any]) -> Floats:
        self.view.add(obs["utilities"], self.learner.weights, obs["slot"])
        self.learner.learn(obs, info)
        return self.view.observe()


def _steady(env: Any, info: dict[str, Any]) -> dict[str, Any]:
    """``info`` with the keys of a round's last one: buffers and data sets want the same ones."""
    so_far = getattr(env.unwrapped, "info_so_far", None)
    return {**so_far(), **info} if so_far else info


class WeightControl(gym.Wrapper, RecordConstructorArgs):  # type: ignore[type-arg]
    """The environment with the users' weights as its action, for any RL library.

    The action, ``Box(-1, 1, (K,))``, is mapped to priorities by :class:`WeightMap`; the
    observation is :class:`RoundView`'s; the reward is the environment's own, so that a round's
    return is its fairness (γ = 1: the return telescopes). ``reset(seed=…)`` restarts the model
    as well as the stream; ``reset()`` opens the next round from the model learned so far.

    Args:
        env: The environment, with ``gradients="weighted"``.
        parts: The learner's, as for :func:`owo_agents.learner.methods.compose`. The registered id
            has ``hindsight=False``, since a policy sees nothing of θ* but where a round starts.

    Raises:
        ValueError: α = 0, a round of one slot, or an argument outside its domain.
        TypeError: An argument that the learner does not have.
    """

    def __init__(self, env: gym.Env[Any, Any], **parts: Unpack[Parts]) -> None:
        checks.keywords("WeightControl", WeightControl, parts, first=1)
        RecordConstructorArgs.__init__(self, **parts)
        gym.Wrapper.__init__(self, env)
        self._control = _Control(env, parts)
        self.action_space = spaces.Box(-1.0, 1.0, (problem_of(env).num_users,), np.float32)
        self.observation_space = self._control.view.space

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Floats, dict[str, Any]]:
        obs, info = self.env.reset(seed=seed, options=options)
        if seed is not None:
            self._control.restart()
        return self._control.begin_round(obs, info), _steady(self, info)

    def step(self, action: Any) -> tuple[Floats, float, bool, bool, dict[str, Any]]:
        obs, reward, terminated, truncated, info = self.env.step(self._control.act(action))
        seen = self._control.learn(obs, info)
        if terminated:
            self._control.learner.end_round(obs, info)
        else:
            info = _steady(self, info)
        return seen, float(reward), terminated, truncated, info


class WeightControlVector(VectorWrapper, RecordConstructorArgs):  # type: ignore[type-arg]
    """:class:`WeightControl` over the native vector environment, N streams in lock-step.

    Args:
        env: A vector environment, of any autoreset mode.
        parts: As for :class:`WeightControl`.

    Attributes:
        autoreset_mode: As of ``env``.

    Raises:
        ValueError: As :class:`WeightControl`, or no autoreset mode.
        TypeError: Likewise.
    """

    def __init__(self, env: VectorEnv[Any, Any, Any], **parts: Unpack[Parts]) -> None:
        checks.keywords("WeightControlVector", WeightControlVector, parts, first=1)
        self.autoreset_mode = mode = env.metadata.get("autoreset_mode")
        if not isinstance(mode, AutoresetMode):
            raise ValueError(f"autoreset_mode={mode}: must be an AutoresetMode")
        RecordConstructorArgs.__init__(self, **parts)
        VectorWrapper.__init__(self, env)
        self._control = _Control(env, parts)
        self._over = False  # NEXT_STEP: the step to come opens the next rounds
        users = problem_of(env).num_users
        self.single_action_space = spaces.Box(-1.0, 1.0, (users,), np.float32)
        self.single_observation_space = self._control.view.space
        self.action_space = batch_space(self.single_action_space, self.num_envs)
        self.observation_space = batch_space(self.single_observation_space, self.num_envs)

    def reset(
        self,
        *,
        seed: int | Sequence[int | None] | None = None,
        options: dict[str, Any] | None = None,
    ) -> tuple[Floats, dict[str, Any]]:
        """Start or go on with all streams together.

        Raises:
            ValueError: Only some streams are to be reset, or to be seeded.
        """
        seeds = [seed] if seed is None or isinstance(seed, int | np.integer) else list(seed)
        fresh = [s is not None for s in seeds]
        if any(fresh) != all(fresh):
            raise ValueError(f"seed={seed!r}: the streams go in lock-step, seed all or none")
        if not np.all((options or {}).get("reset_mask", True)):
            raise ValueError("options['reset_mask']: the streams go in lock-step, reset them all")
        obs, info = self.env.reset(seed=seed if all(fresh) else None, options=options)  # type: ignore[arg-type]
        if all(fresh):
            self._control.restart()
        self._over = False
        return self._control.begin_round(obs, info), _steady(self, info)

    def step(self, actions: Any) -> tuple[Floats, Any, Any, Any, dict[str, Any]]:
        control = self._control
        played = control.learner.act({}, {}) if self._over else control.act(actions)
        obs, rewards, terminated, truncated, info = self.env.step(played)
        if self._over:  # whose action nobody plays
            self._over = False
            seen = control.begin_round(obs, info)
            return seen, rewards, terminated, truncated, _steady(self, info)
        if not terminated.any():
            seen = control.learn(obs, info)
            return seen, rewards, terminated, truncated, _steady(self, info)
        if self.autoreset_mode is not AutoresetMode.SAME_STEP:
            self._over = self.autoreset_mode is AutoresetMode.NEXT_STEP
            seen = control.learn(obs, info)
            control.learner.end_round(obs, info)
            return seen, rewards, terminated, truncated, info
        final = info["final_info"]
        feedback = final.pop("feedback")
        del final["_feedback"]
        last = self._control.learn(feedback, final)
        self._control.learner.end_round(feedback, final)
        info["final_obs"][:] = list(last)
        seen = self._control.begin_round(obs, info)
        return seen, rewards, terminated, truncated, _steady(self, info)


def weights_env(**settings: Any) -> WeightControl:
    """``AIRAN-FairMTL-Weights-v0``: the arguments of ``AIRAN-FairMTL-v0`` and the learner's."""
    parts = _taken(settings)
    with _learners_named():
        env = AIRANEnv(**settings)
    return WeightControl(env, **parts)


def weights_vector_env(num_envs: int = 1, **settings: Any) -> WeightControlVector:
    """The same through ``gym.make_vec``."""
    parts = _taken(settings)
    with _learners_named():
        env = AIRANVectorEnv(num_envs, **settings)
    return WeightControlVector(env, **parts)


@contextlib.contextmanager
def _learners_named() -> Iterator[None]:
    """An unknown argument is answered with the learner's too."""
    try:
        yield
    except TypeError as error:
        if "unknown argument" not in str(error):
            raise
        names = ", ".join(sorted(Parts.__optional_keys__))
        raise TypeError(f"{error}; and of the learner {names}") from None


def _taken(settings: dict[str, Any]) -> Parts:
    """The learner's arguments, taken out of the environment's."""
    names = [name for name in settings if name in Parts.__optional_keys__]
    return cast(Parts, {name: settings.pop(name) for name in names})
