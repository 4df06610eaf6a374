"""From what stands in a log's cells to numbers, names and seconds; what is neither is named."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from datetime import date
from typing import Any

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Where = Callable[[int], str]
"""Of a row, counted from 0: the file and line, for messages."""

MISSING = frozenset(("", "-", "--", "na", "n/a", "nan", "nat", "<na>", "null", "none", "?"))

_COMMA = re.compile(r"[+-]?\d*,\d+([eE][+-]?\d+)?")
_MOMENT = re.compile(
    r"(\d{4})[-./](\d\d?)[-./](\d\d?)[ T_](\d\d?)[:.](\d\d)(?:[:.](\d\d)(?:[.,](\d+))?)?"
    r"\s*(Z|UTC|[+-]\d\d:?\d\d)?"
)
UNITS = {"ns": 1e-9, "us": 1e-6, "µs": 1e-6, "ms": 1e-3, "s": 1.0, "min": 60.0, "h": 3600.0}
_LENGTH = re.compile(r"\s*([\d.]*(?:[eE][+-]?\d+)?)\s*(ns|us|µs|ms|s|min|h)\s*")


def seconds(argument: str, value: object) -> float:
    """A length of time: a number of seconds, or a text such as ``"10ms"``.

    Raises:
        ValueError: It is neither, or not positive and finite.
    """
    found: Any = value
    if isinstance(value, str):
        parts = _LENGTH.fullmatch(value)
        try:
            found = float(parts[1] or 1) * UNITS[parts[2]] if parts else None
        except ValueError:
            found = None
    try:
        found = float(found)
    except (TypeError, ValueError):
        found = -1.0
    if not 0 <= found < np.inf or isinstance(value, bool):
        raise ValueError(
            f"{argument}={value!r}: must be a length of time such as 10ms, 0.5s or 1min, or a "
            "number of seconds"
        )
    return found  # type: ignore[no-any-return]


def missing(cell: object) -> bool:
    """Whether a cell says that there is nothing."""
    return cell is None or str(cell).strip().lower() in MISSING


class Numbers:
    """A column of numbers, NaN where one is missing.

    Args:
        name: The column's.
        comma: Whether a comma may stand for the decimal point, as where it separates no columns.
    """

    def __init__(self, name: str, comma: bool = True) -> None:
        self.name, self._comma = name, comma
        self._parts: list[Floats] = []
        self._point: str | None = None  # where decimal points and commas were first seen
        self._commas: str | None = None

    def add(self, cells: Sequence[Any], where: Where) -> None:
        """Some more rows.

        Raises:
            ValueError: A cell is no number, is infinite, or has a comma where others had points.
        """
        try:
            values, plain = np.array(cells, float), True  # most often all of them are numbers
        except (ValueError, TypeError):
            numbers = [self._number(cell, i, where) for i, cell in enumerate(cells)]
            values, plain = np.array(numbers, float), False
        infinite = np.flatnonzero(np.isinf(values))
        if len(infinite):
            raise ValueError(f"{where(int(infinite[0]))}: {self.name} is infinite")
        if plain:
            self._mark_point(values, where)
        self._parts.append(values)

    def done(self) -> Floats:
        """The whole column."""
        return np.concatenate(self._parts) if self._parts else np.zeros(0)

    def _mark_point(self, values: Floats, where: Where) -> None:
        if self._point is None and self._comma:
            broken = np.flatnonzero(values % 1 > 0)
            if len(broken):
                self._saw(point=where(int(broken[0])))

    def _number(self, cell: Any, i: int, where: Where) -> float:
        if missing(cell):
            return np.nan
        text = str(cell).strip()
        if self._comma and _COMMA.fullmatch(text):
            self._saw(comma=where(i))
            text = text.replace(",", ".")
        elif "." in text:
            self._saw(point=where(i))
        try:
            return float(text)
        except ValueError:
            raise ValueError(
                f"{where(i)}: {self.name} is {text!r}: must be a number, or empty where it is "
                "missing"
            ) from None

    def _saw(self, point: str | None = None, comma: str | None = None) -> None:
        self._point, self._commas = self._point or point, self._commas or comma
        if self._point and self._commas and self._comma:
            raise ValueError(
                f"column {self.name} has a decimal point in {self._point} and a decimal comma in "
                f"{self._commas}: must have one of the two throughout"
            )


class Names:
    """A column of names (users, classes) as codes; −1 where one is missing.

    Attributes:
        known: The names by code.
    """

    def __init__(self) -> None:
        self.known: list[str] = []
        self._codes: dict[str, int] = {}
        self._parts: list[NDArray[np.int64]] = []

    def add(self, cells: Sequence[Any], where: Where) -> None:
        """Some more rows."""
        self._parts.append(np.array([self._code(cell) for cell in cells], np.int64))

    def done(self) -> NDArray[np.int64]:
        """The whole column."""
        return np.concatenate(self._parts) if self._parts else np.zeros(0, np.int64)

    def _code(self, cell: Any) -> int:
        if missing(cell):
            return -1
        if isinstance(cell, float | np.floating) and float(cell).is_integer():
            cell = int(cell)  # a library's whole numbers, where some are missing
        name = str(cell).strip()
        if name not in self._codes:
            self._codes[name] = len(self.known)
            self.known.append(name)
        return self._codes[name]


class Times:
    """A column of times in seconds, NaN where one is missing.

    Numbers, or dates with a time of day, ISO 8601 and its relatives, with or without a zone.

    Args:
        name: The column's.
        unit: Of numbers, in seconds; None: told by their size, seconds where they are small.
    """

    def __init__(self, name: str, unit: float | None = None) -> None:
        self.name, self._unit = name, unit
        self._parts: list[Floats] = []
        self._kinds: dict[str, str] = {}  # number, date, or date with zone → where first
        self._days: dict[tuple[str, ...], float] = {}
        self.zones: set[str] = set()

    def add(self, cells: Sequence[Any], where: Where) -> None:
        """Some more rows.

        Raises:
            ValueError: A cell is no time, or of another kind than those before.
        """
        if isinstance(cells, np.ndarray) and cells.dtype.kind in "Mm":
            of = cells.astype("datetime64[ns]" if cells.dtype.kind == "M" else "timedelta64[ns]")
            values = of.astype(np.int64) * 1e-9
            values[np.isnat(of)] = np.nan
            self._saw("a date without a time zone", where(0))
        else:
            try:
                values = np.array(cells, float)
            except (ValueError, TypeError):
                values = np.array([self._time(c, i, where) for i, c in enumerate(cells)], float)
            else:
                self._saw("a number", where(0))
        self._parts.append(values)

    def done(self) -> Floats:
        """The whole column, in seconds."""
        values = np.concatenate(self._parts) if self._parts else np.zeros(0)
        if "a number" not in self._kinds:
            return values
        return values * (self._unit if self._unit is not None else _unit_of(values))

    def _time(self, cell: Any, i: int, where: Where) -> float:
        if missing(cell):
            return np.nan
        text = str(cell).strip()
        found = _MOMENT.fullmatch(text)
        if found is None:
            try:
                value = float(text.replace(",", "."))
            except ValueError:
                value = np.inf
            if not np.isfinite(value):
                raise ValueError(
                    f"{where(i)}: {self.name} is {text!r}: must be a number, or a date and a time "
                    "of day such as 2026-03-01 12:00:00.010 (year first)"
                )
            self._saw("a number", where(i))
            return value
        *day, hour, minute, second, fraction, zone = found.groups()
        self._saw(f"a date with{'' if zone else 'out'} a time zone", where(i))
        try:
            value = self._day(tuple(day)) + _of_day(hour, minute, second, fraction)
        except ValueError as error:
            raise ValueError(f"{where(i)}: {self.name} is {text!r} ({error})") from None
        return value - self._offset(zone)

    def _day(self, day: tuple[str, ...]) -> float:
        if day not in self._days:
            self._days[day] = 86400.0 * date(*map(int, day)).toordinal()
        return self._days[day]

    def _offset(self, zone: str | None) -> float:
        if zone is None:
            return 0.0
        self.zones.add("+00:00" if zone in ("Z", "UTC") else f"{zone[:3]}:{zone[-2:]}")
        if zone in ("Z", "UTC"):
            return 0.0
        sign = -1 if zone[0] == "-" else 1
        return sign * (3600.0 * int(zone[1:3]) + 60.0 * int(zone[-2:]))

    def _saw(self, kind: str, where: str) -> None:
        self._kinds.setdefault(kind, where)
        if len(self._kinds) > 1:
            (one, there), (other, here) = self._kinds.items()
            raise ValueError(
                f"column {self.name} has {one} in {there} and {other} in {here}: must be of one "
                "kind throughout"
            )


def _of_day(hour: str, minute: str, second: str | None, fraction: str | None) -> float:
    if int(hour) > 23 or int(minute) > 59 or int(second or 0) > 60:  # 60: a leap second
        raise ValueError("no such time of day")
    return 3600.0 * int(hour) + 60.0 * int(minute) + float(f"{second or 0}.{fraction or 0}")


def _unit_of(values: Floats) -> float:
    """The unit of times since 1970, told by their size; seconds where they are small."""
    size = np.nanmedian(np.abs(values)) if np.isfinite(values).any() else 0.0
    return next(
        (unit for least, unit in ((1e17, 1e-9), (1e14, 1e-6), (1e11, 1e-3)) if size >= least), 1.0
    )
