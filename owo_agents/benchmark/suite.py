"""Suites as data: scenarios × settings × agents × seeds, read and checked before any work.

A suite is a YAML file or the same thing as a Python mapping::

    summary: OWO-FMTL against constant weights.
    rounds: 512                     # these are inherited by every experiment …
    seeds: 10                       # seeds 0 … 9, or a list
    baseline: owo-fmtl              # differences are taken from it
    agents:
      owo-fmtl:
      cws .2,.8: {agent: cws, weights: [0.2, 0.8]}
      loops: {agent: owo-fmtl, grid: {initialization: [running-mean, continue]}}
    experiments:
      stochastic:
        scenario: sinusoid
        settings: {alpha: 1.0}      # … which adds to them or overrides them
        grid: {num_slots: [4, 8, 16]}

``grid`` runs every combination of the values listed; ``arguments`` are those of every agent that
does not state its own (null takes one away). What a suite cannot mean is refused with the line
(in a file) and the key.
"""

from __future__ import annotations

import itertools
import os
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from importlib import resources
from pathlib import Path
from typing import Any

import yaml

from owo_agents.benchmark.cells import Cell, source_digest
from owo_env import checks

_INHERITED = ("rounds", "seeds", "baseline", "agents", "arguments", "settings", "grid", "charts")
_SUITE = ("summary", "experiments", *_INHERITED)
_EXPERIMENT = ("title", "notes", "scenario", *_INHERITED)

CHARTS = ("progress", "accumulated", "ranking", "users", "validation", "trade-off", "weights")
"""Charts of a leaderboard that ``charts`` may name."""

_Path = tuple[str, ...]


@dataclass(frozen=True)
class AgentSpec:
    """An agent of a suite.

    Attributes:
        agent: The name it is registered by, or ``package.module:Class``.
        arguments: Its own arguments.
        digest: Of the file that defines a plugged-in class, when the suite was read.
        source: Where it is written in the suite, for error messages.
    """

    agent: str
    arguments: Mapping[str, Any] = field(default_factory=dict)
    digest: str | None = None
    source: str = ""


@dataclass(frozen=True)
class Variant:
    """One setting of an experiment's grid; ``point`` holds what is particular to it."""

    point: Mapping[str, Any]
    settings: Mapping[str, Any]

    @property
    def label(self) -> str:
        """The grid point in words; empty without a grid."""
        return ", ".join(f"{key}={value}" for key, value in self.point.items())


@dataclass(frozen=True)
class Experiment:
    """One scenario, its grid of settings, and the agents to compare on it.

    Attributes:
        name: Unique within the suite.
        title: For people.
        notes: A paragraph for the report.
        scenario: A scenario's name.
        rounds: T of every run.
        seeds: Of every agent.
        baseline: The label of the agent that differences are taken from.
        agents: By label.
        variants: The points of the grid; one without a grid.
        charts: Names of the charts to draw of each variant; None: all that there are data for,
            or, of a grid, only those that compare its points.
        source: Where its settings are written, for error messages.
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
    source: str = ""

    def called(self, label: str) -> set[str]:
        """What ``--only agent=`` may call an agent: its label, or its registered name."""
        return {label, self.agents[label].agent}

    def with_settings(self, settings: Mapping[str, Any]) -> dict[str, Any]:
        """The changed variants, if ``settings`` override those of every point of the grid."""
        changed = [
            Variant(
                {k: v for k, v in variant.point.items() if k not in settings},
                {**variant.settings, **settings},
            )
            for variant in self.variants
        ]
        return {"variants": tuple({v.label: v for v in changed}.values())}

    def cell(self, variant: Variant, label: str, seed: int) -> Cell:
        """The cell of one agent and seed."""
        spec = self.agents[label]
        return Cell(
            scenario=self.scenario,
            agent=spec.agent,
            rounds=self.rounds,
            seed=seed,
            settings=dict(variant.settings),
            arguments=dict(spec.arguments),
            digest=spec.digest,
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

    def narrowed(self, keep: Callable[[Experiment, str], bool]) -> Suite:
        """The suite with the agents that ``keep(experiment, label)`` alone.

        Raises:
            ValueError: Nothing is left.
        """
        experiments = []
        for old in self.experiments:
            agents = {label: spec for label, spec in old.agents.items() if keep(old, label)}
            if agents:
                experiments.append(replace(old, agents=agents))
        if not experiments:
            raise ValueError("nothing of the suite is left to run")
        return replace(self, experiments=tuple(experiments))

    def changed(self, change: Callable[[Experiment], Mapping[str, Any]]) -> Suite:
        """The suite with each experiment's attributes replaced by what ``change`` gives."""
        return replace(self, experiments=tuple(replace(e, **change(e)) for e in self.experiments))


