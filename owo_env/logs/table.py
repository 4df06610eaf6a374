"""Logs in long form, a row for each time and user, from files or from a data frame."""

from __future__ import annotations

import codecs
import csv
import itertools
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from owo_env import checks
from owo_env.extras import pip_line
from owo_env.logs.cells import Floats, Names, Numbers, Times, Where

CHUNK = 1 << 16  # rows that are text at a time
DELIMITERS = ",;\t|"
MARKS = {  # the longest first
    codecs.BOM_UTF32_LE: "utf-32",
    codecs.BOM_UTF32_BE: "utf-32",
    codecs.BOM_UTF8: "utf-8-sig",
    codecs.BOM_UTF16_LE: "utf-16",
    codecs.BOM_UTF16_BE: "utf-16",
}


@dataclass(frozen=True)
class Roles:
    """Which column is what.

    Attributes:
        time: When a row was measured.
        user: Whose it is; None: each file is a user.
        features: What the model sees.
        target: What it predicts.
        user_class: Of what kind the user is, or None.
    """

    time: str
    user: str | None
    features: tuple[str, ...]
    target: str
    user_class: str | None = None

    @property
    def numbers(self) -> tuple[str, ...]:
        """The columns of numbers, each once; the target last."""
        return (
            *(name for name in dict.fromkeys(self.features) if name != self.target),
            self.target,
        )

    @property
    def all(self) -> list[str]:
        """Every column, each once."""
        named = (self.time, self.user, self.user_class, *self.numbers)
        return list(dict.fromkeys(name for name in named if name is not None))


@dataclass
class Table:
    """What a log says, row by row in the order of reading.

    Attributes:
        source: For messages.
        roles: Which columns it was read from.
        time: In seconds, (R,), NaN where a row has none.
        user: Codes of :attr:`users`, (R,), −1 where a row has none.
        users: Their names.
        user_class: Codes of :attr:`classes`, (R,), −1 where a row has none.
        classes: Their names; empty without such a column.
        numbers: A column for each of ``roles.numbers``, (R, C), NaN where missing.
        zones: The time zones that the times were given in.
    """

    source: str
    roles: Roles
    time: Floats
    user: NDArray[np.int64]
    users: list[str]
    user_class: NDArray[np.int64]
    classes: list[str]
    numbers: Floats
    zones: list[str]


class _Rows:
    """Collects rows into a table."""

    def __init__(self, source: str, roles: Roles, unit: float | None) -> None:
        self.source, self.roles = source, roles
        self._times, self._users, self._classes = Times(roles.time, unit), Names(), Names()
        self.decimal_comma = True
        self._numbers: dict[str, list[Floats]] = {name: [] for name in roles.numbers}

    def file(self, comma: bool) -> dict[str, Numbers]:
        """The readers of one file's numbers, which has one kind of decimal sign."""
        return {name: Numbers(name, comma) for name in self.roles.numbers}

    def add(
        self,
        columns: Mapping[str, Any],
        where: Where,
        numbers: Mapping[str, Numbers],
        file: str,
    ) -> None:
        rows = len(next(iter(columns.values())))
        self._times.add(columns[self.roles.time], where)
        self._users.add(
            [file] * rows if self.roles.user is None else columns[self.roles.user], where
        )
        if self.roles.user_class is not None:
            self._classes.add(columns[self.roles.user_class], where)
        for name, reader in numbers.items():
            reader.add(columns[name], where)

    def ended(self, numbers: Mapping[str, Numbers]) -> None:
        for name, reader in numbers.items():
            self._numbers[name].append(reader.done())

    def table(self) -> Table:
        numbers = np.stack([np.concatenate(parts) for parts in self._numbers.values()], axis=-1)
        if not len(numbers):
            raise ValueError(f"{self.source}: has no rows")
        classes = self._classes.done()
        return Table(
            source=self.source,
            roles=self.roles,
            time=self._times.done(),
            user=self._users.done(),
            users=self._users.known,
            user_class=classes if len(classes) else np.full(len(numbers), -1),
            classes=self._classes.known,
            numbers=numbers,
            zones=sorted(self._times.zones),
        )


def read(
    paths: Sequence[str | os.PathLike[str]],
    roles: Roles,
    encoding: str | None = None,
    unit: float | None = None,
) -> Table:
    """The rows of one file or of several with the same columns.

    Args:
        paths: Text with a header, its columns separated by comma, semicolon, tab or |, or Parquet.
        roles: Which column is what.
        encoding: Of texts; default as a byte-order mark says, else UTF-8.
        unit: Of times that are numbers, in seconds.

    Raises:
        FileNotFoundError: No such file.
        ValueError: A column is missing, or a cell cannot be read; the message has file and line.
    """
    files = [Path(path).expanduser() for path in paths]
    source = str(files[0]) if len(files) == 1 else f"{files[0]} … ({len(files)} files)"
    if roles.user is None and len(files) < 2:
        raise ValueError(
            f"{source}: which column tells users apart? Name it as user, or give a file for each"
        )
    rows = _Rows(source, roles, unit)
    for path in files:
        if not path.is_file():
            raise FileNotFoundError(f"{path}: no such file")
        if path.suffix == ".parquet":
            _add_frame(rows, _parquet(path, roles), str(path), path.stem)
        else:
            _add_text(rows, path, encoding)
    return rows.table()


