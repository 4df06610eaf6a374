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
      it falls: {figure: regret, agent: owo-fmtl, slope_in: num_slots, at_most: -0.4}

What a suite cannot mean is refused with the line (in a file) and the key.
"""

from __future__ import annotations

import itertools
import math
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from importlib import resources
from pathlib import Path
from typing import Any, TypeVar

import yaml

from owo_agents.benchmark.suite import values, vocabulary
from owo_agents.benchmark.suite.digest import data_digest, join, rooted, source_digest
from owo_agents.benchmark.suite.plan import AgentSpec, Claim, Experiment, Suite, Variant
from owo_agents.benchmark.suite.stranger import read_limited
from owo_agents.registry import registry as agents
from owo_env import checks
from owo_env.figure import Figure
from owo_env.scenarios import registry as scenarios

SLOPE_POINTS = 3  # of a grid, for a slope: through two everything is straight
MOST_RUNS = 100_000  # of a grid, and of seeds: more is a slip, or malice

_INHERITED = ("rounds", "seeds", "seeded", "baseline", "grid", "charts", "claims")
_ADDED = ("agents", "arguments", "settings")  # an experiment adds its own to the suite's
_SUITE = ("summary", "experiments", *_INHERITED, *_ADDED)
_EXPERIMENT = ("title", "notes", "scenario", *_INHERITED, *_ADDED)
_LIMITS = ("by", "at_least", "at_most")
_LIBRARY = resources.files("owo_agents.benchmark.suite") / "library"

_Path = tuple[str, ...]
T = TypeVar("T")


def names() -> dict[str, str]:
    """Name → summary of the suites in the package."""
    texts = {
        file.name.removesuffix(".yaml"): file.read_text(encoding="utf-8")
        for file in sorted(_LIBRARY.iterdir(), key=lambda file: file.name)
        if file.name.endswith(".yaml")
    }
    return {name: str(values.read(text)["summary"]) for name, text in texts.items()}


def load(name_or_file: str | os.PathLike[str]) -> Suite:
    """A suite of the package by name, or a user's from a file.

    Raises:
        ValueError: No such suite or file (with the nearest names), or something in it is wrong;
            the message names the file, the line and the key.
    """
    path = Path(name_or_file)
    if path.suffix in {".yaml", ".yml"} or path.is_file():
        try:
            text = read_limited(path)
        except OSError as error:
            raise ValueError(f"suite {str(path)!r}: cannot be read ({error.strerror})") from error
        return _parse_text(path.stem, text, str(path))
    name = str(name_or_file)
    checks.one_of("suite (or a file's name ending in .yaml)", name, names())
    file = _LIBRARY / f"{name}.yaml"
    return _parse_text(name, file.read_text(encoding="utf-8"), file.name)


def parse(name: str, data: Mapping[str, Any], where: Callable[[_Path], str] = ".".join) -> Suite:
    """A suite from a mapping of the form that a file has.

    Args:
        name: Of the suite.
        data: The mapping; its values may be NumPy's or OmegaConf's, and tuples.
        where: How errors name a path of keys.

    Raises:
        ValueError: Something in it is wrong; the message names the key.
    """
    return _suite(name, _Given(data, where))


def _parse_text(name: str, text: str, source: str) -> Suite:
    try:
        data = yaml.load(text, values.Loader)
        lines = _lines(yaml.compose(text, values.Loader))
    except yaml.MarkedYAMLError as error:
        line = error.problem_mark.line + 1 if error.problem_mark else 1
        raise ValueError(f"{source}:{line}: {error.problem}") from error
    except (yaml.YAMLError, ValueError, RecursionError) as error:  # such as a 13th month
        raise ValueError(f"{source}: {' '.join(str(error).split())}") from error

    def where(path: _Path) -> str:
        known = next(p for n in range(len(path) + 1) if (p := path[: len(path) - n]) in lines)
        return ": ".join(filter(None, [f"{source}:{lines[known]}", ".".join(path)]))

    return _suite(name, _Given(data, where))


def _lines(node: yaml.Node | None, path: _Path = ()) -> dict[_Path, int]:
    """The line of every key of a YAML document."""
    found = {path: node.start_mark.line + 1 if node else 1}
    if isinstance(node, yaml.MappingNode):
        for key, value in node.value:
            inner = (*path, str(key.value))
            found |= _lines(value, inner) | {inner: key.start_mark.line + 1}
    return found


@dataclass(frozen=True)
class _Given:
    """What a suite says under a path of keys, None where it says nothing.

    ``where`` names a path in error messages.
    """

    value: Any
    where: Callable[[_Path], str]
    path: _Path = ()

    def __getitem__(self, key: str) -> _Given:
        """What this mapping says under a key."""
        return _Given((self.value or {}).get(key), self.where, (*self.path, str(key)))

    def error(self, message: object) -> ValueError:
        place = self.where(self.path)
        return ValueError(f"{place}: {message}" if place else message)

    def checked(self, check: Callable[..., T], *args: Any, **kwargs: Any) -> T:
        """What ``check`` gives of the arguments; its error says where the cause is written."""
        try:
            return check(*args, **kwargs)
        except ValueError as error:
            raise self.error(error) from error

    def mapping(self, allowed: Sequence[str] | None = None) -> dict[str, Any]:
        """The value as a mapping with string keys, all ``allowed``."""
        if self.value is not None and not isinstance(self.value, Mapping):
            raise self.error(f"{self.value!r}: must be a mapping of names to values")
        for key in self.value or {}:
            if not isinstance(key, str):
                raise self[str(key)].error("a key must be a text: put it into quotes")
            if allowed is not None:
                self[key].checked(checks.one_of, "key", key, allowed)
        return dict(self.value or {})

    def listed(self, what: str) -> tuple[str, ...]:
        """The value as a list of names."""
        found = [] if self.value is None else self.value
        if not isinstance(found, list) or not all(isinstance(one, str) for one in found):
            raise self.error(f"{found!r}: must be a list of {what}")
        return tuple(found)


def _plain(given: _Given) -> _Given:
    """What is given in values that JSON has; an error names the path of what is none."""
    value = given.value
    if not isinstance(value, Mapping):
        argument = given.path[-1] if given.path else "suite"
        return replace(given, value=given.checked(values.plain, argument, value))
    return replace(given, value={key: _plain(given[key]).value for key in value})


def _suite(name: str, given: _Given) -> Suite:
    given = _plain(given)
    summary, experiments = given.mapping(_SUITE).get("summary"), given["experiments"]
    if not isinstance(summary, str):
        raise given["summary"].error("must be one line about the suite")
    if not experiments.mapping():
        raise experiments.error("must name one experiment or more")
    found = [_experiment(key, experiments[key], given) for key in experiments.value]
    return Suite(name, summary.strip(), tuple(found))


def _experiment(name: str, own: _Given, suite: _Given) -> Experiment:
    data = {"scenario": None, "title": name, "notes": "", **own.mapping(_EXPERIMENT)}

    def at(key: str) -> _Given:
        """The experiment's own, or else the suite's."""
        return own[key] if key in data else suite[key]

    common = suite["arguments"].mapping() | own["arguments"].mapping()
    agents = _agents(suite["agents"], common) | _agents(own["agents"], common)
    if not agents:
        raise own["agents"].error("must name one agent or more")
    for key in ("scenario", "title", "notes"):
        if not isinstance(data[key], str):
            raise own[key].error("must be a text")
    baseline = next(iter(agents)) if at("baseline").value is None else at("baseline").value
    at("baseline").checked(checks.one_of, "agent", baseline, agents)
    settings = suite["settings"].mapping() | own["settings"].mapping()
    return Experiment(
        name=name,
        title=data["title"],
        notes=data["notes"].strip(),
        scenario=data["scenario"],
        rounds=at("rounds").checked(checks.whole, "rounds", at("rounds").value, low=1),
        seeds=at("seeds").checked(seeds_of, at("seeds").value),
        baseline=baseline,
        agents=agents,
        variants=tuple(Variant.of(point, settings | point) for point in _grid(at("grid"))),
        charts=_charts(at("charts")),
        claims=_claims(at("claims"), data["scenario"], agents, at("grid").mapping()),
        source=own.where((*own.path, "settings")),
        digest=source_digest(data["scenario"], scenarios.known(data["scenario"])),
        seeded=at("seeded").listed("names"),
    )


def _agents(given: _Given, common: Mapping[str, Any]) -> dict[str, AgentSpec]:
    found = {}
    for label in given.mapping():
        one = given[label]
        arguments = {**common, **one.mapping()}
        agent = arguments.pop("agent", label)
        if not isinstance(agent, str):
            raise one["agent"].error("must be an agent's name")
        code = source_digest(agent, agents.known(agent))
        for point in _grid(replace(one["grid"], value=arguments.pop("grid", None))):
            full = " ".join(map(str, [label, *point.values()])).strip()
            own = {k: v for k, v in (arguments | point).items() if v is not None}
            place, own = rooted(agent, own)
            digest = join(code, data_digest(own, place))
            found[full] = AgentSpec(place, own, digest, one.where(one.path))
    return found


def _grid(given: _Given) -> list[dict[str, Any]]:
    """The points of a grid; one without a grid."""
    lists = given.mapping()
    for key, tried in lists.items():
        if not isinstance(tried, list) or not tried:
            raise given[key].error(f"{tried!r}: must be a list of values to try")
        if any(value in tried[:i] for i, value in enumerate(tried)):
            raise given[key].error(f"{tried!r}: must be different values")
    points = math.prod(map(len, lists.values()))
    if points > MOST_RUNS:
        raise given.error(f"has {points} points: at most {MOST_RUNS}")
    return [dict(zip(lists, point, strict=True)) for point in itertools.product(*lists.values())]


def seeds_of(seeds: Any) -> tuple[int, ...]:
    """Seeds as people give them: a list of different ones, or how many.

    Raises:
        ValueError: They are neither.
    """
    if not isinstance(seeds, list):
        return tuple(range(checks.whole("seeds", seeds, low=1, high=MOST_RUNS)))
    if not seeds or len(set(map(str, seeds))) < len(seeds):
        raise ValueError(f"{seeds!r}: must be different seeds, or how many")
    return tuple(checks.whole("seeds", seed, low=0) for seed in seeds)


def _charts(given: _Given) -> tuple[str, ...] | None:
    charts = given.listed("charts")
    for name in charts:
        given.checked(checks.one_of, "chart", name, vocabulary.CHARTS)
    return None if given.value is None else charts


def _claims(
    given: _Given, scenario: str, agents: Mapping[str, AgentSpec], grid: Mapping[str, Any]
) -> tuple[Claim, ...]:
    if not given.mapping():
        return ()
    figures = vocabulary.figures(scenario, [spec.agent for spec in agents.values()])
    known = {figure.key: figure for figure in figures}
    return tuple(_claim(text, given[text], known, agents, grid) for text in given.value)


def _claim(
    text: str,
    given: _Given,
    known: Mapping[str, Figure],
    agents: Mapping[str, AgentSpec],
    grid: Mapping[str, Any],
) -> Claim:
    parts = given.mapping(("figure", "agent", "than", "slope_in", *_LIMITS))
    for key in ("agent", "than") if "than" in parts else ("agent",):
        given.checked(checks.one_of, key, parts.get(key), agents)
    parts["figure"] = _figure(given, str(parts.get("figure")), known, compared="than" in parts)
    for key in parts.keys() & _LIMITS:
        low = 0.0 if key == "by" else -math.inf
        parts[key] = given[key].checked(checks.number, key, parts[key], low=low)
    limits = {"at_least", "at_most"} & parts.keys()
    if ("than" in parts) == bool(limits) or ("by" in parts and limits):
        raise given.error("must have 'than' (and 'by'), or 'at_least', 'at_most'")
    if parts.get("at_least", -math.inf) > parts.get("at_most", math.inf):
        raise given.error("at_least is above at_most")
    if parts.get("than") == parts["agent"]:
        raise given.error(f"compares {parts['agent']!r} with itself")
    if "slope_in" in parts:
        _check_slope(given, parts, grid)
    return Claim(text, **parts)


def _check_slope(given: _Given, parts: Mapping[str, Any], grid: Mapping[str, Any]) -> None:
    """Refuse a slope against what has no three positive numbers in the grid."""
    if "than" in parts:
        raise given.error("'slope_in' goes with 'at_least', 'at_most', not with 'than'")
    fit = [
        key
        for key, tried in grid.items()
        if len(tried) >= SLOPE_POINTS
        and all(isinstance(v, int | float) and not isinstance(v, bool) and v > 0 for v in tried)
    ]
    if not fit:
        raise given["slope_in"].error("needs a grid with three positive numbers or more of a key")
    given["slope_in"].checked(checks.one_of, "slope_in", parts["slope_in"], fit)


def _figure(given: _Given, name: str, known: Mapping[str, Figure], compared: bool) -> str:
    """The key of a figure that is given by its key or as tables print it.

    Refused is what is no figure, and to compare by one that is neither good nor bad.
    """
    key = _key(name, known)
    stem, _, rest = key.partition(" ")
    if stem not in known:
        fit = [figure for figure in known.values() if figure.better or not compared]
        names = [f"{one.key} user 1" if one.per_user else one.key for one in fit]
        raise given.error(checks.unknown("figure", name, names))
    if known[stem].per_user != bool(rest):
        example = f"'{stem} user 1'" if known[stem].per_user else repr(stem)
        raise given.error(f"figure {name!r}: must be like {example}")
    if compared and not known[stem].better:
        raise given.error(f"figure {name!r}: neither more nor less of it is better")
    return key


def _key(name: str, known: Mapping[str, Figure]) -> str:
    """A figure's key from its title, where ``name`` is one: ``user 1`` is ``utility user 1``."""
    if name.partition(" ")[0] in known:
        return name
    for figure in known.values():
        title, said, user = name.rpartition("user ")
        if figure.per_user and said and title.strip() == figure.title:
            return f"{figure.key} user {user}"
        if not figure.per_user and name == figure.title:
            return figure.key
    return name
