"""Leaderboards as text: Markdown, CSV, LaTeX, Parquet, and a table for the terminal."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from rich.box import SIMPLE_HEAD
from rich.markup import escape
from rich.table import Table

from owo_agents.benchmark.figures import claims
from owo_agents.benchmark.figures.leaderboard import Board, Row
from owo_agents.benchmark.figures.metrics import Metric
from owo_agents.benchmark.figures.statistics import Estimate

FORMATS = ("md", "csv", "parquet", "latex")


def figure_text(estimate: Estimate | None, digits: int, spread: bool = True) -> str:
    """``0.0088 [0.0085, 0.0091]``, or a dash."""
    if estimate is None:
        return "–"
    value = number_text(estimate.value, digits)
    if not spread or estimate.low is None or estimate.high is None:
        return value
    return f"{value} [{number_text(estimate.low, digits)}, {number_text(estimate.high, digits)}]"


def number_text(value: float, digits: int) -> str:
    """The number with so many decimals, and never a negative zero."""
    return f"{round(value, digits) + 0.0:,.{digits}f}"


def difference_title(board: Board) -> str:
    """What the column of paired differences is called."""
    return f"{board.headline.title} − {board.experiment.baseline}'s"


def _cells(board: Board, row: Row) -> Iterator[str]:
    yield row.label
    for metric in board.metrics:
        spread = metric is board.headline
        yield figure_text(row.figures.get(metric.key), metric.digits, spread)
    yield figure_text(row.difference, board.headline.digits)
    yield figure_text(row.improvement, 2, spread=False)


def _header(board: Board) -> list[str]:
    titles = [metric.title for metric in board.metrics]
    return ["agent", *titles, difference_title(board), "P(better)"]


# Columns of the terminal's table, the first to be kept where it is narrow.
_FIRST = ("fairness", "regret", "utility", "worst_user", "slots_per_second", "total_weight")


def terminal(board: Board, width: int) -> Table:
    """The leaderboard for a terminal: as many columns as ``width`` bears, the telling ones first.

    The headline figure comes with half its interval.
    """
    texts = {
        metric.key: [_terminal_figure(board, row, metric) for row in board.rows]
        for metric in board.metrics
    }
    room = width - max(len(row.label) for row in board.rows) - 4
    kept = set()
    for metric in _by_priority(board.metrics):
        room -= max(map(len, [*texts[metric.key], metric.title])) + 3
        if room < 0:
            break
        kept.add(metric.key)
    table = Table(title=escape(board.title), title_justify="left", box=SIMPLE_HEAD, pad_edge=False)
    table.add_column("agent", no_wrap=True)
    columns = [metric for metric in board.metrics if metric.key in kept]
    for metric in columns:
        table.add_column(escape(metric.title), justify="right", no_wrap=True)
    for place, row in enumerate(board.rows):
        style = "bold magenta" if row.label == board.experiment.baseline else ""
        table.add_row(escape(row.label), *(texts[m.key][place] for m in columns), style=style)
    return table


def _by_priority(metrics: Sequence[Metric]) -> list[Metric]:
    def place(metric: Metric) -> int:
        kind = metric.key.split(" ")[0]
        return _FIRST.index(kind) if kind in _FIRST else len(_FIRST)

    return sorted(metrics, key=place)


def _terminal_figure(board: Board, row: Row, metric: Metric) -> str:
    estimate = row.figures.get(metric.key)
    text = figure_text(estimate, metric.digits, spread=False)
    if metric is board.headline and estimate is not None and estimate.low is not None:
        half = (estimate.high - estimate.low) / 2  # type: ignore[operator]
        text += f" ±{half:.{metric.digits}f}"
    return text


def claims_table(board: Board) -> Table:
    """The verdicts on the experiment's claims."""
    table = Table("claim", "here", "measured", box=SIMPLE_HEAD, pad_edge=False)
    for verdict in claims.verdicts(board):
        table.add_row(escape(verdict.claim.text), verdict.word, escape(verdict.measured))
    return table


