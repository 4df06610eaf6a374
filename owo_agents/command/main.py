"""``owo``, the command: list what there is, run one agent, run a suite, make a report.

What is wrong with a call is said in one line, before any work, with exit code 2; runs that fail
are reported at the end with exit code 1.
"""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import tempfile
import warnings
from dataclasses import replace
from pathlib import Path
from typing import Annotated

import typer
from rich.text import Text

import owo_env
from owo_agents.benchmark.figures import leaderboard
from owo_agents.benchmark.report import publish, tables
from owo_agents.benchmark.report.gallery import sections
from owo_agents.benchmark.run import runner
from owo_agents.benchmark.run.execution import make_pair
from owo_agents.benchmark.run.results import Store
from owo_agents.benchmark.suite import manifest
from owo_agents.benchmark.suite import reader as suite
from owo_agents.benchmark.suite.cells import Cell
from owo_agents.benchmark.suite.selection import overridden
from owo_agents.command.join import join
from owo_agents.command.listing import list_
from owo_agents.command.running import one_run, prepared
from owo_agents.command.serve import serve
from owo_agents.command.site import site
from owo_agents.command.terminal import (
    RED,
    AgentName,
    Arguments,
    Resume,
    Rounds,
    Seed,
    Settings,
    TensorBoardDir,
    announce,
    console,
    degrade,
    errors,
    finish,
    pairs,
    refusing,
    say_set_aside,
    say_warning,
    show,
    stopping,
    summary,
)
from owo_agents.command.trace import trace
from owo_agents.command.train_rl import train_rl
from owo_agents.command.trust import Trust, agreed, look_here
from owo_agents.command.watch import watch
from owo_env import checks
from owo_env.scenarios import traces

app = typer.Typer(
    name="owo",
    help="Fair online multi-task learning for AI-RANs: scenarios, agents and their benchmark.",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode="markdown",
)


@app.command()
def run(
    scenario: Annotated[
        str, typer.Option(help="A scenario's name, or package.module:Class.")
    ] = "sinusoid",
    agent: AgentName = "owo-fmtl",
    rounds: Rounds = 100,
    seed: Seed = 0,
    set_: Settings = None,
    arg: Arguments = None,
    out: Annotated[Path | None, typer.Option(help="Keep the result in this folder.")] = None,
    tensorboard: TensorBoardDir = None,
    render: Annotated[
        bool, typer.Option("--render", help="First show the rounds, slot by slot.")
    ] = False,
    resume: Resume = False,
) -> None:
    """Play one agent on one scenario and print what came of it."""
    with refusing():
        if resume and out is None:
            raise ValueError("--resume: needs --out, the folder to go on from")
        one = one_run(scenario, agent, rounds, seed, set_, arg)
        if render:
            runner.validate(one)
            show_rounds(one.cells()[0])
    with contextlib.ExitStack() as stack:
        folder = out or Path(stack.enter_context(tempfile.TemporaryDirectory()))
        with refusing():
            serial = {"backend": "serial", "jobs": 1, "force": not resume}
            benchmark = prepared(one, folder, tensorboard, **serial)
        stack.enter_context(stopping(out))
        results = benchmark.run()
        for board in results.boards:
            console.print(summary(board))
    finish(results, resumable=out is not None)


@app.command()
def bench(
    name: Annotated[str, typer.Argument(metavar="SUITE|FILE", help="A suite, or a YAML file.")],
    out: Annotated[
        Path | None, typer.Option(help="Results folder.", show_default="results/SUITE")
    ] = None,
    backend: Annotated[str, typer.Option(help="process, serial or ray.")] = "process",
    jobs: Annotated[
        int | None, typer.Option(help="Runs at a time.", show_default="the cores that it may use")
    ] = None,
    only: Annotated[
        list[str] | None,
        typer.Option(
            metavar="KEY=VALUE",
            help="Run only agent=…, scenario=… or experiment=…; * is any letters; repeatable.",
        ),
    ] = None,
    skip: Annotated[
        list[str] | None,
        typer.Option(metavar="KEY=VALUE", help="Leave such out; repeatable."),
    ] = None,
    set_: Settings = None,
    digits: Annotated[
        str | None, typer.Option(help="Digits of rainbow-mnist: mnist or mnist-5k.")
    ] = None,
    rounds: Annotated[int | None, typer.Option(help="Override the number of rounds.")] = None,
    seeds: Annotated[int | None, typer.Option(help="Override the number of seeds.")] = None,
    force: Annotated[bool, typer.Option(help="Run again what is there already.")] = False,
    tune: Annotated[
        bool,
        typer.Option("--tune", help="Then again, step sizes tuned on seeds that no table shows."),
    ] = False,
    tune_starts: Annotated[
        bool,
        typer.Option("--tune-starts", help="As --tune, and of each method the outer loop as well."),
    ] = False,
    ray_address: Annotated[
        str | None, typer.Option(help="Of a running Ray cluster, for --backend ray.")
    ] = None,
    tensorboard: TensorBoardDir = None,
    trust: Trust = False,
) -> None:
    """Run a suite. What the results folder has already is not run again."""
    with refusing():
        agreed(name, trust)
        whole = overridden(suite.load(name), pairs("--set", set_), digits, rounds, seeds)
        folder = out or Path("results") / whole.name
        benchmark = prepared(
            whole,
            folder,
            tensorboard,
            only=only or (),
            skip=skip or (),
            jobs=jobs,
            backend=backend,
            ray_address=ray_address,
            force=force,
            tune=tune,
            tune_starts=tune_starts,
        )
    with stopping(folder):
        results = benchmark.run()
        (folder / "suite.json").stat()  # an error where the folder is gone
        found, store = results.boards, results.store
        written: list[Path] = []
        if found:  # first of all: nothing that a terminal refuses costs the report
            written = publish.publish(*manifest.read(folder), found, store, ("png", "svg"))
    show(found)
    announce(written)
    finish(results, resumable=True)


