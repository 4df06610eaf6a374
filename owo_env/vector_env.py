"""The native vector environment: N streams stepped as one batch."""

from __future__ import annotations

import functools
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

from owo_env import checks
from owo_env.classes import numbered, unknown
from owo_env.fairness import Fairness
from owo_env.link import Link, make_link
from owo_env.link.on_air import on_air
from owo_env.link.score import JobScores, judged_by_jobs
from owo_env.link.streams import OnAirBatch
from owo_env.picture import RENDER_FPS, Frame
from owo_env.render import Displays
from owo_env.resets import autoreset_mode_of, reset_mask_of, seeds_of
from owo_env.scenarios import Batch, Scenario, judged, reset_options, scenario_for
from owo_env.scenarios.hindsight import fairest_of_batch
from owo_env.score import Scores, extremes, spread
from owo_env.spaces import (
    FLOAT,
    GRADIENTS,
    HEAVIEST,
    action_space,
    bad_action,
    observation_space,
    real,
    zeros,
)

Floats = NDArray[np.floating]
Mask = NDArray[np.bool_]


class AIRANVectorEnv(VectorEnv[dict[str, Any], dict[str, Any], NDArray[Any]]):
    """N streams of a scenario in lock-step, :class:`owo_env.env.AIRANEnv` batched.

    Stream n equals the scalar environment seeded with s + n, bit for bit. Least-squares scenarios
    play all streams at once, others one after the other. Arrays lie with the environments last in
    memory: what ``step`` returns are transposed views of fresh arrays.

    Args:
        num_envs: N ≥ 1.
        scenario, alpha, num_slots, gradients, hindsight, fairness, link: As for the scalar
            environment.
        autoreset_mode: ``SAME_STEP`` (default: ``final_obs`` as Gymnasium has it, and the last
            feedback as batched arrays in ``final_info["feedback"]``), ``NEXT_STEP``, or
            ``DISABLED`` (with ``reset(options={"reset_mask": …})``).
        render_mode: None, or ``"rgb_array"``: frames of the streams, drawn of the first 16.
        settings: The scenario's own arguments.

    Raises:
        ValueError: An argument is outside its domain.
    """

    metadata = {
        "render_modes": ["rgb_array"],
        "render_fps": RENDER_FPS,
        "autoreset_mode": AutoresetMode.SAME_STEP,
    }

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
        fairness: str | Mapping[str, Any] | Fairness | None = None,
        link: Mapping[str, Any] | Link | None = None,
        **settings: Any,
    ) -> None:
        self.num_envs = checks.whole("num_envs", num_envs, low=1)
        checks.one_of("gradients", gradients, GRADIENTS)
        if render_mode is not None:
            checks.one_of("render_mode", render_mode, self.metadata["render_modes"])
        made = scenario_for(self, scenario, num_slots=num_slots, **settings)
        self.scenario = on_air(made, make_link(link))
        self.hindsight = checks.flag("hindsight", hindsight) and self.scenario.has_oracle
        problem = judged(self.scenario, alpha, fairness)
        names = tuple(made.class_names) or None
        self.problem = problem = replace(problem, hindsight=self.hindsight, class_names=names)
        self.gradients = gradients
        self.autoreset_mode = autoreset_mode_of(autoreset_mode)
        self.metadata = {**self.metadata, "autoreset_mode": self.autoreset_mode}
        self.render_mode = render_mode
        self._displays = None if render_mode is None else Displays(problem, self.num_envs)
        self.single_action_space = action_space(problem)
        self.single_observation_space = observation_space(problem, gradients)
        self._gradient_key = GRADIENTS[gradients]
        self._per_user = gradients == "per_user"
        self._dtype = problem.initial_model.dtype
        self._everyone = np.arange(self.num_envs)
        self._all = np.ones(self.num_envs, bool)
        self._batch: Batch | None = None
        self._on_air = problem.link is not None
        self._idles = problem.link is not None and problem.link.idles
        self._scores: Any
        if self._idles:
            self._scores = JobScores(problem, self.num_envs, self._place)
        else:
            self._scores = Scores(problem.fairness, self.num_envs, self._place)
        self._foretold: dict[str, Any] | None = None  # what the present rounds' ends will tell
        self._over: Mask | None = None  # whose rounds are over, where any are
        # The last answer, for resets of some streams; never handed out. Streams lie last in memory.
        nothing = zeros(problem, gradients, self.num_envs)
        self._obs = {key: np.asfortranarray(value) for key, value in nothing.items()}

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
            options: ``reset_mask``, a bool array (N,), resets only the streams where it is True;
                the others are the scenario's, as for the scalar environment.

        Raises:
            TypeError: ``reset_mask`` is not a bool array.
            ValueError: ``reset_mask`` or ``seed`` is of the wrong length, the mask is empty, or
                an option that the scenario does not have.
        """
        given = reset_options(self.scenario, options, "reset_mask")
        seeds = seeds_of(seed, self.num_envs)
        mask = reset_mask_of((options or {}).get("reset_mask"), self.num_envs)
        if self._batch is None:
            if not mask.all():
                raise gym.error.ResetNeeded("the first reset() must reset every stream")
            fairness = self.problem.fairness if self.hindsight else None
            rngs = [seeding.np_random(s)[0] for s in seeds]
            self._batch = self.scenario.batch(rngs, fairness)
        elif seed is not None:
            for n in np.flatnonzero(mask).tolist():
                if seeds[n] is not None:
                    self._batch.restart(n, seeding.np_random(seeds[n])[0])
        try:
            self._obs = self._open_rounds(mask, self._obs, given)
        except BaseException:
            if not self._batch.round.all():
                self._batch = None  # streams whose first round failed have none to play
            raise
        obs = {key: value.copy("K") for key, value in self._obs.items()}
        return obs, {key: value * mask for key, value in self._info().items()}

    def step(
        self, actions: Mapping[str, Any] | Sequence[Mapping[str, Any]]
    ) -> tuple[dict[str, Any], NDArray[Any], NDArray[Any], NDArray[Any], dict[str, Any]]:
        """Play one slot in every stream (one that NEXT_STEP resets ignores its action).

        Args:
            actions: ``{"model": θ (N, d), "weights": p (N, K)}``, or a list of N actions.

        Raises:
            gymnasium.error.ResetNeeded: A round is over, or was never begun.
            ValueError: An action is outside the action space; the stream's index is named.
            FloatingPointError: A user's utility is not finite.
        """
        batch = self._opened("no round is open: call reset() before step()")
        over = self._over
        if over is not None and self.autoreset_mode is AutoresetMode.DISABLED:
            raise gym.error.ResetNeeded(
                f"the round of streams {np.flatnonzero(over)[:8].tolist()} is over: reset them"
            )
        model, weights = self._checked(actions, over)
        live = self._all if over is None else ~over
        played, some = self._next_slot(), None if over is None else live
        utilities, gradient = batch.play(played, model, weights, self._per_user, live)
        if self._idles:
            active: Any = batch.active(played)
            rewards = self._scores.add_jobs(utilities.T, active.T, some)
        else:
            rewards = self._scores.add(utilities.T, some)
        slot = self._scores.slot
        gradient = real(gradient, self._dtype)
        obs = {"utilities": utilities, self._gradient_key: gradient, "slot": slot.copy()}
        if self._on_air:
            obs |= batch.feedback()
        told = batch.slot_info()
        done = slot == self.problem.num_slots
        if over is not None:  # NEXT_STEP: streams whose round was over open the next one instead
            done &= live
            obs = self._open_rounds(over, obs)
        some_over = done[0] if self._scores.in_step else done.any()
        self._over = done.copy() if some_over else None
        info = self._info()
        if told:
            info |= _masked(told, live)
        if some_over:
            which = self._everyone[done]
            told = numbered(batch.round_info(which), self.problem.class_names)
            ended = self._scores.info(done, told, self._fairest(which))
            info |= _masked(ended, done)
        if self._displays is not None:
            self._displays.record(live, utilities, weights, self._scores.fairness, info)
        if some_over and self.autoreset_mode is AutoresetMode.SAME_STEP:
            obs, info = self._reset_same_step(obs, info, done)
        for key, value in obs.items():
            np.copyto(self._obs[key], value)
        return obs, rewards, done, np.zeros(self.num_envs, bool), info

    def render(self) -> tuple[Frame, ...] | None:
        """A frame of each stream, uint8 (height, width, 3); a grid of them is 540 × 960 or more.

        White beyond the first 16. None without a ``render_mode``, with a warning.

        Raises:
            gymnasium.error.ResetNeeded: No round was ever opened.
        """
        if self._displays is None:
            gym.logger.warn("render() needs a render_mode: pass 'rgb_array' to gym.make_vec")
            return None
        self._opened("no round is open: call reset() before render()")
        return self._displays.rgb_array()

    def evaluate(self, model: Floats) -> Floats:
        """Utilities (N, m, K) of ``model`` (N, d) in every slot of the rounds just ended.

        Raises:
            gymnasium.error.ResetNeeded: A round is not ended, or was replaced by SAME_STEP.
        """
        if self._batch is None or self._over is None or not self._over.all():
            raise gym.error.ResetNeeded(
                "evaluate() speaks of rounds just ended: end them, with autoreset_mode=DISABLED"
            )
        ones = np.ones((self.num_envs, self.problem.num_users))
        return self._batch.evaluate(self._checked({"model": model, "weights": ones})[0])

    def on_air(self) -> tuple[Mask, Mask, Floats]:
        """As the scalar environment's, (N, m, K) each.

        Raises:
            gymnasium.error.ResetNeeded: No round was opened.
            ValueError: There is no link.
        """
        batch = self._opened("no round is open: call reset() before on_air()")
        if not isinstance(batch, OnAirBatch):
            raise ValueError("link=None: every user is heard in every slot")
        return *batch.masks(), batch.utilities.copy()

    def fairest(self) -> tuple[Floats, Floats] | None:
        """(θ* (N, d), F at θ* (N,)) of the present rounds, as the scalar environment's.

        Raises:
            gymnasium.error.ResetNeeded: No round was opened.
        """
        return self._fairest(self._everyone)

    def info_so_far(self) -> dict[str, Any]:
        """What the last ``info`` of the present rounds will say, as the scalar environment's."""
        batch = self._opened("no round is open: call reset() before info_so_far()")
        if self._foretold is None:
            told = numbered(batch.round_info(self._everyone), self.problem.class_names)
            self._foretold = {**batch.slot_info(), **told}
        shape = self.num_envs, self.problem.dim
        best = (np.zeros(shape, self._dtype), self._scores.fairness)
        told = unknown(self._foretold)
        told = self._scores.info(self._all, told, best if self.hindsight else None)
        return self._info() | _masked(told, self._all)

    def _fairest(self, which: NDArray[np.integer]) -> tuple[Floats, Floats] | None:
        batch = self._opened("no round is open: call reset() before fairest()")
        best = fairest_of_batch(self.scenario, batch, which) if self.hindsight else None
        if best is None:
            return None
        if isinstance(batch, OnAirBatch):
            shares = batch.shares()[which]
            return best[0], judged_by_jobs(self.problem, best[1], shares)
        return best[0], self.problem.fairness.value(best[1])

    def _opened(self, otherwise: str) -> Batch:
        """The streams, once there are any."""
        if self._batch is None:
            raise gym.error.ResetNeeded(otherwise)
        return self._batch

    def _next_slot(self) -> int | NDArray[np.integer]:
        """The slot that each stream plays next, from 0; one for all where they are in step."""
        slot, last = self._scores.slot, self.problem.num_slots - 1
        return min(int(slot[0]), last) if self._scores.in_step else np.minimum(slot, last)

    def _open_rounds(
        self, mask: Mask, obs: dict[str, Any], options: Mapping[str, Any] | None = None
    ) -> dict[str, Any]:
        """Open the next round where ``mask``; their observation is zero, the others' stays."""
        self._opened("").open_rounds(self._everyone[mask], options or {})
        self._foretold = None
        self._scores.open_rounds(mask)
        if self._displays is not None:
            self._displays.open_rounds(mask, self._opened("").round)
        if self._over is not None:
            left = self._over & ~mask
            self._over = left if left.any() else None
        obs = {key: value.copy("K") for key, value in obs.items()}
        for value in obs.values():
            np.copyto(value.T, 0, where=mask)
        return obs

    def _reset_same_step(
        self, obs: dict[str, Any], info: dict[str, Any], done: Mask
    ) -> tuple[dict[str, Any], dict[str, Any]]:
        """Gymnasium's SAME_STEP: the last observation and info move to ``final_…``."""
        final_obs = np.full(self.num_envs, None, dtype=object)
        final_obs[done] = [{k: v[n] for k, v in obs.items()} for n in np.flatnonzero(done)]
        told = {k: spread(v[done], done) for k, v in info.items() if not k.startswith("_")}
        final = _masked({"feedback": obs, **told}, done)
        obs = self._open_rounds(done, obs)
        finals = _masked({"final_obs": final_obs, "final_info": final}, done)
        return obs, finals | self._info()

    def _info(self) -> dict[str, Any]:
        """``info`` of every step."""
        t, slot = self._opened("").round.copy(), self._scores.slot.copy()
        return {"round": t, "_round": self._all.copy(), "slot": slot, "_slot": self._all.copy()}

    def _checked(self, actions: Any, ignored: Mask | None = None) -> tuple[Floats, Floats]:
        """The actions' arrays; those of the streams ``ignored`` may be anything."""
        problem = self.problem
        try:
            if isinstance(actions, list | tuple):
                actions = {k: np.stack([one[k] for one in actions]) for k in _PLAYED}
            model = real(actions["model"], self._dtype)
            weights = real(actions["weights"], FLOAT)
        except (TypeError, KeyError, ValueError, RuntimeError) as error:
            raise ValueError(
                f"{self._place()}: actions must be a mapping with the arrays 'model' (N, d) and "
                f"'weights' (N, K) ({error})"
            ) from error
        shape = (self.num_envs,)
        if model.shape != (*shape, problem.dim) or weights.shape != (*shape, problem.num_users):
            raise ValueError(f"{self._place()}: {bad_action(model, weights, problem, shape)}")
        if ignored is not None:
            model = np.where(ignored[:, None], problem.initial_model, model)
            weights = np.where(ignored[:, None], 1.0, weights)
        least, most = problem.model_bounds or (-np.finfo(float).max, np.finfo(float).max)
        low, high = extremes(model)
        lightest, heaviest = extremes(weights)
        if not (least <= low and high <= most and lightest >= 0 and heaviest <= HEAVIEST):
            fine = ((least <= model) & (model <= most)).all(axis=1)
            fine &= ((weights >= 0) & (weights <= HEAVIEST)).all(axis=1)
            n = int(np.argmin(fine))
            raise ValueError(f"{self._place(n)}: {bad_action(model[n], weights[n], problem)}")
        return model, weights

    def _place(self, stream: int | None = None) -> str:
        """Where a stream stands, for errors."""
        n = stream or 0
        place = f"round {self._opened('').round[n]}, slot {self._scores.slot[n] + 1}"
        return place if stream is None else f"{place}, stream {n}"


_PLAYED = ("model", "weights")


def _masked(info: Mapping[str, Any], mask: Mask) -> dict[str, Any]:
    """``info`` batched as Gymnasium does it: arrays, each with its ``_mask``."""
    return {**info, **{f"_{key}": mask.copy() for key in info}}
