"""``owo trace``: a log as operators have it becomes a trace, and a suite that compares agents."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Annotated

import typer

from owo_agents.command.terminal import announce, console
from owo_env import files

SUITE = """\
summary: "{title}: {users} users predict {target}, {rounds} rounds of {slots} slots."
rounds: {rounds}
seeds: 1
baseline: cws
agents:
  owo-adaptive:
  owo-fmtl:
  ftl:
  cws:
  owo-normalized:
  srl:
  frozen:
  oracle:
  {last}
experiments:
  {name}:
    title: "{title}"
    scenario: recorded
    settings: {{trace: {trace}}}
"""


# Of its last agent: who cannot play over a link, and the control there.
WITHOUT_LINK, WITH_LINK = (
    "single-task:",
    "owo-fmtl as heard: {agent: owo-fmtl, participation: as-heard}",
)


def trace(
    logs: Annotated[
        list[Path],
        typer.Argument(
            metavar="LOG…", help="Text with a header, or Parquet; several with the same columns."
        ),
    ],
    time: Annotated[str, typer.Option(help="The column of times.")],
    features: Annotated[str, typer.Option(help="The columns that the model sees, a,b,c.")],
    target: Annotated[str, typer.Option(help="The column that it predicts.")],
    user: Annotated[
        str | None,
        typer.Option(help="The column of users.", show_default="each file is a user"),
    ] = None,
    user_class: Annotated[
        str | None, typer.Option("--class", help="The column of users' classes.")
    ] = None,
    horizon: Annotated[int, typer.Option(help="How many slots ahead to predict.")] = 1,
    period: Annotated[
        str | None,
        typer.Option(
            help="Of a slot, such as 10ms.", show_default="the median time between a user's rows"
        ),
    ] = None,
    hold: Annotated[
        str, typer.Option(help="The longest gap over which values are held, such as 50ms.")
    ] = "0s",
    slots: Annotated[int, typer.Option(help="Slots of a round.")] = 64,
    users: Annotated[
        int | None,
        typer.Option(help="Users at a time.", show_default="with which most is played"),
    ] = None,
    absent: Annotated[
        str,
        typer.Option(
            help="Absent users: mask plays all rounds, leave-out those with all users there."
        ),
    ] = "mask",
    unit: Annotated[str, typer.Option(help="The target's unit, for reports.")] = "",
    time_unit: Annotated[
        str | None,
        typer.Option(
            help="Of times that are numbers, such as ms.", show_default="by their size, else s"
        ),
    ] = None,
    align: Annotated[
        bool, typer.Option("--align", help="Each user's clock begins at its first row.")
    ] = False,
    constant: Annotated[bool, typer.Option(help="Add a feature that is always 1.")] = True,
    encoding: Annotated[
        str | None, typer.Option(help="Of texts.", show_default="by their mark, else utf-8")
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option(help="A .npz or .parquet file.", show_default="the first log's name, .npz"),
    ] = None,
) -> None:
    """Make a trace of a log with a row for each time and user; scenario `recorded` plays it."""
    from owo_env.logs import trace_from

    made = trace_from(
        logs,
        time=time,
        user=user,
        features=[name.strip() for name in features.split(",") if name.strip()],
        target=target,
        user_class=user_class,
        horizon=horizon,
        period=period,
        hold=hold,
        slots=slots,
        users=users,
        absent=absent,
        unit=unit,
        time_unit=time_unit,
        align=align,
        constant=constant,
        encoding=encoding,
    )
    path = out or logs[0].with_suffix(".npz")
    suite = path.with_suffix(".yaml")
    if any(path.resolve() == log.resolve() or suite.resolve() == log.resolve() for log in logs):
        raise ValueError(f"--out {str(path)!r}: is, or lies beside, the log itself; name another")
    made.write(path)
    said = made.summary
    title = " ".join("".join(c if c.isalnum() or c in " -_." else " " for c in path.stem).split())
    text = SUITE.format(
        name=title or "log",
        title=title or "log",
        trace=_quoted(str(path)),
        target=said.target.replace('"', "'").replace("\\", "/"),
        users=said.places,
        rounds=said.rounds,
        slots=said.slots,
        last=WITHOUT_LINK if made.active.all() else WITH_LINK,
    )
    files.write(suite, text)
    for line in said.lines():
        console.print(line, highlight=False)
    announce([path])
    announce([suite])
    compare = shlex.join(["owo", "bench", str(suite)])
    console.print(f"compare agents with: {compare}", highlight=False, soft_wrap=True)


def _quoted(text: str) -> str:
    """As YAML has it in single quotes."""
    return "'" + text.replace("'", "''") + "'"
