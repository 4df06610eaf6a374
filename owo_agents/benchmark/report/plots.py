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
from matplotlib.collections import PolyCollection
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, FuncFormatter, LogLocator, MaxNLocator, NullFormatter
from numpy.typing import NDArray

from owo_agents.benchmark.report import inert
from owo_agents.benchmark.report.chart import Chart, Panel
from owo_agents.benchmark.report.sweep import slope

PALETTE = (
    "#d6336c", "#1c7ed6", "#2b8a3e", "#e8890c", "#7048e8", "#0c8599", "#767d85", "#a0522d",
    "#c2b100", "#5f3dc4",
)  # fmt: skip
RAMP = (
    "#a50026",
    "#f46d43",
    "#fdae61",
    "#74add1",
    "#313695",
)  # ColorBrewer's RdYlBu, without the pale
MARKERS = "os^DvPX*<>"
DASHES: tuple[Any, ...] = ("-", (0, (5, 2)), (0, (1, 1.4)), (0, (6, 2, 1, 2)))
_PALE: dict[str, Any] = {"color": "#c8cdd4", "linestyle": "-", "linewidth": 0.8, "zorder": 2}
_PALE |= {"marker": ""}
_BOUND: dict[str, Any] = {"color": "#3a3f47", "linewidth": 1.1, "zorder": 2.5, "marker": ""}
FEW = 12  # points of a curve, each of which is marked
UNTOLD = 4  # curves that a legend tells apart well enough

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
        behind = sum(panel.pale for panel in chart.panels)
        some = f" ({len(chart.panels) - behind} of {len(chart.panels)} panels)" if behind else ""
        title = f"{_short(subject, 60)}: {chart.title}{some}"
        title = textwrap.fill(title, int(9.5 * figure.get_figwidth()))
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
        if not panel.pale
    ]
    with mpl.style.context(["default", _STYLE]):
        places = _fresh([panel for panel, _ in panels]) if axes is None else np.ravel(axes)  # type: ignore[arg-type]
        if len(places) != len(panels):
            raise ValueError(f"axes: {len(places)} are given for {len(panels)} panels")
        for axis, (panel, chart) in zip(places, panels):
            _panel(axis, panel, _styles(chart))
            _stand(axis, chart)
            if panel.kind == "bars":
                axis.locator_params(axis="x", nbins=4)  # beside others it is narrow
            elif panel.kind == "map":
                axis.legend(loc="upper left", bbox_to_anchor=(1.0, 1.0))
            elif len(panel.series) > 1:
                axis.legend()
    return places[0] if len(places) == 1 else places


def _fresh(panels: Sequence[Panel]) -> NDArray[Any]:
    """Axes of a new figure of pyplot's."""
    import matplotlib.pyplot as plt

    rows, columns = _shape(len(panels))
    most = max(len(panel.series) for panel in panels)
    high = 1.1 + 0.3 * most if panels[0].kind == "bars" else _HIGH.get(panels[0].kind, 3.0)
    figure = plt.figure(figsize=(max(6.4, 4.4 * columns), high * rows), layout="constrained")
    return figure.subplots(rows, columns, squeeze=False).ravel()[: len(panels)]  # type: ignore[no-any-return]


