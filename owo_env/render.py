"""What ``AIRANEnv.render`` shows: the users, their priorities, utilities, and fairness so far."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import gymnasium as gym
import numpy as np
from numpy.typing import NDArray

from owo_env.problem import Problem

Frame = NDArray[np.uint8]

ROUNDS_SHOWN = 200
ROWS_SHOWN = 16  # users in ansi
BAR = 24  # characters
INK, FAINT, ALARM, BEST = "#22303c", "#aab4bd", "#c0392b", "#1e8449"
COLOURS = ("#3b76b5", "#e08a2e", "#3f9b6c", "#8c62b3", "#c7566b", "#5b9fa8", "#a58a3c", "#7a7f87")


class Board:
    """Keeps what a picture of the present round needs, and draws it.

    Args:
        problem: The constants; its bounds are the scales of the bars.

    Attributes:
        round: The present round's number, from 1.
        utilities: Those of each slot played in it, a list of (K,).
        weights: The priorities of the last slot, (K,); zeros before the first.
        fairness: F_α so far, after each slot.
        past: F_α of the stream's last rounds, oldest first.
        best: F_α at θ*_t, known at the end of a round with hindsight, else None.
    """

    def __init__(self, problem: Problem) -> None:
        self.problem = problem
        self._picture: _Picture | None = None
        self.open_round(1)

    def open_round(self, number: int) -> None:
        """A round opens; round 1 forgets the stream before it."""
        self.round = number
        if number == 1:
            self.past: list[float] = []
        self.utilities: list[NDArray[np.floating]] = []
        self.weights: NDArray[np.floating] = np.zeros(self.problem.num_users)
        self.fairness: list[float] = []
        self.best: float | None = None

    def record(
        self,
        utilities: Sequence[float],
        weights: NDArray[np.floating],
        fairness: float,
        info: Mapping[str, Any],
    ) -> None:
        """A slot was played; ``info`` is the one that the environment answers with."""
        self.utilities.append(np.array(utilities, float))
        self.weights = np.array(weights)
        self.fairness.append(fairness)
        self.best = info.get("fairest_fairness")
        if self.done:
            self.past = [*self.past, fairness][-ROUNDS_SHOWN:]

    @property
    def done(self) -> bool:
        """Whether the round is over."""
        return len(self.fairness) == self.problem.num_slots

    @property
    def means(self) -> NDArray[np.floating]:
        """Mean utilities of the round so far, (K,); NaN before its first slot."""
        if not self.utilities:
            return np.full(self.problem.num_users, np.nan)
        return np.mean(self.utilities, axis=0)

    def title(self) -> str:
        """Where the round stands, in one line."""
        problem, slot = self.problem, len(self.fairness)
        line = f"round {self.round}   slot {slot}/{problem.num_slots}   α = {problem.alpha:g}"
        if self.fairness:
            line += f"   fairness so far {self.fairness[-1]:.4f}"
        if self.best is not None:
            line += f"   regret {self.best - self.fairness[-1]:+.4f}"
        return line

    def ansi(self) -> str:
        """The round as text: per user the slot's utility, the mean so far (┃) and priority."""
        problem, lines = self.problem, [self.title()]
        u_min, u_max = problem.utility_bounds
        u = self.utilities[-1] if self.utilities else np.full(problem.num_users, np.nan)
        means, top = self.means, max(problem.priority_bounds[1], self.weights.max())
        for k in range(min(problem.num_users, ROWS_SHOWN)):
            bar = _bar((u[k] - u_min) / (u_max - u_min), (means[k] - u_min) / (u_max - u_min))
            mark = " " if np.isnan(u[k]) or u_min <= u[k] <= u_max else "!"
            lines.append(
                f"user {k + 1:<3d} u {u[k]:7.3f}{mark}▕{bar}▏ mean {means[k]:7.3f}"
                f"   p {self.weights[k]:6.3f} ▕{_bar(self.weights[k] / top)}▏"
            )
        if problem.num_users > ROWS_SHOWN:
            lines.append(f"… and {problem.num_users - ROWS_SHOWN} users more")
        return "\n".join(lines) + "\n"

    def rgb_array(self) -> Frame:
        """The round as a picture, uint8 (540, 960, 3).

        Raises:
            gymnasium.error.DependencyNotInstalled: matplotlib is missing.
        """
        if self._picture is None:
            self._picture = _Picture(self.problem)
        return self._picture.draw(self)


