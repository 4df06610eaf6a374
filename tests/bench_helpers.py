"""Small suites and odd agents for the tests of the benchmark."""

import json
import os
import signal
import time
from pathlib import Path
from typing import Any

import numpy as np

from owo_agents import Agent
from owo_agents.benchmark.run.results import Store
from owo_agents.benchmark.suite import reader as suite
from owo_env.scenarios.sinusoid import Sinusoid

SMALL: dict[str, Any] = {
    "summary": "two agents, two seeds",
    "rounds": 3,
    "seeds": 2,
    "charts": ["progress", "trade-off"],  # drawing takes longer than playing
    "agents": {"owo-fmtl": None, "equal": {"agent": "cws", "weights": [0.5, 0.5]}},
    "experiments": {"short": {"scenario": "sinusoid", "settings": {"num_slots": 4}}},
}


def small(**changes: Any) -> suite.Suite:
    return suite.parse("small", {**SMALL, **changes})


def contents(store: Store) -> dict[str, dict[str, Any]]:
    """Every stored result without the one entry that no configuration decides."""
    found = {}
    for path in (store.folder / "cells").glob("*.json"):
        found[path.stem] = json.loads(path.read_text())
        del found[path.stem]["seconds"]
    return found


class Still(Agent):
    """Plays the first model with equal priorities."""

    def act(self, obs: Any, info: Any) -> dict[str, Any]:
        ones = np.ones(self.problem.num_users)
        return {"model": self.problem.initial_model, "weights": ones}


class ReportsAnObject(Still):
    """Tells what no file of results can hold."""

    def report(self) -> dict[str, Any]:
        return {"object": object()}


class Waves(Sinusoid):
    """A user's own scenario."""


class BlowsUp(Still):
    """Its model is not finite from the second slot of the second round on."""

    def act(self, obs: Any, info: Any) -> dict[str, Any]:
        action = super().act(obs, info)
        if info["round"] == 2 and info["slot"] == 1:
            action["model"] = np.full(self.problem.dim, np.nan)
        return action


class Dawdles(Still):
    """Makes the file ``flag``, and then keeps everybody waiting."""

    def __init__(self, problem: Any, flag: str) -> None:
        super().__init__(problem)
        self.flag = Path(flag)

    def begin_round(self, obs: Any, info: Any) -> None:
        self.flag.touch()
        time.sleep(3600)


class KillsItsWorkerOnce(Still):
    """Ends its process without a word, unless the file ``flag`` says that it did before."""

    def __init__(self, problem: Any, flag: str) -> None:
        super().__init__(problem)
        self.flag = Path(flag)

    def begin_round(self, obs: Any, info: Any) -> None:
        if info["round"] == 2 and not self.flag.exists():
            self.flag.touch()
            os.kill(os.getpid(), signal.SIGKILL)


class AlwaysKills(Still):
    """Ends its process in the first round; where tests run themselves it was not asked to play."""

    def begin_round(self, obs: Any, info: Any) -> None:
        os.kill(os.getpid(), signal.SIGKILL)


class NoAct:
    """No agent: it cannot act."""

    def __init__(self, problem: Any) -> None:
        pass


class MovesTheFolder(Still):
    """Moves a folder away at the end of the round, as a user might in another terminal."""

    def __init__(self, problem: Any, folder: str, to: str) -> None:
        super().__init__(problem)
        self.folder, self.to = Path(folder), to

    def end_round(self, obs: Any, info: Any) -> None:
        if self.folder.exists():
            self.folder.rename(self.to)
