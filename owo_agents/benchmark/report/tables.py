"""Leaderboards as text: Markdown, CSV, LaTeX, Parquet, and a table for the terminal."""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from rich.box import SIMPLE_HEAD
from rich.cells import cell_len
from rich.table import Table

from owo_agents.benchmark.figures import certificates, claims, judged
from owo_agents.benchmark.figures.leaderboard import Board, Row, by_experiment
from owo_agents.benchmark.figures.metrics import Metric
from owo_agents.benchmark.figures.statistics import SAME, Estimate
from owo_agents.benchmark.report import crowd, inert
from owo_agents.benchmark.report.columns import (
    Entry,
    Sheet,
    chosen,
    entry,
    sheets,
)
from owo_agents.benchmark.report.latex import latex
from owo_agents.benchmark.report.words import below
from owo_agents.benchmark.suite.values import words
from owo_env.extras import pip_line


def figure_text(estimate: Estimate | None, digits: int, spread: bool = True) -> str:
    """A figure and its interval, as one text."""
    return str(entry(estimate, digits, spread))


def verdicts(board: Board) -> list[list[str]]:
    """A header, and a line for each verdict on the experiment's claims; empty without any."""
    return _verdict_lines(claims.verdicts(board))


def slope_verdicts(boards: Sequence[Board]) -> list[list[str]]:
    """The same of the claims about slopes over an experiment's grid."""
    return _verdict_lines(claims.slopes(boards))


def _verdict_lines(found: Sequence[claims.Verdict]) -> list[list[str]]:
    lines = [[v.claim.text, v.word, v.measured] for v in found]
    return [["claim", "here", "measured"], *lines] if lines else []


def shown(boards: Sequence[Board], width: int) -> Iterator[Table | str]:
    """The leaderboards for people; of an experiment with a grid one table of its headline figure.

    Args:
        boards: What is done.
        width: Of a line, in characters.
    """
    for together in by_experiment(boards):
        if len(together) > 1:
            yield grid_table(together, width)
            if (judged := judged_table(together)) is not None:
                yield judged
            for text, words in claims.tally(together).items():
                counts = ", ".join(f"{word} at {count}" for word, count in words.items())
                yield f"{text}: {counts} of {len(together)} points"
        else:
            yield terminal(together[0], width)
            if (low := below(together[0])) is not None:
                yield low
            if said := verdicts(together[0]):
                yield claims_table(said)
        if said := slope_verdicts(together):
            yield claims_table(said)
        baseline = together[0].experiment.baseline
        runs = [run for board in together for run in board.runs.get(baseline, {}).values()]
        for check in certificates.checks_of(runs):
            yield f"{baseline}, {check.name}: {check}"


def few(names: Sequence[str]) -> str:
    """Some of the names, and how many more there are."""
    more = f" and {len(names) - 3} more" if len(names) > 3 else ""
    return f"{'; '.join(names[:3])}{more}"


# Columns of the terminal's table, the first to be kept where it is narrow.
_FIRST = ("fairness", "regret", "utility", "nmse_db", "rmse", "worst_user", "below_u_min")


def terminal(board: Board, width: int) -> Table:
    """The leaderboard for a terminal: as many columns as ``width`` bears, the telling ones first.

    The headline figure comes with half its interval, and the table says where it has none.
    """
    texts = {m.key: [_terminal_figure(board, row, m) for row in board.rows] for m in board.metrics}
    room = width - max(len(board.name_of(row.label)) for row in board.rows) - 4
    kept = set()
    for metric in sorted(board.metrics, key=_place):
        room -= max(map(len, [*texts[metric.key], metric.title])) + 3
        if room < 0:
            break
        kept.add(metric.key)
    table = _titled(board.title)
    if board.same:
        table.caption = f"{board.headline.title} {SAME}: {', '.join(board.same)}"
    table.add_column("agent", no_wrap=True)
    columns = [metric for metric in board.metrics if metric.key in kept]
    for metric in columns:
        table.add_column(metric.title, justify="right", no_wrap=True)
    for place, row in enumerate(board.rows):
        style = "bold magenta" if row.label == board.experiment.baseline else ""
        table.add_row(
            board.name_of(row.label), *(texts[m.key][place] for m in columns), style=style
        )
    return table


def _titled(title: str) -> Table:
    return Table(
        title=title, title_justify="left", caption_justify="left", box=SIMPLE_HEAD, pad_edge=False
    )


def _place(metric: Metric) -> int:
    """Where among ``_FIRST`` a metric stands, or after them."""
    kind = metric.key.split(" ")[0]
    return [*_FIRST, kind].index(kind)


