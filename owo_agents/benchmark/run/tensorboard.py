"""TensorBoard as a sink: ``owo bench … --tensorboard DIR``."""

import re
from pathlib import Path

import numpy as np

from owo_agents.benchmark.run.callbacks import Callback
from owo_agents.benchmark.run.results import Result
from owo_agents.benchmark.suite.cells import Cell
from owo_agents.playing.loop import RoundRecord
from owo_env.extras import pip_line

_UNFIT = re.compile(r"[^\w=-]+")


class TensorBoard(Callback):
    """Writes every scalar of every round, one run a cell, named scenario/agent/seed-key.

    Args:
        folder: Of the event files.

    Raises:
        ImportError: TensorBoard is not installed; the message says how to install it.
        OSError: The folder cannot be made.
    """

    def __init__(self, folder: Path) -> None:
        try:
            from torch.utils.tensorboard import SummaryWriter
        except ImportError as error:
            line = pip_line("tensorboard")
            raise ImportError(f"--tensorboard needs TensorBoard: {line}") from error
        folder.mkdir(parents=True, exist_ok=True)  # raises now, not after hours
        self._make = SummaryWriter
        self._folder = folder
        self._writers: dict[str, SummaryWriter] = {}

    def on_round(self, cell: Cell, record: RoundRecord) -> None:
        """Write the round's figures; those of K users under ``name/user k``."""
        writer = self._writers.get(cell.key)
        if writer is None:
            scenario, agent = (_UNFIT.sub(".", name) for name in (cell.scenario, cell.agent))
            run = self._folder / scenario / agent / f"seed{cell.seed}-{cell.key[:8]}"
            # A cell that goes on, or is run again, tells of its rounds anew.
            writer = self._writers[cell.key] = self._make(str(run), purge_step=record.round)
        own = {"fairness": record.fairness, "regret": record.regret}
        users = {"utility": record.utilities, "priority": record.weights}
        for name, value in (own | users | record.extras).items():
            for label, number in _scalars(name, value):
                writer.add_scalar(label, number, record.round)

    def on_result(self, cell: Cell, result: Result) -> None:
        """Close the cell's file."""
        self._close(cell)

    def on_failure(self, cell: Cell, error: str) -> None:
        """Close the cell's file; the rounds before the error stay in it."""
        self._close(cell)

    def on_end(self) -> None:
        """Close what is open."""
        for writer in self._writers.values():
            writer.close()

    def _close(self, cell: Cell) -> None:
        if cell.key in self._writers:
            self._writers.pop(cell.key).close()


def _scalars(name: str, value: object) -> list[tuple[str, float]]:
    """The numbers in a figure of one round; texts have none."""
    try:
        array = np.asarray(value)
    except ValueError:  # lists of different lengths
        return []
    if value is None or array.dtype.kind not in "fiub":
        return []
    if array.ndim == 0:
        return [(name, float(array))]
    return [(f"{name}/user {k + 1}", float(v)) for k, v in enumerate(array.ravel())]
