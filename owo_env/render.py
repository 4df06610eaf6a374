"""What ``AIRANEnv.render`` shows: the users, their priorities, utilities, and fairness so far."""

from __future__ import annotations

import functools
import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from owo_env.picture import ROWS_SHOWN, Frame, Picture, Scale, Window, own_style
from owo_env.problem import Problem

Floats = NDArray[np.floating]
Bools = NDArray[np.bool_]

ROUNDS_SHOWN = 200
STREAMS_SHOWN = 16  # of a vector environment; a square whose side divides a picture's
BAR = 16  # characters; a line has 79


RENDER_MODES = ["rgb_array", "rgb_array_list", "ansi", "human"]


class Display:
    """Keeps what a picture of the present round needs, and draws it.

    Args:
        problem: The constants; its bounds are the scales of the bars.
        mode: The environment's ``render_mode``.

    Attributes:
        round: The present round's number, from 1.
        last: Utilities of the slot just played, (K,); NaN before the round's first, and of users
            without a job.
        means: Mean utilities of the round so far, likewise.
        active, heard: Who had a job in the slot, and whose feedback of it arrives, (K,).
        weights: The priorities of the last slot, (K,); zeros before the first.
        fairness: F_α so far, after each slot.
        past: F_α of the stream's last rounds, oldest first.
        best: F_α at θ*_t, known at the end of a round with hindsight, else NaN.
    """

    def __init__(self, problem: Problem, mode: str = "rgb_array") -> None:
        self.problem = problem
        self._mode = mode
        self._frames: list[Frame]
        self._forget(1)

    def open_round(self, number: int) -> None:
        """A round opens; round 1 forgets the stream before it."""
        self._forget(number)
        self._show()

    def answer(self) -> Any:
        """What ``render`` returns in this mode."""
        if self._mode == "rgb_array_list":
            frames, self._frames = self._frames, []
            return frames
        if self._mode == "human":
            return None  # every slot was shown as it was played
        return self.ansi() if self._mode == "ansi" else self.rgb_array()

    def close(self) -> None:
        """Close the window, where one is open."""
        if "_window" in vars(self):
            self._window.close()
            del self._window

    def _show(self) -> None:
        """In a mode that asks for no call of ``render``, keep or show the picture."""
        if self._mode == "rgb_array_list":
            self._frames.append(self.rgb_array())
        elif self._mode == "human" and self._window.is_open:
            self._window.show(self.rgb_array())

    def _forget(self, number: int) -> None:
        self.round = number
        if number == 1:
            self.past: list[float] = []
        self._frames = []  # of one round, as in Gymnasium's RenderCollection
        self._utilities: list[Floats] = []
        self._everyone = np.ones(self.problem.num_users, bool)
        self.active = self.heard = self._everyone
        self.last = self.means = np.full(self.problem.num_users, np.nan)
        self.weights: Floats = np.zeros(self.problem.num_users)
        self.fairness: list[float] = []
        self.best = np.nan

    def record(
        self,
        utilities: Sequence[float],
        weights: Floats,
        fairness: float,
        info: Mapping[str, Any],
        there: tuple[Bools, Bools] | None = None,
    ) -> None:
        """A slot was played; ``info`` is the one that the environment answers with.

        Over a link ``there`` says who had a job in it, and whose feedback arrives, (K,) each.
        """
        self.active, self.heard = there or (self._everyone, self._everyone)
        self.last = np.where(self.active, np.array(utilities, float), np.nan)
        self._utilities.append(self.last)
        jobs = np.sum(np.isfinite(self._utilities), axis=0)
        self.means = np.where(jobs > 0, np.nansum(self._utilities, axis=0), np.nan)
        self.means = self.means / np.maximum(jobs, 1)
        self.weights = np.array(weights)
        self.fairness.append(fairness)
        self.best = info.get("fairest_fairness", np.nan)
        if self.done:
            self.past = [*self.past, fairness][-ROUNDS_SHOWN:]
        self._show()

    @property
    def done(self) -> bool:
        """Whether the round is over."""
        return len(self.fairness) == self.problem.num_slots

    def title(self) -> str:
        """Where the round stands, in one line."""
        problem, slot = self.problem, len(self.fairness)
        line = f"round {self.round}   slot {slot}/{problem.num_slots}   {problem.fairness}"
        if self.fairness:
            line += f"   fairness so far {self.fairness[-1]:.4f}"
        if np.isfinite(self.best):
            line += f"   regret {self.best - self.fairness[-1]:+.4f}"
        return line

    def ansi(self) -> str:
        """The round as text: per user the slot's utility, the mean so far (┃) and priority."""
        problem, lines = self.problem, [self.title()]
        scale = Scale(problem)
        tops = scale.tops(self.weights)
        for k, (u, mean, p) in enumerate(zip(self.last[:ROWS_SHOWN], self.means, self.weights)):
            u_min, u_max = scale.low[k], scale.high[k]
            bar = _bar((u - u_min) / (u_max - u_min), (mean - u_min) / (u_max - u_min))
            alarm = "!" if u < u_min or u > u_max else " "
            there = "" if self.heard[k] else " lost" if self.active[k] else " idle"
            lines.append(
                f"user {k + 1:<3d} u {u:7.3f}{alarm}▕{bar}▏ mean {mean:7.3f}"
                f"  p {p:6.3f} ▕{_bar(p / tops[k])}▏{there}".replace("nan", "  –")
            )
        if problem.num_users > ROWS_SHOWN:
            lines.append(f"… and {problem.num_users - ROWS_SHOWN} users more")
        return "\n".join(lines) + "\n"

    def rgb_array(self) -> Frame:
        """The round as a picture, uint8 (540, 960, 3).

        Raises:
            gymnasium.error.DependencyNotInstalled: matplotlib is missing.
        """
        with own_style():
            return self._picture.draw(self)

    @functools.cached_property
    def _picture(self) -> Picture:
        return Picture(self.problem)

    @functools.cached_property
    def _window(self) -> Window:
        with own_style():
            return Window()