@app.command()
def report(
    folder: Annotated[Path, typer.Argument(help="A results folder of `owo bench`.")],
    format_: Annotated[
        str, typer.Option("--format", help="html, md, csv, parquet or latex.")
    ] = "html",
    columns: Annotated[
        str | None,
        typer.Option(
            help="Columns of the table, by key or title, comma-separated; not of html. An "
            "experiment then has one table.",
            show_default="all",
        ),
    ] = None,
    figures: Annotated[
        str | None,
        typer.Option(
            help="Formats of the figures: png, svg, pdf, comma-separated.",
            show_default="png,svg with html, else none",
        ),
    ] = None,
    trust: Trust = False,
) -> None:
    """Make the report of a results folder again."""
    with refusing():
        checks.one_of("--format", format_, ("html", *tables.FORMATS))
        if columns is not None and format_ == "html":
            raise ValueError(f"--columns {columns!r}: is for {', '.join(tables.FORMATS)}, not html")
        default = "png,svg" if format_ == "html" else ""
        formats = _listed(default if figures is None else figures)
        for one in formats:
            checks.one_of("--figures", one, ("png", "svg", "pdf"))
        chosen, origin = manifest.read(folder)
        if trust:  # for the figures that they declare
            specs = [spec.agent for e in chosen.experiments for spec in e.agents.values()]
            look_here([*specs, *(e.scenario for e in chosen.experiments)])
        store = Store(folder)
        say_set_aside(store.tidy(cell.key for cell in chosen.cells()))
        found = leaderboard.boards(chosen, store)
        if not found:
            raise ValueError(f"{folder}: no run of suite {chosen.name!r} is done yet")
        if format_ == "html":
            announce(publish.publish(chosen, origin, found, store, formats))
        else:
            named = None if columns is None else _listed(columns)
            written = [publish.table(folder, found, format_, named)]
            if formats:
                written += publish.figures(chosen, sections(found), folder, formats)
            announce(written)


def _listed(text: str) -> list[str]:
    """What stands between the commas."""
    return [one.strip() for one in text.split(",") if one.strip()]


@app.command()
def record(
    path: Annotated[Path, typer.Argument(metavar="FILE", help="A .npz or .parquet file.")],
    scenario: Annotated[
        str, typer.Option(help=f"{', '.join(traces.RECORDABLE)}, or package.module:Class.")
    ] = "csi-prediction",
    rounds: Annotated[int, typer.Option(help="How many rounds to write.")] = 100,
    seed: Seed = 0,
    set_: Settings = None,
) -> None:
    """Write a least-squares scenario's stream as a trace, which scenario `recorded` replays."""
    with refusing():
        look_here([scenario])
        if ":" not in scenario and scenario not in owo_env.scenario_names():
            raise checks.unknown("scenario", scenario, traces.RECORDABLE)
        traces.write(owo_env.make_scenario(scenario, **pairs("--set", set_)), path, rounds, seed)
    console.print(f"{path}: {rounds} rounds of {scenario}")


app.command("serve")(serve)
app.command("join")(join)
app.command("trace")(refusing()(trace))
app.command("site")(refusing()(site))
app.command("list")(refusing()(list_))
app.command("train-rl")(refusing()(train_rl))


def show_rounds(cell: Cell) -> None:
    """Play the cell before the eyes; what fails here fails again in the run and is reported."""
    shown = replace(cell, settings={**cell.settings, "render_mode": "ansi"})
    with contextlib.suppress(Exception):
        env, agent = make_pair(shown)
        watch(env, agent, cell.rounds, cell.seed, console)


def main() -> None:
    """The console script; a hang-up or a polite end is as Ctrl-C: workers end too.

    Nothing is imported from the working folder, by itself or its workers, unless a call names it.
    """
    degrade()
    warnings.showwarning = say_warning
    try:
        here = os.getcwd()
    except FileNotFoundError:
        errors.print(Text("owo:", RED), "the working folder is gone: go to another")
        sys.exit(2)
    if sys.path and sys.path[0] in ("", here) and not getattr(sys.flags, "safe_path", False):
        del sys.path[0]  # as python -m and -c put it
    os.environ["PYTHONSAFEPATH"] = "1"
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    hangup = getattr(signal, "SIGHUP", None)  # Windows has none
    if hangup is not None and signal.getsignal(hangup) != signal.SIG_IGN:  # nohup
        signal.signal(hangup, signal.default_int_handler)
    try:
        app()
    except KeyboardInterrupt:  # before anything that could be kept had begun
        sys.exit(130)
