"""``owo site``: streets of a ray-traced scene become the file of a site."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer
import yaml
from rich.progress import MofNCompleteColumn

from owo_agents.benchmark.api.progress import bars
from owo_agents.command.terminal import console
from owo_env import checks

KEYS = (
    "scene",
    "transmitter",
    "look_at",
    "carrier_ghz",
    "seed",
    "streets",
    "attribution",
    "licence",
)


def site(
    path: Annotated[Path, typer.Argument(metavar="FILE", help="A .npz file.")],
    scene: Annotated[
        str | None,
        typer.Option(help="A scene of sionna-rt, such as munich, or a Mitsuba file (….xml)."),
    ] = None,
    transmitter: Annotated[
        str | None, typer.Option(metavar="X,Y,Z", help="Where it stands, in m.")
    ] = None,
    look_at: Annotated[
        str | None,
        typer.Option(metavar="X,Y,Z", help="Where its antenna looks.", show_default="level, north"),
    ] = None,
    carrier_ghz: Annotated[
        float | None, typer.Option(help="Carrier frequency.", show_default="3.5")
    ] = None,
    users: Annotated[
        int, typer.Option(help="How many places for users, half a metre apart, if none is given.")
    ] = 400,
    recipe: Annotated[
        Path | None,
        typer.Option(help="A .yaml file with any of the above and `streets`; see the docs."),
    ] = None,
    seed: Annotated[int | None, typer.Option(help="Decides every draw.", show_default="0")] = None,
) -> None:
    """Trace the paths from a transmitter to streets, for `csi-prediction` with `site=FILE`."""
    if path.suffix != ".npz":
        raise ValueError(f"{str(path)!r}: a site's file ends in .npz")
    if not path.parent.is_dir():
        raise ValueError(f"{str(path)!r}: there is no folder {str(path.parent)!r}")
    asked = _recipe(recipe)
    given = dict(
        scene=scene, transmitter=transmitter, look_at=look_at, carrier_ghz=carrier_ghz, seed=seed
    )
    asked |= {name: value for name, value in given.items() if value is not None}
    for name in ("scene", "transmitter"):
        if name not in asked:
            raise ValueError(f"--{name}: must be given, here or in a recipe")
    made = _traced(asked, checks.whole("users", users, low=2))
    made.save(path)
    kinds = ", ".join(dict.fromkeys(street.kind for street in made.streets))
    console.print(
        f"{path}: {len(made.along)} places, streets: {len(made.streets)} ({kinds}), gains "
        f"{made.gain_db.min():.0f} to {made.gain_db.max():.0f} dB",
        highlight=False,
    )


def _recipe(path: Path | None) -> dict[str, Any]:
    if path is None:
        return {}
    try:
        asked = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise ValueError(f"--recipe {str(path)!r}: {error}") from None
    if not isinstance(asked, dict):
        raise ValueError(f"--recipe {str(path)!r}: must be a mapping of {', '.join(KEYS)}")
    for name in asked:
        checks.one_of("key of the recipe", name, KEYS)
    return asked


def _traced(asked: dict[str, Any], users: int) -> Any:
    from owo_env.radio.site import Street
    from owo_env.radio.site.scene import Scene
    from owo_env.radio.site.tracing import trace

    streets = []
    for one in asked.get("streets") or ():
        if not isinstance(one, dict):
            raise ValueError(f"streets: {one!r}: must be a mapping of a street's fields")
        checks.keywords(f"the street {one!r}", Street, one)
        streets.append(Street(**one))
    transmitter = _point("transmitter", asked["transmitter"])
    ahead = [transmitter[0], transmitter[1] + 1.0, transmitter[2]]
    look_at = _point("look_at", asked["look_at"]) if "look_at" in asked else ahead
    world = Scene(asked["scene"], transmitter, look_at, asked.get("carrier_ghz", 3.5))
    source = {name: asked[name] for name in ("attribution", "licence") if name in asked}
    with bars(MofNCompleteColumn(), console=console) as progress:
        bar = progress.add_task("places")

        def show(done: int, total: int) -> None:
            progress.update(bar, completed=done, total=total)

        return trace(world, streets, users, asked.get("seed", 0), show, **source)


def _point(name: str, value: Any) -> list[float]:
    parts = value.split(",") if isinstance(value, str) else value
    try:
        x, y, z = (float(part) for part in parts)
    except (TypeError, ValueError):
        raise ValueError(f"{name}={value!r}: must be three figures in m, X,Y,Z") from None
    return [checks.number(name, c) for c in (x, y, z)]
