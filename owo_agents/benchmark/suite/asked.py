"""Suites asked for in Python: agents and scenarios as names, pairs, mappings, classes, functions.

A suite knows names alone. So a class or a function is registered under the path that it has,
``__main__:Mine`` where a notebook's cell defines it, and its cells have a digest of what it is
made of: once it is edited they are others.
"""

from __future__ import annotations

import functools
import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from owo_agents.benchmark.suite import reader
from owo_agents.benchmark.suite.plan import Suite
from owo_agents.benchmark.suite.selection import overridden
from owo_agents.benchmark.suite.values import words
from owo_agents.registry import registry as agents_
from owo_env.registry import Registry
from owo_env.scenarios import registry as scenarios_

ROUNDS, SEEDS = 32, 10  # where nobody says
NAME = "bench"  # of a suite that has none

One = str | Callable[..., Any] | tuple[Any, Mapping[str, Any]] | Mapping[str, Any]
"""A name, a class or function, either of them with its arguments, or a suite's own mapping."""

Some = One | Sequence[One] | Mapping[str, Any]
"""One, a list of them, or a mapping of labels to them."""


def suite(
    what: str | os.PathLike[str] | Mapping[str, Any] | Sequence[One] | None = None,
    *,
    agents: Some | None = None,
    scenarios: Some | None = None,
    rounds: int | None = None,
    seeds: int | Sequence[int] | None = None,
    settings: Mapping[str, Any] | None = None,
    grid: Mapping[str, Sequence[Any]] | None = None,
    baseline: str | None = None,
) -> Suite:
    """The suite that :func:`owo_agents.bench` is asked for; see there.

    Raises:
        ValueError: Something in it is wrong; the message names it.
    """
    named = isinstance(what, Mapping) and not {"agents", "experiments"} & what.keys()
    if named or (isinstance(what, Sequence) and not isinstance(what, str)):
        if agents is not None:
            raise ValueError(f"agents={agents!r}: {what!r} are the agents already")
        what, agents = None, what
    beside = {"agents": agents, "scenarios": scenarios, "grid": grid, "baseline": baseline}
    given = {key: value for key, value in beside.items() if value is not None}
    if what is None:
        return reader.parse(NAME, _listed(rounds, seeds, settings, **given))
    if given:
        key, value = next(iter(given.items()))
        raise ValueError(f"{key}={value!r}: a suite says that itself")
    if isinstance(what, Mapping):
        whole = reader.parse(NAME, _named(what))
    elif isinstance(what, str | os.PathLike):
        whole = reader.load(what)
    else:
        raise ValueError(f"{what!r}: must be a suite's name, a file, a mapping or a list of agents")
    return overridden(whole, settings or {}, None, rounds, seeds)


def _listed(
    rounds: Any,
    seeds: Any,
    settings: Any,
    agents: Any = None,
    scenarios: Any = "sinusoid",
    **given: Any,
) -> dict[str, Any]:
    """A suite's mapping of agents on scenarios."""
    if agents is None:
        raise ValueError("give a suite, or agents=[…]")
    players = _labelled(_Names(agents_), agents)
    places = _labelled(_Names(scenarios_), scenarios)
    return {
        "summary": f"{', '.join(players)} on {', '.join(places)}",
        "rounds": ROUNDS if rounds is None else rounds,
        "seeds": SEEDS if seeds is None else seeds,
        "settings": settings,
        "agents": players,
        "experiments": places,
        **given,
    }


def _named(data: Mapping[str, Any]) -> dict[str, Any]:
    """A suite's mapping with names where it has classes or functions."""
    players, places = _Names(agents_), _Names(scenarios_)

    def with_agents(data: Any) -> Any:
        named = isinstance(data, Mapping) and data.get("agents")
        return {**data, "agents": _labelled(players, named)} if named else data

    found: dict[str, Any] = {"summary": "", **with_agents(data)}
    if found.get("experiments"):
        experiments = _labelled(places, found["experiments"])
        found["experiments"] = {key: with_agents(one) for key, one in experiments.items()}
    return found


def _labelled(names: _Names, given: Any) -> dict[str, dict[str, Any]]:
    """Label → what a suite says of an agent or a scenario: its name, and what belongs to it."""
    kind, found = names.kind, dict[str, dict[str, Any]]()
    for label, one in _each(kind, given):
        thing, arguments = _apart(kind, label, one)
        name = thing if isinstance(thing, str) else names.of(thing)
        if label is None:
            short = name if isinstance(thing, str) else name.rpartition(":")[2]
            told = (f"{key}={words(value)}" for key, value in arguments.items())
            label = ", ".join([short, *told])
        if not isinstance(label, str) or label in found:
            what = "is there twice" if label in found else "must be a text"
            raise ValueError(f"{kind}s: {label!r} {what}: give a mapping of labels to {kind}s")
        pair = kind == "scenario" and not isinstance(one, Mapping)
        found[label] = {**({"settings": arguments} if pair else arguments), kind: name}
    if not found:
        raise ValueError(f"{kind}s={given!r}: must name one {kind} or more")
    return found


def _each(kind: str, given: Any) -> Iterable[tuple[Any, Any]]:
    """Every one after its label, or None where it has none."""
    if isinstance(given, Mapping):
        return given.items()
    if isinstance(given, str) or callable(given) or _pair(given):
        return [(None, given)]
    if isinstance(given, Sequence):
        return [(None, one) for one in given]
    raise ValueError(f"{kind}s={given!r}: must be a list, or a mapping of labels to {kind}s")


def _pair(one: Any) -> bool:
    """Whether it is a thing with its arguments."""
    return isinstance(one, tuple | list) and len(one) == 2 and type(one[1]) is dict


def _apart(kind: str, label: Any, one: Any) -> tuple[Any, dict[str, Any]]:
    """What a thing is and what belongs to it."""
    thing, arguments = label if one is None else one, dict[str, Any]()
    if isinstance(one, Mapping):
        arguments = dict(one)
        thing = arguments.pop(kind, label)
    elif _pair(one):
        thing, arguments = one[0], dict(one[1])
    if not (isinstance(thing, str) or callable(thing)) or kind in arguments:
        raise ValueError(
            f"{kind}s: {one!r}: must be a name, a class or a function that makes one, such with "
            f"its arguments, (…, {{…}}), or a mapping with {kind!r}; a run makes its own objects"
        )
    return thing, arguments


class _Names:
    """Names for the classes and functions of one call."""

    def __init__(self, known: Registry[Any]) -> None:
        self.kind, self._known, self._taken = known.kind, known, dict[str, Any]()

    def of(self, thing: Any) -> str:
        """The name that a thing is registered by; its path where it was not.

        Raises:
            ValueError: It is none of its kind.
        """
        inner = thing
        while isinstance(inner, functools.partial):
            inner = inner.func
        short = getattr(inner, "__name__", type(inner).__name__)
        if objection := self._known.objection(thing):
            raise ValueError(f"{self.kind} {short!r}: {objection}")
        path = first = f"{getattr(inner, '__module__', None) or '__main__'}:{short}"
        for name, (target, _) in self._known.entries.items():
            if target is thing or (target == path and inner is thing):
                self._taken[name] = thing
                return name
        while path in self._taken:  # two closures of one function
            path = f"{first} {len(self._taken) + 1}"
        self._taken[path] = thing
        self._known.register(path, thing)
        return path
