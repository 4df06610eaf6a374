"""``owo train-rl``: train a policy for the weights, and say how it stands."""

from __future__ import annotations

import functools
import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.progress import TextColumn
from rich.table import Table

import owo_agents
from owo_agents.benchmark.api.progress import bars
from owo_agents.command.terminal import TensorBoardDir, console, pairs
from owo_agents.command.trust import look_here

if TYPE_CHECKING:
    from owo_agents.rl.train import Training


def train_rl(
    scenario: Annotated[str, typer.Argument(help="A scenario's name.")] = "csi-prediction",
    algorithm: Annotated[str, typer.Option(help="ppo, sac or td3.")] = "ppo",
    steps: Annotated[int, typer.Option(help="Slots to train for, over all streams.")] = 100_000,
    num_envs: Annotated[int, typer.Option(help="Streams side by side.")] = 64,
    seed: Annotated[int, typer.Option(help="Decides every draw of training.")] = 0,
    set_: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="KEY=VALUE", help="A setting of the environment."),
    ] = None,
    hyper: Annotated[
        list[str] | None,
        typer.Option("--hyper", metavar="KEY=VALUE", help="A hyperparameter of the algorithm."),
    ] = None,
    eval_every: Annotated[int, typer.Option(help="Slots between evaluations.")] = 12_500,
    out: Annotated[
        Path | None,
        typer.Option(help="Folder of the run.", show_default="results/rl/SCENARIO-ALGORITHM-SEED"),
    ] = None,
    resume: Annotated[bool, typer.Option(help="Go on from the folder's checkpoint.")] = False,
    tensorboard: TensorBoardDir = None,
) -> None:
    """Train a policy that weighs the users, with stable-baselines3; it then plays as `rl:DIR`."""
    from owo_agents.rl.train import Training, make_vector, train

    look_here([scenario])
    settings, hyperparameters = pairs("--set", set_), pairs("--hyper", hyper)
    training = Training(
        scenario, settings, algorithm, steps, num_envs, seed, hyperparameters, eval_every
    )
    folder = out or Path("results/rl") / f"{scenario}-{algorithm}-{seed}"
    make_vector(training, 1, "AIRAN-FairMTL-Weights-v0", "SameStep").close()  # refused before a bar
    bar = bars(TextColumn("{task.completed:,.0f}/{task.total:,.0f} slots"), console=console)
    with bar:
        task = bar.add_task("training", total=steps)

        def advance(done: int, fairness: float | None) -> None:
            text = None if fairness is None else f"held-out fairness {fairness:.5f}"
            bar.update(task, completed=min(done, steps), description=text)

        _, interrupted = train(training, folder, resume, tensorboard, advance)
    if interrupted:
        console.print("interrupted: the best policy is kept; --resume goes on from the checkpoint")
    _compare(training, folder)
    given = [word for one in set_ or () for word in ("--set", one)]
    play = shlex.join(["owo", "run", "--scenario", scenario, *given, "--agent", f"rl:{folder}"])
    console.print(f"play it with: {play}", highlight=False, soft_wrap=True)
    if interrupted:
        raise typer.Exit(130)


def _compare(training: Training, folder: Path) -> None:
    """The policy beside equal weights and OWO-FMTL on the held-out seeds it was chosen on."""
    from owo_agents.rl.train import evaluate

    table = Table(title="Mean fairness of held-out rounds", title_justify="left")
    table.add_column("agent")
    table.add_column("fairness", justify="right")
    for name in ("cws", "owo-fmtl", f"rl:{folder}"):
        fairness = evaluate(training, functools.partial(owo_agents.make, name))
        table.add_row(name, f"{fairness.mean():.5f}")
    console.print(table)
