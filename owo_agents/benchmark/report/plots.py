"""Charts drawn by matplotlib, as PNG for the eye and SVG or PDF for a paper."""

from __future__ import annotations

import io
import textwrap
from collections.abc import Mapping, Sequence
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, FuncFormatter, LogLocator, MaxNLocator, NullFormatter

from owo_agents.benchmark.report.charts import Chart, Panel, slope

PALETTE = (
    "#d6336c", "#1c7ed6", "#2b8a3e", "#e8890c", "#7048e8", "#0c8599", "#767d85", "#a0522d",
    "#c2b100", "#5f3dc4",
)  # fmt: skip
DASHES: tuple[Any, ...] = ("-", (0, (5, 2)), (0, (1, 1.4)), (0, (6, 2, 1, 2)))

_STYLE: Any = {
    "font.family": "DejaVu Sans",
    "font.size": 9,
    "axes.titlesize": 9.5,
    "axes.titleweight": "bold",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.edgecolor": "#8a8f98",
    "axes.labelcolor": "#3a3f47",
    "axes.grid": True,
    "grid.color": "#e4e7eb",
    "grid.linewidth": 0.7,
    "xtick.color": "#5b616b",
    "ytick.color": "#5b616b",
    "legend.frameon": False,
    "svg.fonttype": "none",
    "svg.hashsalt": "owo",
    "text.parse_math": False,  # labels are people's own text: a "$" in them is a "$"
}


def draw(chart: Chart, subject: str, formats: Sequence[str]) -> dict[str, bytes]:
    """The chart in each of the formats that matplotlib writes.

    The same chart gives the same bytes: files carry no date.

    Args:
        chart: What to draw.
        subject: Stands before the chart's own title.
        formats: Among ``png``, ``svg`` and ``pdf``.
    """
    with mpl.rc_context(_STYLE):
        figure = _figure(chart)
        title = textwrap.fill(
            f"{_short(subject, 60)}: {chart.title}", int(9.5 * figure.get_figwidth())
        )
        figure.suptitle(title, x=0.01, ha="left", fontsize=11, fontweight="bold")
        return {name: _bytes(figure, name) for name in formats}


def _bytes(figure: Figure, name: str) -> bytes:
    undated: Mapping[str, Mapping[str, None]] = {
        "svg": {"Date": None},
        "pdf": {"CreationDate": None},
    }
    buffer = io.BytesIO()
    figure.savefig(buffer, format=name, dpi=160, metadata=undated.get(name))
    return buffer.getvalue()


