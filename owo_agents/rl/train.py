"""Training a policy for the weights, with stable-baselines3.

A run is a folder: ``training.json`` (what is trained), ``checkpoint.pt`` (to go on from),
``best.safetensors`` (the best policy on held-out seeds), ``last.safetensors`` and
``evaluations.jsonl``.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import torch
from gymnasium.vector import VectorEnv
from numpy.typing import NDArray

from owo_agents.agent import Agent
from owo_agents.learner.methods import compose
from owo_agents.playing.loop import play
from owo_agents.playing.threads import one_thread
from owo_agents.rl.agent import Learned
from owo_agents.rl.policy import SUFFIX, Policy
from owo_env import checks, files
from owo_env.extras import pip_line
from owo_env.problem import Problem, problem_of

try:
    import stable_baselines3 as sb3
    from stable_baselines3.common.callbacks import BaseCallback
    from stable_baselines3.common.noise import NormalActionNoise
    from stable_baselines3.common.utils import LinearSchedule
    from stable_baselines3.common.vec_env import VecEnv, VecMonitor

    from owo_agents.rl.own import HELD_OUT, policy_of
    from owo_agents.rl.vec_env import GymnasiumVecEnv
except ImportError as error:
    raise ImportError(f"training needs stable-baselines3: {pip_line('rl')}") from error

ALGORITHMS = ("ppo", "sac", "td3")
ABOUT = "training.json"


@dataclass(frozen=True)
class Training:
    """What is trained; plain JSON values.

    Attributes:
        scenario: A scenario's name.
        settings: Further arguments of the environment ``AIRAN-FairMTL-Weights-v0``.
        algorithm: ``"ppo"``, ``"sac"`` or ``"td3"``.
        steps: Slots to train for, over all streams.
        num_envs: N, the streams side by side.
        seed: Decides every draw of training; held-out seeds are the same for all.
        hyperparameters: Of the algorithm, in place of :func:`defaults`.
        eval_every: Slots between evaluations.
        eval_envs: Held-out streams.
        eval_rounds: Rounds played on each.

    Raises:
        ValueError: An argument is outside its domain.
    """

    scenario: str
    settings: Mapping[str, Any] = field(default_factory=dict)
    algorithm: str = "ppo"
    steps: int = 100_000
    num_envs: int = 64
    seed: int = 0
    hyperparameters: Mapping[str, Any] = field(default_factory=dict)
    eval_every: int = 12_500
    eval_envs: int = 32
    eval_rounds: int = 16

    def __post_init__(self) -> None:
        checks.one_of("algorithm", self.algorithm, ALGORITHMS)
        checks.whole("seed", self.seed, low=0)
        for name in ("steps", "num_envs", "eval_every", "eval_envs", "eval_rounds"):
            checks.whole(name, getattr(self, name), low=1)


def defaults(algorithm: str, problem: Problem) -> dict[str, Any]:
    """Hyperparameters; γ = 1 throughout, since a round's return telescopes to its fairness.

    PPO explores by generalised state-dependent noise, drawn once a round: the model follows the
    weights slowly, so that noise which is new in every slot averages out before it shows.
    """
    if algorithm == "ppo":
        return dict(
            n_steps=problem.num_slots,
            batch_size=512,
            n_epochs=5,
            learning_rate="lin_1e-3",
            gamma=1.0,
            gae_lambda=0.95,
            use_sde=True,
            policy_kwargs=dict(log_std_init=-1.0, net_arch=[32, 32]),
        )
    return dict(
        gamma=1.0,
        learning_rate=1e-3,
        learning_starts=10_000,
        batch_size=256,
        gradient_steps=8,
        policy_kwargs=dict(net_arch=[64, 64]),
        **({"action_noise": 0.1} if algorithm == "td3" else {}),
    )


def make_vector(training: Training, num_envs: int, env_id: str, mode: str) -> VectorEnv:
    """N streams."""
    settings = {"hindsight": False, **training.settings, "scenario": training.scenario}
    return gym.make_vec(env_id, num_envs, **settings, autoreset_mode=mode)


def evaluate(
    training: Training, agent: Callable[[Problem], Agent], first_seed: int = HELD_OUT
) -> NDArray[np.floating]:
    """Fairness of an agent on held-out seeds, rounds × streams.

    Args:
        training: Says the scenario, and ``eval_envs`` and ``eval_rounds``.
        agent: The agent of a problem.
        first_seed: Of the first stream; the others follow.
    """
    env = make_vector(training, training.eval_envs, "AIRAN-FairMTL-v0", "Disabled")
    records = play(env, agent(problem_of(env)), training.eval_rounds, seed=first_seed)
    fairness = np.array([record.fairness for record in records])
    env.close()
    return fairness


def train(
    training: Training,
    folder: Path,
    resume: bool = False,
    tensorboard: Path | None = None,
    on_progress: Callable[[int, float | None], None] = lambda steps, fairness: None,
) -> tuple[Policy, bool]:
    """Train a policy, keeping the best on held-out seeds; Ctrl-C stops early and keeps it.

    Training goes on from a checkpoint with fresh streams, so a resumed run is not bit for bit
    the uninterrupted one; SAC and TD3 fill their replay buffers anew.

    Args:
        training: What to train.
        folder: Of the run.
        resume: Go on from the folder's checkpoint.
        tensorboard: Log there.
        on_progress: Called with the slots trained so far, and after an evaluation with the
            held-out mean fairness.

    Returns:
        The best policy, and whether training was interrupted.

    Raises:
        ValueError: α = 0, a round of one slot, the folder has a run and ``resume`` is False, has
            one of another training, or has none to resume.
    """
    with one_thread():
        venv = make_vector(training, training.num_envs, "AIRAN-FairMTL-Weights-v0", "SameStep")
        state = _checkpoint(training, folder, resume)
        done = state["steps"]
        seed = first_stream(training.seed, done)
        model = make_model(training, GymnasiumVecEnv(venv), problem_of(venv), seed, tensorboard)
        folder.mkdir(parents=True, exist_ok=True)  # only now: what is refused leaves no trace
        (folder / ABOUT).write_text(json.dumps(asdict(training), indent=2) + "\n", encoding="utf-8")
        keeper = _Keeper(training, problem_of(venv), folder, on_progress, state["best"])
        interrupted = False
        if resume:
            model.set_parameters(state["parameters"])
            model.num_timesteps = done
        try:
            if done < training.steps:
                model.learn(training.steps - done, keeper, reset_num_timesteps=done == 0)
        except KeyboardInterrupt:
            interrupted = True
        if done < training.steps and keeper.evaluated < model.num_timesteps:
            keeper.evaluate()
    venv.close()
    return Policy.load(folder / f"best{SUFFIX}"), interrupted


def first_stream(seed: int, done: int) -> int:
    """The seed of the first stream to train on; the others follow.

    Between 2^31 and 2^32, off the held-out seeds and within what SB3 takes.

    Args:
        seed: The training's.
        done: Slots trained so far: after each resumption the streams are others.
    """
    return 2**31 + int(np.random.SeedSequence([seed, done]).generate_state(1)[0] >> 2)


def _checkpoint(training: Training, folder: Path, resume: bool) -> dict[str, Any]:
    """Check the folder; where training is to go on from."""
    checkpoint = folder / "checkpoint.pt"
    if checkpoint.exists() and not resume:
        raise ValueError(f"{folder} has a training already: --resume goes on with it")
    if not resume:
        return {"steps": 0, "best": -np.inf}
    if not checkpoint.exists():
        raise ValueError(f"{folder} has no checkpoint to go on from: leave out --resume")
    was = json.loads((folder / ABOUT).read_text(encoding="utf-8"))
    wanted = json.loads(json.dumps(asdict(training)))
    changed = [k for k in wanted if k not in ("steps", "eval_every") and wanted[k] != was[k]]
    if changed:
        told = ", ".join(f"{k}={was[k]!r}, not {wanted[k]!r}" for k in changed)
        raise ValueError(f"{folder} has another training: {told}")
    return torch.load(checkpoint, weights_only=True)


def make_model(
    training: Training,
    venv: VecEnv,
    problem: Problem,
    seed: int,
    tensorboard: Path | None = None,
) -> Any:
    """SB3's algorithm on its vector environment, with our hyperparameters."""
    given = defaults(training.algorithm, problem) | dict(training.hyperparameters)
    if isinstance(given.get("action_noise"), float):
        sigma = np.full(problem.num_users, given["action_noise"])
        given["action_noise"] = NormalActionNoise(np.zeros_like(sigma), sigma)
    rate = given["learning_rate"]
    if isinstance(rate, str):  # as RL Zoo writes a linear decay to 0
        if not rate.startswith("lin_"):
            raise ValueError(f"learning_rate={rate!r}: must be a number, or a text like 'lin_1e-3'")
        given["learning_rate"] = LinearSchedule(float(rate.removeprefix("lin_")), 0.0, 1.0)
    if training.algorithm == "ppo":  # a rollout holds whole batches
        given["batch_size"] = min(given["batch_size"], given["n_steps"] * venv.num_envs)
    return getattr(sb3, training.algorithm.upper())(
        "MlpPolicy",
        VecMonitor(venv),
        seed=seed,
        device="cpu",
        tensorboard_log=None if tensorboard is None else os.fspath(tensorboard),
        **given,
    )


