"""Results: what a cell leaves behind, and the folder that keeps them.

A folder holds ``cells/<key>.json`` (one result each, written atomically), ``failures/<key>.json``
(the error of a cell that failed last time), ``checkpoints/<key>.safetensors`` (where a long cell
stands), ``set-aside/`` (files that are not results), and what is made from them: ``suite.json``,
``results.jsonl``, figures and the report.
"""

from __future__ import annotations

import contextlib
import dataclasses
import json
import math
import re
import tempfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from owo_agents.benchmark.suite import vocabulary
from owo_agents.benchmark.suite.cells import Cell
from owo_agents.playing.loop import RoundRecord
from owo_env import files
from owo_env.problem import Problem

Array = NDArray[Any]

_SERIES = ("fairness", "regret", "utilities", "weights")
_SIZES = ("num_users", "dim", "num_slots")
_CONSTANTS = (*_SIZES, "alpha", "utility_bounds", "l_max", "diameter", "gradient_bound")
_KEY = re.compile(r"[0-9a-f]{20}\.json")


@dataclass(frozen=True, eq=False)
class Result:
    """What one cell gave; the first axis of every array is the round.

    Attributes:
        cell: Its configuration.
        problem: K ``num_users``, d ``dim``, m ``num_slots``, ``alpha``, ``utility_bounds``,
            ``l_max``, ``diameter``, ``gradient_bound``; ``fairness``, as ``gym.make`` takes it,
            where it is another than α-fairness; ``error_unit`` and ``slot_ms`` where there are
            any.
        fairness: F_α of each round, (T,).
        regret: (T,), or None without hindsight.
        utilities: Mean utilities of each round, (T, K).
        weights: Mean priorities of each round, (T, K).
        extras: What else the rounds reported (``validation_loss``, ``violations``, …). Where an
            agent's own report is undefined in a round it is NaN; lists of changing length are an
            array of lists, (T,).
        versions: Of Python and the libraries.
        seconds: Time taken by the rounds; the one entry that no configuration decides.
    """

    cell: Cell
    problem: Mapping[str, Any]
    fairness: Array
    regret: Array | None
    utilities: Array
    weights: Array
    extras: Mapping[str, Array]
    versions: Mapping[str, str]
    seconds: float

    @classmethod
    def of(
        cls,
        cell: Cell,
        problem: Problem,
        records: Sequence[RoundRecord],
        versions: Mapping[str, str],
        seconds: float,
    ) -> Result:
        """The result of a run from its rounds' records.

        Raises:
            FloatingPointError: A figure is not finite that every run on the scenario is measured
                by; it names the figure and the round.
        """

        def of_rounds(name: str) -> Any:
            values = [getattr(record, name) for record in records]
            return None if values[0] is None else np.array(values, float)

        shared = [name for name in records[0].extras if all(name in r.extras for r in records)]
        result = cls(
            cell=cell,
            problem=_constants(problem),
            extras={name: _stacked([r.extras[name] for r in records]) for name in shared},
            versions=versions,
            seconds=seconds,
            **{name: of_rounds(name) for name in _SERIES},
        )
        measured = {figure.reads for figure in vocabulary.figures(cell.scenario, ())}
        for name, values in result.series():
            known = name in _SERIES or name in measured
            if known and name not in _SERIES and values.ndim == 2:
                there = result.extras.get("validated")
                if there is not None:  # users elsewhere may be away where a round ends
                    values = np.where(there, values, 0.0)
                values = values[:, ~np.isnan(values).all(axis=0)]  # of a user it means nothing
            if known and values.dtype.kind == "f" and not np.isfinite(values).all():
                first = int(np.argwhere(~np.isfinite(values))[0][0]) + 1
                raise FloatingPointError(
                    f"agent {cell.agent}: {name} is not finite in round {first}"
                )
        return result

    @property
    def rounds(self) -> int:
        """T."""
        return len(self.fairness)

    @property
    def slots_per_second(self) -> float:
        """Slots played per second, agent and oracle included."""
        return float(self.rounds * self.problem["num_slots"] / self.seconds)

    def series(self) -> Iterator[tuple[str, Array]]:
        """Every per-round array by name."""
        for name in _SERIES:
            if getattr(self, name) is not None:
                yield name, getattr(self, name)
        yield from self.extras.items()

    def records(self) -> Iterator[RoundRecord]:
        """The rounds again, for callbacks; the models played are not kept."""
        own = {name: getattr(self, name) for name in _SERIES}
        for t in range(self.rounds):
            now: dict[str, Any] = {k: None if v is None else v[t] for k, v in own.items()}
            extras = {name: values[t] for name, values in self.extras.items()}
            yield RoundRecord(round=t + 1, model=np.empty(0), extras=extras, **now)

    def to_json(self) -> str:
        """One line of JSON; floats come back bit for bit, those in extras that are not finite
        as NaN."""
        plain = {f.name: getattr(self, f.name) for f in dataclasses.fields(self)}
        plain["cell"] = dataclasses.asdict(self.cell)
        plain["extras"] = {name: _listed(values) for name, values in self.extras.items()}
        return json.dumps(plain, default=_plain, allow_nan=False)

    @classmethod
    def from_json(cls, text: str) -> Result:
        """The result that :meth:`to_json` wrote.

        Raises:
            ValueError, TypeError: The text is something else, or only a part of it.
        """
        try:
            data = json.loads(text)
        except RecursionError as error:
            raise ValueError("is nested deeper than a result") from error
        names = {f.name for f in dataclasses.fields(cls)}
        if not isinstance(data, dict) or set(data) != names:
            raise ValueError("does not hold a benchmark result")
        data["cell"] = Cell(**data["cell"])
        for name in _SERIES:
            data[name] = None if data[name] is None else np.array(data[name], float)
        data["extras"] = {name: _stacked(values) for name, values in data["extras"].items()}
        result = cls(**data)
        rounds = result.cell.rounds
        if short := [name for name, values in result.series() if len(values) != rounds]:
            raise ValueError(f"{', '.join(short)}: not {rounds} rounds long")
        return result


