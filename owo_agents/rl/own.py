"""Models of one's own, trained with stable-baselines3: evaluated on equal terms, taken along."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from gymnasium.vector import VectorEnv

from owo_agents.rl.policy import Policy, described
from owo_env import checks
from owo_env.problem import problem_of

try:
    import stable_baselines3 as sb3
    from stable_baselines3.common.callbacks import BaseCallback
    from stable_baselines3.common.running_mean_std import RunningMeanStd
    from stable_baselines3.common.vec_env import unwrap_vec_normalize

    from owo_agents.rl.vec_env import GymnasiumVecEnv
except ImportError as error:
    raise ImportError(
        'SB3\'s models need stable-baselines3: pip install "airan-fairmtl[rl]"'
    ) from error

HELD_OUT = 1_000_000_000
"""Evaluation seeds start here; training seeds are at least 2^31, out of their reach."""


def policy_of(model: Any, env: Any, training: Mapping[str, Any] | None = None) -> Policy:
    """The deterministic policy of an SB3 model of one's own, to be saved and played as ``rl:FILE``.

    What a ``VecNormalize`` around its environment has learned of observations goes along.

    Args:
        model: PPO, A2C, SAC, TD3 or DDPG with an ``MlpPolicy``, trained on
            ``AIRAN-FairMTL-Weights-v0``.
        env: An environment of the problem that it was trained for, or the problem.
        training: What else is to be known of it; plain JSON values.

    Raises:
        ValueError: Layers that are no plain MLP of tanh or ReLU.
    """
    policy, problem = model.policy, problem_of(env)
    squash = hasattr(policy, "actor")
    if not squash:
        modules = [*policy.mlp_extractor.policy_net, policy.action_net]
    elif hasattr(policy.actor, "latent_pi"):
        modules = [*policy.actor.latent_pi, policy.actor.mu]
    else:
        modules = list(policy.actor.mu)
    plain = torch.nn.Linear, torch.nn.Tanh, torch.nn.ReLU, torch.nn.Flatten
    kinds = {type(m).__name__ for m in modules if not isinstance(m, plain)}
    between = {type(m) for m in modules[:-1]} & {torch.nn.Tanh, torch.nn.ReLU}
    if kinds or len(between) > 1:
        names = ", ".join(sorted(kinds or {kind.__name__ for kind in between}))
        raise ValueError(
            f"model: its policy has {names}: must be linear layers, all tanh or all ReLU"
        )
    layers = [
        (m.weight.detach().numpy().copy(), m.bias.detach().numpy().copy())
        for m in modules
        if isinstance(m, torch.nn.Linear)
    ]
    return Policy(
        layers,
        activation="tanh" if any(isinstance(m, torch.nn.Tanh) for m in modules[:-1]) else "relu",
        squash=squash,
        problem=described(problem),
        training={**(training or {}), "stable_baselines3": sb3.__version__},
        normalization=_normalization(model),
    )


def _normalization(model: Any) -> dict[str, Any] | None:
    """What the ``VecNormalize`` of a model's environment does to observations; None without one."""
    normal = None if model.env is None else unwrap_vec_normalize(model.env)
    if normal is None or not normal.norm_obs:
        return None
    if not isinstance(normal.obs_rms, RunningMeanStd):
        raise ValueError("model: VecNormalize of a dictionary of observations is not known here")
    return {
        "mean": normal.obs_rms.mean.tolist(),
        "scale": np.sqrt(normal.obs_rms.var + normal.epsilon).tolist(),
        "clip": float(normal.clip_obs),
    }


class SameRounds(BaseCallback):
    """Evaluates a model of one's own every so often, on the same rounds each time.

    SB3's ``EvalCallback`` never re-seeds: the environment goes on, with the model that it has
    learned meanwhile, so that even a policy that learns nothing "improves". Here each evaluation
    starts the streams, and the shared model, anew from the same seeds.

    Args:
        env: Where to evaluate, a vector environment as ``gym.make_vec`` gives it, of
            ``AIRAN-FairMTL-Weights-v0`` and of no other use.
        every: Slots between evaluations, over all training streams.
        rounds: Rounds played on each stream.
        seed: Of the first stream; the others follow.
        best: Save the best policy there, as :func:`policy_of` makes it.

    Attributes:
        evaluations: (slots trained, mean fairness of a round) of each, in order; the first is of
            the untrained policy.
    """

    def __init__(
        self,
        env: VectorEnv[Any, Any, Any],
        every: int,
        rounds: int = 16,
        seed: int = HELD_OUT,
        best: str | os.PathLike[str] | None = None,
    ) -> None:
        super().__init__()
        self.venv, self.every = GymnasiumVecEnv(env), checks.whole("every", every, low=1)
        self.rounds, self.seed = checks.whole("rounds", rounds, low=1), seed
        self.best, self.evaluations = best, list[tuple[int, float]]()

    def _on_training_start(self) -> None:
        self._evaluate()

    def _on_step(self) -> bool:
        if self.num_timesteps >= self.evaluations[-1][0] + self.every:
            self._evaluate()
        return True

    def _on_training_end(self) -> None:
        if self.num_timesteps > self.evaluations[-1][0]:
            self._evaluate()

    def _evaluate(self) -> None:
        fairness = self.judge(self.model)
        known = [one for _, one in self.evaluations]
        self.evaluations.append((self.num_timesteps, fairness))
        self.logger.record("eval/fairness", fairness)
        if self.best is not None and fairness > max(known, default=-np.inf):
            policy_of(self.model, self.venv.env).save(Path(self.best))

    def judge(self, model: Any) -> float:
        """Mean fairness of a round, of a model's deterministic policy on the same rounds."""
        normal = None if model.env is None else unwrap_vec_normalize(model.env)
        self.venv.seed(self.seed)
        obs: Any = self.venv.reset()
        total = 0.0
        slots = problem_of(self.venv.env).num_slots
        for _ in range(self.rounds * slots):
            seen = obs if normal is None else normal.normalize_obs(obs)
            obs, rewards, *_ = self.venv.step(model.predict(seen, deterministic=True)[0])
            total += float(rewards.sum())  # a round's rewards add up to its fairness
        return total / (self.rounds * self.venv.num_envs)