def grid_table(boards: Sequence[Board]) -> Table:
    """One experiment's headline figure, a row for each point of its grid."""
    first = boards[0]
    title = escape(f"{first.experiment.title}: {first.headline.title}")
    table = Table(title=title, title_justify="left", box=SIMPLE_HEAD, pad_edge=False)
    keys = list(first.variant.point)
    for key in keys:
        table.add_column(escape(key), no_wrap=True)
    labels = [a for a in first.experiment.agents if any(a in board.runs for board in boards)]
    for label in labels:
        table.add_column(escape(label), justify="right")
    for board in boards:
        figures = {row.label: row.figures.get(board.headline.key) for row in board.rows}
        point = [escape(str(board.variant.point[key])) for key in keys]
        texts = [
            figure_text(figures.get(label), board.headline.digits, spread=False) for label in labels
        ]
        table.add_row(*point, *texts)
    return table


def markdown(boards: Sequence[Board]) -> str:
    """One table a leaderboard."""
    return "\n".join(_markdown(board) for board in boards)


def _markdown(board: Board) -> str:
    def line(cells: Sequence[str]) -> str:
        return "| " + " | ".join(_flat(cell).replace("|", "\\|") for cell in cells) + " |\n"

    header = _header(board)
    rule = "|---" + "|--:" * (len(header) - 1) + "|\n"
    body = "".join(line(list(_cells(board, row))) for row in board.rows)
    text = f"## {_flat(board.title)}\n\n{line(header)}{rule}{body}"
    found = claims.verdicts(board)
    if found:
        text += "\n" + line(["claim", "here", "measured"]) + "|---" * 3 + "|\n"
        text += "".join(line([v.claim.text, v.word, v.measured]) for v in found)
    return text


def latex(boards: Sequence[Board]) -> str:
    """One ``tabular`` a leaderboard (package booktabs)."""
    return "\n".join(_latex(board) for board in boards)


def _latex(board: Board) -> str:
    def line(cells: Sequence[str]) -> str:
        return " & ".join(_latex_escape(_flat(cell)) for cell in cells) + r" \\" + "\n"

    header = _header(board)
    return (
        f"% {_flat(board.title)}\n\\begin{{tabular}}{{l{'r' * (len(header) - 1)}}}\n\\toprule\n"
        + line(header)
        + "\\midrule\n"
        + "".join(line(list(_cells(board, row))) for row in board.rows)
        + "\\bottomrule\n\\end{tabular}\n"
    )


_LATEX = {
    "\\": r"\textbackslash{}",
    "{": r"\{",
    "}": r"\}",
    "&": r"\&",
    "%": r"\%",
    "$": r"\$",
    "#": r"\#",
    "_": r"\_",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "Σ": r"$\Sigma$",
    "α": r"$\alpha$",
    "−": "$-$",
    "–": "--",
}


def _latex_escape(text: str) -> str:
    return "".join(_LATEX.get(character, character) for character in text)


def _flat(text: str) -> str:
    """One line, whatever a name holds."""
    return " ".join(text.split())


def records(boards: Sequence[Board]) -> list[dict[str, Any]]:
    """Long form: a record for each leaderboard, agent and metric, for data frames."""
    found = []
    for board in boards:
        for row in board.rows:
            for metric in board.metrics:
                estimate = row.figures.get(metric.key)
                if estimate is not None:
                    found.append(
                        {
                            "experiment": board.experiment.name,
                            "point": board.variant.label,
                            "agent": row.label,
                            "metric": metric.key,
                            "iqm": estimate.value,
                            "low": estimate.low,
                            "high": estimate.high,
                            "seeds": estimate.seeds,
                        }
                    )
    return found


def comma_separated(boards: Sequence[Board]) -> str:
    """The records as CSV."""
    rows = records(boards)
    buffer = io.StringIO()
    writer = csv.DictWriter(buffer, fieldnames=list(rows[0]) if rows else [])
    writer.writeheader()
    writer.writerows(rows)
    return buffer.getvalue()


def parquet(boards: Sequence[Board]) -> bytes:
    """The records as Parquet.

    Raises:
        ImportError: PyArrow is not installed; the message says how to install it.
    """
    try:
        import pyarrow as pa
        import pyarrow.parquet as pq
    except ImportError as error:
        raise ImportError(
            "--format parquet needs PyArrow: pip install 'airan-fairmtl[parquet]'"
        ) from error
    sink = io.BytesIO()
    pq.write_table(pa.Table.from_pylist(records(boards)), sink)
    return sink.getvalue()


RENDER: dict[str, Callable[[Sequence[Board]], str | bytes]] = {
    "md": markdown,
    "csv": comma_separated,
    "parquet": parquet,
    "latex": latex,
}
SUFFIX = {"md": "md", "csv": "csv", "parquet": "parquet", "latex": "tex"}
