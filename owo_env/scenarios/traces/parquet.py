"""Traces as Parquet tables: a row for every round, slot, user and sample."""

from __future__ import annotations

import contextlib
import itertools
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from owo_env.extras import pip_line
from owo_env.scenarios.least_squares.measured import LINK, Recording
from owo_env.scenarios.traces.file import TraceFile
from owo_env.scenarios.traces.trace import Recordings, Trace, parse_settings

METADATA = b"airan-fairmtl"
INDEX = ("round", "slot", "user", "sample")
CLASS = "user_class"


def _pyarrow() -> tuple[Any, Any]:
    try:
        import pyarrow
        import pyarrow.parquet
    except ImportError as error:
        raise ImportError(f"Parquet traces need pyarrow: {pip_line('parquet')}") from error
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
        self._file = TraceFile(path)
        try:
            with self._file.open() as file:
                table = parquet.ParquetFile(file)
        except arrow.ArrowInvalid as error:
            raise ValueError(f"{path}: is not a Parquet file ({error})") from error
        self._metadata, schema = table.metadata, table.schema_arrow
        self.settings = parse_settings(self.source, (schema.metadata or {}).get(METADATA, b"{}"))
        self._x, self._y = _quantities(self.source, schema.names)
        self._index = [name for name in INDEX if name in schema.names]
        self.about = [name for name in (CLASS, *LINK) if name in schema.names]
        self._columns = [*self._index, *itertools.chain(*self._x), *self._y, *self.about]
        groups = [self._metadata.row_group(g).num_rows for g in range(table.num_row_groups)]
        self._starts = np.concatenate([[0], np.cumsum(groups)]).astype(int)
        if not self._starts[-1]:
            raise ValueError(f"{path}: has no rows")
        self.shape = self._shape()

    @contextlib.contextmanager
    def _open(self) -> Iterator[Any]:
        """The table, whose footer is not read again."""
        arrow, parquet = _pyarrow()
        try:
            with self._file.open() as file:
                yield parquet.ParquetFile(file, metadata=self._metadata)
        except (arrow.ArrowException, OSError) as error:
            raise ValueError(f"{self.source}: cannot be read ({error})") from error

    def _counts(self) -> Iterator[list[NDArray[Any]]]:
        """The index columns, a batch of rows at a time."""
        with self._open() as table:
            for batch in table.iter_batches(columns=self._index):
                yield [_numbers(self.source, name, batch.column(name)) for name in self._index]

    def _shape(self) -> tuple[int, int, int, int, int]:
        """(T, m, K, S, d) from the index columns, which must count every row once, in order."""
        ends = [[(c.min(), c.max()) for c in columns] for columns in self._counts()]
        low, high = np.min(ends, axis=0)[:, 0], np.max(ends, axis=0)[:, 1]
        if not np.isfinite(low + high).all():
            raise ValueError(f"{self.source}: {', '.join(self._index)} must be whole numbers")
        sizes = [int(n) for n in high - low + 1]
        if np.prod(sizes, dtype=float) != self._starts[-1]:
            raise ValueError(self._miscounted(low, high, sizes))
        self._low = low.astype(int)
        T, m, users, *samples = sizes
        return T, m, users, samples[0] if samples else 1, len(self._x)

    def _miscounted(self, low: Sequence[float], high: Sequence[float], sizes: list[int]) -> str:
        """Why the rows are not one for each of round, slot, user and sample."""
        found: list[set[Any]] = [set() for _ in self._index]
        for columns in self._counts():
            for values, column in zip(found, columns):
                values.update(np.unique(column).tolist())
        for name, values, first, last, size in zip(self._index, found, low, high, sizes):
            if len(values) < size:
                return (
                    f"{self.source}: column {name} has {len(values)} numbers from {first:g} to "
                    f"{last:g}: must be counted without gaps"
                )
        return (
            f"{self.source}: has {self._starts[-1]} rows: must be one for each of "
            f"{' × '.join(self._index)} = {' × '.join(map(str, sizes))}"
        )

    def _read(self, first: int, stop: int) -> Recording:
        _, m, users, samples, d = self.shape
        per_round = m * users * samples
        rows = slice(first * per_round, stop * per_round)
        groups = range(
            int(np.searchsorted(self._starts, rows.start, "right")) - 1,
            int(np.searchsorted(self._starts, rows.stop, "left")),
        )
        with self._open() as whole:
            table = whole.read_row_groups(list(groups), columns=self._columns)
        table = table.slice(rows.start - self._starts[groups.start], rows.stop - rows.start)
        shape = (stop - first, m, users, samples)
        self._check_order(table, shape, first)

        def values(columns: list[str]) -> NDArray[Any]:
            parts = [_numbers(self.source, name, table.column(name)) for name in columns]
            return parts[0] if len(parts) == 1 else _complex(*parts)

        about = {}
        if CLASS in self._columns:
            about[CLASS] = _names(self.source, table.column(CLASS), shape)
        for name in LINK.keys() & set(self.about):
            about[f"_{name}"] = _link_array(self.source, name, table.column(name), shape)
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


