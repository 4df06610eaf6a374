"""The native vector environment: N streams of a convex scenario stepped as one batch."""

from __future__ import annotations

import functools
import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import gymnasium as gym
import numpy as np
from gymnasium import spaces
from gymnasium.utils import seeding
from gymnasium.vector import AutoresetMode, VectorEnv
from gymnasium.vector.utils import batch_space
from numpy.typing import NDArray

from owo_env import checks, fairness
from owo_env.scenarios import Scenario, make_scenario, names, scenario_class
from owo_env.scenarios.least_squares.base import LeastSquares, RoundBuffer
from owo_env.scenarios.least_squares.slots import play_batch, slot_of
from owo_env.spaces import GRADIENTS, action_space, bad_action, observation_space

Floats = NDArray[np.floating]
Mask = NDArray[np.bool_]


class AIRANVectorEnv(VectorEnv[dict[str, Any], dict[str, Any], NDArray[Any]]):
    """N streams of a least-squares scenario in lock-step, :class:`owo_env.env.AIRANEnv` batched.

    Stream n equals the scalar environment seeded with s + n, bit for bit. Arrays lie with the
    environments last in memory: what ``step`` returns are transposed views of fresh arrays. They
    are not to be written into: a reset of some streams hands those of the others out again.

    Args:
        num_envs: N ≥ 1.
        scenario: As for the scalar environment; the least-squares scenarios have a native
            vector environment.
        alpha: As for the scalar environment.
        num_slots: As for the scalar environment.
        gradients: ``"weighted"`` or ``"per_user"``.
        hindsight: Reveal θ* at the end of a round.
        autoreset_mode: ``SAME_STEP`` (default: ``final_obs`` as Gymnasium has it, and the last
            feedback as batched arrays in ``final_info["feedback"]``), ``NEXT_STEP``, or
            ``DISABLED`` (with ``reset(options={"reset_mask": …})``).
        render_mode: Only None.
        settings: The scenario's own arguments.

    Raises:
        ValueError: An argument is outside its domain, or the scenario has no native vector
            environment; the message names those that have.
    """

    metadata = {"render_modes": [], "autoreset_mode": AutoresetMode.SAME_STEP}

    def __init__(
        self,
        num_envs: int = 1,
        scenario: str | Mapping[str, Any] | Scenario = "sinusoid",
        alpha: float | None = None,
        num_slots: int | None = None,
        gradients: str = "weighted",
        hindsight: bool = True,
        autoreset_mode: AutoresetMode | str = AutoresetMode.SAME_STEP,
        render_mode: str | None = None,
        **settings: Any,
    ) -> None:
        self.num_envs = checks.whole("num_envs", num_envs, low=1)
        checks.one_of("gradients", gradients, GRADIENTS)
        if render_mode is not None:
            raise ValueError(f"render_mode={render_mode!r}: the vector environment has only None")
        self.scenario = _vectorizable(
            make_scenario(scenario, alpha=alpha, num_slots=num_slots, **settings)
        )
        self.hindsight = checks.flag("hindsight", hindsight)
        self.problem = replace(self.scenario.problem, hindsight=self.hindsight)
        self.gradients = gradients
        self.autoreset_mode = _autoreset_mode(autoreset_mode)
        self.metadata = {**self.metadata, "autoreset_mode": self.autoreset_mode}
        self.render_mode = None
        self.single_action_space = action_space(self.problem)
        self.single_observation_space = observation_space(self.problem, gradients)
        self._gradient_key = "gradients" if gradients == "per_user" else "gradient"
        self._everyone = np.arange(self.num_envs)
        self._all = np.ones(self.num_envs, bool)
        self._buffer: RoundBuffer | None = None
        self._slot = np.zeros(self.num_envs, int)
        self._over, self._some_over = np.zeros(self.num_envs, bool), False
        self._in_step = True
        self._inside = True  # no utility of the present rounds came near u_min
        self._sums = np.zeros((self.problem.num_users, self.num_envs))
        self._fairness: Floats = np.zeros(self.num_envs)
        self._violations = np.zeros(self.num_envs, int)
        self._obs: dict[str, Any] = {}

    @functools.cached_property
    def action_space(self) -> spaces.Space[Any]:  # type: ignore[override]
        """The N actions; spaces of many streams are costly, and made when asked for."""
        return batch_space(self.single_action_space, self.num_envs)

    @functools.cached_property
    def observation_space(self) -> spaces.Space[Any]:  # type: ignore[override]
        """The N observations."""
        return batch_space(self.single_observation_space, self.num_envs)

    def reset(
        self,
        *,
        seed: int | Sequence[int | None] | None = None,
        options: Mapping[str, Any] | None = None,
    ) -> tuple[dict[str, Any], dict[str, Any]]:
        """Start streams at round 1 (those with a seed) or open their next round.

        Args:
            seed: An int s seeds stream n with s + n; a sequence seeds each, None leaving a
                stream to go on.
            options: ``reset_mask``, a bool array (N,), resets only the streams where it is True.

        Raises:
            TypeError: ``reset_mask`` is not a bool array.
            ValueError: ``reset_mask`` or ``seed`` is of the wrong length, or the mask is empty.
        """
        seeds = self._seeds(seed)
        mask = _reset_mask((options or {}).get("reset_mask"), self.num_envs)
        if self._buffer is None:
            if not mask.all():
                raise gym.error.ResetNeeded("the first reset() must reset every stream")
            self._buffer = self.scenario.buffer(seeds, self.hindsight)
        else:
            for n in [] if seed is None else np.flatnonzero(mask):
                if seeds[n] is not None:
                    self._buffer.restart(int(n), seeding.np_random(seeds[n])[0])
        self._obs = self._open_rounds(mask, self._obs)
        return dict(self._obs), self._info(mask)

    def step(
        self, actions: Mapping[str, Any]
    ) -> tuple[dict[str, Any], NDArray[Any], NDArray[Any], NDArray[Any], dict[str, Any]]:
        """Play one slot in every stream (one that NEXT_STEP resets ignores its action).

        Args:
            actions: ``{"model": θ (N, d), "weights": p (N, K)}``.

        Raises:
            gymnasium.error.ResetNeeded: A round is over, or was never begun.
            ValueError: An action is outside the action space; the stream's index is named.
            FloatingPointError: A user's utility is not finite.
        """
        if self._buffer is None:
            raise gym.error.ResetNeeded("no round is open: call reset() before step()")
        over = self._over if self._some_over else None
        if over is not None and self.autoreset_mode is AutoresetMode.DISABLED:
            raise gym.error.ResetNeeded(
                f"the round of streams {np.flatnonzero(over)[:8].tolist()} is over: reset them"
            )
        model, weights = self._checked(actions, over)
        before = self._fairness
        obs = self._play(model, weights, None if over is None else ~over)
        rewards = self._fairness - before
        done = self._slot == self.problem.num_slots
        if over is not None:  # NEXT_STEP: streams whose round was over open the next one instead
            obs = self._open_rounds(over, obs)
            done &= ~over
        some_over = bool(done[0] if self._in_step else done.any())
        if some_over or self._some_over:
            self._over, self._some_over = done.copy(), some_over
        info = self._info(None, done if self._some_over else None)
        if self._some_over and self.autoreset_mode is AutoresetMode.SAME_STEP:
            obs, info = self._reset_same_step(obs, info, done)
        self._obs = obs
        return dict(self._obs), rewards, done, np.zeros(self.num_envs, bool), info

    def evaluate(self, model: Floats) -> Floats:
        """Utilities (N, m, K) of ``model`` (N, d) in every slot of the rounds just ended.

        Raises:
            gymnasium.error.ResetNeeded: A round is not ended, or was replaced by SAME_STEP.
        """
        if self._buffer is None or not self._over.all():
            raise gym.error.ResetNeeded(
                "evaluate() speaks of rounds just ended: end them, with autoreset_mode=DISABLED"
            )
        ones = np.ones((self.num_envs, self.problem.num_users))
        theta = np.ascontiguousarray(self._checked({"model": model, "weights": ones})[0].T)
        utilities = [
            play_batch(self._data.error, self._slot_data(slot), theta, None, self.scenario.l_max)[0]
            for slot in range(self.problem.num_slots)
        ]
        return np.moveaxis(np.array(utilities), -1, 0)

    def fairest(self) -> tuple[Floats, Floats] | None:
        """(θ* (N, d), F_α at θ* (N,)) of the present rounds, as the scalar environment's.

        Raises:
            gymnasium.error.ResetNeeded: No round was opened.
        """
        buffer = self._buffer
        if buffer is None:
            raise gym.error.ResetNeeded("no round is open: call reset() before fairest()")
        if buffer.model is None or buffer.value is None:
            return None
        at = buffer.row, self._everyone
        return buffer.model[at[0], :, at[1]], buffer.value[at]

    @property
    def _data(self) -> Any:
        assert self._buffer is not None and self._buffer.data is not None
        return self._buffer.data

    def _slot_data(self, slot: int | NDArray[np.integer]) -> list[Floats]:
        """Slot ``slot`` (one for all, or one each) of each stream's own round."""
        assert self._buffer is not None
        row = self._buffer.row
        if self._in_step and isinstance(slot, int):
            return slot_of(self._data, int(row[0]), slot)
        return slot_of(self._data, row, np.broadcast_to(slot, row.shape), self._everyone)

    def _play(self, model: Floats, weights: Floats, live: Mask | None) -> dict[str, Any]:
        """One slot's physics; with a mask ``live`` the other streams keep their tallies."""
        last = self.problem.num_slots - 1
        slot = min(int(self._slot[0]), last) if self._in_step else np.minimum(self._slot, last)
        utilities, gradient = play_batch(
            self._data.error,
            self._slot_data(slot),
            np.ascontiguousarray(model.T),
            None if self.gradients == "per_user" else np.ascontiguousarray(weights.T),
            self.scenario.l_max,
        )
        self._tally(utilities, live)
        return {
            "utilities": utilities.T,
            self._gradient_key: gradient.T,
            "slot": self._slot.copy(),
        }

    def _tally(self, u: Floats, live: Mask | None) -> None:
        u_min, u_max = self.problem.utility_bounds
        low, high = _range(u)
        if not (math.isfinite(low) and math.isfinite(high)):
            k, n = np.argwhere(~np.isfinite(u))[0]
            raise FloatingPointError(f"{self._place(int(n))}: the utility of user {k} is {u[k, n]}")
        if low < u_min or high > u_max:
            outside = ((u < u_min) | (u > u_max)).sum(axis=0)
            self._violations = self._violations + (outside if live is None else outside * live)
        slot = self._slot + 1
        number = slot[0] if self._in_step else slot
        sums = self._sums + u
        self._inside = self._inside and low > u_min * (1 + 1e-9)  # then so are all means
        if self._inside:
            terms = fairness.utility_terms(sums / number, self.problem.alpha)
        else:
            terms = fairness.extended_terms(sums / number, self.problem.alpha, u_min)
        value = fairness.sum_users(terms.T)
        if live is not None:
            slot = np.where(live, slot, self._slot)
            sums = np.where(live, sums, self._sums)
            value = np.where(live, value, self._fairness)
        self._slot, self._sums, self._fairness = slot, sums, value

    def _open_rounds(self, mask: Mask, obs: dict[str, Any]) -> dict[str, Any]:
        """Open the next round where ``mask``; their observation is zero, the others' stays."""
        if mask.all():
            return self._open_all()
        assert self._buffer is not None
        self._buffer.open_round(self._everyone[mask])
        keep = ~mask
        self._slot = self._slot * keep
        self._over = self._over & keep
        self._some_over = bool(self._over.any())
        row, slot = self._buffer.row, self._slot
        self._in_step = bool((row == row[0]).all() and (slot == slot[0]).all())
        self._sums = self._sums * keep
        self._fairness = self._fairness * keep
        self._violations = self._violations * keep
        obs = {key: value.copy() for key, value in obs.items()}
        for value in obs.values():
            value[mask] = 0
        return obs

    def _open_all(self) -> dict[str, Any]:
        """Open the next round of every stream."""
        assert self._buffer is not None
        self._buffer.open_round(self._everyone)
        row, users, dim, n = (
            self._buffer.row,
            self.problem.num_users,
            self.problem.dim,
            len(self._all),
        )
        self._in_step, self._inside = bool((row == row[0]).all()), True
        self._over, self._some_over = np.zeros(n, bool), False
        self._slot, self._violations = np.zeros(n, int), np.zeros(n, int)
        self._sums, self._fairness = np.zeros((users, n)), np.zeros(n)
        shape = (users, dim, n) if self.gradients == "per_user" else (dim, n)
        return {
            "utilities": np.zeros((users, n)).T,
            self._gradient_key: np.moveaxis(np.zeros(shape), -1, 0),
            "slot": np.zeros(n, int),
        }

    def _reset_same_step(
        self, obs: dict[str, Any], info: dict[str, Any], done: Mask
    ) -> tuple[dict[str, Any], dict[str, Any]]:
        """Gymnasium's SAME_STEP: the last observation and info move to ``final_…``."""
        final_obs = np.full(self.num_envs, None, dtype=object)
        for n in np.flatnonzero(done):
            final_obs[n] = {key: value[n] for key, value in obs.items()}
        final: dict[str, Any] = {"feedback": obs}
        final |= {k: _where(done, value) for k, value in info.items() if not k.startswith("_")}
        final |= {f"_{key}": done.copy() for key in final}
        obs = self._open_rounds(done, obs)
        return obs, {
            "final_obs": final_obs,
            "_final_obs": done.copy(),
            "final_info": final,
            "_final_info": done.copy(),
            **self._info(),
        }

    def _info(self, mask: Mask | None = None, done: Mask | None = None) -> dict[str, Any]:
        """``info`` batched as Gymnasium does it: arrays, each with its ``_mask``."""
        assert self._buffer is not None
        if mask is None:  # everyone, in most steps
            number, slot, mask = self._buffer.round.copy(), self._slot.copy(), self._all.copy()
        else:
            number, slot, mask = self._buffer.round * mask, self._slot * mask, mask.copy()
        info: dict[str, Any] = {
            **{"round": number, "_round": mask},
            **{"slot": slot, "_slot": mask.copy()},
        }
        if done is None:
            return info
        ended: dict[str, Any] = {"violations": self._violations * done}
        buffer = self._buffer
        for name, values in self._data.about.items():
            ended[name] = _where(done, values[buffer.row, ..., self._everyone])
        if buffer.model is not None and buffer.value is not None:
            best = buffer.value[buffer.row, self._everyone]
            ended["fairest_model"] = buffer.model[buffer.row, :, self._everyone] * done[:, None]
            ended["fairest_fairness"] = best * done
            ended["regret"] = (best - self._fairness) * done
        return info | ended | {f"_{key}": done.copy() for key in ended}

    def _checked(
        self, actions: Mapping[str, Any], ignored: Mask | None = None
    ) -> tuple[Floats, Floats]:
        """The actions' arrays; those of the streams ``ignored`` may be anything."""
        problem = self.problem
        try:
            model = np.asarray(actions["model"], np.float64)
            weights = np.asarray(actions["weights"], np.float64)
        except (TypeError, KeyError, ValueError) as error:
            raise ValueError(
                f"{self._place()}: actions must be a mapping with the arrays 'model' (N, d) and "
                "'weights' (N, K)"
            ) from error
        shape = (self.num_envs,)
        if model.shape != (*shape, problem.dim) or weights.shape != (*shape, problem.num_users):
            raise ValueError(f"{self._place()}: {bad_action(model, weights, problem, shape)}")
        if ignored is not None:
            model = np.where(ignored[:, None], problem.initial_model, model)
            weights = np.where(ignored[:, None], 1.0, weights)
        least, most = problem.model_bounds or (-np.finfo(float).max, np.finfo(float).max)
        low, high = _range(model)
        lightest, heaviest = _range(weights)
        if not (least <= low and high <= most and lightest >= 0 and heaviest < np.inf):
            fine = ((least <= model) & (model <= most)).all(axis=1)
            fine &= ((weights >= 0) & (weights < np.inf)).all(axis=1)
            n = int(np.argmin(fine))
            raise ValueError(f"{self._place(n)}: {bad_action(model[n], weights[n], problem)}")
        return model, weights

    def _place(self, stream: int | None = None) -> str:
        assert self._buffer is not None
        n = stream or 0
        place = f"round {self._buffer.round[n]}, slot {self._slot[n] + 1}"
        return place if stream is None else f"{place}, stream {n}"

    def _seeds(self, seed: int | Sequence[int | None] | None) -> list[int | None]:
        if seed is None:
            return [None] * self.num_envs
        if isinstance(seed, int | np.integer):
            return [int(seed) + n for n in range(self.num_envs)]
        if len(seed) != self.num_envs:
            raise ValueError(f"seed: has {len(seed)} entries, must have num_envs={self.num_envs}")
        return list(seed)


