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
does not state its own (null takes one away). ``seeded`` lists settings that take the run's seed,
such as ``model_seed``, which decides where the model starts. ``claims`` are sentences that the
report holds against the figures::

    claims:
      it is a fifth better: {figure: fairness, agent: owo-fmtl, than: cws .2,.8, by: 0.2}
      it is good: {figure: utility user 1, agent: owo-fmtl, at_least: 2.0}   # or at_most

What a suite cannot mean is refused with the line (in a file) and the key.
"""

from __future__ import annotations

import itertools
import math
import os
import re
from collections.abc import Callable, Mapping, Sequence
from importlib import resources
from pathlib import Path
from typing import Any

import yaml

from owo_agents.benchmark.suite import vocabulary
from owo_agents.benchmark.suite.cells import source_digest
from owo_agents.benchmark.suite.plan import AgentSpec, Claim, Experiment, Suite, Variant
from owo_agents.registry import registry as agents
from owo_env import checks
from owo_env.figure import Figure
from owo_env.scenarios import registry as scenarios

_INHERITED = (
    "rounds",
    "seeds",
    "seeded",
    "baseline",
    "agents",
    "arguments",
    "settings",
    "grid",
    "charts",
    "claims",
)
_SUITE = ("summary", "experiments", *_INHERITED)
_LIMITS = ("by", "at_least", "at_most")
_EXPERIMENT = ("title", "notes", "scenario", *_INHERITED)

_Path = tuple[str, ...]


def names() -> dict[str, str]:
    """Name → summary of the suites in the package."""
    files = resources.files("owo_agents.benchmark.suite") / "library"
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
    file = resources.files("owo_agents.benchmark.suite") / "library" / f"{name_or_file}.yaml"
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
            claims=self._claims(*at("claims"), data["scenario"], agents),
            source=self.where((*path, "settings")),
            digest=source_digest(data["scenario"], scenarios.entries),
            seeded=self._texts(*at("seeded")),
        )

    def _agents(self, path: _Path, data: Any, common: Mapping[str, Any]) -> dict[str, AgentSpec]:
        found = {}
        for label, given in self._mapping(path, data).items():
            arguments = {**common, **self._mapping((*path, label), given)}
            agent = arguments.pop("agent", label)
            if not isinstance(agent, str):
                raise self._error((*path, label, "agent"), "must be an agent's name")
            source, digest = self.where((*path, label)), source_digest(agent, agents.entries)
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
        return tuple(Variant.of(point, settings | point) for point in grid)

    def _grid(self, path: _Path, data: Any) -> list[dict[str, Any]]:
        lists = self._mapping(path, data)
        for key, values in lists.items():
            if not isinstance(values, list) or not values:
                raise self._error((*path, key), f"{values!r}: must be a list of values to try")
            if any(value in values[:i] for i, value in enumerate(values)):
                raise self._error((*path, key), f"{values!r}: must be different values")
        return [
            dict(zip(lists, point, strict=True)) for point in itertools.product(*lists.values())
        ]

    def _seeds(self, path: _Path, data: Any) -> tuple[int, ...]:
        if isinstance(data, list) and data and len(set(map(str, data))) == len(data):
            return tuple(self._whole(path, seed, low=0) for seed in data)
        if isinstance(data, list):
            raise self._error(path, f"{data!r}: must be different seeds, or how many")
        return tuple(range(self._whole(path, data, low=1)))

    def _texts(self, path: _Path, data: Any) -> tuple[str, ...]:
        if not isinstance(data or [], list) or not all(isinstance(one, str) for one in data or []):
            raise self._error(path, f"{data!r}: must be a list of names")
        return tuple(data or ())

    def _charts(self, path: _Path, data: Any) -> tuple[str, ...] | None:
        if data is not None and not isinstance(data, list):
            raise self._error(path, f"{data!r}: must be a list of charts")
        for name in data or ():
            if name not in vocabulary.CHARTS:
                raise self._error(path, str(checks.unknown("chart", name, vocabulary.CHARTS)))
        return None if data is None else tuple(data)

    def _claims(
        self, path: _Path, data: Any, scenario: str, agents: Mapping[str, AgentSpec]
    ) -> tuple[Claim, ...]:
        names = [spec.agent for spec in agents.values()] if data else []
        known = {f.key: f for f in vocabulary.figures(scenario, names)} if data else {}
        found = []
        for text, given in self._mapping(path, data).items():
            here = (*path, text)
            parts = self._mapping(here, given, ("figure", "agent", "than", *_LIMITS))
            for key in {"agent", *parts} & {"agent", "than"}:
                value = parts.get(key)
                if not isinstance(value, str) or value not in agents:
                    raise self._error(here, str(checks.unknown(key, str(value), agents)))
            self._figure(here, parts.get("figure"), known, compared="than" in parts)
            for key in set(_LIMITS) & set(parts):
                low = 0.0 if key == "by" else -math.inf
                try:
                    parts[key] = checks.number(key, parts[key], low=low)
                except ValueError as error:
                    raise self._error((*here, key), str(error)) from error
            limits = {"at_least", "at_most"} & set(parts)
            if ("than" in parts) == bool(limits) or ("by" in parts and limits):
                raise self._error(here, "must have 'than' (and 'by'), or 'at_least', 'at_most'")
            if parts.get("at_least", -math.inf) > parts.get("at_most", math.inf):
                raise self._error(here, "at_least is above at_most")
            if parts.get("than") == parts["agent"]:
                raise self._error(here, f"compares {parts['agent']!r} with itself")
            found.append(Claim(text, **parts))
        return tuple(found)

    def _figure(self, path: _Path, key: Any, known: Mapping[str, Figure], compared: bool) -> None:
        """Refuse what is no metric's key, and to compare by one that is neither good nor bad."""
        stem, _, rest = str(key).partition(" ")
        if stem not in known:
            raise self._error(path, str(checks.unknown("figure", str(key), known)))
        if known[stem].per_user != bool(rest):
            example = f"'{stem} user 1'" if known[stem].per_user else repr(stem)
            raise self._error(path, f"figure {key!r}: must be like {example}")
        if compared and not known[stem].better:
            raise self._error(path, f"figure {key!r}: neither more nor less of it is better")

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
