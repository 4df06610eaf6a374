"""Leaderboards as LaTeX's tabulars, for a paper (package booktabs)."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

from owo_agents.benchmark.figures.leaderboard import Board
from owo_agents.benchmark.report import inert
from owo_agents.benchmark.report.columns import Entry, Sheet, sheets

ABREAST = 6
"""Columns of figures that stand side by side on a page; with more, a grid's points do below."""


def latex(boards: Sequence[Board], columns: Sequence[str] | None = None) -> str:
    """A ``tabular`` a leaderboard; an experiment where columns are named, its whole grid in it.

    The best figure of each column is bold, at each point of a grid. The points of a grid stand
    side by side while ``ABREAST`` allows, and below each other else.

    Args:
        boards: The leaderboards.
        columns: Keys or titles of the columns, in order; all where None.

    Raises:
        ValueError: A column that nobody has.
    """
    return "\n".join(_tabular(sheet) for sheet in sheets(boards, columns))


def _tabular(sheet: Sheet) -> str:
    width = len(sheet.groups) * len(sheet.header)
    abreast = len(sheet.groups) > 1 and width <= ABREAST
    columns, lines = _abreast(sheet) if abreast else _below(sheet)
    return (
        f"% {inert.flat(sheet.title)}\n\\begin{{tabular}}{{{columns}}}\n\\toprule\n"
        f"{''.join(lines)}\\bottomrule\n\\end{{tabular}}\n"
    )


def _below(sheet: Sheet) -> tuple[str, list[str]]:
    """What the columns are and the lines: the points of a grid, if there is one, in turn."""
    keys = len(sheet.keys)
    titles = [inert.latex(title) for title in (*sheet.keys, "agent", *sheet.header)]
    lines = [_line(titles)]
    for group in sheet.groups:
        lines.append("\\midrule\n")
        point = [inert.latex(value) for value in group.point[:keys]]
        for name, found in group.rows:
            lines.append(_line([*point, inert.latex(name), *map(_cell, found)]))
            point = [""] * keys  # said once
    return "l" * (keys + 1) + "r" * len(sheet.header), lines


def _abreast(sheet: Sheet) -> tuple[str, list[str]]:
    """The same with a line for each agent and the points of the grid side by side."""
    wide = len(sheet.header)
    lines = [_line(["", *_spanning(sheet)])]
    if wide > 1:
        ends = [(2 + i * wide, 1 + (i + 1) * wide) for i in range(len(sheet.groups))]
        lines.append(" ".join(f"\\cmidrule(lr){{{a}-{b}}}" for a, b in ends) + "\n")
    titles = list(map(inert.latex, sheet.header)) * len(sheet.groups)
    lines += [_line(["agent", *titles]), "\\midrule\n"]
    names = dict.fromkeys(name for group in sheet.groups for name, _ in group.rows)
    by_name = [dict(group.rows) for group in sheet.groups]
    absent = [Entry("–")] * wide
    for name in names:
        found = [one for rows in by_name for one in rows.get(name, absent)]
        lines.append(_line([inert.latex(name), *map(_cell, found)]))
    return "l" + "r" * wide * len(sheet.groups), lines


def _spanning(sheet: Sheet) -> Iterator[str]:
    for group in sheet.groups:
        yield f"\\multicolumn{{{len(sheet.header)}}}{{c}}{{{inert.latex(group.label)}}}"


def _line(cells: Sequence[str]) -> str:
    return " & ".join(cells) + " \\\\\n"


def _cell(entry: Entry) -> str:
    figure, spread = (_signed(inert.latex(text)) for text in (entry.figure, entry.spread))
    figure = f"\\textbf{{{figure}}}" if entry.best else figure
    return f"{figure} {spread.removeprefix('{}')}" if spread else figure


def _signed(number: str) -> str:
    """A negative number with a minus, where LaTeX would print a hyphen."""
    return re.sub(r"(?<![-\w])-(?=[\d.])", "$-$", number)