def _figure(chart: Chart) -> Figure:
    panels = chart.panels
    columns = min(len(panels), 4 if len(panels) in (4, 7, 8) else 3)
    rows = -(-len(panels) // columns)
    labels = chart.labels
    bars = panels[0].kind == "bars"
    width = max(6.4, 3.6 * columns)
    entry = 0.5 + 0.08 * max(len(_short(label)) for label in labels)  # inches in the legend
    legend_columns = min(5, max(1, int(width / entry)))
    legend_rows = 0 if bars else -(-len(labels) // legend_columns)
    height = 1.2 + 0.34 * len(labels) if bars else 2.75 * rows + 0.7 + 0.22 * legend_rows
    figure = Figure((width, height), layout="constrained")
    axes = figure.subplots(rows, columns, squeeze=False).ravel()
    style = {label: _style(i) for i, label in enumerate(labels)}
    for axis, panel in zip(axes, panels, strict=False):
        _DRAW[panel.kind](axis, panel, style)
        axis.set_title(_short(panel.title, 60), loc="left")
    for axis in axes[len(panels) :]:
        axis.set_visible(False)
    if not bars and len(labels) > 1:
        found: dict[str, Any] = {}
        for axis in axes[: len(panels)]:
            handles, names = axis.get_legend_handles_labels()
            found |= dict(zip(names, handles, strict=True))
        shown = [_short(label) for label in labels if _short(label) in found]
        handles = [found[name] for name in shown]
        figure.legend(handles, shown, loc="outside lower center", ncols=legend_columns)
    return figure


def _style(index: int) -> dict[str, Any]:
    return {
        "color": PALETTE[index % len(PALETTE)],
        "linestyle": DASHES[index // 5 % len(DASHES)],
        "linewidth": 2.2 if index == 0 else 1.4,
        "zorder": 4 if index == 0 else 3,
    }


def _lines(axis: Axes, panel: Panel, style: Mapping[str, dict[str, Any]]) -> None:
    few = all(len(series.x) <= 12 for series in panel.series)
    for series in panel.series:
        look = style[series.label]
        marker = "o" if few else ""
        axis.plot(
            series.x, series.y, label=_short(series.label), marker=marker, markersize=3.5, **look
        )
        if series.low is not None and series.high is not None:
            axis.fill_between(
                series.x, series.low, series.high, color=look["color"], alpha=0.14, linewidth=0
            )
        for x, y, note in zip(series.x, series.y, series.notes or ()):
            axis.annotate(
                note,
                (x, y),
                xytext=(5, 4),
                textcoords="offset points",
                fontsize=7.5,
                color=look["color"],
            )
    if panel.log:
        axis.set_xscale("log")
        axis.set_yscale("log")
        _plain_ticks(axis.xaxis, sorted({x for s in panel.series for x in s.x}) if few else None)
        _plain_ticks(axis.yaxis)
        if few:
            _note_slopes(axis, panel, style)
    if panel.y_limits is not None:
        axis.set_ylim(panel.y_limits)
    axis.set_xlabel(panel.x_label)
    axis.set_ylabel(panel.y_label)


def _plain_ticks(axis: Axis, places: Sequence[float] | None = None) -> None:
    """Numbers as people write them on a logarithmic axis, at ``places`` if given."""
    low, high = axis.get_view_interval()
    subs = (1.0, 2.0, 5.0) if high / low < 60 else (1.0,)
    axis.set_major_locator(FixedLocator(places) if places else LogLocator(subs=subs))
    axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axis.set_minor_formatter(NullFormatter())


def _note_slopes(axis: Axes, panel: Panel, style: Mapping[str, dict[str, Any]]) -> None:
    """The fitted exponent at the end of each curve, pushed up where it would hide another."""
    low, high = np.log(axis.get_ylim())
    line, lowest = 0.055 * (high - low), -np.inf  # the height of a note
    axis.annotate(
        "slope",
        (1.0, 1.0),
        xycoords="axes fraction",
        xytext=(-8, 5),
        textcoords="offset points",
        fontsize=7,
        color=_STYLE["xtick.color"],
        annotation_clip=False,
    )
    for series in sorted(panel.series, key=lambda series: series.y[-1]):
        exponent = slope(series)
        if exponent is None:
            continue
        lowest = max(float(np.log(series.y[-1])), lowest + line)
        axis.annotate(
            f"{exponent:+.2f}",
            (series.x[-1], np.exp(lowest)),
            xytext=(4, 0),
            textcoords="offset points",
            fontsize=7,
            va="center",
            color=style[series.label]["color"],
            annotation_clip=False,
        )


def _points(axis: Axes, panel: Panel, style: Mapping[str, dict[str, Any]]) -> None:
    for series in panel.series:
        look = style[series.label]
        axis.errorbar(
            series.x,
            series.y,
            xerr=_errors(series.x, series.x_low, series.x_high),
            yerr=_errors(series.y, series.low, series.high),
            label=_short(series.label),
            fmt="o",
            markersize=8 if look["zorder"] == 4 else 6,
            color=look["color"],
            elinewidth=1,
            zorder=look["zorder"],
        )
    axis.margins(0.12)
    axis.set_xlabel(panel.x_label)
    axis.set_ylabel(panel.y_label)


def _bars(axis: Axes, panel: Panel, style: Mapping[str, dict[str, Any]]) -> None:
    for place, series in enumerate(panel.series):
        axis.errorbar(
            series.y,
            [place],
            xerr=_errors(series.y, series.low, series.high),
            fmt="o",
            markersize=7,
            color=style[series.label]["color"],
            elinewidth=2,
            capsize=3,
        )
    axis.set_yticks(range(len(panel.series)), [_short(s.label) for s in panel.series])
    axis.invert_yaxis()
    axis.margins(y=0.12)
    axis.xaxis.set_major_locator(MaxNLocator(7))
    axis.grid(axis="y", visible=False)
    axis.set_xlabel(panel.x_label)


def _errors(
    middle: Sequence[float], low: Sequence[float] | None, high: Sequence[float] | None
) -> list[list[float]] | None:
    """Distances to the interval's ends; a skewed interval may leave the middle outside it."""
    if low is None or high is None:
        return None
    return [
        [max(m - a, 0.0) for m, a in zip(middle, low, strict=True)],
        [max(b - m, 0.0) for m, b in zip(middle, high, strict=True)],
    ]


def _short(text: str, most: int = 28) -> str:
    """People's text on one line, and not longer than a figure bears."""
    line = " ".join(text.split())
    return line if len(line) <= most else line[: most - 1] + "…"


_DRAW = {"lines": _lines, "points": _points, "bars": _bars}
