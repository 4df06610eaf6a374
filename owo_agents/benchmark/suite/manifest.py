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

    Raises:
        ValueError: The folder is another suite's, whose report would be lost.
    """
    try:
        there = read(folder)[0].name
    except ValueError:
        there = suite.name  # nothing is there yet, or it is damaged
    if there != suite.name:
        raise ValueError(
            f"{folder}: has the results of suite {there!r}; choose another folder with --out"
        )
    now = datetime.datetime.now(datetime.timezone.utc)
    origin = Origin(command, now.strftime("%Y-%m-%d %H:%M UTC"))
    plain = {"suite": dataclasses.asdict(suite), "origin": dataclasses.asdict(origin)}
    folder.mkdir(parents=True, exist_ok=True)
    files.write(folder / "suite.json", json.dumps(plain, indent=1) + "\n")


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
