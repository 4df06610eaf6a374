"""What is to be run and reported: suites, experiments, their agents and settings."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from owo_agents.benchmark.suite.cells import Cell
from owo_agents.benchmark.suite.digest import absolute, data_digest, files_of, join
from owo_agents.benchmark.suite.values import words


@dataclass(frozen=True)
class AgentSpec:
    """An agent of a suite.

    Attributes:
        agent: The name it is registered by, or ``package.module:Class``.
        arguments: Its own arguments.
        digest: Of the code of a plugged-in class and of what its arguments name, when the suite
            was read.
        source: Where it is written in the suite, for error messages.
    """

    agent: str
    arguments: Mapping[str, Any] = field(default_factory=dict)
    digest: str | None = None
    source: str = ""


@dataclass(frozen=True)
class Claim:
    """A sentence of a paper that an experiment's figures are held against.

    Attributes:
        text: The sentence.
        figure: The key of the metric that it speaks of.
        agent: The label of the agent that it speaks of.
        than: The label of the agent that it compares with, at the same seeds; or None where
            the figure itself is bounded.
        by: How much better, as a share of the other's figure.
        at_least: The least figure, without ``than``.
        at_most: The largest figure, without ``than``.
        slope_in: A key of the grid: the limits are then of the fitted slope of log figure against
            log key.
    """

    text: str
    figure: str
    agent: str
    than: str | None = None
    by: float = 0.0
    at_least: float | None = None
    at_most: float | None = None
    slope_in: str | None = None


@dataclass(frozen=True)
class Variant:
    """One setting of an experiment's grid.

    Attributes:
        point: What is particular to it.
        settings: All of its settings.
        digest: Of the files and the modules that they name, when the suite was read.
    """

    point: Mapping[str, Any]
    settings: Mapping[str, Any]
    digest: str | None = None

    @classmethod
    def of(cls, point: Mapping[str, Any], settings: Mapping[str, Any]) -> Variant:
        """A variant with its files as paths that any folder knows, and the digest of them now."""
        own = {name: absolute(path) for name, path in files_of(settings).items()}
        settings = {**settings, **own}
        return cls(point, settings, data_digest(settings))

    @property
    def label(self) -> str:
        """The grid point in words; empty without a grid."""
        return ", ".join(f"{key}={words(value)}" for key, value in self.point.items())

    def without(self, key: str) -> Variant:
        """What is left of the point, for titles, if a key of the grid is shown by itself."""
        return replace(self, point={k: v for k, v in self.point.items() if k != key})


@dataclass(frozen=True)
class Experiment:
    """One scenario, its grid of settings, and the agents to compare on it.

    Attributes:
        name: Unique within the suite.
        title: For people.
        notes: A paragraph for the report.
        scenario: A scenario's name, or ``package.module:Class``.
        rounds: T of every run.
        seeds: Of every agent.
        seeded: Settings that take the run's seed where they are not given, for example the one
            that decides x_1: else all runs would start from the same.
        baseline: The label of the agent that differences are taken from.
        agents: By label.
        variants: The points of the grid; one without a grid.
        charts: Names of the charts to draw of each variant; None: all that there are data for,
            or, of a grid, only those that compare its points.
        claims: What a paper says of it.
        source: Where its settings are written, for error messages.
        digest: Of the code of a plugged-in scenario, when the suite was read.
        untuned: The labels of agents that stand as they are among others whose steps were tuned.
    """

    name: str
    title: str
    notes: str
    scenario: str
    rounds: int
    seeds: tuple[int, ...]
    baseline: str
    agents: Mapping[str, AgentSpec]
    variants: tuple[Variant, ...]
    charts: tuple[str, ...] | None = None
    claims: tuple[Claim, ...] = ()
    source: str = ""
    digest: str | None = None
    seeded: tuple[str, ...] = ()
    untuned: tuple[str, ...] = ()

    def titled(self, variant: Variant) -> str:
        """What people call the experiment at a point of its grid."""
        return f"{self.title} ({variant.label})" if variant.label else self.title

    def with_settings(self, settings: Mapping[str, Any]) -> Experiment:
        """The experiment with settings that override those of every point of the grid."""
        changed = [
            Variant.of(
                {k: v for k, v in variant.point.items() if k not in settings},
                {**variant.settings, **settings},
            )
            for variant in self.variants
        ]
        return replace(self, variants=tuple({v.label: v for v in changed}.values()))

    def cell(self, variant: Variant, label: str, seed: int) -> Cell:
        """The cell of one agent and seed."""
        spec = self.agents[label]
        return Cell(
            scenario=self.scenario,
            agent=spec.agent,
            rounds=self.rounds,
            seed=seed,
            settings={**dict.fromkeys(self.seeded, seed), **variant.settings},
            arguments=dict(spec.arguments),
            digest=join(spec.digest, self.digest, variant.digest),
        )

    def cells(self) -> Iterator[Cell]:
        """Every cell; seeds outermost, so that early results already compare agents."""
        for seed, variant, label in itertools.product(self.seeds, self.variants, self.agents):
            yield self.cell(variant, label, seed)


@dataclass(frozen=True)
class Suite:
    """Experiments to run and to report together."""

    name: str
    summary: str
    experiments: tuple[Experiment, ...]

    def cells(self) -> list[Cell]:
        """Every cell once, in order."""
        cells = itertools.chain.from_iterable(e.cells() for e in self.experiments)
        return list({cell.key: cell for cell in cells}.values())

    def run_names(self) -> dict[str, str]:
        """Cell key → how people know the run: agent, experiment, point and seed."""
        names: dict[str, str] = {}
        for experiment in self.experiments:
            runs = itertools.product(experiment.variants, experiment.agents, experiment.seeds)
            for variant, label, seed in runs:
                where = ", ".join(filter(None, [experiment.title, variant.label]))
                key = experiment.cell(variant, label, seed).key
                names.setdefault(key, f"{label} on {where}, seed {seed}")
        return names

    def labels(self) -> dict[str, str]:
        """Cell key → the label of its agent."""
        return {
            experiment.cell(variant, label, seed).key: label
            for experiment in self.experiments
            for variant in experiment.variants
            for label in experiment.agents
            for seed in experiment.seeds
        }

    def narrowed(self, keep: Callable[[Experiment, str], bool]) -> Suite:
        """The suite with the agents that ``keep(experiment, label)`` alone.

        Raises:
            ValueError: Nothing is left.
        """
        narrow = (
            replace(e, agents={label: e.agents[label] for label in e.agents if keep(e, label)})
            for e in self.experiments
        )
        experiments = tuple(e for e in narrow if e.agents)
        if not experiments:
            raise ValueError("nothing of the suite is left to run")
        return replace(self, experiments=experiments)
