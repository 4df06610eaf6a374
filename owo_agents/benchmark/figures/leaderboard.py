"""Leaderboards: every figure of every agent over its seeds, and its difference to a baseline."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from owo_agents.benchmark.figures import statistics
from owo_agents.benchmark.figures.metrics import Metric, metrics_of
from owo_agents.benchmark.figures.statistics import Estimate
from owo_agents.benchmark.run.results import Result, Store
from owo_agents.benchmark.suite.plan import Experiment, Suite, Variant

DIVERGED = 100

Runs = dict[str, dict[int, Result]]
"""Results by label, then by seed."""


@dataclass(frozen=True)
class Row:
    """One agent.

    Attributes:
        label: As the suite names it.
        figures: Metric key → estimate over seeds.
        difference: Its headline figure minus the baseline's at the same seeds; None for the
            baseline itself.
        improvement: The share of those seeds at which it is better; None, too, where the
            difference has no interval.
    """

    label: str
    figures: Mapping[str, Estimate]
    difference: Estimate | None
    improvement: Estimate | None


@dataclass(frozen=True)
class Board:
    """The leaderboard of one experiment at one point of its grid, best first.

    Attributes:
        experiment: Which.
        variant: The point.
        metrics: The columns.
        headline: The metric that ranks: regret where there is an oracle, else fairness.
        rows: By the headline, best first.
        runs: What the rows are made of.
    """

    experiment: Experiment
    variant: Variant
    metrics: list[Metric]
    headline: Metric
    rows: list[Row]
    runs: Runs

    @property
    def title(self) -> str:
        """For people."""
        return self.experiment.titled(self.variant)

    @property
    def same(self) -> list[str]:
        """The agents whose headline figure is the same in every seed of several."""
        return [row.label for row in self.rows if row.figures[self.headline.key].same]

    @property
    def results(self) -> list[Result]:
        """All runs in one list."""
        return [result for by_seed in self.runs.values() for result in by_seed.values()]

    def title_of(self, key: str) -> str:
        """What a metric is called."""
        return next(metric.title for metric in self.metrics if metric.key == key)

    def name_of(self, label: str) -> str:
        """What an agent is called in tables, which say who is not tuned among those that are."""
        return f"{label} (not tuned)" if label in self.experiment.untuned else label

    def row(self, label: str) -> Row | None:
        """An agent's row, if it has any runs."""
        return next((row for row in self.rows if row.label == label), None)


def boards(suite: Suite, store: Store) -> list[Board]:
    """The leaderboards of what the store has of the suite; call the store's ``tidy`` first."""
    found = []
    results = store.load(cell.key for cell in suite.cells())
    for experiment in suite.experiments:
        for variant in experiment.variants:
            runs: Runs = {}
            for label, seed in itertools.product(experiment.agents, experiment.seeds):
                result = results.get(experiment.cell(variant, label, seed).key)
                if result is not None:
                    runs.setdefault(label, {})[seed] = result
            if runs:
                found.append(_board(experiment, variant, runs))
    return found


def by_experiment(boards: Sequence[Board]) -> list[list[Board]]:
    """The boards of each experiment together."""
    return [list(group) for _, group in itertools.groupby(boards, lambda b: b.experiment.name)]


def settled(board: Board) -> tuple[Board | None, list[str]]:
    """The board without the runs that diverged, and what those are called.

    A run diverged if a user's mean utility of some round lies ``DIVERGED`` widths of
    [u_min, u_max] below u_min. One such run would be all that a chart shows.
    """
    runs: Runs = {}
    names = []
    for label, by_seed in board.runs.items():
        for seed, result in by_seed.items():
            u_min, u_max = map(np.asarray, result.problem["utility_bounds"])
            if (result.utilities < u_min - DIVERGED * (u_max - u_min)).any():
                names.append(f"{label} (seed {seed})")
            else:
                runs.setdefault(label, {})[seed] = result
    if not names:
        return board, []
    return (_board(board.experiment, board.variant, runs) if runs else None), names


def _board(experiment: Experiment, variant: Variant, runs: Runs) -> Board:
    metrics = metrics_of([result for by_seed in runs.values() for result in by_seed.values()])
    headline = next((m for m in metrics if m.key == "regret"), metrics[0])
    rows = [_row(label, runs, experiment.baseline, metrics, headline) for label in runs]
    rows.sort(key=lambda row: -headline.better * row.figures[headline.key].value)
    return Board(experiment, variant, metrics, headline, rows, runs)


def _row(label: str, runs: Runs, baseline: str, metrics: list[Metric], headline: Metric) -> Row:
    figures = {
        metric.key: statistics.estimate(list(values.values()))
        for metric in metrics
        if (values := scores(runs, label, metric))
    }
    mine, theirs = scores(runs, label, headline), scores(runs, baseline, headline)
    if label == baseline or not mine.keys() & theirs.keys():
        return Row(label, figures, None, None)
    difference = statistics.paired_difference(mine, theirs)
    if difference.low is None:
        return Row(label, figures, difference, None)
    signed = ({s: headline.better * v for s, v in one.items()} for one in (mine, theirs))
    return Row(label, figures, difference, statistics.probability_of_improvement(*signed))


def scores(runs: Runs, label: str, metric: Metric) -> dict[int, float]:
    """An agent's figure by seed, where its runs have one."""
    found = {seed: metric.of(result) for seed, result in runs.get(label, {}).items()}
    return {seed: value for seed, value in found.items() if value is not None}
