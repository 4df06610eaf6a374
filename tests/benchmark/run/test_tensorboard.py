"""TensorBoard's files: every round once, in the folder that was named."""

import dataclasses

import numpy as np
import pytest
from bench_helpers import small

from owo_agents.benchmark.run import backends, runner
from owo_agents.benchmark.run.callbacks import Callback
from owo_agents.benchmark.run.results import Store
from owo_agents.playing.loop import RoundRecord

pytest.importorskip("tensorboard")
(CELL, *_) = small(rounds=6).cells()
RECORD = RoundRecord(
    round=1,
    model=np.empty(0),
    fairness=1.0,
    regret=None,
    utilities=np.ones(2),
    weights=np.ones(2),
    extras={"lists": [[1], [1, 2]], "undefined": np.nan, "text": "x"},
)


def sink(folder):
    from owo_agents.benchmark.run.tensorboard import TensorBoard

    return TensorBoard(folder)


def steps(folder):
    """Of the rounds' fairness, in every run's own folder."""
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    found = []
    for run in {path.parent for path in folder.rglob("events*")}:
        events = EventAccumulator(str(run))
        events.Reload()
        found.append([event.step for event in events.Scalars("fairness")])
    return found


class Stop(Callback):
    def on_round(self, cell, record):
        if record.round == 4:
            raise KeyboardInterrupt


def test_a_cell_that_goes_on_or_is_run_again_logs_no_round_twice(tmp_path):
    store = Store(tmp_path / "results")
    for more, force in (([Stop()], False), ([], False), ([], True)):
        watching = [sink(tmp_path / "events"), *more]
        runner.run([CELL], store, backend=backends.serial, force=force, callbacks=watching)
    assert steps(tmp_path / "events") == [[1, 2, 3, 4, 5, 6]]


@pytest.mark.parametrize("agent", ["rl:../../../x", "rl:/etc/x", "..", "a/../../../b", "m.n:C"])
def test_names_do_not_lead_out_of_the_folder(tmp_path, agent):
    log = sink(tmp_path / "one" / "events")
    for cell in (dataclasses.replace(CELL, agent=agent), dataclasses.replace(CELL, scenario=agent)):
        log.on_round(cell, RECORD)
    log.on_end()
    files = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert len(files) == 2
    assert all(path.is_relative_to(tmp_path / "one" / "events") for path in files)


def test_a_folder_that_cannot_be_made_is_refused_at_once(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(OSError, match="file"):
        sink(tmp_path / "file")