def _terminal_figure(board: Board, row: Row, metric: Metric) -> str:
    estimate = row.figures.get(metric.key)
    text = figure_text(estimate, metric.digits, spread=False)
    if metric is board.headline and estimate is not None and estimate.low is not None:
        half = (estimate.high - estimate.low) / 2  # type: ignore[operator]
        text += f" ±{half:.{metric.digits}f}"
    return text


def claims_table(lines: Sequence[Sequence[str]]) -> Table:
    """The lines of :func:`verdicts` or :func:`slope_verdicts`."""
    table = Table("claim", "here", "measured", box=SIMPLE_HEAD, pad_edge=False)
    for line in lines[1:]:
        table.add_row(*line)
    return table


def grid_table(boards: Sequence[Board], width: float = math.inf) -> Table:
    """One experiment's headline figure at each point of its grid.

    A row is a point, or an agent where only that fits into ``width``; where neither does, there
    are as many agents as fit, the baseline and the best first, and the table says who is missing.
    """
    first = boards[0]
    keys, labels = list(first.variant.point), crowd.order(boards)
    points = [[words(board.variant.point[key]) for key in keys] for board in boards]
    agents = [[label, *(_headline(board, label) for board in boards)] for label in labels]
    left = _transposed([keys, *points])
    table = _titled(f"{first.experiment.title}: {first.headline.title}")
    notes = [SAME] if all(len(board.same) == len(board.rows) for board in boards) else []
    if not _fits([*left, *agents], width) and _fits(turned := _by_point(agents, boards), width):
        left, agents = turned[:1], turned[1:]
    elif not _fits([*left, *agents], width):
        best = crowd.by_rank(boards)
        agents.sort(key=lambda column: best.index(column[0]))
        fitting = [n for n in range(1, len(agents)) if _fits([*left, *agents[:n]], width)]
        shown = max(fitting, default=1)
        notes.append(f"not shown: {', '.join(column[0] for column in agents[shown:])}")
        agents = agents[:shown]
    table.caption = "; ".join(notes) or None
    for header, *_ in left:
        table.add_column(header, no_wrap=True)
    for header, *_ in agents:
        table.add_column(header, justify="right", no_wrap=True)
    for row in _transposed([*left, *agents])[1:]:
        table.add_row(*row)
    return table


def _headline(board: Board, label: str) -> str:
    row = board.row(label)
    figure = None if row is None else row.figures.get(board.headline.key)
    return figure_text(figure, board.headline.digits, spread=False)


def _transposed(lines: Sequence[Sequence[str]]) -> list[list[str]]:
    return list(map(list, zip(*lines, strict=True)))


def _by_point(agents: Sequence[Sequence[str]], boards: Sequence[Board]) -> list[list[str]]:
    """The columns of a table whose rows are agents."""
    points = ["\n".join(board.variant.label.split(", ")) for board in boards]
    return _transposed([["agent", *points], *agents])


def _fits(columns: Sequence[Sequence[str]], width: float) -> bool:
    """Whether a terminal bears the columns, with two spaces and a line between them."""
    lines = ["\n".join(column).split("\n") for column in columns]
    return sum(max(map(cell_len, one)) + 3 for one in lines) - 1 <= width


def judged_lines(boards: Sequence[Board]) -> list[list[str]]:
    """What was learned under one notion, judged by another: a header and lines; maybe empty."""
    matrix = judged.matrix(boards)
    digits = boards[0].headline.digits
    lines = [
        [learned, *(figure_text(found.get(by), digits, spread=False) for by in matrix)]
        for learned, found in matrix.items()
    ]
    return [["learned under ↓, judged by →", *matrix], *lines] if lines else []


def judged_title(boards: Sequence[Board]) -> str:
    """What :func:`judged_lines` shows."""
    experiment = boards[0].experiment
    return f"{experiment.title}: {experiment.baseline} learned under one notion, judged by another"


def judged_table(boards: Sequence[Board]) -> Table | None:
    """:func:`judged_lines` for a terminal."""
    if not (lines := judged_lines(boards)):
        return None
    table = _titled(judged_title(boards))
    table.caption = judged.MEANING
    for place, title in enumerate(lines[0]):
        table.add_column(title, justify="right" if place else "left")
    for line in lines[1:]:
        table.add_row(*line)
    return table