def of_frame(frame: Any, roles: Roles, unit: float | None = None) -> Table:
    """The rows of a data frame (pandas, polars, pyarrow) or a mapping of columns.

    Raises:
        ValueError: A column is missing or there twice, or a cell cannot be read; the message has
            its row.
    """
    if roles.user is None:
        raise ValueError("user=None: which column tells users apart?")
    rows = _Rows("the table", roles, unit)
    _add_frame(rows, frame, "the table", "")
    return rows.table()


def _add_frame(rows: _Rows, frame: Any, source: str, file: str) -> None:
    names = getattr(frame, "column_names", None) or list(getattr(frame, "columns", frame))
    _look_for(rows.roles, list(names), source)
    columns = {}
    for name in rows.roles.all:
        column = frame[name]
        values = np.asarray(column.to_numpy() if hasattr(column, "to_numpy") else column)
        if values.ndim != 1:
            raise ValueError(f"{source}: has two columns {name}, or one that is no list")
        columns[name] = values
    lengths = {name: len(values) for name, values in columns.items()}
    if len(set(lengths.values())) > 1:
        raise ValueError(f"{source}: columns differ in length: {lengths}")
    readers = rows.file(comma=True)
    rows.add(columns, lambda i: f"{source}, row {i + 1}", readers, file)
    rows.ended(readers)


def _parquet(path: Path, roles: Roles) -> Any:
    try:
        import pyarrow
        import pyarrow.parquet
    except ImportError as error:
        raise ImportError(f"Parquet logs need pyarrow: {pip_line('parquet')}") from error
    try:
        names = pyarrow.parquet.read_schema(path).names
        _look_for(roles, names, str(path))
        return pyarrow.parquet.read_table(path, columns=roles.all)
    except pyarrow.ArrowInvalid as error:
        raise ValueError(f"{path}: is not a Parquet file ({error})") from error


def _look_for(roles: Roles, names: Sequence[str], source: str) -> None:
    for name in roles.all:
        if name not in names:
            raise checks.unknown(f"column of {source}", name, filter(None, map(str, names)))
        if list(names).count(name) > 1:
            raise ValueError(f"{source}: has two columns {name!r}")


def _add_text(rows: _Rows, path: Path, encoding: str | None) -> None:
    encoding = encoding or _encoding(path)
    try:
        with open(path, encoding=encoding, newline="") as file:
            head = file.readline()
            delimiter = _delimiter(path, head)
            reader = csv.reader(itertools.chain([head], file), delimiter=delimiter)
            names = [name.strip("\ufeff \t") for name in next(reader)]
            _look_for(rows.roles, names, str(path))
            wanted = {name: names.index(name) for name in rows.roles.all}
            readers = rows.file(comma=delimiter != ",")
            for lines, chunk in _chunks(reader, path, len(names)):
                columns = {name: [row[j] for row in chunk] for name, j in wanted.items()}
                rows.add(columns, _at(path, lines), readers, path.stem)
            rows.ended(readers)
    except UnicodeError as error:
        raise ValueError(f"{_undecodable(path, encoding)}: is not {encoding} ({error})") from None
    except LookupError:
        raise ValueError(f"encoding={encoding!r}: Python knows no such encoding") from None
    except csv.Error as error:
        raise ValueError(f"{path}, line {reader.line_num}: {error}") from None


def _at(path: Path, lines: Sequence[int]) -> Where:
    return lambda i: f"{path}, line {lines[i]}"


def _chunks(reader: Any, path: Path, width: int) -> Iterator[tuple[list[int], list[list[str]]]]:
    """Rows, and the lines that they stand in, some at a time."""
    lines: list[int] = []
    rows: list[list[str]] = []
    for row in reader:
        if not row:
            continue
        if len(row) < width or any(row[width:]):
            raise ValueError(
                f"{path}, line {reader.line_num}: has {len(row)} cells, the header has {width}"
            )
        lines.append(reader.line_num)
        rows.append(row)
        if len(rows) == CHUNK:
            yield lines, rows
            lines, rows = [], []
    if rows:
        yield lines, rows


def _encoding(path: Path) -> str:
    """As the byte-order mark says, else UTF-8."""
    with open(path, "rb") as file:
        start = file.read(4096)
    for mark, name in MARKS.items():
        if start.startswith(mark):
            return name
    if b"\0" in start:
        raise ValueError(
            f"{path}: is no text, or one in UTF-16 without a byte-order mark: name its encoding"
        )
    return "utf-8"


def _delimiter(path: Path, head: str) -> str:
    """What separates most columns in the header."""
    if not head.strip():
        raise ValueError(f"{path}: is empty, or its first line is: must be the columns' names")
    counts = {d: len(next(csv.reader([head], delimiter=d))) for d in DELIMITERS}
    best = max(counts, key=lambda d: counts[d])
    if counts[best] < 2:
        raise ValueError(
            f"{path}, line 1: has one column, {head.strip()!r}: must be the columns' names, "
            "separated by comma, semicolon, tab or |"
        )
    return best


def _undecodable(path: Path, encoding: str) -> str:
    """The line that has the first byte which is none of the encoding's."""
    decode: Callable[..., Any] = codecs.getincrementaldecoder(encoding)().decode
    with open(path, "rb") as file:
        for number, line in enumerate(file, 1):
            try:
                decode(line)
            except UnicodeError:
                return f"{path}, line {number}"
    return str(path)
