"""The kinds of panels, drawn by matplotlib on axes of their own."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.ticker import FixedLocator, FuncFormatter, LogLocator, MaxNLocator, NullFormatter

from owo_agents.benchmark.report import inert
from owo_agents.benchmark.report.chart import Panel
from owo_agents.benchmark.report.sweep import slope

FEW = 12  # points of a curve, each of which is marked
UNTOLD = 4  # curves that a legend tells apart well enough
GREY = "#5b616b"

Styles = Mapping[str, dict[str, Any]]
"""How each label's series look."""


def _lines(axis: Axes, panel: Panel, style: Styles) -> None:
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


def note_points(axis: Axes, panel: Panel, style: Styles) -> None:
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


def label_ends(axis: Axes, panel: Panel, style: Styles) -> None:
    """The name of each curve that stands out, on the right, and a thin line from its end.

    On logarithmic axes with few points the fitted exponent follows.
    """
    if has_slopes(panel):
        grey: Any = {"color": GREY, "fontsize": 7, "annotation_clip": False}
        _note(axis, "with slopes", (1.04, 1.0), (0, 5), xycoords="axes fraction", **grey)
    strong = [s for s in panel.series if style[s.label]["zorder"] > 2 and s.x]
    to_axes = axis.transData + axis.transAxes.inverted()
    ends = [to_axes.transform((s.x[-1], s.y[-1])) for s in strong]
    heights = apart([float(np.clip(end[1], 0.0, 1.0)) for end in ends], 0.062)
    for series, end, height in zip(strong, ends, heights):
        own = style[series.label]
        exponent = slope(series) if has_slopes(panel) else None
        text = short(series.label, 16) + ("" if exponent is None else f" {exponent:+.2f}")
        line: Any = {"arrowstyle": "-", "color": own["color"], "lw": 0.5, "relpos": (0, 0.5)}
        line |= {"shrinkA": 0, "shrinkB": 0}
        look: Any = {"xycoords": "axes fraction", "textcoords": "axes fraction", "va": "center"}
        look |= {"fontsize": 7, "color": own["color"], "annotation_clip": False}
        place = (float(end[0]), float(np.clip(end[1], 0.0, 1.0)))
        axis.annotate(text, place, xytext=(1.04, height), arrowprops=line, **look)


def apart(places: Sequence[float], least: float) -> list[float]:
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


def has_slopes(panel: Panel) -> bool:
    return panel.log and all(len(series.x) <= FEW for series in panel.series)


def note_slopes(axis: Axes, panel: Panel, style: Styles) -> None:
    """The fitted exponent at the end of each curve, pushed up where it would hide another."""
    low, high = np.log(axis.get_ylim())
    line, lowest = 0.055 * (high - low), -np.inf  # the height of a note
    look: Any = {"fontsize": 7, "annotation_clip": False}
    grey = GREY
    _note(axis, "slope", (1.0, 1.0), (-8, 5), color=grey, xycoords="axes fraction", **look)
    strong = [series for series in panel.series if style[series.label]["zorder"] > 2]
    for series in sorted(strong, key=lambda series: series.y[-1]):
        exponent = slope(series)
        if exponent is not None:
            lowest = max(float(np.log(series.y[-1])), lowest + line)
            end, color = (series.x[-1], np.exp(lowest)), style[series.label]["color"]
            _note(axis, f"{exponent:+.2f}", end, (4, 0), color=color, va="center", **look)


def _points(axis: Axes, panel: Panel, style: Styles) -> None:
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


def _cells(axis: Axes, panel: Panel, style: Styles) -> None:
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


def _map(axis: Axes, panel: Panel, style: Styles) -> None:
    for series in panel.series:
        own = style[series.label]
        size = 90 if own["marker"] == "*" else 14
        look: Any = {"color": own["color"], "marker": own["marker"], "zorder": own["zorder"]}
        axis.scatter(series.x, series.y, s=size, linewidths=0, label=own["name"], **look)
    axis.set(xlim=panel.x_limits, ylim=panel.y_limits, aspect="equal")
    axis.grid(visible=False)


def _bars(axis: Axes, panel: Panel, style: Styles) -> None:
    look: Any = {"elinewidth": 2, "capsize": 3}
    for place, series in enumerate(panel.series):
        own, error = style[series.label], _errors(series.y, series.low, series.high)
        marker: Any = {"fmt": own["marker"] or "o", "markersize": 7 if own["marker"] else 5}
        axis.errorbar(series.y, [place], xerr=error, color=own["color"], **marker, **look)
    axis.set_yticks(range(len(panel.series)), [short(s.label) for s in panel.series])
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


def short(text: str, most: int = 28) -> str:
    """People's text on one line, and not longer than a figure bears."""
    line = inert.flat(text)
    return line if len(line) <= most else line[: most - 1] + "…"


DRAW = {"lines": _lines, "points": _points, "bars": _bars, "cells": _cells, "map": _map}
