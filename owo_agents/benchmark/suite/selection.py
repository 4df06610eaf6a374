"""Parts and changes of a suite that a command line asks for."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from owo_agents.benchmark.suite.plan import Experiment, Suite
from owo_env import checks


def overridden(
    chosen: Suite,
    settings: dict[str, Any],
    digits: str | None,
    rounds: int | None,
    seeds: int | None,
) -> Suite:
    """The suite with the settings, rounds and seeds that the command line asks for."""
    changes: dict[str, Any] = {}
    if rounds is not None:
        changes["rounds"] = checks.whole("--rounds", rounds, low=1)
    if seeds is not None:
        changes["seeds"] = tuple(range(checks.whole("--seeds", seeds, low=1)))
    if digits is not None and all(e.scenario != "rainbow-mnist" for e in chosen.experiments):
        raise ValueError(f"--digits {digits}: suite {chosen.name!r} has no rainbow-mnist")

    def change(experiment: Experiment) -> Experiment:
        deep = digits is not None and experiment.scenario == "rainbow-mnist"
        own = settings | {"digits": digits} if deep else settings
        return replace(experiment.with_settings(own) if own else experiment, **changes)

    return replace(chosen, experiments=tuple(map(change, chosen.experiments)))


def narrowed(chosen: Suite, only: Sequence[str]) -> Suite:
    """The part of the suite that every ``--only`` admits; one key given twice admits either."""
    every = [_names(e, label) for e in chosen.experiments for label in e.agents]
    wanted: dict[str, set[str]] = {}
    for text in only:
        key, _, value = text.partition("=")
        checks.one_of("--only key", key, every[0])
        checks.one_of(f"{key} in --only", value, set().union(*(names[key] for names in every)))
        wanted.setdefault(key, set()).add(value)
    return chosen.narrowed(
        lambda e, label: all(_names(e, label)[key] & values for key, values in wanted.items())
    )


def _names(experiment: Experiment, label: str) -> dict[str, set[str]]:
    """What ``--only`` may call an agent of an experiment, by key."""
    return {
        "agent": {label, experiment.agents[label].agent},
        "scenario": {experiment.scenario},
        "experiment": {experiment.name},
    }