def _constants(problem: Problem) -> dict[str, Any]:
    """What a result keeps of its problem."""
    kept = {name: getattr(problem, name) for name in _CONSTANTS}
    for name in ("error_unit", "slot_ms"):  # where there is one
        if (value := getattr(problem, name)) is not None:
            kept[name] = value
    notion = problem.fairness.described()
    return kept if set(notion) == {"name", "alpha"} else {**kept, "fairness": notion}


def _stacked(values: Sequence[Any]) -> Array:
    """One entry a round as an array, of lists where their lengths differ; NaN where it is null."""
    try:
        array = np.array(values)
    except ValueError:
        array = np.empty(len(values), object)
        array[:] = [_listed(value) for value in values]
    if array.dtype == object and any(value is None for value in array.flat):
        with contextlib.suppress(TypeError, ValueError):  # texts, or what is no number
            return array.astype(float)
    return array


def _listed(value: Any) -> Any:
    """As JSON takes it: lists for arrays, null for what is not finite."""
    if isinstance(value, np.ndarray | np.generic):
        if value.dtype.kind != "O" and (value.dtype.kind != "f" or np.isfinite(value).all()):
            return value.tolist()
        value = value.tolist()
    if isinstance(value, Mapping):
        return {key: _listed(one) for key, one in value.items()}
    if isinstance(value, list | tuple):
        return [_listed(one) for one in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _plain(value: Any) -> Any:
    if isinstance(value, np.ndarray | np.generic):
        return value.tolist()
    raise TypeError(f"{type(value).__name__} is not JSON")


class Store:
    """A results folder.

    Args:
        folder: Made if it does not exist.

    Raises:
        OSError: The folder cannot be made or written.
        ValueError: A part of it is a link that leads out of it.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        names = "cells", "failures", "checkpoints", "set-aside"
        self._cells, self._failures, self.checkpoints, self._aside = [
            files.inside(folder, name) for name in names
        ]
        try:
            self._cells.mkdir(parents=True, exist_ok=True)
            with tempfile.TemporaryFile(dir=self._cells):
                pass  # raises here, before any work, where nothing can be written
        except OSError as error:
            raise OSError(f"{folder}: cannot be written ({error.strerror})") from error

    def __contains__(self, key: str) -> bool:
        return (self._cells / f"{key}.json").exists()

    def save(self, result: Result) -> None:
        """Keep a result, and forget that its cell failed before and where it stood."""
        files.write(self._cells / f"{result.cell.key}.json", result.to_json() + "\n")
        self._forget_checkpoint(result.cell.key)
        (self._failures / f"{result.cell.key}.json").unlink(missing_ok=True)

    def forget(self, key: str) -> None:
        """Remove what is kept of a cell that is to be played anew: its result, where it stood."""
        (self._cells / f"{key}.json").unlink(missing_ok=True)
        self._forget_checkpoint(key)

    def _forget_checkpoint(self, key: str) -> None:
        for suffix in (".safetensors", ".records"):
            (self.checkpoints / f"{key}{suffix}").unlink(missing_ok=True)

    def save_failure(self, key: str, error: str) -> None:
        """Keep the error of a cell, for the report."""
        self._failures.mkdir(exist_ok=True)
        files.write(self._failures / f"{key}.json", json.dumps({"error": error}))

    def failure(self, key: str) -> str | None:
        """The error that the cell ended with last time, if it did."""
        try:
            path = files.inside(self.folder, f"failures/{key}.json")
            return str(json.loads(path.read_text(encoding="utf-8"))["error"])
        except (OSError, ValueError, KeyError, TypeError, RecursionError):
            return None

    def tidy(self, keys: Iterable[str]) -> list[str]:
        """Set aside what is no result; returns a line for each file, naming it and the reason.

        Args:
            keys: Those whose content is to be read and judged; of others only the name is.
        """
        wanted = set(keys)
        return [
            f"{path}: {reason}; moved to {self._set_aside(path)}"
            for path in sorted(self._cells.iterdir())
            if (reason := _objection(path, path.stem in wanted)) is not None
        ]

    def load(self, keys: Iterable[str]) -> dict[str, Result]:
        """The stored results among ``keys``; call :meth:`tidy` first."""
        return {key: _read(self._cells / f"{key}.json") for key in keys if key in self}

    def _set_aside(self, path: Path) -> Path:
        self._aside.mkdir(exist_ok=True)
        target, n = self._aside / path.name, 1
        while target.exists():
            n += 1
            target = self._aside / f"{path.name}.{n}"
        path.rename(target)
        return target


def _objection(path: Path, read: bool) -> str | None:
    """Why a file in ``cells/`` is no result, or None if it is one (or one being written)."""
    if path.name.endswith(".tmp"):
        return None if files.writer_lives(path) else "half-written, its writer is gone"
    if not _KEY.fullmatch(path.name) or path.is_symlink() or not path.is_file():
        return "not a benchmark result"
    try:
        if read:
            _read(path)
    except (ValueError, TypeError, KeyError, OSError) as error:
        return f"unreadable ({error})"
    return None


def _read(path: Path) -> Result:
    result = Result.from_json(path.read_text(encoding="utf-8"))
    if result.cell.key != path.stem:
        raise ValueError("its name is not the key of its configuration")
    return result
