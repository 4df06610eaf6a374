"""``suite.json``: what a results folder was made from, so that its report can be made again."""

from __future__ import annotations

import dataclasses
import datetime
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from owo_agents.benchmark.suite.plan import AgentSpec, Claim, Experiment, Suite, Variant
from owo_env import files


@dataclass(frozen=True)
class Origin:
    """How a results folder came about.

    Attributes:
        command: The command line that was given last.
        started: When, in UTC, by the minute.
    """

    command: str
    started: str


def write(folder: Path, suite: Suite, command: str) -> None:
    """Keep the suite as it was resolved, and the command.

    A folder is bound to what was run in it, not to a name: a suite may be renamed, and grow.

    Raises:
        ValueError: The folder is another suite's, whose report would be lost: they have no run in
            common, rounds, seeds and code aside.
    """
    try:
        there = read(folder)[0]
    except ValueError:
        there = suite  # nothing is there yet, or it is damaged
    if not _runs(there) & _runs(suite):
        raise ValueError(
            f"{folder}: has the results of suite {there.name!r} ({there.summary}), which has no "
            "run in common with this one; choose another folder"
        )
    now = datetime.datetime.now(datetime.timezone.utc)
    origin = Origin(command, now.strftime("%Y-%m-%d %H:%M UTC"))
    plain = {"suite": dataclasses.asdict(suite), "origin": dataclasses.asdict(origin)}
    folder.mkdir(parents=True, exist_ok=True)
    files.write(folder / "suite.json", json.dumps(plain, indent=1) + "\n")


def _runs(suite: Suite) -> set[str]:
    """What the suite runs, but for how long, on which seeds and with what code."""
    return {
        json.dumps([e.scenario, variant.settings, spec.agent, spec.arguments], sort_keys=True)
        for e in suite.experiments
        for variant in e.variants
        for spec in e.agents.values()
    }


def read(folder: Path) -> tuple[Suite, Origin]:
    """What :func:`write` kept.

    Raises:
        ValueError: The folder is no results folder, or the file is damaged or a link out of it.
    """
    path = files.inside(folder, "suite.json")
    try:
        plain = json.loads(path.read_text(encoding="utf-8"))
        suite, origin = plain["suite"], Origin(**plain["origin"])
        experiments = tuple(map(_experiment, suite["experiments"]))
        return Suite(suite["name"], suite["summary"], experiments), origin
    except OSError as error:
        raise ValueError(f"{folder}: not a results folder of `owo bench` ({error})") from error
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise ValueError(f"{path}: damaged ({error}); run `owo bench` again") from error


def _experiment(given: dict[str, Any]) -> Experiment:
    lists = {key: tuple(value) for key, value in given.items() if isinstance(value, list)}
    agents = {label: AgentSpec(**spec) for label, spec in given["agents"].items()}
    variants = tuple(Variant(**variant) for variant in given["variants"])
    claims = tuple(Claim(**claim) for claim in given.get("claims", ()))
    return Experiment(**given | lists | {"agents": agents, "variants": variants, "claims": claims})