def names() -> dict[str, str]:
    """Name → summary of the suites in the package."""
    files = resources.files("owo_agents.benchmark") / "suites"
    found = {}
    for file in sorted(files.iterdir(), key=lambda file: file.name):
        if file.name.endswith(".yaml"):
            found[file.name.removesuffix(".yaml")] = str(_load(file.read_text())["summary"])
    return found


def load(name_or_file: str | os.PathLike[str]) -> Suite:
    """A suite of the package by name, or a user's from a file.

    Raises:
        ValueError: No such suite or file (with the nearest names), or something in it is wrong;
            the message names the file, the line and the key.
    """
    path = Path(name_or_file)
    if path.suffix in {".yaml", ".yml"} or (path.exists() and path.is_file()):
        try:
            return _parse_text(path.stem, path.read_text(), str(path))
        except OSError as error:
            raise ValueError(f"suite {str(path)!r}: cannot be read ({error.strerror})") from error
    known = names()
    if str(name_or_file) not in known:
        raise checks.unknown("suite (or a file's name ending in .yaml)", str(name_or_file), known)
    file = resources.files("owo_agents.benchmark") / "suites" / f"{name_or_file}.yaml"
    return _parse_text(str(name_or_file), file.read_text(), file.name)


def parse(name: str, data: Mapping[str, Any], where: Callable[[_Path], str] = ".".join) -> Suite:
    """A suite from a mapping of the form that a file has.

    Args:
        name: Of the suite.
        data: The mapping.
        where: How errors name a path of keys.

    Raises:
        ValueError: Something in it is wrong; the message names the key.
    """
    return _Reader(data, where).suite(name)


def _parse_text(name: str, text: str, source: str) -> Suite:
    try:
        data = _load(text)
        lines = _lines(yaml.compose(text, _Loader))
    except yaml.MarkedYAMLError as error:
        line = error.problem_mark.line + 1 if error.problem_mark else 1
        raise ValueError(f"{source}:{line}: {error.problem}") from error

    def where(path: _Path) -> str:
        known = next(p for n in range(len(path) + 1) if (p := path[: len(path) - n]) in lines)
        return f"{source}:{lines[known]}: {'.'.join(path)}"

    return _Reader(data, where).suite(name)


