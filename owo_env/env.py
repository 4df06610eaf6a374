"""The Gymnasium environment: one episode is one round."""

from __future__ import annotations

import math
import os
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import gymnasium as gym
import numpy as np
from numpy.typing import NDArray

from owo_env import checks
from owo_env.classes import numbered, unknown
from owo_env.fairness import Fairness
from owo_env.link import Link, make_link
from owo_env.link.on_air import on_air
from owo_env.link.score import JobScore, judged_by_jobs
from owo_env.link.streams import OnAirStream
from owo_env.picture import RENDER_FPS
from owo_env.render import RENDER_MODES, Display
from owo_env.scenarios import Scenario, Stream, judged, reset_options, scenario_for
from owo_env.scenarios.hindsight import fairest_of_stream
from owo_env.score import Score
from owo_env.spaces import (
    FLOAT,
    GRADIENTS,
    HEAVIEST,
    action_space,
    bad_action,
    observation_space,
    real,
    within,
    zeros,
)

Floats = NDArray[np.floating]
Bools = NDArray[np.bool_]


class AIRANEnv(gym.Env[dict[str, Any], dict[str, Any]]):
    """Fair online multi-task learning at an AI-RAN server.

    ## Description
    K users share one model θ at the RAN server. In each round t every user has a task of m jobs,
    one a slot. The learner plays θ_ti and priorities p_ti *before* it sees slot i; the users run
    their jobs on θ_ti; the environment answers with their utilities and a gradient.

    An episode is a round: ``reset(seed=s)`` starts the stream at round 1, ``reset()`` opens the
    next round (in mid-round it abandons the present one). Users' local heads live on across
    rounds; an agent carries what it learned and is never reset by the environment.

    ## Action space
    ``Dict(model: Box (d,), weights: Box (K,) ≥ 0)``: the shared model θ ∈ Θ and the priorities
    p = −w, at most 1e30. A model outside Θ is an error, not silently projected.

    ## Observation space
    The feedback of the slot just played; zeros and slot 0 at reset.

    * ``utilities`` (K,): u_k(θ), never clipped
    * ``gradient`` (d,): Σ_k p_k ∇u_k(θ), an ascent direction (``gradients="weighted"``)
    * ``gradients`` (K, d): ∇u_k(θ) of every user (``gradients="per_user"``)
    * ``slot`` (): slots played in this round, 0 … m
    * ``active``, ``heard`` (K,), 0 or 1: who had a job in the slot that the feedback is of, and
      whose feedback arrived; only over a ``link`` that may leave users out. Of who is not heard
      ``utilities`` holds the mean of what was heard of it in the round, before that the centre of
      [u_min, u_max], and the gradient nothing.

    ## Reward
    F_α(ū_1..i) − F_α(ū_1..i−1) with ū the mean utilities so far and F_α of nothing = 0, so that a
    round's return is F_α((1/m) Σ_i u_ti), eq. 1. Below u_min F_α goes on along its tangent.
    Over a ``link`` ū is a user's mean over its own jobs, heard or not, and l_max without any.

    ## Episode end
    ``terminated`` after m slots. A round ends by nature: nothing is to be bootstrapped.

    ## Info
    Every step: ``round`` and ``slot``. At the end of a round: ``mean_utilities`` (K,), their
    ``fairness``, ``violations`` (utilities of the round outside [u_min, u_max]), what the scenario
    adds, and with hindsight ``fairest_model`` (θ*_t of eq. 2), ``fairest_fairness`` and
    ``regret``. Over a ``link`` also ``active_slots``, ``heard_slots`` and ``feedback_age`` (K,):
    how many slots ago the slot was that a user was last heard of, mean over slots.

    ## Arguments
    ``scenario``: a name, a mapping ``{"name": …, …}`` or a ``Scenario``; ``fairness``: what is
    maximized, a name, a mapping ``{"name": …, …}`` or an :class:`owo_env.fairness.Fairness`
    (:mod:`owo_env.fairness.named`), or in short ``alpha``; ``num_slots``: m; None takes the
    scenario's own of each (α = 1). ``gradients``: ``"weighted"`` or
    ``"per_user"``; ``hindsight``: reveal θ* at the end of a round where the scenario has an exact
    oracle (False for speed); ``link``: how users come and go and what of their feedback arrives, a
    mapping of :class:`owo_env.link.Link`'s arguments or one; ``render_mode``: None,
    ``"rgb_array"``, ``"rgb_array_list"``, ``"ansi"`` or ``"human"``. All other arguments go to the
    scenario.

    ## Vectorized environment
    ``gym.make_vec`` gives the native :class:`owo_env.vector_env.AIRANVectorEnv`.

    ## Version history
    * v0: first version.

    Raises:
        ValueError: An argument is outside its domain (the message names it).
        TypeError: An argument that neither the environment nor the scenario has.
    """

    metadata = {"render_modes": RENDER_MODES, "render_fps": RENDER_FPS}

    def __init__(
        self,
        scenario: str | Mapping[str, Any] | Scenario = "sinusoid",
        alpha: float | None = None,
        num_slots: int | None = None,
        gradients: str = "weighted",
        hindsight: bool = True,
        render_mode: str | None = None,
        fairness: str | Mapping[str, Any] | Fairness | None = None,
        link: Mapping[str, Any] | Link | None = None,
        **settings: Any,
    ) -> None:
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
        self.render_mode = render_mode
        self._display = None if render_mode is None else Display(problem, render_mode)
        self.action_space = action_space(problem)
        self.observation_space = observation_space(problem, gradients)
        self._gradient_key = GRADIENTS[gradients]
        self._per_user = gradients == "per_user"
        self._dtype = problem.initial_model.dtype
        self._shapes = (problem.dim,), (problem.num_users,)
        # Θ as θ's own type rounds it.
        self._model_range = problem.model_bounds and tuple(
            float(self._dtype.type(bound)) for bound in problem.model_bounds
        )
        self._stream: Stream | None = None
        self._on_air = problem.link is not None
        self._idles = problem.link is not None and problem.link.idles
        self._score: Any = JobScore(problem) if self._idles else Score(problem.fairness)
        self._foretold: dict[str, Any] | None = None  # what the present round's end will tell
        self._round, self._playing, self._over = 0, False, False

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[dict[str, Any], dict[str, Any]]:
        """Start the stream at round 1 (with ``seed``) or open its next round (without).

        Args:
            seed: Of the stream; every draw of the scenario depends on it alone.
            options: Passed to the scenario; ``reset_heads=True`` gives users fresh heads.

        Raises:
            ValueError: ``seed`` is no whole number ≥ 0, or an option that the scenario does not
                have.
        """
        options = reset_options(self.scenario, options)
        super().reset(seed=checks.seed("seed", seed))
        stream = self._restart() if seed is not None or self._stream is None else self._stream
        stream.open_round(options)
        self._foretold = None
        self._round, self._playing, self._over = self._round + 1, True, False
        self._score.open_round()
        if self._display is not None:
            self._display.open_round(self._round)
        return zeros(self.problem, self.gradients), {"round": self._round, "slot": 0}

    def step(
        self, action: Mapping[str, Any]
    ) -> tuple[dict[str, Any], float, bool, bool, dict[str, Any]]:
        """Play one slot.

        Args:
            action: ``{"model": θ (d,), "weights": p (K,)}``.

        Raises:
            gymnasium.error.ResetNeeded: The round is over, or was never begun.
            ValueError: The action is outside the action space; round and slot are named.
            FloatingPointError: A user's utility is not finite.
        """
        stream = self._stream
        if stream is None or not self._playing:
            raise gym.error.ResetNeeded("no round is open: call reset() before step()")
        model, weights = self._checked(action)
        score = self._score
        played = score.slot
        utilities, gradient = stream.play(played, model, weights, self._per_user)
        try:
            if self._idles:
                reward = score.add_jobs(utilities, stream.active(played))
            else:
                reward = score.add(utilities)
        except FloatingPointError as error:
            raise self._located(error) from None
        slot = score.slot
        gradient = real(gradient, self._dtype)
        obs = {"utilities": np.array(utilities), self._gradient_key: gradient, "slot": slot}
        if self._on_air:
            obs |= stream.feedback()
        info = {"round": self._round, "slot": slot, **stream.slot_info()}
        done = slot == self.problem.num_slots
        if done:
            self._playing, self._over = False, True
            info |= score.info(self._round_info(stream), self.fairest())
        if self._display is not None:
            there = None
            if isinstance(stream, OnAirStream):
                there = stream.active(played), stream.heard(played)
            self._display.record(utilities, weights, score.fairness, info, there)
        return obs, reward, done, False, info

    def render(self) -> Any:
        """The round so far, as the constructor's ``render_mode`` asks.

        Returns:
            ``"rgb_array"``: a picture, uint8 (540, 960, 3); ``"rgb_array_list"``: those of every
            slot since the last call or reset; ``"ansi"``: text with line ends; ``"human"``:
            nothing, a window has shown every slot as it was played (where there is a display);
            None: nothing, with a warning.

        Raises:
            gymnasium.error.ResetNeeded: No round was ever opened.
        """
        if self._display is None:
            gym.logger.warn("render() needs a render_mode: pass 'rgb_array' or 'ansi' to gym.make")
            return None
        if self._stream is None:
            raise gym.error.ResetNeeded("no round is open: call reset() before render()")
        return self._display.answer()

    def close(self) -> None:
        """Close the window of ``render_mode="human"``."""
        if self._display is not None:
            self._display.close()

    def evaluate(self, model: Floats) -> Floats:
        """Utilities (m, K) of any ``model`` (d,) in every slot of the round just ended.

        Raises:
            gymnasium.error.ResetNeeded: No round was ended since the last reset, or the stream was
                loaded: its next round is to be played first.
            ValueError: The model is of the wrong shape or outside Θ.
        """
        if self._stream is None or not self._over:
            raise gym.error.ResetNeeded("evaluate() speaks of the round just ended: end it first")
        model, _ = self._checked({"model": model, "weights": np.ones(self.problem.num_users)})
        return self._stream.evaluate(model)

    def on_air(self) -> tuple[Bools, Bools, Floats]:
        """Who has a job, whose feedback arrives, and all utilities, (m, K) each, of the round.

        Utilities of slots not yet played have no meaning.

        Raises:
            gymnasium.error.ResetNeeded: No round was opened.
            ValueError: There is no link.
        """
        if self._stream is None:
            raise gym.error.ResetNeeded("no round is open: call reset() before on_air()")
        if not isinstance(self._stream, OnAirStream):
            raise ValueError("link=None: every user is heard in every slot")
        batch = self._stream.batch
        active, heard = batch.masks()
        return active[0], heard[0], batch.utilities[0].copy()

    def fairest(self) -> tuple[Floats, float] | None:
        """(θ*, F at θ*) of eq. 2 for the present round, even before it is played.

        For references and plots: a learner may know it only at the end, from ``info``. None
        without hindsight.

        Raises:
            gymnasium.error.ResetNeeded: No round was opened.
        """
        if self._stream is None:
            raise gym.error.ResetNeeded("no round is open: call reset() before fairest()")
        best = fairest_of_stream(self.scenario, self._stream) if self.hindsight else None
        if best is None:
            return None
        if isinstance(self._stream, OnAirStream):
            value = judged_by_jobs(self.problem, best[1], self._stream.shares())
            return best[0], float(value)
        return best[0], self.problem.fairness.value_of(best[1].tolist())

    def info_so_far(self) -> dict[str, Any]:
        """What the last ``info`` of the present round will say, of the slots played until now.

        Where only the end of a round can tell, numbers are 0 (and ``fairest_fairness`` is what was
        reached). For clients whose infos must have the same keys in every step.

        Raises:
            gymnasium.error.ResetNeeded: No round was opened.
        """
        if self._stream is None:
            raise gym.error.ResetNeeded("no round is open: call reset() before info_so_far()")
        if self._foretold is None:
            self._foretold = {**self._stream.slot_info(), **self._round_info(self._stream)}
        told = unknown(self._foretold)
        best = (np.zeros(self.problem.dim, self._dtype), self._score.fairness)
        told = self._score.info(told, best if self.hindsight else None)
        return {"round": self._round, "slot": self._score.slot, **told}

    def _round_info(self, stream: Stream) -> dict[str, Any]:
        return numbered(stream.round_info(), self.problem.class_names)

    def export(
        self, model: Floats | None = None, path: str | os.PathLike[str] | None = None
    ) -> Any:
        """What was trained: in split learning the encoder, heads and front layers as modules.

        Args:
            model: θ (d,), for example a record's; default the last one played.
            path: Also write them there, as one safetensors file.

        Returns:
            :class:`owo_env.scenarios.split_learning.export.Exported`.

        Raises:
            gymnasium.error.ResetNeeded: No round was played yet, or, without ``model``, no slot
                since the last reset.
            ValueError: The model is of the wrong shape or outside Θ.
            TypeError: The scenario has no modules.
        """
        if self._stream is None or not self._round:
            raise gym.error.ResetNeeded("nothing was trained yet: play a round before export()")
        if model is None and not (self._over or self._score.slot):
            raise gym.error.ResetNeeded(
                "no model was played since the last reset or load: play a slot, or give model="
            )
        if model is not None:
            model, _ = self._checked({"model": model, "weights": np.ones(self.problem.num_users)})
        exported = self._stream.export(model)
        if path is not None:
            exported.save(path)
        return exported

    def state_dict(self) -> dict[str, Any]:
        """The stream's state at the end of a round, for :meth:`load_state_dict`."""
        if self._stream is None or self._playing:
            raise gym.error.ResetNeeded("a stream is saved between rounds: end the round first")
        return {"round": self._round, "stream": self._stream.state_dict()}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on from a saved state: the next ``reset()`` opens the round after it."""
        self._restart().load_state_dict(state["stream"])
        self._round = int(state["round"])

    def _checked(self, action: Mapping[str, Any]) -> tuple[Floats, Floats]:
        """The action's arrays."""
        problem = self.problem
        try:
            model = real(action["model"], self._dtype)
            weights = real(action["weights"], FLOAT)
        except (TypeError, KeyError, ValueError, RuntimeError) as error:
            text = (
                f"action={action!r}: must be a mapping with the arrays 'model' and 'weights' "
                f"({error})"
            )
            raise self._located(ValueError(text)) from error
        if (model.shape, weights.shape) != self._shapes:
            raise self._located(bad_action(model, weights, problem))
        if self._model_range is None:
            # One pass without a temporary; only where the square overflows is the model looked at.
            good = math.isfinite(np.dot(model, model)) or bool(np.isfinite(model).all())
        else:
            good = within(model.tolist(), *self._model_range)
        if not good or not within(weights.tolist(), 0.0, HEAVIEST):
            led = "" if np.isfinite(model).all() else self._score.diverged()
            raise self._located(ValueError(f"{bad_action(model, weights, problem)}{led}"))
        return model, weights

    def _restart(self) -> Stream:
        """A stream at its beginning, none of whose rounds is open."""
        fairness = self.problem.fairness if self.hindsight else None
        self._stream = self.scenario.stream(self.np_random, fairness)
        self._round, self._playing, self._over = 0, False, False
        return self._stream

    def _located(self, error: Exception) -> Exception:
        return type(error)(f"round {self._round}, slot {self._score.slot + 1}: {error}")
