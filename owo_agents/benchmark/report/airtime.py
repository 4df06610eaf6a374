"""Who was there and who was heard: the first round of an experiment, user by user, slot by slot."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from owo_agents.benchmark.figures.leaderboard import Board
from owo_agents.benchmark.report.chart import Chart, Panel, Series
from owo_agents.benchmark.run.execution import make_env

MOST = 6
"""Panels that one looks at side by side."""
HEARD, LOST = "heard", "lost"


def airtime(boards: Sequence[Board]) -> Chart | None:
    """A panel for each link of the grid; None where there is none, or it cannot be made here."""
    panels = list(_panels(boards))
    if not panels:
        return None
    more = f" The first {MOST} of {len(panels)} links." if len(panels) > MOST else ""
    return Chart(
        "airtime",
        "who was there, and who was heard",
        "Round 1 of the first seed, a row a user and a column a slot: feedback that arrived, and "
        "that was lost or too late; where there is nothing a user had no job." + more,
        panels[:MOST],
        [LOST, HEARD],
    )


def _panels(boards: Sequence[Board]) -> Iterator[Panel]:
    for board in boards:
        experiment, label = board.experiment, board.rows[0].label
        try:
            env = make_env(experiment.cell(board.variant, label, experiment.seeds[0]))
            env.reset(seed=experiment.seeds[0])
            active, heard, _ = env.unwrapped.on_air()  # type: ignore[attr-defined]
        except (ImportError, ValueError, TypeError, OSError):
            continue  # without a link, or somebody's own scenario, which is not here
        title = board.variant.label or experiment.title
        series = [_cells(LOST, active & ~heard), _cells(HEARD, heard)]
        whole = [(0.5, size + 0.5) for size in active.shape]
        yield Panel(
            title, "slot", "user", series, kind="cells", x_limits=whole[0], y_limits=whole[1]
        )


def _cells(label: str, where: NDArray[np.bool_]) -> Series:
    slots, users = np.nonzero(where)
    return Series(label, (slots + 1.0).tolist(), (users + 1.0).tolist())
