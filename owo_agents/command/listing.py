"""``owo list``: all names, and of one what it can be told."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any

import typer
from rich.table import Table
from rich.text import Text

import owo_agents
import owo_env
from owo_agents.benchmark.suite import reader as suite
from owo_agents.command.terminal import console, errors
from owo_agents.command.trust import look_here
from owo_agents.registry import POLICY
from owo_agents.registry import registry as agents
from owo_env import checks
from owo_env.describing import Description
from owo_env.fairness import registry as fairness_notions
from owo_env.registry import Registry
from owo_env.scenarios import registry as scenarios

HERE = "airan-fairmtl"  # where names come from that no other package offers


def list_(
    name: Annotated[
        str | None, typer.Argument(help="A scenario or an agent: print every argument of it.")
    ] = None,
) -> None:
    """List scenarios, notions of fairness, agents and suites; of one, its arguments."""
    if name is not None:
        console.print(str(_described(name)), highlight=False)
        return
    for title, known in (("Scenarios", scenarios), ("Agents", agents)):
        lines = known.names()
        own = {name: line for name, line in lines.items() if name not in known.packages}
        _show(title, own | _offered(known), known.packages)
    _show("Notions of fairness (--set fairness=NAME)", fairness_notions.names(), {})
    _show("Suites", suite.names(), {})


def _described(name: str) -> Description:
    """Of the scenario or the agent of that name."""
    look_here([name])
    known = {**scenarios.names(), **agents.names()}
    if name in scenarios.entries:
        return owo_env.describe(name)
    if name in agents.entries or name.startswith(POLICY):
        return owo_agents.describe(name)
    if ":" not in name:
        raise checks.unknown("scenario or agent", name, known)
    try:
        return owo_env.describe(name)
    except ValueError:
        return owo_agents.describe(name)


def _offered(known: Registry[Any]) -> dict[str, str]:
    """What installed packages offer and can be loaded, with a line; the others are named."""
    describe = owo_env.describe if known is scenarios else owo_agents.describe
    for line in known.skipped:
        errors.print(Text("skipped", "yellow"), line)
    found = {}
    for name in known.packages:
        try:
            found[name] = describe(name).summary
        except (ValueError, ImportError) as error:
            errors.print(Text("skipped", "yellow"), " ".join(str(error).split()))
    return found


def _show(title: str, lines: Mapping[str, str], packages: Mapping[str, str]) -> None:
    table = Table(title=title, title_justify="left", title_style="bold", show_header=False)
    table.add_column(no_wrap=True, style="cyan")
    table.add_column()
    if packages:
        table.add_column(style="dim")
    for name, line in sorted(lines.items()):
        table.add_row(name, line, *([packages.get(name, HERE)] if packages else []))
    console.print(table)
