"""What came of a benchmark: it shows itself as a leaderboard, and gives figures to work on."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.table import Table

from owo_agents.benchmark.figures import claims, leaderboard, statistics
from owo_agents.benchmark.figures.leaderboard import Board, by_experiment, scores
from owo_agents.benchmark.figures.metrics import Metric
from owo_agents.benchmark.report import charts, shown, tables
from owo_agents.benchmark.report.chart import Chart
from owo_agents.benchmark.report.gallery import sections
from owo_agents.benchmark.report.page import report
from owo_agents.benchmark.report.shown import Records
from owo_agents.benchmark.report.sweep import sweep
from owo_agents.benchmark.run.results import Store
from owo_agents.benchmark.run.runner import Outcome
from owo_agents.benchmark.suite import manifest
from owo_agents.benchmark.suite.plan import Experiment, Suite, Variant
from owo_agents.benchmark.suite.values import words
from owo_env import checks, files

if TYPE_CHECKING:
    from matplotlib.axes import Axes


class Results:
    """The results of a suite.

    Attributes:
        suite: What was asked for.
        boards: The leaderboard of each experiment at each point of its grid, as objects.
        store: The folder's content.
        interrupted: Whether the run was, and the figures are of what was done by then.
        skipped: How many runs were in the folder already.
        errors: Error → the runs that it ended.
    """

    def __init__(
        self, suite: Suite, store: Store, outcome: Outcome, interrupted: bool = False
    ) -> None:
        self.suite, self.store, self.interrupted = suite, store, interrupted
        self.skipped = outcome.skipped
        self.boards = leaderboard.boards(suite, store)
        names = suite.run_names()
        self.errors: dict[str, list[str]] = {}
        for cell, error in outcome.failures:
            self.errors.setdefault(error, []).append(names[cell.key])

    @property
    def folder(self) -> Path:
        """Where they are kept; a temporary folder is there as long as this object."""
        return self.store.folder

    def leaderboard(self) -> Records:
        """A record for each agent, best first, with an interval where there is one.

        Every figure is an estimate with ``value``, ``low`` and ``high``, over seeds; ``difference``
        is the headline's to the baseline at the same seeds. An agent that failed has none, and
        ``failed`` says in how many runs.
        """
        found = []
        for experiment, variant, board in self._points():
            lost = self._lost(experiment, variant)
            known = {row.label: row for row in board.rows} if board else {}
            for label in [*known, *(label for label in lost if label not in known)]:
                row = known.get(label)
                record = {"experiment": experiment.name, **_flat(variant), "agent": label}
                record["failed"] = len(lost.get(label, ()))
                if board is not None and row is not None:
                    record[board.headline.key] = None  # first of all, before its difference
                    record["difference"], record["P(better)"] = row.difference, row.improvement
                    record |= {m.key: row.figures.get(m.key) for m in board.metrics}
                found.append(record)
        return _square(found)

    def compare(self, a: str, b: str, figure: str | None = None) -> Records:
        """Two agents at the same seeds, a record for each experiment and point.

        Args:
            a: An agent's label.
            b: Another's.
            figure: A figure's key; by default the one that ranks, regret where there is an oracle.

        Returns:
            Both figures, their ``difference`` (a − b, with its interval) and ``P(a better)``, the
            share of the common seeds at which a is better, ties half.

        Raises:
            ValueError: No such agent or figure, or no run of both is done.
        """
        for label in (a, b):
            checks.one_of("agent", label, self._labels())
        found = []
        for board in self.boards:
            metric = self._metric(board, figure)
            mine, theirs = (scores(board.runs, label, metric) for label in (a, b))
            if mine.keys() & theirs.keys():
                signed = ({s: metric.better * v for s, v in one.items()} for one in (mine, theirs))
                better = statistics.probability_of_improvement(*signed) if metric.better else None
                found.append(
                    {
                        "experiment": board.experiment.name,
                        **_flat(board.variant),
                        "figure": metric.key,
                        a: statistics.estimate(list(mine.values())),
                        b: statistics.estimate(list(theirs.values())),
                        "difference": statistics.paired_difference(mine, theirs),
                        f"P({a} better)": better,
                    }
                )
        if not found:
            raise ValueError(f"{a!r} and {b!r}: no seed at which runs of both are done")
        return Records(found)

    def figures(self) -> Records:
        """A record for each run: where, which agent, its seed and every figure as a number."""
        return _square(
            [
                {
                    "experiment": board.experiment.name,
                    **_flat(board.variant),
                    "agent": label,
                    "seed": seed,
                    **{metric.key: metric.of(result) for metric in board.metrics},
                }
                for board in self.boards
                for label, by_seed in board.runs.items()
                for seed, result in by_seed.items()
            ]
        )

    def to_pandas(self) -> Any:
        """:meth:`figures` as a ``pandas.DataFrame``.

        Raises:
            ImportError: pandas is not installed.
        """
        try:
            import pandas
        except ImportError as error:
            raise ImportError("to_pandas needs pandas: pip install pandas") from error
        return pandas.DataFrame(self.figures())

    def plot(self, what: str | None = None, axes: Axes | Sequence[Axes] | None = None) -> Any:
        """Draw a figure of every agent with its interval, or one of the report's charts.

        Args:
            what: A figure's key, such as ``"regret"`` (by default the one that ranks), or a
                chart's name, such as ``"progress"``. The ranking figure of a grid of numbers is
                drawn against the grid.
            axes: To draw on; by default those of a new figure.

        Returns:
            Matplotlib's axes, or an array of them where there is more than one.

        Raises:
            ValueError: No such figure or chart, nothing is done yet, or another number of axes
                than of panels.
        """
        from owo_agents.benchmark.report import plots

        found = list(self._charts(what))
        if not any(chart.panels for _, chart in found):
            raise ValueError(f"{what or 'plot'}: nothing is there to be drawn")
        return plots.onto(found, axes)

    def claims(self) -> Records:
        """A record for each claim of the suite at each point: what became of it."""
        return _square(
            [
                {
                    "experiment": board.experiment.name,
                    **_flat(board.variant),
                    "claim": verdict.claim.text,
                    "here": verdict.word,
                    "measured": verdict.measured,
                }
                for board in self.boards
                for verdict in claims.verdicts(board)
            ]
        )

    def report(self, path: str | os.PathLike[str]) -> Path:
        """Write the report, one HTML file that needs nothing else.

        Raises:
            ValueError: Nothing is done yet.
            OSError: It cannot be written.
        """
        if not self.boards:
            raise ValueError("report: no run is done yet")
        suite, origin = manifest.read(self.folder)
        page = report(suite, origin, sections(self.boards), self.store)
        files.write(Path(path), page)
        return Path(path)

    def __repr__(self) -> str:
        return shown.text(self._shown())

    def _repr_html_(self) -> str:
        return shown.html(self._shown())

    def _shown(self) -> Iterator[Table | str]:
        """The leaderboards, who failed, and what is missing."""
        yield from tables.shown(self.boards, shown.WIDTH)
        if failed := self._failed():
            yield failed.table()
        keys = [cell.key for cell in self.suite.cells()]
        done = sum(key in self.store for key in keys)
        if done < len(keys):
            why = "interrupted: " if self.interrupted else ""
            yield f"{why}{done} of {len(keys)} runs are done"

    def _points(self) -> Iterator[tuple[Experiment, Variant, Board | None]]:
        """Every experiment at every point, with its board if there is one."""
        known = {(b.experiment.name, b.variant.label): b for b in self.boards}
        for experiment in self.suite.experiments:
            for variant in experiment.variants:
                yield experiment, variant, known.get((experiment.name, variant.label))

    def _failed(self) -> Records:
        """A record for each agent at each point where runs of it failed."""
        return Records(
            {
                "failed": label,
                "on": experiment.titled(variant),
                "runs": f"{len(errors)} of {len(experiment.seeds)}",
                "with": tables.few(list(dict.fromkeys(errors))),
            }
            for experiment, variant, _ in self._points()
            for label, errors in self._lost(experiment, variant).items()
        )

    def _lost(self, experiment: Experiment, variant: Variant) -> dict[str, list[str]]:
        """Label → the errors of its runs that failed, of those that have."""
        found: dict[str, list[str]] = {}
        for label in experiment.agents:
            for seed in experiment.seeds:
                key = experiment.cell(variant, label, seed).key
                error = None if key in self.store else self.store.failure(key)
                if error is not None:
                    found.setdefault(label, []).append(error)
        return found

    def _labels(self) -> dict[str, None]:
        return dict.fromkeys(label for e in self.suite.experiments for label in e.agents)

    def _metric(self, board: Board, key: str | None) -> Metric:
        if key is None:
            return board.headline
        checks.one_of("figure", key, [metric.key for metric in board.metrics])
        return next(metric for metric in board.metrics if metric.key == key)

    def _charts(self, what: str | None) -> Iterator[tuple[str, Chart]]:
        if what in charts.MAKERS:
            for board in self.boards:
                yield board.title, charts.MAKERS[what](board)
            return
        figures = {metric.key for board in self.boards for metric in board.metrics}
        if what is not None and figures and what not in figures:
            named = charts.MAKERS.items()
            drawn = {name for name, make in named for b in self.boards if make(b).panels}
            raise checks.unknown("figure or chart", what, figures | drawn)
        for together in by_experiment(self.boards):
            ranks = what in (None, together[0].headline.key)
            if ranks and (chart := sweep(together)) is not None:
                yield together[0].experiment.title, chart
                continue
            for board in together:
                yield board.title, charts.ranking(board, self._metric(board, what))


def _flat(variant: Variant) -> Mapping[str, Any]:
    """A point of a grid as entries of a record."""
    told = ((key, words(v) if isinstance(v, Mapping) else v) for key, v in variant.point.items())
    return {f"grid.{key}": value for key, value in told}


def _square(records: Sequence[Mapping[str, Any]]) -> Records:
    """Records with the same keys, None where one has no such entry."""
    keys = dict.fromkeys(key for record in records for key in record)
    return Records({key: record.get(key) for key in keys} for record in records)
