"""Parts and changes of a suite that a call asks for."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from fnmatch import fnmatchcase
from typing import Any

from owo_agents.benchmark.suite import values
from owo_agents.benchmark.suite.plan import Experiment, Suite
from owo_agents.benchmark.suite.reader import seeds_of
from owo_env import checks


def overridden(
    chosen: Suite,
    settings: Mapping[str, Any],
    digits: str | None,
    rounds: int | None,
    seeds: int | Sequence[int] | None,
) -> Suite:
    """The suite with the settings, rounds and seeds that a call asks for.

    Raises:
        ValueError: One of them is outside its domain, or the suite has no place for it.
    """
    changes: dict[str, Any] = {}
    if rounds is not None:
        changes["rounds"] = checks.whole("rounds", rounds, low=1)
    if seeds is not None:
        changes["seeds"] = seeds_of(values.plain("seeds", seeds))
    if digits is not None and all(e.scenario != "rainbow-mnist" for e in chosen.experiments):
        raise ValueError(f"digits={digits!r}: suite {chosen.name!r} has no rainbow-mnist")
    asked: dict[str, Any] = values.plain("settings", settings)

    def change(experiment: Experiment) -> Experiment:
        deep = digits is not None and experiment.scenario == "rainbow-mnist"
        own = asked | {"digits": digits} if deep else asked
        return replace(experiment.with_settings(own) if own else experiment, **changes)

    return replace(chosen, experiments=tuple(map(change, chosen.experiments)))


def narrowed(chosen: Suite, only: Sequence[str] = (), skip: Sequence[str] = ()) -> Suite:
    """The part of the suite that every ``only`` admits and no ``skip`` names.

    Args:
        chosen: The suite.
        only: ``agent=…``, ``scenario=…`` or ``experiment=…``, where ``*`` stands for any letters;
            one key given twice admits either.
        skip: Likewise.

    Raises:
        ValueError: One of them names nothing of the suite, or nothing is left.
    """
    every = [_names(e, label) for e in chosen.experiments for label in e.agents]
    wanted: dict[str, set[str]] = {}
    for text in only:
        key, found = _meant("only", text, every)
        wanted.setdefault(key, set()).update(found)
    unwanted = [_meant("skip", text, every) for text in skip]

    def keep(experiment: Experiment, label: str) -> bool:
        names = _names(experiment, label)
        chosen = all(names[key] & values for key, values in wanted.items())
        return chosen and not any(names[key] & values for key, values in unwanted)

    return chosen.narrowed(keep)


def _meant(option: str, text: str, every: Sequence[Mapping[str, set[str]]]) -> tuple[str, set[str]]:
    """A key and the names under it that ``KEY=VALUE`` means."""
    key, _, value = text.partition("=")
    checks.one_of(f"{option} key", key, every[0])
    known = set().union(*(names[key] for names in every))
    found = {value} & known or {name for name in known if fnmatchcase(name, value)}
    if not found:
        raise checks.unknown(f"{key} in {option}", value, known)
    return key, found


def _names(experiment: Experiment, label: str) -> dict[str, set[str]]:
    """What a call may call an agent of an experiment, by key."""
    return {
        "agent": {label, experiment.agents[label].agent},
        "scenario": {experiment.scenario},
        "experiment": {experiment.name},
    }
