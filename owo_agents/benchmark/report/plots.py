"""Charts drawn by matplotlib, as PNG for the eye and SVG or PDF for a paper."""

from __future__ import annotations

import io
import textwrap
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import matplotlib as mpl
import matplotlib.style
import numpy as np
from matplotlib.axes import Axes
from matplotlib.collections import PolyCollection
from matplotlib.figure import Figure
from numpy.typing import NDArray

from owo_agents.benchmark.report.chart import Chart, Panel
from owo_agents.benchmark.report.panels import (
    DRAW,
    GREY,
    UNTOLD,
    Styles,
    has_slopes,
    label_ends,
    note_points,
    note_slopes,
    short,
)

PALETTE = (
    "#d6336c", "#1c7ed6", "#2b8a3e", "#e8890c", "#7048e8", "#0c8599", "#767d85", "#a0522d",
    "#c2b100", "#5f3dc4",
)  # fmt: skip
# ColorBrewer's RdYlBu, without the pale.
RAMP = ("#a50026", "#f46d43", "#fdae61", "#74add1", "#313695")
MARKERS = "os^DvPX*<>"
DASHES: tuple[Any, ...] = ("-", (0, (5, 2)), (0, (1, 1.4)), (0, (6, 2, 1, 2)))
_PALE: dict[str, Any] = {"color": "#c8cdd4", "linestyle": "-", "linewidth": 0.8, "zorder": 2}
_PALE |= {"marker": ""}
_BOUND: dict[str, Any] = {"color": "#3a3f47", "linewidth": 1.1, "zorder": 2.5, "marker": ""}
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
    "xtick.color": GREY,
    "ytick.color": GREY,
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
        title = f"{short(subject, 60)}: {chart.title}{some}"
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


def _panel(axis: Axes, panel: Panel, style: Styles) -> None:
    DRAW[panel.kind](axis, panel, style)
    note_points(axis, panel, style)
    axis.set_title(short(panel.title, 60), loc="left")
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
    entry = 0.5 + 0.08 * max(len(short(label)) for label in labels)  # inches in the legend
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
            label_ends(axis, panel, style)
        elif panel.kind == "lines" and has_slopes(panel):
            note_slopes(axis, panel, style)
    for axis in axes[len(panels) :]:
        axis.set_visible(False)
    if not bars and len(labels) > 1:
        drawn = [axis.get_legend_handles_labels() for axis in axes]
        found = {name: handle for pair in drawn for handle, name in zip(*pair)}
        shown = [name for label in labels if (name := short(label)) in found]
        shown += [name for name in (_others(chart),) if name in found]
        handles = [found[name] for name in shown]
        figure.legend(handles, shown, loc="outside lower center", ncols=legend_columns)
    return figure


def _others(chart: Chart) -> str:
    """What stands in the legend for those that do not stand out."""
    return f"{len(chart.pale)} others, pale"


def _styles(chart: Chart) -> dict[str, dict[str, Any]]:
    if chart.ramp:
        return {label: {"name": short(label)} | style for label, style in _steps(chart).items()}
    strong = [label for label in chart.labels if label not in (*chart.pale, *chart.bounds)]
    styles = {label: _style(i) for i, label in enumerate(strong)}
    styles |= {label: _PALE | {"name": "_"} for label in chart.pale}
    if chart.pale:
        styles[chart.pale[0]] = _PALE | {"name": _others(chart)}
    for i, label in enumerate(chart.bounds):
        styles[label] = _BOUND | {"linestyle": DASHES[2 - i % 2], "name": short(label)}
    return {label: {"name": short(label)} | style for label, style in styles.items()}


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


_HIGH = {"map": 4.8}  # inches