def _bar(share: float, mark: float = np.nan) -> str:
    """A bar of ``BAR`` characters filled to ``share`` ∈ [0, 1], with a mark where told."""
    if np.isnan(share):
        return " " * BAR
    full, part = divmod(round(8 * BAR * min(max(share, 0.0), 1.0)), 8)
    bar = list(("█" * full + " ▏▎▍▌▋▊▉"[part]).ljust(BAR)[:BAR])
    if not np.isnan(mark):
        bar[min(int(BAR * min(max(mark, 0.0), 1.0)), BAR - 1)] = "┃"
    return "".join(bar)


class _Picture:
    """A matplotlib figure whose artists are moved from frame to frame, never made anew."""

    def __init__(self, problem: Problem) -> None:
        try:
            from matplotlib.backends.backend_agg import FigureCanvasAgg
            from matplotlib.figure import Figure
        except ImportError as error:
            raise gym.error.DependencyNotInstalled(
                "render_mode='rgb_array' draws with matplotlib: pip install matplotlib"
            ) from error
        self.problem = problem
        figure = Figure(figsize=(9.6, 5.4), dpi=100, facecolor="white")
        self.canvas = FigureCanvasAgg(figure)
        grid = figure.add_gridspec(
            2, 3, left=0.075, right=0.975, bottom=0.1, top=0.84, wspace=0.28, hspace=0.5,
            width_ratios=(1.15, 0.85, 1.2),
        )  # fmt: skip
        self.title = figure.text(0.075, 0.925, "", fontsize=14, color=INK, weight="bold")
        self._utilities(figure.add_subplot(grid[:, 0]))
        self._priorities(figure.add_subplot(grid[:, 1]))
        self.now = self._curve(figure.add_subplot(grid[0, 2]), "fairness so far, by slot")
        self.now.set_xlim(0.5, problem.num_slots + 0.5)
        self.line = self.now.plot([], [], color=INK, lw=2)[0]
        self.fairest = self.now.axhline(np.nan, color=BEST, ls="--", lw=1.5)
        self.fairest_text = self.now.text(
            0.98, 0.06, "", transform=self.now.transAxes, ha="right", fontsize=9, color=BEST
        )
        self.all = self._curve(figure.add_subplot(grid[1, 2]), "fairness of past rounds")
        self.dots = self.all.plot([], [], "o-", color=INK, ms=3, lw=0.8)[0]

    def draw(self, board: Board) -> Frame:
        self.title.set_text(board.title())
        self._move_users(board)
        slots = np.arange(1, len(board.fairness) + 1)
        self.line.set_data(slots, board.fairness)
        best = np.nan if board.best is None else board.best
        self.fairest.set_ydata([best, best])
        self.fairest_text.set_text("" if board.best is None else f"fairest model {best:.4f}")
        _span(self.now, [*board.fairness, best])
        last = board.round if board.done else board.round - 1
        self.dots.set_data(np.arange(last - len(board.past), last) + 1, board.past)
        self.all.set_xlim(last - max(len(board.past), 10) + 0.5, last + 0.5)
        _span(self.all, board.past)
        self.canvas.draw()
        return np.asarray(self.canvas.buffer_rgba())[..., :3].copy()

    def _utilities(self, axes: Any) -> None:
        users, (u_min, u_max) = np.arange(self.problem.num_users), self.problem.utility_bounds
        margin = 0.12 * (u_max - u_min)
        self.left = u_min - margin
        self.u_bars = axes.barh(users, 0.0, 0.62, left=self.left, color=_colours(len(users)))
        self.mean_marks = axes.plot([], [], "D", color=INK, ms=5, mec="white", clip_on=False)[0]
        axes.set_xlim(self.left, u_max + margin)
        for bound, name in ((u_min, "u_min"), (u_max, "u_max")):
            axes.axvline(bound, color=FAINT, ls=":", lw=1.2, zorder=0)
            axes.text(bound, 1.005, name, transform=axes.get_xaxis_transform(), fontsize=8,
                      color=INK, ha="center", va="bottom")  # fmt: skip
        _plain(axes, "utility of the slot   ◆ mean so far")
        _name_users(axes, self.problem.num_users)

    def _priorities(self, axes: Any) -> None:
        users = np.arange(self.problem.num_users)
        self.p_axes = axes
        self.p_bars = axes.barh(users, 0.0, 0.62, color=_colours(len(users)))
        few = len(users) <= len(COLOURS)
        self.p_texts = [axes.text(0, k, "", va="center", fontsize=10, color=INK) for k in users]
        self.p_texts = self.p_texts if few else []
        self.p_top = self.problem.priority_bounds[1]
        _plain(axes, "priority p")
        _name_users(axes, 0)
        axes.set_ylim(len(users) - 0.4, -0.6)

    def _move_users(self, board: Board) -> None:
        u = board.utilities[-1] if board.utilities else np.full(self.problem.num_users, np.nan)
        u_min, u_max = self.problem.utility_bounds
        limit = u_max + (u_min - self.left)
        for bar, u_k in zip(self.u_bars, u):
            bar.set_width(np.nan_to_num(np.clip(u_k, self.left, limit) - self.left))
            bar.set_edgecolor("none" if np.isnan(u_k) or u_min <= u_k <= u_max else ALARM)
        self.mean_marks.set_data(np.clip(board.means, self.left, limit), np.arange(len(u)))
        self.p_top = max(self.p_top, board.weights.max())
        self.p_axes.set_xlim(0, 1.25 * self.p_top)
        for bar, p_k in zip(self.p_bars, board.weights):
            bar.set_width(p_k)
        for text, p_k in zip(self.p_texts, board.weights):
            text.set_position((p_k + 0.03 * self.p_top, text.get_position()[1]))
            text.set_text(f"{p_k:.3f}" if board.fairness else "")

    @staticmethod
    def _curve(axes: Any, name: str) -> Any:
        _plain(axes, name)
        axes.grid(axis="y", color=FAINT, alpha=0.4, lw=0.6)
        return axes


def _plain(axes: Any, name: str) -> None:
    axes.set_title(name, fontsize=10.5, color=INK, loc="left", pad=16)
    axes.spines[["top", "right"]].set_visible(False)
    axes.spines[["left", "bottom"]].set_color(FAINT)
    axes.tick_params(labelsize=8, colors=INK, color=FAINT)


def _name_users(axes: Any, users: int) -> None:
    few = 0 < users <= ROWS_SHOWN
    axes.set_yticks(range(users) if few else [], [f"user {k + 1}" for k in range(users)][: users if few else 0])
    axes.tick_params(axis="y", labelsize=10, length=0)
    if users:
        axes.set_ylim(users - 0.4, -0.6)


def _colours(users: int) -> list[str]:
    return [COLOURS[k % len(COLOURS)] for k in range(users)]


def _span(axes: Any, values: Sequence[float]) -> None:
    """Fit the vertical axis around the finite values."""
    finite = [v for v in values if np.isfinite(v)]
    if finite:
        low, high = min(finite), max(finite)
        margin = max(0.08 * (high - low), 1e-3)
        axes.set_ylim(low - margin, high + margin)
