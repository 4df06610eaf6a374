"""Charts drawn by matplotlib, as PNG for the eye and SVG or PDF for a paper."""

from __future__ import annotations

import io
import textwrap
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import matplotlib as mpl
import matplotlib.style
import numpy as np
from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, FuncFormatter, LogLocator, MaxNLocator, NullFormatter
from numpy.typing import NDArray

from owo_agents.benchmark.report import inert
from owo_agents.benchmark.report.charts import Chart, Panel, slope

PALETTE = (
    "#d6336c", "#1c7ed6", "#2b8a3e", "#e8890c", "#7048e8", "#0c8599", "#767d85", "#a0522d",
    "#c2b100", "#5f3dc4",
)  # fmt: skip
DASHES: tuple[Any, ...] = ("-", (0, (5, 2)), (0, (1, 1.4)), (0, (6, 2, 1, 2)))

_Styles = Mapping[str, dict[str, Any]]
"""How each label's series look."""

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
    with mpl.style.context(["default", _STYLE]):  # whatever style its user has set
        figure = _figure(chart)
        title = textwrap.fill(
            f"{_short(subject, 60)}: {chart.title}", int(9.5 * figure.get_figwidth())
        )
        figure.suptitle(title, x=0.01, ha="left", fontsize=11, fontweight="bold")
        return {name: _bytes(figure, name) for name in formats}


def _bytes(figure: Figure, name: str) -> bytes:
    undated: Any = {"svg": {"Date": None}, "pdf": {"CreationDate": None}}
    buffer = io.BytesIO()
    figure.savefig(buffer, format=name, dpi=160, metadata=undated.get(name))
    return buffer.getvalue()


def onto(
    charts: Sequence[tuple[str, Chart]], axes: Axes | Sequence[Axes] | None = None
) -> Axes | NDArray[Any]:
    """Draw charts for their user to go on with; one pair of axes a panel.

    Args:
        charts: Each after what it is about.
        axes: Of the user's own, as many as there are panels; by default those of a new figure.

    Raises:
        ValueError: Another number of axes.
    """
    panels = [
        (replace(panel, title=f"{subject}: {panel.title}"), chart)
        for subject, chart in charts
        for panel in chart.panels
    ]
    with mpl.style.context(["default", _STYLE]):
        places = _fresh([panel for panel, _ in panels]) if axes is None else np.ravel(axes)  # type: ignore[arg-type]
        if len(places) != len(panels):
            raise ValueError(f"axes: {len(places)} are given for {len(panels)} panels")
        for axis, (panel, chart) in zip(places, panels):
            _panel(axis, panel, _styles(chart))
            if panel.kind == "bars":
                axis.locator_params(axis="x", nbins=4)  # beside others it is narrow
            elif len(panel.series) > 1:
                axis.legend()
    return places[0] if len(places) == 1 else places


def _fresh(panels: Sequence[Panel]) -> NDArray[Any]:
    """Axes of a new figure of pyplot's."""
    import matplotlib.pyplot as plt

    rows, columns = _shape(len(panels))
    most = max(len(panel.series) for panel in panels)
    high = 1.1 + 0.3 * most if panels[0].kind == "bars" else 3.0
    figure = plt.figure(figsize=(max(6.4, 4.4 * columns), high * rows), layout="constrained")
    return figure.subplots(rows, columns, squeeze=False).ravel()[: len(panels)]  # type: ignore[no-any-return]