def _shape(panels: int) -> tuple[int, int]:
    """Rows and columns."""
    columns = min(panels, 4 if panels in (4, 7, 8) else 3)
    return -(-panels // columns), columns


def _panel(axis: Axes, panel: Panel, style: _Styles) -> None:
    _DRAW[panel.kind](axis, panel, style)
    _note_points(axis, panel, style)
    axis.set_title(_short(panel.title, 60), loc="left")
    axis.set(xlabel=panel.x_label, ylabel=panel.y_label)


def _stand(axis: Axes, chart: Chart) -> None:
    """Draw what is built."""
    corners = [[(x, y), (x + w, y), (x + w, y + h), (x, y + h)] for x, y, w, h in chart.built]
    if corners:
        axis.add_collection(PolyCollection(corners, color="#dfe2e6", linewidth=0, zorder=1))


def _figure(chart: Chart) -> Figure:
    panels = [panel for panel in chart.panels if not panel.pale]
    rows, columns = _shape(len(panels))
    labels = [label for label in chart.labels if label not in chart.pale]
    bars = panels[0].kind == "bars"
    width = max(6.4, 3.6 * columns)
    entry = 0.5 + 0.08 * max(len(_short(label)) for label in labels)  # inches in the legend
    legend_columns = min(5, max(1, int(width / entry)))
    legend_rows = 0 if bars else -(-len(labels) // legend_columns)
    height = (
        1.2 + 0.34 * len(panels[0].series)
        if bars
        else (_HIGH.get(panels[0].kind, 2.75) * rows + 0.7 + 0.22 * legend_rows)
    )
    figure = Figure((width, height), layout="constrained")
    axes = figure.subplots(rows, columns, squeeze=False).ravel()
    style = _styles(chart)
    for axis, panel in zip(axes, panels, strict=False):
        _panel(axis, panel, style)
        _stand(axis, chart)
        if any(series.notes for series in panel.series):
            continue
        if panel.kind == "lines" and len(labels) > UNTOLD and len(panels) <= 2:
            _label_ends(axis, panel, style)
        elif panel.kind == "lines" and _has_slopes(panel):
            _note_slopes(axis, panel, style)
    for axis in axes[len(panels) :]:
        axis.set_visible(False)
    if not bars and len(labels) > 1:
        drawn = [axis.get_legend_handles_labels() for axis in axes]
        found = {name: handle for pair in drawn for handle, name in zip(*pair)}
        shown = [name for label in labels if (name := _short(label)) in found]
        shown += [name for name in (_others(chart),) if name in found]
        handles = [found[name] for name in shown]
        figure.legend(handles, shown, loc="outside lower center", ncols=legend_columns)
    return figure


def _others(chart: Chart) -> str:
    """What stands in the legend for those that do not stand out."""
    return f"{len(chart.pale)} others, pale"


def _styles(chart: Chart) -> dict[str, dict[str, Any]]:
    if chart.ramp:
        return {label: {"name": _short(label)} | style for label, style in _steps(chart).items()}
    strong = [label for label in chart.labels if label not in (*chart.pale, *chart.bounds)]
    styles = {label: _style(i) for i, label in enumerate(strong)}
    styles |= {label: _PALE | {"name": "_"} for label in chart.pale}
    if chart.pale:
        styles[chart.pale[0]] = _PALE | {"name": _others(chart)}
    for i, label in enumerate(chart.bounds):
        styles[label] = _BOUND | {"linestyle": DASHES[2 - i % 2], "name": _short(label)}
    return {label: {"name": _short(label)} | style for label, style in styles.items()}


def _steps(chart: Chart) -> dict[str, dict[str, Any]]:
    """Of labels that are steps from low to high."""
    steps = [label for label in chart.labels if label not in chart.bounds]
    look: dict[str, Any] = {"linestyle": "", "linewidth": 0, "zorder": 3, "marker": "o"}
    place = np.linspace(0, len(RAMP) - 1, len(steps)).round().astype(int)
    styles = {label: {**look, "color": RAMP[at]} for label, at in zip(steps, place)}
    return styles | {label: {**look, "color": "#000000", "marker": "*"} for label in chart.bounds}


def _style(index: int) -> dict[str, Any]:
    return {
        "color": PALETTE[index % len(PALETTE)],
        "linestyle": DASHES[index // 5 % len(DASHES)],
        "linewidth": 2.2 if index == 0 else 1.4,
        "zorder": 4 if index == 0 else 3,
        "marker": MARKERS[index % len(MARKERS)],
    }


def _lines(axis: Axes, panel: Panel, style: _Styles) -> None:
    few = all(len(series.x) <= FEW for series in panel.series)
    for place, series in enumerate(panel.series):
        own = {**style[series.label]}
        name, step = own.pop("name"), max(1, len(series.x) // 6)
        every = 1 if few else (place * step // len(panel.series), step)
        axis.plot(series.x, series.y, label=name, markersize=4, markevery=every, **own)
        if series.low is not None and series.high is not None and own["zorder"] >= 3:
            thin = own["zorder"] < 4 and len(panel.series) > UNTOLD
            band: Any = {"color": own["color"], "alpha": 0.06 if thin else 0.14, "linewidth": 0}
            axis.fill_between(series.x, series.low, series.high, **band)
    if panel.log:
        axis.set(xscale="log", yscale="log")
        _plain_ticks(axis.xaxis, sorted({x for s in panel.series for x in s.x}) if few else None)
        _plain_ticks(axis.yaxis)
    if panel.y_limits is not None:
        axis.set_ylim(panel.y_limits)


def _note_points(axis: Axes, panel: Panel, style: _Styles) -> None:
    """What stands beside single points, one above the other where they lie close together."""
    if not any(series.notes for series in panel.series):
        return
    axis.margins(y=0.3)
    axis.autoscale_view()
    size = 7.5
    line = 1.15 * size * axis.figure.dpi / 72  # the height of a note, in pixels
    taken: list[tuple[float, float]] = []
    for series in panel.series:
        for x, y, text in zip(series.x, series.y, series.notes or ()):
            at, up = axis.transData.transform((x, y)), 0.0
            while any(
                abs(at[0] - left) < len(text) * 0.5 * line and abs(at[1] + up - low) < line
                for left, low in taken
            ):
                up += line
            taken.append((at[0], at[1] + up))
            offset = 5.0, 4 + up * 72 / axis.figure.dpi
            _note(axis, text, (x, y), offset, fontsize=size, color=style[series.label]["color"])


def _label_ends(axis: Axes, panel: Panel, style: _Styles) -> None:
    """The name of each curve that stands out, on the right, and a thin line from its end.

    On logarithmic axes with few points the fitted exponent follows.
    """
    if _has_slopes(panel):
        grey: Any = {"color": _STYLE["xtick.color"], "fontsize": 7, "annotation_clip": False}
        _note(axis, "with slopes", (1.04, 1.0), (0, 5), xycoords="axes fraction", **grey)
    strong = [s for s in panel.series if style[s.label]["zorder"] > 2 and s.x]
    to_axes = axis.transData + axis.transAxes.inverted()
    ends = [to_axes.transform((s.x[-1], s.y[-1])) for s in strong]
    heights = _apart([float(np.clip(end[1], 0.0, 1.0)) for end in ends], 0.062)
    for series, end, height in zip(strong, ends, heights):
        own = style[series.label]
        exponent = slope(series) if _has_slopes(panel) else None
        text = _short(series.label, 16) + ("" if exponent is None else f" {exponent:+.2f}")
        line: Any = {"arrowstyle": "-", "color": own["color"], "lw": 0.5, "relpos": (0, 0.5)}
        line |= {"shrinkA": 0, "shrinkB": 0}
        look: Any = {"xycoords": "axes fraction", "textcoords": "axes fraction", "va": "center"}
        look |= {"fontsize": 7, "color": own["color"], "annotation_clip": False}
        place = (float(end[0]), float(np.clip(end[1], 0.0, 1.0)))
        axis.annotate(text, place, xytext=(1.04, height), arrowprops=line, **look)


def _apart(places: Sequence[float], least: float) -> list[float]:
    """The places moved as little as leaves each ``least`` from the next: blocks keep their mean."""
    order = np.argsort(places, kind="stable")
    blocks: list[list[float]] = []  # what their places would be if they began at the first's
    for i, place in enumerate(np.array(places)[order]):
        blocks.append([float(place) - least * i])
        while len(blocks) > 1 and np.mean(blocks[-2]) >= np.mean(blocks[-1]):
            blocks[-2:] = [blocks[-2] + blocks[-1]]
    found = np.concatenate([np.full(len(block), np.mean(block)) for block in blocks])
    back = np.empty(len(found))
    back[order] = found + least * np.arange(len(found))
    return back.tolist()  # type: ignore[no-any-return]


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


def _has_slopes(panel: Panel) -> bool:
    return panel.log and all(len(series.x) <= FEW for series in panel.series)


def _note_slopes(axis: Axes, panel: Panel, style: _Styles) -> None:
    """The fitted exponent at the end of each curve, pushed up where it would hide another."""
    low, high = np.log(axis.get_ylim())
    line, lowest = 0.055 * (high - low), -np.inf  # the height of a note
    look: Any = {"fontsize": 7, "annotation_clip": False}
    grey = _STYLE["xtick.color"]
    _note(axis, "slope", (1.0, 1.0), (-8, 5), color=grey, xycoords="axes fraction", **look)
    strong = [series for series in panel.series if style[series.label]["zorder"] > 2]
    for series in sorted(strong, key=lambda series: series.y[-1]):
        exponent = slope(series)
        if exponent is not None:
            lowest = max(float(np.log(series.y[-1])), lowest + line)
            end, color = (series.x[-1], np.exp(lowest)), style[series.label]["color"]
            _note(axis, f"{exponent:+.2f}", end, (4, 0), color=color, va="center", **look)


def _points(axis: Axes, panel: Panel, style: _Styles) -> None:
    for series in panel.series:
        own = style[series.label]
        strong = own["zorder"] >= 3
        axis.errorbar(
            series.x,
            series.y,
            xerr=_errors(series.x, series.x_low, series.x_high) if strong else None,
            yerr=_errors(series.y, series.low, series.high) if strong else None,
            label=own["name"],
            fmt=own["marker"] or "o",
            markersize=8 if own["zorder"] == 4 else 6 if strong else 4,
            color=own["color"],
            elinewidth=1,
            zorder=own["zorder"],
        )
    axis.margins(0.12)


def _cells(axis: Axes, panel: Panel, style: _Styles) -> None:
    for series in panel.series:
        own = style[series.label]
        for row in dict.fromkeys(series.y):
            spans = [(x - 0.5, 1.0) for x, y in zip(series.x, series.y) if y == row]
            axis.broken_barh(spans, (row - 0.4, 0.8), color=own["color"], linewidth=0)
        axis.scatter([], [], marker="s", color=own["color"], label=own["name"])
    axis.set(xlim=panel.x_limits, ylim=panel.y_limits and panel.y_limits[::-1])
    for one in (axis.xaxis, axis.yaxis):
        one.set_major_locator(MaxNLocator(integer=True))
    axis.grid(visible=False)


def _map(axis: Axes, panel: Panel, style: _Styles) -> None:
    for series in panel.series:
        own = style[series.label]
        size = 90 if own["marker"] == "*" else 14
        look: Any = {"color": own["color"], "marker": own["marker"], "zorder": own["zorder"]}
        axis.scatter(series.x, series.y, s=size, linewidths=0, label=own["name"], **look)
    axis.set(xlim=panel.x_limits, ylim=panel.y_limits, aspect="equal")
    axis.grid(visible=False)


def _bars(axis: Axes, panel: Panel, style: _Styles) -> None:
    look: Any = {"elinewidth": 2, "capsize": 3}
    for place, series in enumerate(panel.series):
        own, error = style[series.label], _errors(series.y, series.low, series.high)
        marker: Any = {"fmt": own["marker"] or "o", "markersize": 7 if own["marker"] else 5}
        axis.errorbar(series.y, [place], xerr=error, color=own["color"], **marker, **look)
    axis.set_yticks(range(len(panel.series)), [_short(s.label) for s in panel.series])
    axis.invert_yaxis()
    axis.margins(y=min(0.12, 0.5 / len(panel.series)))
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


_HIGH = {"map": 4.8}  # inches
_DRAW = {"lines": _lines, "points": _points, "bars": _bars, "cells": _cells, "map": _map}
