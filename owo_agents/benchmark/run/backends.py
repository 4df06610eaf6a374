"""Where cells run: in this process, in worker processes, or on a Ray cluster.

A backend takes cells and yields each with its result, or with the text of its error, in the
order in which they end. Results are the same bits on all three.
"""

from __future__ import annotations

import contextlib
import functools
import logging
import multiprocessing
import os
import signal
import sys
import threading
import time
import traceback
from collections import deque
from collections.abc import Callable, Generator, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, wait
from pathlib import Path
from pickle import PicklingError
from typing import Any

from joblib.externals.loky import get_reusable_executor
from joblib.externals.loky.process_executor import BrokenProcessPool

from owo_agents.benchmark.run.execution import OnRound, execute
from owo_agents.benchmark.run.results import Result
from owo_agents.benchmark.suite import digest
from owo_agents.benchmark.suite.cells import Cell
from owo_agents.playing.loop import AgentError
from owo_agents.registry import registry as agents
from owo_env.extras import pip_line
from owo_env.scenarios import registry as scenarios

Outcome = Result | str
Outcomes = Generator[tuple[Cell, Outcome], None, None]
Backend = Callable[[Sequence[Cell], int, OnRound, Path | None], Outcomes]

ONE_THREAD = {"OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
_RETRIES = 3  # by Ray, of a task whose worker or node died


def attempt(cell: Cell, on_round: OnRound | None, checkpoints: Path | None, **how: Any) -> Outcome:
    """The cell's result, or its error in words: one failed cell never stops the others."""
    try:
        return execute(cell, on_round, checkpoints, **how)
    except AgentError as error:
        return str(error)
    except Exception as error:
        place = traceback.extract_tb(error.__traceback__)[-1]
        return f"{type(error).__name__}: {error} ({place.filename}:{place.lineno})"


def _known(cell: Cell) -> list[dict[str, Any]]:
    """What this process knows by the names of the cell's agent and scenario."""
    return [agents.known(cell.agent), scenarios.known(cell.scenario)]


def _things(cells: Sequence[Cell]) -> list[str]:
    """Digests of the objects that go by the cells' names; a worker may remember former ones."""
    named = {name: one for cell in cells for known in _known(cell) for name, one in known.items()}
    things = [target for target, _ in named.values() if not isinstance(target, str)]
    return sorted(filter(None, map(digest.digest_or_token, things)))


def _elsewhere(known: list[dict[str, Any]], cell: Cell, checkpoints: Path | None) -> Outcome:
    """:func:`attempt` in another process, which first learns those names."""
    agents.add(known[0])
    scenarios.add(known[1])
    try:
        digest.check(cell, agents.entries, scenarios.entries)
    except ValueError as error:
        return str(error)
    return attempt(cell, None, checkpoints)


def serial(
    cells: Sequence[Cell],
    jobs: int,
    on_round: OnRound,
    checkpoints: Path | None = None,
    **how: Any,
) -> Outcomes:
    """One after the other, in this process; ``on_round`` hears of each round as it ends."""
    for cell in cells:
        yield cell, attempt(cell, on_round, checkpoints, **how)


def process(
    cells: Sequence[Cell], jobs: int, on_round: OnRound, checkpoints: Path | None = None
) -> Outcomes:
    """In ``jobs`` worker processes (loky); cells lost with a killed worker are sent again.

    Those are sent again one at a time, after the others, so that a cell that kills its worker
    takes no other with it and is known by it.

    Raises:
        ValueError: No worker can be started from here.
    """
    if multiprocessing.current_process().daemon:
        raise ValueError("backend='process': a daemonic process starts no workers; use 'serial'")
    try:
        os.getcwd()  # which workers start in
    except FileNotFoundError as error:
        raise ValueError("backend='process': the working folder is gone; go to another") from error
    return _process(cells, jobs, checkpoints)


def _process(cells: Sequence[Cell], jobs: int, checkpoints: Path | None) -> Outcomes:
    waiting, lost = deque(cells), deque[Cell]()
    here = os.getcwd(), *sys.path, *_things(cells)
    pool = functools.partial(_pool, jobs, here)
    running: dict[Future[Outcome], Cell] = {}
    try:
        while waiting or running or lost:
            alone = not waiting and not running
            queue, most = (lost, 1) if alone else (waiting, 2 * jobs)  # few are lost with a worker
            while queue and len(running) < most:
                cell = queue.popleft()
                running[_submit(pool, cell, checkpoints)] = cell
            for future in wait(running, return_when=FIRST_COMPLETED).done:
                cell = running.pop(future)
                try:
                    yield cell, future.result()
                except BrokenProcessPool:
                    if alone:
                        yield cell, "its worker process died twice (out of memory?)"
                    else:
                        lost.append(cell)
                except PicklingError as error:
                    yield cell, f"cannot be sent to another process: {error}"
    except BaseException:  # Ctrl-C, or nobody listens any more
        with _unheard():  # a second one comes when all is quiet
            pool().shutdown(wait=True, kill_workers=True)
        raise


def _submit(pool: Callable[[], Any], cell: Cell, checkpoints: Path | None) -> Future[Outcome]:
    """Send a cell to the pool; a broken pool is replaced by a new one."""
    while True:
        with contextlib.suppress(BrokenProcessPool), _unheard():
            return pool().submit(_elsewhere, _known(cell), cell, checkpoints)


@contextlib.contextmanager
def _unheard() -> Iterator[None]:
    """Whoever is started inside never hears of Ctrl-C, not even while it starts.

    This process does as soon as it is left; loky's own thread, which replaces workers, is started
    inside too.
    """
    if not hasattr(signal, "pthread_sigmask"):  # Windows
        yield
        return
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _pool(jobs: int, here: tuple[str, ...]) -> Any:
    """The one pool of workers; asked for otherwise, loky would wait for its cells to end.

    Workers outlive a run: those that started in another folder, or with other code, are replaced.
    """
    return get_reusable_executor(
        max_workers=jobs,
        timeout=60,
        initializer=_serve,
        initargs=(os.getpid(), *here),
        env=ONE_THREAD,
    )


def _serve(parent: int, *_here: str) -> None:
    """Leave Ctrl-C to the parent, which ends its workers itself, and end when it is gone."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_outlive, args=(parent,), daemon=True).start()


def _outlive(parent: int) -> None:
    """End this process once it has another parent: nobody would store what it computes."""
    while os.getppid() == parent:
        time.sleep(1)
    os._exit(1)


def ray(address: str | None = None) -> Backend:
    """Ray tasks, retried by Ray when their worker or node dies.

    A Ray that runs in this process already is used, whatever the address, and left running.

    Args:
        address: Of a running cluster (``"auto"`` finds it); None starts a local one.

    Raises:
        ImportError: Ray is not installed; the message says how to install it.
    """
    try:
        import ray as ray_
    except ImportError as error:
        raise ImportError(f"backend 'ray' needs Ray: {pip_line('cluster')}") from error

    def start(jobs: int) -> None:
        options: dict[str, Any] = {}
        if address is None:
            path = {"PYTHONPATH": os.pathsep.join(sys.path)}
            options = {"num_cpus": jobs, "include_dashboard": False}
            options["runtime_env"] = {"env_vars": path}
        ray_.init(address, log_to_driver=False, logging_level=logging.ERROR, **options)

    def run(
        cells: Sequence[Cell], jobs: int, on_round: OnRound, checkpoints: Path | None = None
    ) -> Outcomes:
        ours = not ray_.is_initialized()
        if ours:
            start(jobs)
        task: Any = ray_.remote(
            num_cpus=1, max_retries=_RETRIES, runtime_env={"env_vars": ONE_THREAD}
        )(_elsewhere)
        running: dict[Any, Cell] = {}
        try:
            running |= {task.remote(_known(cell), cell, checkpoints): cell for cell in cells}
            while running:
                (reference,), _ = ray_.wait(list(running))
                cell = running.pop(reference)
                try:
                    yield cell, ray_.get(reference)
                except ray_.exceptions.RayError as error:
                    yield cell, f"lost by Ray: {str(error).splitlines()[0]}"
        finally:
            for reference in running:  # somebody else's Ray would go on with them
                ray_.cancel(reference, force=True)
            if ours:
                ray_.shutdown()

    return run
