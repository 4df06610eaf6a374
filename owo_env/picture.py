"""Pictures of a round by matplotlib, and the window that shows them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import gymnasium as gym
import numpy as np
from numpy.typing import NDArray

from owo_env.problem import Problem

Floats = NDArray[np.floating]
Frame = NDArray[np.uint8]

RENDER_FPS = 8
ROWS_SHOWN = 16  # users who are named
INK, FAINT, ALARM, BEST = "#22303c", "#aab4bd", "#c0392b", "#1e8449"
COLOURS = ("#3b76b5", "#e08a2e", "#3f9b6c", "#8c62b3", "#c7566b", "#5b9fa8", "#a58a3c", "#7a7f87")


class Scale:
    """The units of the bars: utilities and priorities as they are, or, where the users' bounds
    differ, as shares of each user's own.

    Attributes:
        low: u_min of each user, (K,).
        high: u_max, likewise.
        own: Whether they differ.
        ends: Where the bars of utilities begin and end.
        priority_ends: Likewise of priorities.
    """

    def __init__(self, problem: Problem) -> None:
        self.low, self.high = (
            np.broadcast_to(bound, problem.num_users) for bound in problem.fairness.bounds
        )
        self.own = bool(np.ptp(self.low) or np.ptp(self.high))
        self._top = problem.fairness.priority_bounds[1]
        self._tops = problem.fairness.priority_box[1]
        self.ends = (0.0, 1.0) if self.own else problem.utility_bounds
        self.priority_ends = (0.0, 1.0) if self.own else problem.fairness.priority_bounds

    def utilities(self, u: Floats) -> Floats:
        """Utilities (K,) on the scale."""
        return (u - self.low) / (self.high - self.low) if self.own else u

    def priorities(self, p: Floats) -> Floats:
        """Priorities (K,) on the scale."""
        return p / self._tops if self.own else p

    def tops(self, p: Floats) -> Floats:
        """What priorities (K,) are shares of in a bar."""
        if self.own:
            return np.maximum(self._tops, p)
        return np.full(len(p), max(self._top, p.max()))


def own_style() -> Any:
    """A context with matplotlib's own defaults, whatever style its user has set."""
    try:
        from matplotlib import style
    except ImportError as error:
        raise gym.error.DependencyNotInstalled(
            "pictures are drawn with matplotlib: pip install matplotlib"
        ) from error
    return style.context("default")


class Window:
    """A window of matplotlib's that shows frames; nothing where there is no display."""

    def __init__(self) -> None:
        from matplotlib import pyplot

        self._pyplot = pyplot
        self.is_open = False
        try:
            self._figure = pyplot.figure("airan-fairmtl", figsize=(9.6, 5.4), dpi=100)
        except ImportError:
            return  # somebody asked matplotlib for windows where there is no display
        self.is_open = bool(self._figure.canvas.required_interactive_framework)
        if self.is_open:
            axes = self._figure.add_axes((0, 0, 1, 1))
            axes.set_axis_off()
            self._image = axes.imshow(np.full((540, 960, 3), 255, np.uint8))
            self._figure.canvas.mpl_connect("close_event", self._closed)
        else:
            pyplot.close(self._figure)

    def show(self, frame: Frame) -> None:
        self._image.set_data(frame)
        self._pyplot.pause(1 / RENDER_FPS)

    def close(self) -> None:
        if self.is_open:
            self._pyplot.close(self._figure)

    def _closed(self, _event: Any) -> None:
        self.is_open = False