class _Loader(yaml.SafeLoader):
    """Safe YAML that refuses a key given twice and reads 1e-3 as a number."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        seen = set()
        for key, _ in node.value:
            if key.value in seen:
                raise yaml.MarkedYAMLError(
                    problem=f"key {key.value!r} is given twice", problem_mark=key.start_mark
                )
            seen.add(key.value)
        return super().construct_mapping(node, deep)


_Loader.add_implicit_resolver(
    "tag:yaml.org,2002:float", re.compile(r"^[-+]?[0-9.]+[eE][-+]?[0-9]+$"), list("-+.0123456789")
)


def _load(text: str) -> Any:
    return yaml.load(text, _Loader)


def _lines(node: yaml.Node | None, path: _Path = ()) -> dict[_Path, int]:
    """The line of every key of a YAML document."""
    found = {path: node.start_mark.line + 1 if node else 1}
    if isinstance(node, yaml.MappingNode):
        for key, value in node.value:
            inner = (*path, str(key.value))
            found |= _lines(value, inner) | {inner: key.start_mark.line + 1}
    return found


class _Reader:
    """Turns plain data into a suite; ``where`` says for a path of keys how to name it."""

    def __init__(self, data: Any, where: Callable[[_Path], str]) -> None:
        self.data, self.where = data, where

    def suite(self, name: str) -> Suite:
        data = self._mapping((), self.data, _SUITE)
        if not isinstance(data.get("summary"), str):
            raise self._error(("summary",), "must be one line about the suite")
        experiments = self._mapping(("experiments",), data.get("experiments"))
        if not experiments:
            raise self._error(("experiments",), "must name one experiment or more")
        return Suite(
            name,
            data["summary"].strip(),
            tuple(self._experiment(key, value, data) for key, value in experiments.items()),
        )

    def _experiment(self, name: str, data: Any, suite: Mapping[str, Any]) -> Experiment:
        path = ("experiments", name)
        data = self._mapping(path, data, _EXPERIMENT)

        def at(key: str) -> tuple[_Path, Any]:
            """Where the experiment's or else the suite's own value of ``key`` stands."""
            return ((*path, key), data[key]) if key in data else ((key,), suite.get(key))

        common = self._mapping(("arguments",), suite.get("arguments"))
        common |= self._mapping((*path, "arguments"), data.get("arguments"))
        agents = self._agents(("agents",), suite.get("agents"), common)
        agents |= self._agents((*path, "agents"), data.get("agents"), common)
        if not agents:
            raise self._error((*path, "agents"), "must name one agent or more")
        for key in ("scenario", "title", "notes"):
            if not isinstance(data.get(key, ""), str) or (key == "scenario" and key not in data):
                raise self._error((*path, key), "must be a text")
        baseline = at("baseline")
        label = next(iter(agents)) if baseline[1] is None else baseline[1]
        if label not in agents:
            raise self._error(baseline[0], str(checks.unknown("agent", label, agents)))
        rounds = at("rounds")
        return Experiment(
            name=name,
            title=data.get("title", name),
            notes=data.get("notes", "").strip(),
            scenario=data["scenario"],
            rounds=self._whole(*rounds, low=1),
            seeds=self._seeds(*at("seeds")),
            baseline=label,
            agents=agents,
            variants=self._variants(path, data, suite),
            charts=self._charts(*at("charts")),
            source=self.where((*path, "settings")),
        )

    def _agents(self, path: _Path, data: Any, common: Mapping[str, Any]) -> dict[str, AgentSpec]:
        found = {}
        for label, given in self._mapping(path, data).items():
            arguments = {**common, **self._mapping((*path, label), given)}
            agent = arguments.pop("agent", label)
            if not isinstance(agent, str):
                raise self._error((*path, label, "agent"), "must be an agent's name")
            source, digest = self.where((*path, label)), source_digest(agent)
            for point in self._grid((*path, label, "grid"), arguments.pop("grid", None)):
                values = " ".join(str(value) for value in point.values())
                full = f"{label} {values}".strip()
                own = {k: v for k, v in (arguments | point).items() if v is not None}
                found[full] = AgentSpec(agent, own, digest, source)
        return found

    def _variants(
        self, path: _Path, data: Mapping[str, Any], suite: Mapping[str, Any]
    ) -> tuple[Variant, ...]:
        settings = dict(self._mapping(("settings",), suite.get("settings")))
        settings |= self._mapping((*path, "settings"), data.get("settings"))
        grid = self._grid((*path, "grid"), data.get("grid", suite.get("grid")))
        return tuple(Variant(point, settings | point) for point in grid)

    def _grid(self, path: _Path, data: Any) -> list[dict[str, Any]]:
        lists = self._mapping(path, data)
        for key, values in lists.items():
            if not isinstance(values, list) or not values:
                raise self._error((*path, key), f"{values!r}: must be a list of values to try")
        return [
            dict(zip(lists, point, strict=True)) for point in itertools.product(*lists.values())
        ]

    def _seeds(self, path: _Path, data: Any) -> tuple[int, ...]:
        if isinstance(data, list) and data and len(set(map(str, data))) == len(data):
            return tuple(self._whole(path, seed, low=0) for seed in data)
        if isinstance(data, list):
            raise self._error(path, f"{data!r}: must be different seeds, or how many")
        return tuple(range(self._whole(path, data, low=1)))

    def _charts(self, path: _Path, data: Any) -> tuple[str, ...] | None:
        if data is not None and not isinstance(data, list):
            raise self._error(path, f"{data!r}: must be a list of charts")
        for name in data or ():
            if name not in CHARTS:
                raise self._error(path, str(checks.unknown("chart", name, CHARTS)))
        return None if data is None else tuple(data)

    def _whole(self, path: _Path, value: Any, low: int) -> int:
        try:
            return checks.whole(path[-1], value, low=low)
        except ValueError as error:
            raise self._error(path, str(error)) from error

    def _mapping(
        self, path: _Path, data: Any, allowed: Sequence[str] | None = None
    ) -> dict[str, Any]:
        """``data`` as a mapping with string keys, all ``allowed``; None is an empty one."""
        if data is not None and not isinstance(data, Mapping):
            raise self._error(path, f"{data!r}: must be a mapping of names to values")
        for key in data or {}:
            if not isinstance(key, str):
                raise self._error((*path, str(key)), "a key must be a text: put it into quotes")
            if allowed is not None and key not in allowed:
                raise self._error((*path, key), str(checks.unknown("key", key, allowed)))
        return dict(data or {})

    def _error(self, path: _Path, message: str) -> ValueError:
        place = self.where(path)
        return ValueError(f"{place}: {message}" if place else message)
