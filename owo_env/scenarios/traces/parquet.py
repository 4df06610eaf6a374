"""Traces as Parquet tables: a row for every round, slot, user and sample."""

from __future__ import annotations

import itertools
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from owo_env.scenarios.least_squares.measured import Recording
from owo_env.scenarios.traces.trace import Recordings, Trace, parse_settings

METADATA = b"airan-fairmtl"
INDEX = ("round", "slot", "user", "sample")


def _pyarrow() -> tuple[Any, Any]:
    try:
        import pyarrow
        import pyarrow.parquet
    except ImportError as error:
        raise ImportError(
            "Parquet traces need pyarrow: pip install 'airan-fairmtl[parquet]'"
        ) from error
    return pyarrow, pyarrow.parquet


class Table(Trace):
    """A trace in a Parquet file, read by row groups.

    Args:
        path: The file; its rows in order of round, slot, user and sample.

    Raises:
        ValueError: A column is missing, or rows are missing or out of order.
        ImportError: pyarrow is missing.
    """

    def __init__(self, path: Path) -> None:
        arrow, parquet = _pyarrow()
        self.source = str(path)
        try:
            self._file = parquet.ParquetFile(path, memory_map=True)
        except arrow.ArrowInvalid as error:
            raise ValueError(f"{path}: is not a Parquet file ({error})") from error
        schema = self._file.schema_arrow
        self.settings = parse_settings(self.source, (schema.metadata or {}).get(METADATA, b"{}"))
        names = schema.names
        self._index = [name for name in INDEX if name in names]
        pairs = (_columns(names, f"x{j}") for j in range(len(names)))
        self._x = list(itertools.takewhile(bool, pairs))
        self._y = _columns(names, "y")
        missing = [name for name in INDEX[:3] if name not in names]
        missing += [] if self._x else ["x0 (or x0_re, x0_im)"]
        missing += [] if self._y else ["y (or y_re, y_im)"]
        if missing:
            raise ValueError(f"{path}: lacks the columns {', '.join(missing)}; it has {names}")
        self._has_class = "user_class" in names
        metadata = self._file.metadata
        groups = [metadata.row_group(g).num_rows for g in range(metadata.num_row_groups)]
        self._starts = np.concatenate([[0], np.cumsum(groups)])
        self.shape = self._shape()

    def _shape(self) -> tuple[int, int, int, int, int]:
        """(T, m, K, S, d) from the index columns, which must count every row once, in order."""
        low, high = np.full(len(self._index), np.inf), np.full(len(self._index), -np.inf)
        for batch in self._file.iter_batches(columns=self._index):
            for i, name in enumerate(self._index):
                values = _numbers(self.source, name, batch.column(name))
                low[i], high[i] = min(low[i], values.min()), max(high[i], values.max())
        sizes = [int(n) for n in high - low + 1] if self._starts[-1] else [0]
        if np.prod(sizes, dtype=float) != self._starts[-1]:
            raise ValueError(
                f"{self.source}: has {self._starts[-1]} rows: must be one for each of "
                f"{' × '.join(self._index)} = {' × '.join(map(str, sizes))}"
            )
        self._low = low.astype(int)
        T, m, users, *samples = sizes
        return T, m, users, samples[0] if samples else 1, len(self._x)

    def _read(self, first: int, stop: int) -> Recording:
        _, m, users, samples, d = self.shape
        per_round = m * users * samples
        rows = slice(first * per_round, stop * per_round)
        groups = range(
            int(np.searchsorted(self._starts, rows.start, "right")) - 1,
            int(np.searchsorted(self._starts, rows.stop, "left")),
        )
        table = self._file.read_row_groups(list(groups))
        table = table.slice(rows.start - self._starts[groups.start], rows.stop - rows.start)
        shape = (stop - first, m, users, samples)
        self._check_order(table, shape, first)

        def values(columns: list[str]) -> NDArray[Any]:
            parts = [_numbers(self.source, name, table.column(name)) for name in columns]
            return parts[0] if len(parts) == 1 else _complex(*parts)

        about = {}
        if self._has_class:
            names = np.array(table.column("user_class").to_pylist(), str)
            about["user_class"] = names.reshape(shape)[:, 0, :, 0]
        return Recording(
            np.stack([values(columns) for columns in self._x], -1).reshape(*shape, d),
            values(self._y).reshape(shape),
            about,
        )

    def _check_order(self, table: Any, shape: tuple[int, ...], first: int) -> None:
        for axis, name in enumerate(self._index):
            counted = np.arange(shape[axis]) + self._low[axis] + (first if axis == 0 else 0)
            found = _numbers(self.source, name, table.column(name)).reshape(shape)
            wrong = np.moveaxis(found, axis, -1) != counted
            if wrong.any():
                raise ValueError(
                    f"{self.source}: rows are not sorted by {', '.join(self._index)}, or some "
                    f"are missing or double ({name}, rounds {first + 1} to {first + shape[0]})"
                )


def write(path: Path, recordings: Recordings, rounds: int, settings: Mapping[str, Any]) -> None:
    """Write a trace with one row group a round."""
    arrow, parquet = _pyarrow()
    single = (block[t : t + 1] for block in recordings() for t in range(len(block.targets)))
    tables = (arrow.table(_round_columns(one, number)) for number, one in enumerate(single, 1))
    head = next(tables)
    schema = head.schema.with_metadata({METADATA: json.dumps(settings)})
    with parquet.ParquetWriter(path, schema, use_dictionary=["user_class"]) as writer:
        for table in itertools.chain([head], tables):
            writer.write_table(table.cast(schema))


def _round_columns(recording: Recording, number: int) -> dict[str, NDArray[Any]]:
    """The columns of the round ``number``, which is all that the recording has."""
    features, targets = recording.features, recording.targets
    counted = zip(INDEX, np.indices(targets.shape, np.int32), (number, 1, 1, 1))
    columns = {name: (index + first).ravel() for name, index, first in counted}
    if "user_class" in recording.about:
        classes = recording.about["user_class"][:, None, :, None]
        columns["user_class"] = np.broadcast_to(classes, targets.shape).ravel()
    named = {f"x{j}": features[..., j].ravel() for j in range(features.shape[-1])}
    for name, values in (named | {"y": targets.ravel()}).items():
        if np.iscomplexobj(values):
            columns |= {f"{name}_re": values.real.copy(), f"{name}_im": values.imag.copy()}
        else:
            columns[name] = values
    return columns


def _columns(names: list[str], name: str) -> list[str]:
    """The columns of a quantity: one if real, two if complex, none if it is missing."""
    if name in names:
        return [name]
    pair = [f"{name}_re", f"{name}_im"]
    return pair if all(part in names for part in pair) else []


def _numbers(source: str, name: str, column: Any) -> NDArray[Any]:
    if column.null_count:
        raise ValueError(f"{source}: column {name} has {column.null_count} empty cells")
    values: NDArray[Any] = column.to_numpy() if hasattr(column, "chunks") else np.asarray(column)
    if values.dtype.kind not in "iuf":
        raise ValueError(f"{source}: column {name} has type {column.type}: must be numbers")
    return values


def _complex(real: NDArray[Any], imag: NDArray[Any]) -> NDArray[Any]:
    values = np.empty(real.shape, np.result_type(real, imag, np.complex64))
    values.real, values.imag = real, imag
    return values
