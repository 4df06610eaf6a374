"""A chart as data: what a figure shows, before matplotlib or a browser draws it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Series:
    """One curve or one point of a chart.

    Attributes:
        label: Decides its colour.
        x, y: Of its points.
        low, high: Interval of y, if there is one.
        x_low, x_high: Interval of x, for single points.
        notes: What to write beside each point.
    """

    label: str
    x: Sequence[float]
    y: Sequence[float]
    low: Sequence[float] | None = None
    high: Sequence[float] | None = None
    x_low: Sequence[float] | None = None
    x_high: Sequence[float] | None = None
    notes: Sequence[str] | None = None

    @property
    def ys(self) -> list[float]:
        """Every y, the ends of its interval among them."""
        return [*self.y, *(self.low or ()), *(self.high or ())]


@dataclass(frozen=True)
class Panel:
    """A pair of axes.

    Attributes:
        title, x_label, y_label: What they show.
        series: In the order of the legend.
        kind: ``"lines"``, ``"points"``, ``"bars"`` (y by label), ``"cells"``: whole numbers x
            from left to right and y from the top down, or ``"map"``: places in m, north up.
        log: Both axes are logarithmic.
        x_limits, y_limits: What to show of x (of cells) and y, if not everything.
        agent: Whom it is about, if one agent alone.
        pale: Whether it is one of many, to be shown on demand.
    """

    title: str
    x_label: str
    y_label: str
    series: list[Series]
    kind: str = "lines"
    log: bool = False
    x_limits: tuple[float, float] | None = None
    y_limits: tuple[float, float] | None = None
    agent: str | None = None
    pale: bool = False


@dataclass(frozen=True)
class Chart:
    """Panels side by side under one heading.

    Attributes:
        name: For files.
        title, caption: For people.
        panels: The axes.
        labels: Every label in the order that decides colours, the same in all of a board's charts.
        pale: Labels of those among many that do not stand out.
        bounds: Labels of what is no measurement.
        ramp: Whether the labels are steps of one quantity, from low to high.
        built: Of maps, what stands there: (x, y, width, height) of bars, in m.
    """

    name: str
    title: str
    caption: str
    panels: list[Panel]
    labels: list[str]
    pale: Sequence[str] = ()
    bounds: Sequence[str] = ()
    ramp: bool = False
    built: Sequence[tuple[float, float, float, float]] = ()