class Displays:
    """The displays of a vector environment: of its first streams.

    Args:
        problem: The constants.
        num_envs: N.
    """

    def __init__(self, problem: Problem, num_envs: int) -> None:
        self.each = [Display(problem) for _ in range(min(num_envs, STREAMS_SHOWN))]
        self._others = num_envs - len(self.each)

    def open_rounds(self, opened: NDArray[np.bool_], rounds: NDArray[np.integer]) -> None:
        """Rounds of these numbers open where told, (N,)."""
        for display, is_open, number in zip(self.each, opened, rounds):
            if is_open:
                display.open_round(int(number))

    def record(
        self,
        played: NDArray[np.bool_],
        utilities: Floats,
        weights: Floats,
        fairness: Floats,
        info: Mapping[str, Any],
    ) -> None:
        """A slot was played where told; arrays (N, …), ``info`` as the environment answers."""
        best = info.get("fairest_fairness", np.full(len(played), np.nan))
        over = info.get("_fairest_fairness", np.zeros(len(played), bool))
        for n, display in enumerate(self.each):
            if played[n]:
                told = {"fairest_fairness": best[n]} if over[n] else {}
                display.record(utilities[n], weights[n], float(fairness[n]), told)

    def rgb_array(self) -> tuple[Frame, ...]:
        """A frame a stream, as a grid of them has the size of one; those not shown are white."""
        side = math.ceil(math.sqrt(len(self.each)))
        frames = [_shrunk(display.rgb_array(), side) for display in self.each]
        return (*frames, *[np.full_like(frames[0], 255)] * self._others)


def _shrunk(frame: Frame, by: int) -> Frame:
    height, width, colours = frame.shape
    cells = frame.reshape(height // by, by, width // by, by, colours)
    return cells.mean(axis=(1, 3)).round().astype(np.uint8)


def _bar(share: float, mark: float = np.nan) -> str:
    """A bar of ``BAR`` characters filled to ``share`` ∈ [0, 1], with a mark where told."""
    if np.isnan(share):
        return " " * BAR
    full, part = divmod(round(8 * BAR * min(max(share, 0.0), 1.0)), 8)
    bar = list(("█" * full + " ▏▎▍▌▋▊▉"[part]).ljust(BAR)[:BAR])
    if not np.isnan(mark):
        bar[min(int(BAR * min(max(mark, 0.0), 1.0)), BAR - 1)] = "┃"
    return "".join(bar)
