"""Running a suite into a folder: what is done is skipped, what ends is stored at once."""

from __future__ import annotations

import contextlib
import re
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from owo_agents.benchmark.run import backends
from owo_agents.benchmark.run.callbacks import Callback
from owo_agents.benchmark.run.execution import make_agent, make_env
from owo_agents.benchmark.run.results import Result, Store
from owo_agents.benchmark.suite import digest
from owo_agents.benchmark.suite.cells import Cell
from owo_agents.benchmark.suite.plan import Suite
from owo_agents.playing.loop import RoundRecord, check_rounds
from owo_agents.registry import registry as agents
from owo_env import checks
from owo_env.scenarios import registry as scenarios

BACKENDS = ("process", "serial", "ray")


@dataclass(frozen=True)
class Outcome:
    """What a run of a suite came to.

    Attributes:
        done: Cells that ran now.
        skipped: Cells whose results were there already.
        failures: The error of each cell that failed.
        interrupted: Ctrl-C ended the run; what was done is kept.
    """

    done: int
    skipped: int
    failures: tuple[tuple[Cell, str], ...]
    interrupted: bool = False


def validate(suite: Suite) -> None:
    """Build every environment and agent of the suite once, without playing.

    What they warn of is said once for each place in the suite, however long its grid is.

    Raises:
        ValueError: One of them refuses its arguments; the message says where they are written.
        ImportError: An extra is missing.
    """
    heard: dict[tuple[str, str], list[str]] = {}
    try:
        _build(suite, heard)
    finally:
        for (source, _), texts in heard.items():
            more = f" (and {len(texts) - 1} more such)" if len(texts) > 1 else ""
            place = f"{source}: " if source else ""
            warnings.warn(f"{place}{texts[0]}{more}", stacklevel=3)


def _build(suite: Suite, heard: dict[tuple[str, str], list[str]]) -> None:
    """Build everything once; what is warned of goes to ``heard``, by place and kind."""
    for experiment in suite.experiments:
        for variant in experiment.variants:
            label, *_ = experiment.agents
            with _placed(experiment.source, heard):
                env = make_env(experiment.cell(variant, label, experiment.seeds[0]))
                check_rounds(env, experiment.rounds)
            for label, spec in experiment.agents.items():
                with _placed(spec.source, heard):
                    make_agent(experiment.cell(variant, label, experiment.seeds[0]), env)
            env.close()


def _saved(result: Result, store: Store) -> Result | str:
    """The result, kept; or the error of one that cannot be written as JSON."""
    try:
        store.save(result)
    except (TypeError, ValueError) as error:
        return f"what it reported cannot be kept: {error}"
    return result


@contextlib.contextmanager
def _placed(source: str, heard: dict[tuple[str, str], list[str]]) -> Iterator[None]:
    """Say of an error where in the suite its cause is written, and keep what is warned of."""
    try:
        with warnings.catch_warnings(record=True) as caught:
            yield
        for warning in caught:
            text = str(warning.message)
            texts = heard.setdefault((source, re.sub(r"[\d.e+-]+", "#", text)), [])
            if text not in texts:
                texts.append(text)
    except (ValueError, TypeError) as error:
        text = str(error).partition(" was raised from the environment creator")[0]  # Gymnasium's
        raise ValueError(f"{source}: {text}" if source else text) from error


def choose(name: str, ray_address: str | None = None) -> backends.Backend:
    """The backend of a name in ``BACKENDS``.

    Raises:
        ValueError: An unknown name, or an address for another backend than Ray.
        ImportError: Ray is not installed.
    """
    checks.one_of("backend", name, BACKENDS)
    if name == "ray":
        return backends.ray(ray_address)
    if ray_address is not None:
        raise ValueError(f"ray_address={ray_address!r}: only for backend 'ray', not {name!r}")
    return backends.serial if name == "serial" else backends.process


def run(
    cells: Sequence[Cell],
    store: Store,
    *,
    backend: backends.Backend = backends.process,
    jobs: int = 1,
    force: bool = False,
    callbacks: Sequence[Callback] = (),
) -> Outcome:
    """Run the cells that the store lacks (all of them with ``force``).

    Args:
        cells: What to run.
        store: Where results are kept; call its ``tidy`` first.
        backend: Where they run.
        jobs: How many at a time.
        force: Play anew what is there already; the old results and checkpoints are removed.
        callbacks: Hear of every cell.

    Raises:
        ValueError: The code or data of a cell changed since its suite was read.
    """
    for cell in {(cell.agent, cell.scenario, cell.digest): cell for cell in cells}.values():
        digest.check(cell, agents.entries, scenarios.entries)
    todo = [cell for cell in cells if force or not cell.reusable or cell.key not in store]
    for cell in todo:
        if force or not cell.reusable:
            store.forget(cell.key)
    failures: list[tuple[Cell, str]] = []
    done, interrupted = 0, False

    def on_round(cell: Cell, record: RoundRecord) -> None:
        for callback in callbacks:
            callback.on_round(cell, record)

    outcomes = backend(todo, jobs, on_round, store.checkpoints)
    for callback in callbacks:
        callback.on_start(todo)
    try:
        for cell, outcome in outcomes:
            if isinstance(outcome, Result):
                outcome = _saved(outcome, store)
            if isinstance(outcome, Result):
                done += 1
                if getattr(backend, "func", backend) is not backends.serial:
                    for record in outcome.records():
                        on_round(cell, record)
                for callback in callbacks:
                    callback.on_result(cell, outcome)
            else:
                store.save_failure(cell.key, outcome)
                failures.append((cell, outcome))
                for callback in callbacks:
                    callback.on_failure(cell, outcome)
    except KeyboardInterrupt:
        interrupted = True
    finally:
        outcomes.close()  # ends its workers
        for callback in callbacks:
            callback.on_end()
    return Outcome(done, len(cells) - len(todo), tuple(failures), interrupted)