def write(path: Path, recordings: Recordings, settings: Mapping[str, Any]) -> None:
    """Write a trace with one row group a round."""
    arrow, parquet = _pyarrow()
    single = (block[t : t + 1] for block in recordings() for t in range(len(block.targets)))
    tables = (arrow.table(_round_columns(one, number)) for number, one in enumerate(single, 1))
    head = next(tables)
    schema = head.schema.with_metadata({METADATA: json.dumps(settings)})
    with parquet.ParquetWriter(path, schema, use_dictionary=[CLASS]) as writer:
        for table in itertools.chain([head], tables):
            writer.write_table(table.cast(schema))


def _round_columns(recording: Recording, number: int) -> dict[str, NDArray[Any]]:
    """The columns of the round ``number``, which is all that the recording has."""
    features, targets = recording.features, recording.targets
    counted = zip(INDEX, np.indices(targets.shape, np.int32), (number, 1, 1, 1))
    columns = {name: (index + first).ravel() for name, index, first in counted}
    if CLASS in recording.about:
        classes = recording.about[CLASS][:, None, :, None]
        columns[CLASS] = np.broadcast_to(classes, targets.shape).ravel()
    for name, what in LINK.items():
        if f"_{name}" in recording.about:
            values = recording.about[f"_{name}"]
            values = values[..., None] if what == "by slot" else values[:, None, :, None]
            columns[name] = np.broadcast_to(values, targets.shape).ravel()
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


def _quantities(source: str, names: list[str]) -> tuple[list[list[str]], list[str]]:
    """The columns of each feature, and those of the target.

    Raises:
        ValueError: One is missing, is there twice, or is left over.
    """
    double = sorted({name for name in names if names.count(name) > 1})
    if double:
        raise ValueError(f"{source}: has two columns {' and two '.join(double)}")
    x = list(itertools.takewhile(bool, (_columns(names, f"x{j}") for j in itertools.count())))
    y = _columns(names, "y")
    missing = [name for name in INDEX[:3] if name not in names]
    missing += [] if x else ["x0 (or x0_re, x0_im)"]
    missing += [] if y else ["y (or y_re, y_im)"]
    if missing:
        raise ValueError(f"{source}: lacks the columns {', '.join(missing)}; it has {names}")
    used = {*itertools.chain(*x), *y}
    left = [n for n in names if re.fullmatch(r"(x\d+|y)(_re|_im)?", n) and n not in used]
    if left:
        raise ValueError(
            f"{source}: of the features there are only x0 to x{len(x) - 1}, and yet the columns "
            f"{', '.join(left)}: must be x0, x1, … without gaps and y, each as one real column or "
            "as a pair _re, _im"
        )
    return x, y


def _names(source: str, column: Any, shape: tuple[int, ...]) -> NDArray[np.str_]:
    """The users' classes in each round, (rounds, K)."""
    _check_cells(source, CLASS, column)
    names = np.array(column.to_pylist(), str).reshape(shape)
    if (names != names[:, :1, :, :1]).any():
        raise ValueError(f"{source}: column {CLASS} changes within a round")
    return names[:, 0, :, 0]


def _link_array(source: str, name: str, column: Any, shape: tuple[int, ...]) -> NDArray[Any]:
    """An array of ``LINK``, which is the same for all samples of a slot, or of a round."""
    _check_cells(source, name, column)
    values: NDArray[Any] = column.to_numpy().reshape(shape)
    by_round = LINK[name] == "by round"
    first = values[:, :1, :, :1] if by_round else values[..., :1]
    if (values != first).any():
        within = "round" if by_round else "slot"
        raise ValueError(f"{source}: column {name} changes within a {within}")
    return first[:, 0, :, 0] if by_round else first[..., 0]


def _check_cells(source: str, name: str, column: Any) -> None:
    if column.null_count:
        raise ValueError(f"{source}: column {name} has {column.null_count} empty cells")


def _numbers(source: str, name: str, column: Any) -> NDArray[Any]:
    _check_cells(source, name, column)
    values: NDArray[Any] = column.to_numpy() if hasattr(column, "chunks") else np.asarray(column)
    if values.dtype.kind not in "iuf":
        raise ValueError(f"{source}: column {name} has type {column.type}: must be numbers")
    return values


def _complex(real: NDArray[Any], imag: NDArray[Any]) -> NDArray[Any]:
    values = np.empty(real.shape, np.result_type(real, imag, np.complex64))
    values.real, values.imag = real, imag
    return values
