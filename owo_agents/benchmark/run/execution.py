"""Running a cell: its result is a function of its configuration alone.

PyTorch is imported where a cell runs, not by who only lists, checks or reports: it takes a second.
"""

import contextlib
import importlib.metadata
import platform
import sys
import time
import warnings
from collections.abc import Callable, Iterator
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np

import owo_agents
import owo_env  # noqa: F401  (registers the environment)
from owo_agents.benchmark.run.results import Result
from owo_agents.benchmark.suite import digest
from owo_agents.benchmark.suite.cells import Cell
from owo_agents.playing import side_by_side
from owo_agents.playing.threads import one_thread
from owo_agents.registry import registry as agents
from owo_env import regret
from owo_env.problem import problem_of
from owo_env.scenarios import Scenario
from owo_env.scenarios import registry as scenarios

ENVIRONMENT = "AIRAN-FairMTL-v0"
ENVIRONMENTS_OWN = ("alpha", "fairness", "gradients", "hindsight", "link", "render_mode")
"""Settings of a cell that are none of its scenario."""
CHECKPOINT_EVERY = 8  # rounds
_STATED = ("airan-fairmtl", "numpy", "torch", "torchvision", "torchjd", "gymnasium")

OnRound = Callable[[Cell, owo_agents.RoundRecord], None]


def make_env(cell: Cell, scenario: Scenario | None = None) -> gym.Env[Any, Any]:
    """The cell's environment, or one of a ready ``scenario`` that stands for the cell's.

    Raises:
        ValueError, TypeError: The environment or its scenario refuses a setting.
        ImportError: An extra is missing.
    """
    if "scenario" in cell.settings:
        raise ValueError(f"scenario={cell.settings['scenario']!r} is no setting beside another")
    if scenario is None:
        return gym.make(ENVIRONMENT, scenario=cell.scenario, **cell.settings)
    own = {name: value for name, value in cell.settings.items() if name in ENVIRONMENTS_OWN}
    return gym.make(ENVIRONMENT, scenario=scenario, **own)


def make_agent(cell: Cell, env: gym.Env[Any, Any]) -> owo_agents.Agent:
    """The cell's agent for its environment.

    Raises:
        ValueError, TypeError: The agent refuses an argument, or cannot be imported, or needs
            other gradients than the settings ask for.
    """
    given = env if "gradients" in cell.settings else problem_of(env)
    return owo_agents.make(cell.agent, given, **cell.arguments)


def make_pair(
    cell: Cell, scenario: Scenario | None = None
) -> tuple[gym.Env[Any, Any], owo_agents.Agent]:
    """The cell's environment and agent; the one gives the gradients that the other needs."""
    env = make_env(cell, scenario)
    agent = make_agent(cell, env)
    if agent.gradients == "per_user" and "gradients" not in cell.settings:
        env.close()
        asked = {**cell.settings, "gradients": "per_user"}
        env = make_env(replace(cell, settings=asked), scenario)
    return env, agent


def versions() -> dict[str, str]:
    """What the figures were made with."""
    found = {"python": platform.python_version()}
    for name in _STATED:
        with contextlib.suppress(importlib.metadata.PackageNotFoundError):
            found[name] = importlib.metadata.version(name)
    return found | {"machine": f"{sys.platform} {platform.machine()}"}


def execute(
    cell: Cell,
    on_round: OnRound | None = None,
    checkpoints: Path | None = None,
    scenario: Scenario | None = None,
    every: int = CHECKPOINT_EVERY,
) -> Result:
    """Play the cell and return its result.

    Args:
        cell: What to play.
        on_round: Sees each round as it ends.
        checkpoints: The folder in which a long cell keeps where it stands, and finds it again.
        scenario: A ready one that stands for the cell's.
        every: Rounds between checkpoints.

    Raises:
        ValueError: The code or data are not those of the cell's key.
    """
    import torch

    from owo_env.scenarios.split_learning.draws import torch_seed

    records = []
    with one_thread(), torch.random.fork_rng(devices=[]), warnings.catch_warnings():
        warnings.filterwarnings("ignore", ".*wall to wall")  # the column below u_min shows it
        torch.manual_seed(torch_seed(cell.seed))  # some TorchJD aggregators draw from it
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)  # validation has warned, once a line
            env, agent = make_pair(cell, scenario)
        digest.check(cell, agents.entries, scenarios.entries, things=False)
        started = time.perf_counter()
        played = 0
        for record in _records(env, agent, cell, checkpoints, every):
            played += record.model.size > 0  # the others were restored
            records.append(replace(record, model=np.empty(0)))  # all of them would fill the memory
            if on_round is not None:
                on_round(cell, record)
        seconds = time.perf_counter() - started
        seconds *= len(records) / max(1, played)
    env.close()
    return Result.of(cell, problem_of(env), records, versions(), seconds)


def _records(
    env: gym.Env[Any, Any],
    agent: owo_agents.Agent,
    cell: Cell,
    checkpoints: Path | None,
    every: int,
) -> Iterator[owo_agents.RoundRecord]:
    """The rounds, side by side where that gives the same bits, certified where there is θ*.

    Without θ* they are deep and slow, and kept in a checkpoint where all of them can be.
    """
    certify = problem_of(env).hindsight and regret.certifiable(problem_of(env))
    if isinstance(agent, owo_agents.Learner) and side_by_side.possible(env, agent, cell.rounds):
        return side_by_side.play(env, agent, cell.rounds, cell.seed, certify)
    from owo_agents.playing import checkpoint

    if checkpoints is not None and not certify and agent.savable():
        path = checkpoints / f"{cell.key}.safetensors"
        every = min(every, cell.rounds)
        return checkpoint.resume(path, asdict(cell), env, agent, cell.rounds, cell.seed, every)
    return owo_agents.play(env, agent, cell.rounds, cell.seed, certify)