def _shape(panels: int) -> tuple[int, int]:
    """Rows and columns."""
    columns = min(panels, 4 if panels in (4, 7, 8) else 3)
    return -(-panels // columns), columns


def _styles(chart: Chart) -> _Styles:
    return {label: _style(i) for i, label in enumerate(chart.labels)}


def _panel(axis: Axes, panel: Panel, style: _Styles) -> None:
    _DRAW[panel.kind](axis, panel, style)
    axis.set_title(_short(panel.title, 60), loc="left")
    axis.set(xlabel=panel.x_label, ylabel=panel.y_label)


def _figure(chart: Chart) -> Figure:
    panels = chart.panels
    rows, columns = _shape(len(panels))
    labels = chart.labels
    bars = panels[0].kind == "bars"
    width = max(6.4, 3.6 * columns)
    entry = 0.5 + 0.08 * max(len(_short(label)) for label in labels)  # inches in the legend
    legend_columns = min(5, max(1, int(width / entry)))
    legend_rows = 0 if bars else -(-len(labels) // legend_columns)
    height = 1.2 + 0.34 * len(labels) if bars else 2.75 * rows + 0.7 + 0.22 * legend_rows
    figure = Figure((width, height), layout="constrained")
    axes = figure.subplots(rows, columns, squeeze=False).ravel()
    style = _styles(chart)
    for axis, panel in zip(axes, panels, strict=False):
        _panel(axis, panel, style)
    for axis in axes[len(panels) :]:
        axis.set_visible(False)
    if not bars and len(labels) > 1:
        drawn = [axis.get_legend_handles_labels() for axis in axes]
        found = {name: handle for pair in drawn for handle, name in zip(*pair)}
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


def _lines(axis: Axes, panel: Panel, style: _Styles) -> None:
    few = all(len(series.x) <= 12 for series in panel.series)
    look: Any = {"marker": "o" if few else "", "markersize": 3.5}
    for series in panel.series:
        own = style[series.label]
        axis.plot(series.x, series.y, label=_short(series.label), **look, **own)
        if series.low is not None and series.high is not None:
            band: Any = {"color": own["color"], "alpha": 0.14, "linewidth": 0}
            axis.fill_between(series.x, series.low, series.high, **band)
        for x, y, text in zip(series.x, series.y, series.notes or ()):
            _note(axis, text, (x, y), (5, 4), fontsize=7.5, color=own["color"])
    if panel.log:
        axis.set(xscale="log", yscale="log")
        _plain_ticks(axis.xaxis, sorted({x for s in panel.series for x in s.x}) if few else None)
        _plain_ticks(axis.yaxis)
        if few:
            _note_slopes(axis, panel, style)
    if panel.y_limits is not None:
        axis.set_ylim(panel.y_limits)


def _note(axis: Axes, text: str, place: Any, offset: tuple[float, float], **look: Any) -> None:
    """A text some points away from a place."""
    axis.annotate(text, place, xytext=offset, textcoords="offset points", **look)


def _plain_ticks(axis: Axis, places: Sequence[float] | None = None) -> None:
    """Numbers as people write them on a logarithmic axis, at ``places`` if given."""
    low, high = axis.get_view_interval()
    subs = (1.0, 2.0, 5.0) if high / low < 60 else (1.0,)
    axis.set_major_locator(FixedLocator(places) if places else LogLocator(subs=subs))
    axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axis.set_minor_formatter(NullFormatter())


def _note_slopes(axis: Axes, panel: Panel, style: _Styles) -> None:
    """The fitted exponent at the end of each curve, pushed up where it would hide another."""
    low, high = np.log(axis.get_ylim())
    line, lowest = 0.055 * (high - low), -np.inf  # the height of a note
    look: Any = {"fontsize": 7, "annotation_clip": False}
    grey = _STYLE["xtick.color"]
    _note(axis, "slope", (1.0, 1.0), (-8, 5), color=grey, xycoords="axes fraction", **look)
    for series in sorted(panel.series, key=lambda series: series.y[-1]):
        exponent = slope(series)
        if exponent is not None:
            lowest = max(float(np.log(series.y[-1])), lowest + line)
            end, color = (series.x[-1], np.exp(lowest)), style[series.label]["color"]
            _note(axis, f"{exponent:+.2f}", end, (4, 0), color=color, va="center", **look)


def _points(axis: Axes, panel: Panel, style: _Styles) -> None:
    for series in panel.series:
        own = style[series.label]
        axis.errorbar(
            series.x,
            series.y,
            xerr=_errors(series.x, series.x_low, series.x_high),
            yerr=_errors(series.y, series.low, series.high),
            label=_short(series.label),
            fmt="o",
            markersize=8 if own["zorder"] == 4 else 6,
            color=own["color"],
            elinewidth=1,
            zorder=own["zorder"],
        )
    axis.margins(0.12)


def _bars(axis: Axes, panel: Panel, style: _Styles) -> None:
    look: Any = {"fmt": "o", "markersize": 7, "elinewidth": 2, "capsize": 3}
    for place, series in enumerate(panel.series):
        error = _errors(series.y, series.low, series.high)
        axis.errorbar(series.y, [place], xerr=error, color=style[series.label]["color"], **look)
    axis.set_yticks(range(len(panel.series)), [_short(s.label) for s in panel.series])
    axis.invert_yaxis()
    axis.margins(y=0.12)
    axis.xaxis.set_major_locator(MaxNLocator(7))
    axis.grid(axis="y", visible=False)


def _errors(
    middle: Sequence[float], low: Sequence[float] | None, high: Sequence[float] | None
) -> Any:
    """Distances to the interval's ends; a skewed interval may leave the middle outside it."""
    if low is None or high is None:
        return None
    return np.maximum([np.subtract(middle, low), np.subtract(high, middle)], 0.0)


def _short(text: str, most: int = 28) -> str:
    """People's text on one line, and not longer than a figure bears."""
    line = inert.flat(text)
    return line if len(line) <= most else line[: most - 1] + "…"


_DRAW = {"lines": _lines, "points": _points, "bars": _bars}
