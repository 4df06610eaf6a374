"""The columns that a leaderboard's table has, what stands in them, and which figure is best."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from owo_agents.benchmark.figures.leaderboard import Board, Row, by_experiment
from owo_agents.benchmark.figures.statistics import SAME, Estimate
from owo_agents.benchmark.suite.values import words
from owo_env import checks

ORACLE = "oracle"
"""The agent that nobody can beat: the best of the others is what is marked."""


@dataclass(frozen=True)
class Column:
    """One column of figures.

    Attributes:
        key: What ``--columns`` and the long tables call it.
        title: For people.
        of: A row's figure.
        better: +1 higher is better, −1 lower is better, 0 neither.
        digits: Decimals shown.
        spread: Whether the interval stands beside the figure.
        par: The baseline's own figure where its row has none: a column of comparisons.
    """

    key: str
    title: str
    of: Callable[[Row], Estimate | None]
    better: int
    digits: int
    spread: bool = False
    par: float | None = None


@dataclass(frozen=True)
class Entry:
    """A cell: its figure, what is said of its spread, and whether it is the column's best."""

    figure: str
    spread: str = ""
    best: bool = False

    def __str__(self) -> str:
        return f"{self.figure} {self.spread}".rstrip()


def number_text(value: float, digits: int) -> str:
    """The number with so many decimals, and never a negative zero."""
    return f"{round(value, digits) + 0.0:,.{digits}f}"


def entry(estimate: Estimate | None, digits: int, spread: bool = True) -> Entry:
    """``0.0088 [0.0085, 0.0091]``, or that it is the same in every seed, or a dash."""
    if estimate is None:
        return Entry("–")
    value = number_text(estimate.value, digits)
    if not spread or estimate.low is None or estimate.high is None:
        return Entry(value, f"({SAME})" if spread and estimate.same else "")
    low, high = number_text(estimate.low, digits), number_text(estimate.high, digits)
    return Entry(value, f"[{low}, {high}]")


def difference_title(board: Board) -> str:
    """What the column of paired differences is called."""
    return f"{board.headline.title} − {board.experiment.baseline}'s"


def columns_of(board: Board) -> list[Column]:
    """Every column: the board's metrics, the paired difference, and P(better)."""
    head = board.headline

    def reads(key: str) -> Callable[[Row], Estimate | None]:
        return lambda row: row.figures.get(key)

    columns = [
        Column(m.key, m.title, reads(m.key), m.better, m.digits, spread=m is head)
        for m in board.metrics
    ]
    title, better = difference_title(board), head.better
    return [
        *columns,
        Column("difference", title, lambda r: r.difference, better, head.digits, True, par=0.0),
        Column("p_better", "P(better)", lambda r: r.improvement, +1, 2, par=0.5),
    ]


def chosen(boards: Sequence[Board], names: Sequence[str] | None) -> Callable[[Board], list[Column]]:
    """What chooses a board's columns, in the order of ``names``; all of them where None.

    Args:
        boards: All that there are: a column that one of them has is known.
        names: Keys or titles; ``utility`` is every user's.

    Raises:
        ValueError: A name that no board has a column for, with the nearest ones, or none at all.
    """
    if names is None:
        return columns_of
    known = {c.key: c.title for board in boards for c in columns_of(board)}
    if not names:
        raise ValueError(f"--columns: must name one column or more; known are {', '.join(known)}")
    for name in names:
        if not any(_called(key, title, name) for key, title in known.items()):
            raise checks.unknown("column", name, known)

    def choose(board: Board) -> list[Column]:
        found = [c for n in names for c in columns_of(board) if _called(c.key, c.title, n)]
        return list({column.key: column for column in found}.values())

    return choose


def _called(key: str, title: str, name: str) -> bool:
    return name in (key, title, key.split(" ")[0])


def entries(board: Board, column: Column) -> list[Entry]:
    """What stands in a column, row by row, the best figure marked.

    Ties are ties of the printed digits. The oracle is left out, and nothing is best where all
    are the same, nor in a comparison that the baseline wins.
    """
    found = [entry(column.of(row), column.digits, column.spread) for row in board.rows]
    values = [_value(board, column, row) for row in board.rows]
    known = [value for value in values if value is not None]
    if not column.better or len(set(known)) < 2:
        return found
    best = max(column.better * value for value in known)
    return [
        dataclasses.replace(one, best=value is not None and column.better * value == best)
        if column.of(row) is not None
        else one
        for one, value, row in zip(found, values, board.rows, strict=True)
    ]


def _value(board: Board, column: Column, row: Row) -> float | None:
    """A row's figure as printed, if it may be the best."""
    if board.experiment.agents[row.label].agent == ORACLE:
        return None
    estimate = column.of(row)
    value = column.par if estimate is None and row.label == board.experiment.baseline else None
    value = estimate.value if estimate is not None else value
    return None if value is None or math.isnan(value) else round(value, column.digits) + 0.0


@dataclass(frozen=True)
class Group:
    """The rows of one point of a grid.

    Attributes:
        point: Its values, one a key of the grid.
        label: The same in words.
        rows: An agent's name, and what stands in each column.
    """

    point: list[str]
    label: str
    rows: list[tuple[str, list[Entry]]]


@dataclass(frozen=True)
class Sheet:
    """One table.

    Attributes:
        title: For people.
        keys: Of the grid whose points it shows together; empty of one leaderboard.
        header: The columns' titles.
        groups: The points.
    """

    title: str
    keys: list[str]
    header: list[str]
    groups: list[Group]


def sheets(boards: Sequence[Board], names: Sequence[str] | None = None) -> list[Sheet]:
    """A table for each leaderboard; for each experiment where columns are named.

    Raises:
        ValueError: As :func:`chosen`.
    """
    choose = chosen(boards, names)
    if names is None:
        return [_sheet([board], board.title, choose) for board in boards]
    return [_sheet(group, group[0].experiment.title, choose) for group in by_experiment(boards)]


def _sheet(boards: Sequence[Board], title: str, choose: Callable[[Board], list[Column]]) -> Sheet:
    titles = {column.key: column.title for board in boards for column in choose(board)}
    groups = []
    for board in boards:
        found = {column.key: entries(board, column) for column in choose(board)}
        rows = [
            (board.name_of(row.label), [found[k][i] if k in found else Entry("–") for k in titles])
            for i, row in enumerate(board.rows)
        ]
        point = [words(value) for value in board.variant.point.values()]
        groups.append(Group(point, board.variant.label, rows))
    keys = list(boards[0].variant.point) if len(boards) > 1 else []
    return Sheet(title, keys, list(titles.values()), groups)
