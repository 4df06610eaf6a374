"""A site's map: who is served well where, under one agent and under another."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from owo_agents.benchmark.figures.leaderboard import Board
from owo_agents.benchmark.report.chart import Chart, Panel, Series
from owo_agents.benchmark.run.execution import make_env
from owo_agents.benchmark.run.results import Result
from owo_env.radio.site import Site

Floats = NDArray[np.float64]

GRAIN = 6.0  # m; users within it are one dot
STEPS = 5  # of utility
TRANSMITTER = "transmitter"
MARGIN = 20.0  # m around streets


def site_map(board: Board) -> Chart:
    """A panel for the baseline and one for equal weights (else for who is second); else none."""
    title = "Who is served well where"
    caption = "The lowest mean utility of a round that a user began there."
    site = _site(board)
    shown = [label for label in _pair(board) if _told(board, label)]
    if site is None or not shown:
        return Chart("map", title, caption, [], [])
    dots = {label: _dots(list(board.runs[label].values())) for label in shown}
    every = np.concatenate([values for _, values in dots.values()])
    edges = np.quantile(every, np.linspace(0, 1, STEPS + 1))
    steps = [f"{low:.2f} – {high:.2f}" for low, high in itertools.pairwise(edges)]
    steps = [f"{n + 1}. {step}" if steps.count(step) > 1 else step for n, step in enumerate(steps)]
    panels = [_panel(site, label, *dots[label], edges, steps) for label in shown]
    caption += (
        f" Places within {GRAIN:g} m are one dot, over all rounds and seeds; each colour is a "
        f"fifth of all dots. {site.about['scene'].capitalize()}: {site.about['attribution']}."
    )
    labels = [*steps, TRANSMITTER]
    built = _bars(site, *_limits(site))
    return Chart("map", title, caption, panels, labels, (), [TRANSMITTER], ramp=True, built=built)


def _site(board: Board) -> Site | None:
    experiment = board.experiment
    cell = experiment.cell(board.variant, board.rows[0].label, experiment.seeds[0])
    if not any("position" in run.extras for run in board.results):
        return None
    try:
        return getattr(make_env(cell).unwrapped.scenario, "site", None)  # type: ignore[attr-defined]
    except (ImportError, ValueError, TypeError, OSError):
        return None  # a file that is not here


def _pair(board: Board) -> list[str]:
    """The baseline, and the first that has equal weights, or else the best other."""
    first = board.experiment.baseline
    others = [row.label for row in board.rows if row.label != first]
    equal = [label for label in board.runs if label in others and _equal(board.runs[label])]
    return [first, *(equal or others)[:1]]


def _equal(by_seed: Mapping[int, Result]) -> bool:
    return all(np.ptp(run.weights) < 1e-9 for run in by_seed.values())


def _told(board: Board, label: str) -> bool:
    runs = board.runs.get(label, {})
    return bool(runs) and all("position" in run.extras for run in runs.values())


def _dots(runs: Sequence[Result]) -> tuple[Floats, Floats]:
    """Places (n, 2) in m and the lowest utility there, (n,)."""
    at = np.concatenate([np.reshape(run.extras["position"], (-1, 2)) for run in runs])
    utility = np.concatenate([np.ravel(run.utilities) for run in runs])
    known = np.isfinite(utility)
    at, utility = at[known], utility[known]
    _, which = np.unique(np.round(at / GRAIN), axis=0, return_inverse=True)
    which = which.ravel()
    count = np.bincount(which)
    middle = [np.bincount(which, at[:, axis]) / count for axis in (0, 1)]
    lowest = np.full(len(count), np.inf)
    np.minimum.at(lowest, which, utility)
    return np.column_stack(middle), lowest


def _panel(
    site: Site, label: str, at: Floats, values: Floats, edges: Floats, steps: Sequence[str]
) -> Panel:
    step = np.clip(np.searchsorted(edges, values, side="right") - 1, 0, STEPS - 1)
    series = [
        Series(name, at[step == n, 0].round(1).tolist(), at[step == n, 1].round(1).tolist())
        for n, name in enumerate(steps)
    ]
    x, y, _ = site.about["transmitter"]
    series.append(Series(TRANSMITTER, [x], [y]))
    low, high = _limits(site)
    return Panel(
        label, "m to the east", "m to the north", series, "map",
        x_limits=(low[0], high[0]), y_limits=(low[1], high[1]),
    )  # fmt: skip


def _limits(site: Site) -> tuple[Floats, Floats]:
    """South-west and north-east corner of what is shown."""
    whole = np.concatenate([site.position, [site.about["transmitter"][:2]]])
    return whole.min(axis=0) - MARGIN, whole.max(axis=0) + MARGIN


def _bars(site: Site, low: Floats, high: Floats) -> list[tuple[float, float, float, float]]:
    """What is built, as bars along x: (x, y, width, height); equal ones in a column are one."""
    step, corner = site.about["built_step"], site.about["built_from"]
    corner = np.array(corner) - 0.5 * step
    bars: dict[tuple[float, float], list[float]] = {}  # by x and width: y and height of each
    done = []
    for row, built in enumerate(site.built):
        y = corner[1] + row * step
        if not low[1] <= y <= high[1] - step:
            continue
        turns = corner[0] + step * np.flatnonzero(np.diff([0, *built.astype(int), 0]))
        turns = turns.clip(low[0], high[0]).round(1).reshape(-1, 2)
        here = {(x, x2 - x): [y, step] for x, x2 in turns.tolist() if x2 > x}
        done += [(k, bars[k]) for k in bars if k not in here]
        bars = {k: [bars[k][0], bars[k][1] + step] if k in bars else h for k, h in here.items()}
    done += list(bars.items())
    return [(x, round(y, 1), round(width, 1), height) for (x, width), (y, height) in done]