class Picture:
    """A matplotlib figure whose artists are moved from frame to frame, never made anew."""

    def __init__(self, problem: Problem) -> None:
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure

        self.problem = problem
        self.scale = scale = Scale(problem)
        users, (u_min, u_max) = range(problem.num_users), scale.ends
        own = ", of each user's range" if scale.own else ""
        colours = [COLOURS[k % len(COLOURS)] for k in users]
        figure = Figure(figsize=(9.6, 5.4), dpi=100, facecolor="white")
        self.canvas = FigureCanvasAgg(figure)
        grid = figure.add_gridspec(2, 3, width_ratios=(1.15, 0.85, 1.2), **_GRID)
        self.title = figure.text(_GRID["left"], 0.94, "", fontsize=14, color=INK, weight="bold")

        axes = _axes(figure, grid[:, 0], f"utility of the slot{own}   ◆ mean so far")
        self.u_bars = axes.barh(users, 0.0, 0.62, left=u_min, color=colours, lw=2)
        self.u_means = axes.plot([], [], "D", color=INK, ms=6, mec="white", clip_on=False)[0]
        self.margin = 0.12 * (u_max - u_min)
        axes.set_xlim(u_min - self.margin, u_max + self.margin)
        _bounds(axes, "u", scale.ends)
        self.idle = [axes.text(u_min, k, "", va="center", fontsize=9, color=FAINT) for k in users]
        named = users if problem.num_users <= ROWS_SHOWN else range(0)
        _users(axes, problem.num_users, [f"user {k + 1}" for k in named])

        self.p_axes = axes = _axes(figure, grid[:, 1], f"priority p{own}")
        self.p_bars = axes.barh(users, 0.0, 0.62, color=colours)
        self.p_top = scale.priority_ends[1]
        self.p_texts = [axes.text(0.0, k, "", va="center", fontsize=10, color=INK) for k in named]
        _bounds(axes, "p", scale.priority_ends)
        _users(axes, problem.num_users, [])

        self.now = axes = _axes(figure, grid[0, 2], "fairness so far, slot by slot")
        axes.set_xlim(0.5, problem.num_slots + 0.5)
        self.line = axes.plot([], [], color=INK, lw=2)[0]
        self.best = axes.axhline(np.nan, color=BEST, ls="--", lw=1.5)
        self.best_text = axes.text(
            1.0, 1.03, "fairest model in hindsight", color=BEST, fontsize=9, ha="right",
            transform=axes.transAxes,
        )  # fmt: skip
        self.past = _axes(figure, grid[1, 2], "fairness of the rounds played")
        self.dots = self.past.plot([], [], "o-", color=INK, ms=3, lw=0.8)[0]

    def draw(self, display: Any) -> Frame:
        """The frame of a ``Display``, whose module needs this one, as it stands."""
        self.title.set_text(display.title())
        self._move_users(display)
        self.line.set_data(range(1, len(display.fairness) + 1), display.fairness)
        self.best.set_ydata([display.best, display.best])
        _span(self.now, [*display.fairness, display.best])
        self.best_text.set_visible(bool(np.isfinite(display.best)))
        last = display.round if display.done else display.round - 1
        first = last - len(display.past) + 1
        self.dots.set_data(range(first, last + 1), display.past)
        self.past.set_xlim(first - 0.5, max(last, first + 9) + 0.5)
        _span(self.past, display.past)
        self.canvas.draw()
        return np.asarray(self.canvas.buffer_rgba())[..., :3].copy()

    def _move_users(self, display: Any) -> None:
        (u_min, u_max), u = self.scale.ends, self.scale.utilities(display.last)
        means, weights = self.scale.utilities(display.means), self.scale.priorities(display.weights)
        low, high = u_min - self.margin, u_max + self.margin
        for bar, u_k in zip(self.u_bars, u):
            bar.set_width(0.0 if np.isnan(u_k) else np.clip(u_k, low, high) - u_min)
            bar.set_edgecolor(ALARM if u_k < u_min or u_k > u_max else "none")
        for k, (bar, p_bar) in enumerate(zip(self.u_bars, self.p_bars)):
            for one in (bar, p_bar):  # pale: nobody hears of it
                one.set_alpha(1.0 if display.heard[k] else 0.3)
        for k, text in enumerate(self.idle):
            text.set_text("" if display.active[k] else "idle")
        self.u_means.set_data(np.clip(means, low, high), range(len(u)))
        self.p_top = max(self.p_top, weights.max())
        self.p_axes.set_xlim(0.0, 1.25 * self.p_top)
        for bar, p_k in zip(self.p_bars, weights):
            bar.set_width(p_k)
        for k, text in enumerate(self.p_texts):
            text.set_text(f"{display.weights[k]:.3f}" if display.fairness else "")
            text.set_x(weights[k] + 0.03 * self.p_top)


_GRID = dict(left=0.075, right=0.975, bottom=0.07, top=0.83, wspace=0.28, hspace=0.45)


def _axes(figure: Any, place: Any, name: str) -> Any:
    axes = figure.add_subplot(place)
    axes.set_title(name, fontsize=10.5, color=INK, loc="left", pad=18)
    axes.spines[["top", "right"]].set_visible(False)
    axes.spines[["left", "bottom"]].set_color(FAINT)
    axes.tick_params(labelsize=8, colors=INK, color=FAINT)
    return axes


def _bounds(axes: Any, symbol: str, bounds: tuple[float, float]) -> None:
    """Dotted lines at the ends of the allowed interval, named above; one if they coincide."""
    for bound, end in dict(zip(bounds, ("min", "max"))).items():
        axes.axvline(bound, color=FAINT, ls=":", lw=1.2)
        where = {"transform": axes.get_xaxis_transform(), "ha": "center"}
        axes.text(bound, 1.01, f"${symbol}_{{{end}}}$", fontsize=10, color=INK, **where)


def _users(axes: Any, users: int, labels: list[str]) -> None:
    """One row a user, the first on top."""
    axes.set_yticks(range(len(labels)), labels)
    axes.tick_params(axis="y", labelsize=10, length=0)
    axes.set_ylim(users - 0.4, -0.6)


def _span(axes: Any, values: Sequence[float]) -> None:
    """Fit the vertical axis around the finite values."""
    finite = [v for v in values if np.isfinite(v)]
    axes.tick_params(labelleft=bool(finite))
    if finite:
        margin = max(0.08 * (max(finite) - min(finite)), 1e-3)
        axes.set_ylim(min(finite) - margin, max(finite) + margin)
