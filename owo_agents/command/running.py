"""What ``owo run``, ``owo bench`` and ``owo serve`` share: from options to what can be run."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from owo_agents.benchmark.api.benchmark import Benchmark
from owo_agents.benchmark.api.progress import Terminal
from owo_agents.benchmark.run.callbacks import Callback
from owo_agents.benchmark.suite import reader as suite
from owo_agents.benchmark.suite.plan import Suite
from owo_agents.command.terminal import console, pairs, say_set_aside
from owo_agents.command.trust import look_here


def one_run(
    scenario: str,
    agent: str,
    rounds: int,
    seed: int,
    set_: Sequence[str] | None,
    arg: Sequence[str] | None,
) -> Suite:
    """A suite of one run; what ``--scenario``, ``--agent`` and so on say.

    Raises:
        ValueError: An option is not what it must be.
    """
    look_here([scenario, agent, *(set_ or ()), *(arg or ())])
    arguments = pairs("--arg", arg)
    if "agent" in arguments:
        raise ValueError("--arg agent=…: give it as --agent")
    return suite.parse(
        "run",
        {
            "summary": f"{agent} on {scenario}",
            "rounds": rounds,
            "seeds": [seed],
            "agents": {agent: {"agent": agent, **arguments}},
            "experiments": {scenario: {"scenario": scenario, "settings": pairs("--set", set_)}},
        },
        where=lambda path: "",
    )


def prepared(one: Suite, folder: Path, tensorboard: Path | None, **options: Any) -> Benchmark:
    """The benchmark, everything checked; says which files of the folder were no results."""
    callbacks: list[Callback] = []
    if tensorboard is not None:
        from owo_agents.benchmark.run.tensorboard import TensorBoard

        callbacks.append(TensorBoard(tensorboard))
    benchmark = Benchmark(
        one,
        folder=folder,
        progress=Terminal(console),
        callbacks=callbacks,
        command=shlex.join(["owo", *sys.argv[1:]]),
        **options,
    )
    say_set_aside(benchmark.set_aside)
    return benchmark