def markdown(boards: Sequence[Board], columns: Sequence[str] | None = None) -> str:
    """One table a leaderboard, and one an experiment whose grid is of notions of fairness.

    Args:
        boards: The leaderboards.
        columns: Keys or titles of the columns, in order: then there is a table an experiment, its
            whole grid in it, and nothing else. All columns where None.

    Raises:
        ValueError: A column that nobody has.
    """
    if columns is not None:
        return "\n".join(map(_markdown, sheets(boards, columns)))
    texts: list[str] = []
    for together in by_experiment(boards):
        for board, sheet in zip(together, sheets(together), strict=True):
            said = verdicts(board)
            texts.append(_markdown(sheet) + (f"\n{_pipes(said, '---')}" if said else ""))
        if said := slope_verdicts(together):
            title = inert.markdown(f"{together[0].experiment.title}: slopes")
            texts.append(f"## {title}\n\n{_pipes(said, '---')}")
        if lines := judged_lines(together):
            title = inert.markdown(judged_title(together))
            texts.append(f"## {title}\n\n{judged.MEANING}\n\n{_pipes(lines, '--:')}")
    return "\n".join(texts)


def _markdown(sheet: Sheet) -> str:
    header = _escaped([*sheet.keys, "agent", *sheet.header])
    lines = []
    for group in sheet.groups:
        point = _escaped(group.point[: len(sheet.keys)])
        for name, found in group.rows:
            lines.append([*point, inert.markdown(name), *map(_markdown_cell, found)])
            point = [""] * len(sheet.keys)  # said once
    left = len(sheet.keys) + 1
    aligns = ["---"] * left + ["--:"] * len(sheet.header)
    return f"## {inert.markdown(sheet.title)}\n\n{_piped(header, aligns, lines)}"


def _markdown_cell(one: Entry) -> str:
    figure = inert.markdown(one.figure)
    figure = f"**{figure}**" if one.best else figure
    return f"{figure} {inert.markdown(one.spread)}" if one.spread else figure


def _escaped(texts: Sequence[str]) -> list[str]:
    return [inert.markdown(text) for text in texts]


def _pipes(lines: Sequence[Sequence[str]], align: str) -> str:
    header, *body = map(_escaped, lines)
    return _piped(header, ["---"] + [align] * (len(header) - 1), body)


def _piped(header: Sequence[str], aligns: Sequence[str], lines: Sequence[Sequence[str]]) -> str:
    """A Markdown table of texts that are Markdown already."""
    head, *body = [f"| {' | '.join(line)} |\n" for line in [header, *lines]]
    return f"{head}|{'|'.join(aligns)}|\n{''.join(body)}"


def records(boards: Sequence[Board], columns: Sequence[str] | None = None) -> list[dict[str, Any]]:
    """Long form: a record for each leaderboard, agent and column, for data frames.

    Raises:
        ValueError: A column that nobody has.
    """
    choose = chosen(boards, columns)
    return [
        {
            "experiment": board.experiment.name,
            "point": board.variant.label,
            "agent": row.label,
            "metric": column.key,
            "iqm": estimate.value,
            "low": estimate.low,
            "high": estimate.high,
            "seeds": estimate.seeds,
        }
        for board in boards
        for row in board.rows
        for column in choose(board)
        if (estimate := column.of(row)) is not None
    ]


def comma_separated(boards: Sequence[Board], columns: Sequence[str] | None = None) -> str:
    """The records as CSV, which no spreadsheet takes for formulas."""
    rows = [
        {key: inert.spreadsheet(v) if isinstance(v, str) else v for key, v in record.items()}
        for record in records(boards, columns)
    ]
    buffer = io.StringIO()
    writer = csv.DictWriter(buffer, fieldnames=list(rows[0]) if rows else [])
    writer.writeheader()
    writer.writerows(rows)
    return buffer.getvalue()


def parquet(boards: Sequence[Board], columns: Sequence[str] | None = None) -> bytes:
    """The records as Parquet.

    Raises:
        ImportError: PyArrow is not installed; the message says how to install it.
    """
    try:
        import pyarrow as pa
        import pyarrow.parquet as pq
    except ImportError as error:
        raise ImportError(f"--format parquet needs PyArrow: {pip_line('parquet')}") from error
    sink = io.BytesIO()
    pq.write_table(pa.Table.from_pylist(records(boards, columns)), sink)
    return sink.getvalue()


FORMATS: dict[str, tuple[str, Callable[[Sequence[Board], Sequence[str] | None], str | bytes]]] = {
    "md": ("md", markdown),
    "csv": ("csv", comma_separated),
    "parquet": ("parquet", parquet),
    "latex": ("tex", latex),
}
"""Format → the suffix of its file, and what chosen columns of the leaderboards are in it."""
