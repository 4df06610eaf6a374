"""``owo_agents.bench``."""

from __future__ import annotations

import logging
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from owo_agents.benchmark.api.benchmark import Benchmark
from owo_agents.benchmark.api.progress import Line
from owo_agents.benchmark.api.results import Results
from owo_agents.benchmark.run.callbacks import Callback
from owo_agents.benchmark.suite import asked

_log = logging.getLogger(__name__)


def bench(
    what: str | os.PathLike[str] | Mapping[str, Any] | Sequence[asked.One] | None = None,
    *,
    agents: asked.Some | None = None,
    scenarios: asked.Some | None = None,
    rounds: int | None = None,
    seeds: int | Sequence[int] | None = None,
    settings: Mapping[str, Any] | None = None,
    grid: Mapping[str, Sequence[Any]] | None = None,
    baseline: str | None = None,
    only: str | Sequence[str] = (),
    skip: str | Sequence[str] = (),
    folder: str | os.PathLike[str] | None = None,
    jobs: int | None = None,
    backend: str = "process",
    force: bool = False,
    tune: bool = False,
    tune_starts: bool = False,
    progress: bool | Line | None = None,
    callbacks: Sequence[Callback] = (),
) -> Results:
    """Compare agents on scenarios, over seeds, on all cores::

        results = owo_agents.bench(["owo-fmtl", Mine, ("cws", {"total": 1.0})], rounds=64)

    Everything is checked before the first round is played. Ctrl-C, or a notebook's interrupt,
    ends the runs; the results are those of what is done, and say so.

    Args:
        what: A suite's name, its file, or a mapping of the same form; or the agents, as below.
        agents: Names, classes, functions that make an agent of a problem, any of these with its
            arguments, ``("cws", {"total": 1.0})``, mappings ``{"agent": …, **arguments}``; a list
            of such, or a mapping of labels to them. A class of a notebook's cell will do.
        scenarios: Likewise; beside a name are its settings, and a mapping is a suite's
            experiment. ``"sinusoid"`` by default.
        rounds: T of every run; by default the suite's, or 32.
        seeds: How many, or which; by default the suite's, or 10.
        settings: Further arguments of ``gym.make``, such as ``alpha``.
        grid: Settings to values, every combination of which is run.
        baseline: The label of the agent that differences are taken from; the first by default.
        only: Run only ``"agent=…"``, ``"scenario=…"`` or ``"experiment=…"``, or several;
            ``*`` stands for any letters.
        skip: Leave those out.
        folder: Keep the results here, and go on with what is there; ``owo report`` reads it.
            By default a temporary folder, which goes with the results.
        jobs: Runs at a time; by default as many as the cores that this process may use.
        backend: ``"process"``, ``"serial"`` or ``"ray"``; the figures are the same.
        force: Run again what the folder has already.
        tune: Then again, with every step size tuned on seeds that no table shows.
        tune_starts: Likewise, with every outer loop as well.
        progress: Show one line of it; by default where somebody looks, in a notebook or a terminal.
        callbacks: Hear of every run.

    Raises:
        ValueError, TypeError: Something of it has no meaning; the message names it, its value and
            what is allowed.
        ImportError: An agent or scenario needs an extra; the message says which.
        OSError: The folder cannot be written.
    """
    suite = asked.suite(
        what,
        agents=agents,
        scenarios=scenarios,
        rounds=rounds,
        seeds=seeds,
        settings=settings,
        grid=grid,
        baseline=baseline,
    )
    benchmark = Benchmark(
        suite,
        only=[only] if isinstance(only, str) else only,
        skip=[skip] if isinstance(skip, str) else skip,
        folder=None if folder is None else Path(folder),
        jobs=jobs,
        backend=backend,
        force=force,
        tune=tune,
        tune_starts=tune_starts,
        progress=progress,
        callbacks=callbacks,
    )
    for line in benchmark.set_aside:
        _log.warning("set aside %s", line)
    return benchmark.run()
