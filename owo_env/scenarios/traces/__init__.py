"""Measured traces in files: least-squares data by round, slot, user and sample.

Their form is in docs/scenarios/recorded.md.
"""

from __future__ import annotations

import functools
import os
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from gymnasium.utils import seeding

from owo_env import checks, files
from owo_env.scenarios.base import Scenario
from owo_env.scenarios.least_squares.base import SLOTS_PER_BLOCK, LeastSquares
from owo_env.scenarios.least_squares.measured import Measured, Recording
from owo_env.scenarios.least_squares.slots import Samples
from owo_env.scenarios.least_squares.source import Source
from owo_env.scenarios.traces import npz, parquet
from owo_env.scenarios.traces.trace import Arrays, Recordings, Trace

RECORDABLE = ("csi-prediction", "recorded", "sinusoid")
"""The package's scenarios that have traces; PyTorch's are not imported to find out."""

_OPEN: dict[str, Callable[[Path], Trace]] = {".npz": npz.Npz, ".parquet": parquet.Table}


def open_trace(path: str | os.PathLike[str]) -> Trace:
    """A trace from an ``.npz`` or ``.parquet`` file; its data stay in the file.

    Args:
        path: The file; ``~`` is the home folder.

    Raises:
        FileNotFoundError: No such file.
        ValueError: The file is not a trace; the message says what is wrong with it.
        TypeError: ``path`` is no path.
    """
    path = _path(path)
    if path.is_dir():
        raise ValueError(
            f"trace={str(path)!r}: is a folder, must be one file: join its parts, sorted by "
            f"{', '.join(parquet.INDEX)} (docs/scenarios/recorded.md)"
        )
    suffix = _suffix(path)
    if not path.is_file():
        raise FileNotFoundError(f"trace={str(path)!r}: no such file")
    return _OPEN[suffix](path)


def write(scenario: Scenario, path: str | os.PathLike[str], rounds: int, seed: int) -> None:
    """Write the first rounds of a scenario's stream as a trace that ``recorded`` replays.

    Replaying it gives the bits of ``env.reset(seed=seed)`` on the scenario itself.

    Args:
        scenario: A least-squares scenario.
        path: The file, ``.npz`` or ``.parquet``; it appears whole or not at all.
        rounds: How many.
        seed: Of the stream.

    Raises:
        ValueError: ``rounds`` < 1 or more than there are, or another kind of file, or samples
            that change their type or number from round to round.
        TypeError: The scenario has no least-squares samples.
        OSError: The file cannot be written.
    """
    path = _path(path)
    suffix = _suffix(path)
    checks.whole("rounds", rounds, low=1, high=scenario.rounds)
    checks.whole("seed", seed, low=0)
    if not isinstance(scenario, LeastSquares):
        raise TypeError(
            f"scenario {scenario.name!r}: has no least-squares samples; those of the package that "
            f"have are {', '.join(RECORDABLE)}"
        )
    recordings = functools.partial(_recordings, scenario, rounds, seed)
    _write(path, suffix, recordings, rounds, _settings(scenario))


def save(trace: Trace, path: str | os.PathLike[str]) -> None:
    """Write a trace, wherever its data lie, into a file of its own.

    Args:
        trace: The trace.
        path: The file, ``.npz`` or ``.parquet``; it appears whole or not at all.

    Raises:
        ValueError: Another kind of file, or a figure that is not finite.
        OSError: The file cannot be written.
    """
    path = _path(path)
    rounds, m, *_ = trace.shape
    step = max(1, SLOTS_PER_BLOCK // m)

    def recordings() -> Iterator[Recording]:
        return (trace.read(t, min(t + step, rounds)) for t in range(0, rounds, step))

    _write(path, _suffix(path), recordings, rounds, trace.settings)


def _write(
    path: Path, suffix: str, recordings: Recordings, rounds: int, settings: Mapping[str, Any]
) -> None:
    with files.atomic(path) as beside:
        if suffix == ".npz":
            npz.write(beside, recordings, rounds, settings)
        else:
            parquet.write(beside, recordings, settings)


def _path(path: object) -> Path:
    if not isinstance(path, str | os.PathLike):
        raise TypeError(
            f"trace is a {type(path).__name__}: must be the path of a file; arrays are features= "
            "and targets="
        )
    return Path(path).expanduser()


def _suffix(path: Path) -> str:
    if path.suffix not in _OPEN:
        raise ValueError(f"trace={str(path)!r}: must end in {' or '.join(_OPEN)}")
    return path.suffix


def _recordings(scenario: LeastSquares, rounds: int, seed: int) -> Iterator[Recording]:
    """The stream's rounds, a block at a time."""
    rng = Source(seeding.np_random(seed)[0].bit_generator)
    for first in range(1, rounds + 1, scenario.rounds_per_block):
        yield _record(scenario, rng, first)[: rounds + 1 - first]


def _record(scenario: LeastSquares, rng: Source, first: int) -> Recording:
    if isinstance(scenario, Measured):
        return scenario.record(rng, first)
    data = scenario.draw([rng], np.array([first]))
    if not isinstance(data, Samples):
        raise TypeError(f"scenario {scenario.name!r}: draws no samples that could be written")
    about = {name: values[..., 0] for name, values in data.about.items()}
    x, y = np.moveaxis(data.x[..., 0], 2, -1), data.y[..., 0]
    return Recording(x, y, about)


def _settings(scenario: LeastSquares) -> Mapping[str, Any]:
    """The constants that a replay needs, in plain JSON."""
    problem = scenario.problem
    return {
        "l_max": scenario.l_max,
        "utility_bounds": list(problem.utility_bounds),
        "model_bounds": None if problem.model_bounds is None else list(problem.model_bounds),
        "initial_model": problem.initial_model.tolist(),
        "smoothness": problem.smoothness,
    }


__all__ = ["RECORDABLE", "Arrays", "Trace", "open_trace", "save", "write"]
