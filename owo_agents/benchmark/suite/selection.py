"""Parts and changes of a suite that a command line asks for."""

from __future__ import annotations

from collections.abc import Sequence
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
    if rounds is not None:
        chosen = chosen.changed(lambda _: {"rounds": checks.whole("--rounds", rounds, low=1)})
    if seeds is not None:
        count = checks.whole("--seeds", seeds, low=1)
        chosen = chosen.changed(lambda _: {"seeds": tuple(range(count))})
    if settings:
        chosen = chosen.changed(lambda e: e.with_settings(settings))
    if digits is not None:
        deep = [e for e in chosen.experiments if e.scenario == "rainbow-mnist"]
        if not deep:
            raise ValueError(f"--digits {digits}: suite {chosen.name!r} has no rainbow-mnist")
        chosen = chosen.changed(lambda e: e.with_settings({"digits": digits}) if e in deep else {})
    return chosen


def narrowed(chosen: Suite, only: Sequence[str]) -> Suite:
    """The part of the suite that every ``--only`` admits; one key given twice admits either."""
    wanted: dict[str, set[str]] = {}
    for text in only:
        key, _, value = text.partition("=")
        known = {
            "agent": {n for e in chosen.experiments for a in e.agents for n in e.called(a)},
            "scenario": {e.scenario for e in chosen.experiments},
            "experiment": {e.name for e in chosen.experiments},
        }
        checks.one_of("--only key", key, known)
        checks.one_of(f"{key} in --only", value, known[key])
        wanted.setdefault(key, set()).add(value)

    def keep(experiment: Experiment, label: str) -> bool:
        have = {
            "agent": experiment.called(label),
            "scenario": {experiment.scenario},
            "experiment": {experiment.name},
        }
        return all(have[key] & values for key, values in wanted.items())

    return chosen.narrowed(keep)