@dataclass(eq=False)
class _Keeper(BaseCallback):
    """Evaluates, keeps the best policy, writes checkpoints and reports progress."""

    training: Training
    problem: Problem
    folder: Path
    on_progress: Callable[[int, float | None], None]
    best: float
    evaluated: int = -1

    def __post_init__(self) -> None:
        super().__init__()

    def _on_training_start(self) -> None:
        self.evaluate()

    def _on_step(self) -> bool:
        self.on_progress(self.num_timesteps, None)
        if self.num_timesteps >= self.evaluated + self.training.eval_every:
            self.evaluate()
        return True

    def evaluate(self) -> None:
        """Judge the present policy on held-out seeds and keep what is to be kept."""
        self.evaluated = steps = self.model.num_timesteps
        policy = exported(self.model, self.training, self.problem, steps)
        fairness = evaluate(self.training, lambda problem: compose(Learned(problem, policy)))
        mean = float(fairness.mean())
        with (self.folder / "evaluations.jsonl").open("a", encoding="utf-8") as lines:
            lines.write(json.dumps({"steps": steps, "fairness": mean}) + "\n")
        self.model.logger.record("eval/fairness", mean)
        if mean > self.best:
            self.best = mean if steps else -np.inf  # an untrained one makes way for any other
            policy.save(self.folder / f"best{SUFFIX}")
        policy.save(self.folder / f"last{SUFFIX}")
        state = {"parameters": self.model.get_parameters(), "steps": steps, "best": self.best}
        with files.atomic(self.folder / "checkpoint.pt") as beside:
            torch.save(state, beside)
        self.on_progress(steps, mean)


def exported(model: Any, training: Training, problem: Problem, steps: int) -> Policy:
    """The deterministic policy of an SB3 model of ``ALGORITHMS``."""
    about = asdict(training) | {"steps": steps}
    return policy_of(model, problem, about)
