"""A benchmark from a suite to its results: first everything is checked, then it runs."""

from __future__ import annotations

import functools
import shutil
import tempfile
import weakref
from collections.abc import Callable, Sequence
from pathlib import Path

from joblib import cpu_count

from owo_agents.benchmark.api import progress as progress_
from owo_agents.benchmark.api.results import Results
from owo_agents.benchmark.run import runner, tuning
from owo_agents.benchmark.run.backends import Backend
from owo_agents.benchmark.run.callbacks import Callback
from owo_agents.benchmark.run.results import Store
from owo_agents.benchmark.suite import manifest
from owo_agents.benchmark.suite.cells import Cell
from owo_agents.benchmark.suite.plan import Suite
from owo_agents.benchmark.suite.selection import narrowed
from owo_env import checks, files


class Benchmark:
    """A suite that can be run into a folder.

    Args:
        suite: What the folder remembers and the results speak of.
        only: Run only ``agent=…``, ``scenario=…`` or ``experiment=…`` (``*`` stands for any
            letters).
        skip: Leave those out.
        folder: Where results are kept; None for a temporary one, which goes with the results.
        jobs: Runs at a time; None for as many as the cores that this process may use.
        backend: ``"process"``, ``"serial"`` or ``"ray"``; or one of somebody's own.
        ray_address: Of a running Ray cluster.
        force: Run again what is there already.
        tune: Run the suite again with step sizes tuned on seeds that no table shows.
        tune_starts: Tune the outer loops as well.
        progress: Whether, or where, to show it.
        callbacks: Hear of every run.
        command: What the folder says that it was made by.

    Raises:
        ValueError, TypeError, ImportError: Something of it cannot be run; nothing is made yet.
        OSError: The folder cannot be written.
    """

    def __init__(
        self,
        suite: Suite,
        *,
        only: Sequence[str] = (),
        skip: Sequence[str] = (),
        folder: Path | None = None,
        jobs: int | None = None,
        backend: str | Backend = "process",
        ray_address: str | None = None,
        force: bool = False,
        tune: bool = False,
        tune_starts: bool = False,
        progress: bool | progress_.Line | None = None,
        callbacks: Sequence[Callback] = (),
        command: str = "owo_agents.bench",
    ) -> None:
        self._chosen, self._whole = narrowed(suite, only, skip), suite
        self._jobs = checks.whole("jobs", cpu_count() if jobs is None else jobs, low=1)
        chosen = runner.choose(backend, ray_address) if isinstance(backend, str) else backend
        self._play = functools.partial(runner.run, backend=chosen, jobs=self._jobs)
        self._force, self._starts = force, tune_starts
        self._progress, self._callbacks, self._command = progress, callbacks, command
        runner.validate(self._chosen)
        self._store = Store(folder or Path(tempfile.mkdtemp(prefix="owo-")))
        if folder is None:
            weakref.finalize(self._store, shutil.rmtree, self._store.folder, ignore_errors=True)
        manifest.write(self._store.folder, suite, command)
        self._tuning: Store | None = None
        if tune or tune_starts:
            self._tuning = Store(files.inside(self._store.folder, "tuning"))
        self.set_aside = self._store.tidy(cell.key for cell in suite.cells())
        """A line for each file of the folder that was no result."""

    def run(self) -> Results:
        """Run what the folder lacks; Ctrl-C ends that and keeps what is done."""
        interrupted = self._tuning is not None and self._tune(self._tuning)
        cells = [] if interrupted else self._chosen.cells()
        play = functools.partial(self._play, force=self._force)
        outcome = self._with_bar(play, cells, self._store, self._callbacks)
        return Results(self._whole, self._store, outcome, interrupted or outcome.interrupted)

    def _tune(self, store: Store) -> bool:
        """Choose step sizes, and go on with the suite and its tuned repetition.

        Returns:
            Whether Ctrl-C ended that.
        """

        def run_all(cells: Sequence[Cell]) -> None:
            if self._with_bar(self._play, cells, store).interrupted:
                raise KeyboardInterrupt

        try:
            self._chosen = self._whole = tuning.tune(self._chosen, store, run_all, self._starts)
        except KeyboardInterrupt:
            return True
        runner.validate(self._chosen)
        manifest.write(self._store.folder, self._whole, self._command)
        return False

    def _with_bar(
        self,
        play: Callable[..., runner.Outcome],
        cells: Sequence[Cell],
        store: Store,
        callbacks: Sequence[Callback] = (),
    ) -> runner.Outcome:
        shown = list(callbacks)
        if cells and (line := progress_.line(self._progress)) is not None:
            suite = self._chosen
            shown.insert(0, progress_.Bar(line, suite.run_names(), suite.labels(), self._jobs))
        return play(cells, store, callbacks=shown)