def _range(values: Floats) -> tuple[float, float]:
    """The smallest and the largest number, NaN if there is one; sooner than by ``min``, ``max``."""
    flat = values.ravel("K")
    return flat[flat.argmin()], flat[flat.argmax()]


def _where(mask: Mask, values: NDArray[Any]) -> NDArray[Any]:
    """A copy with zeros (empty texts) in the streams outside the mask."""
    chosen = np.zeros_like(values)
    chosen[mask] = values[mask]
    return chosen


def _vectorizable(scenario: Scenario) -> LeastSquares:
    if isinstance(scenario, LeastSquares):
        return scenario
    able = []
    for name in names():
        try:
            if issubclass(scenario_class(name), LeastSquares):
                able.append(name)
        except ImportError:
            continue
    raise ValueError(
        f"scenario {scenario.name!r} has no native vector environment (those that have: "
        f"{', '.join(able)}); use gym.make_vec(..., vectorization_mode='sync')"
    )


def _autoreset_mode(mode: AutoresetMode | str) -> AutoresetMode:
    try:
        return AutoresetMode(mode)
    except ValueError as error:
        allowed = ", ".join(m.value for m in AutoresetMode)
        raise ValueError(f"autoreset_mode={mode!r}: must be one of {allowed}") from error


def _reset_mask(mask: object, num_envs: int) -> Mask:
    if mask is None:
        return np.ones(num_envs, bool)
    if not isinstance(mask, np.ndarray) or mask.dtype != np.bool_:
        raise TypeError(f"options['reset_mask'] must be a numpy bool array, got {mask!r}")
    if mask.shape != (num_envs,):
        raise ValueError(f"options['reset_mask'] has shape {mask.shape}: must be ({num_envs},)")
    if not mask.any():
        raise ValueError("options['reset_mask'] must be True for at least one stream")
    return mask
