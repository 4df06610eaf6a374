"""How a site's file is made: the strongest paths to every half metre of its streets."""

from __future__ import annotations

import importlib.metadata
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from owo_env import checks
from owo_env.radio.site.file import MOST_PATHS, Site, Street
from owo_env.radio.site.scene import CITIES, Scene
from owo_env.radio.site.streets import found

Floats = NDArray[np.float64]
Progress = Callable[[int, int], None]

STEP = 0.5  # m between places
LEAST_DB = -140.0  # of gain, where a place counts as served
AT_ONCE = 64  # places traced together
TRIES, AT_A_TIME = 200, 8  # draws of streets, and how many are traced together
LOOK = 10.0  # m between places where streets are looked at first
WELL_DB = -115.0  # of a street's middle place, where it is to be taken
WALL_DB = 20.0  # what walls cost
MAP_STEP, MAP_MARGIN = 2.0, 40.0  # m
LICENCE = "ODbL 1.0 (the map)", "not stated"
ATTRIBUTION = "© OpenStreetMap contributors", "not stated"


def trace(
    scene: Scene,
    streets: Sequence[Street] = (),
    places: int = 400,
    seed: int = 0,
    progress: Progress = lambda done, total: None,
    attribution: str | None = None,
    licence: str | None = None,
) -> Site:
    """Trace a site.

    Args:
        scene: The scene and its transmitter.
        streets: Its streets; none: found by chance until there are ``places``.
        places: How many, half a metre apart, if streets are to be found.
        seed: Decides what is drawn, and the tracer's rays.
        progress: Is told how many places of how many are done.
        attribution: Who is to be named where the scene is used; None: OpenStreetMap's
            contributors for the cities of ``sionna-rt``, and not stated for one's own.
        licence: Under which it is; likewise.

    Raises:
        ValueError: A street that leaves the scene or runs through a building, or too few places
            that the transmitter serves.
    """
    seed = checks.whole("seed", seed, low=0)
    if streets:
        for street in streets:
            _check(street, scene)
        parts = _traced(scene, streets, seed, progress)
    else:
        streets, parts = _found(scene, checks.whole("places", places, low=2), seed, progress)
    if not len(parts["along"]):
        raise ValueError("streets: the transmitter serves no place of them (all below −140 dB)")
    built, corner = _map(scene, streets)
    own = scene.name not in CITIES
    about = {
        "transmitter": scene.transmitter.tolist(),
        "look_at": scene.look_at.tolist(),
        "carrier_hz": float(np.array(scene.world.frequency).item()),
        "scene": Path(scene.name).stem,
        "tool": f"sionna-rt {importlib.metadata.version('sionna-rt')}",
        "seed": seed,
        "licence": licence or LICENCE[own],
        "attribution": attribution or ATTRIBUTION[own],
        "streets": [asdict(street) for street in streets],
        "built_from": corner.tolist(),
        "built_step": MAP_STEP,
        "built_shape": list(built.shape),
    }
    return Site(about, built=built, **parts)


def _places(street: Street, step: float = STEP) -> tuple[Floats, Floats]:
    """How far along the street its places are, (n,), and its direction, (2,)."""
    way = np.array([street.start, street.end]).T @ [-1.0, 1.0]
    length = float(np.linalg.norm(way))
    along = step * np.arange(int(length / step + 1e-9) + 1, dtype=np.float64)
    return along, way / length


def _check(street: Street, scene: Scene) -> None:
    along, ahead = _places(street)
    at = np.array(street.start) + along[:, None] * ahead
    for what, bad in (
        ("outside the scene", scene.outside(at)),
        ("inside a building", scene.built(at) & (street.kind != "indoor")),
    ):
        if bad.any():
            x, y = at[bad.argmax()]
            raise ValueError(f"street {street.name!r}: ({x:.1f}, {y:.1f}) is {what}")


def _traced(
    scene: Scene,
    streets: Sequence[Street],
    seed: int,
    progress: Progress = lambda done, total: None,
    step: float = STEP,
) -> dict[str, NDArray[Any]]:
    """The arrays of a site, for the places that are served."""
    ways = [_places(street, step) for street in streets]
    rows = [(s, along, ahead) for s, (all_, ahead) in enumerate(ways) for along in all_]
    kept: list[dict[str, NDArray[Any]]] = []
    progress(0, len(rows))
    for i in range(0, len(rows), AT_ONCE):
        s, along, ahead = (np.array(column) for column in zip(*rows[i : i + AT_ONCE]))
        at = np.array([streets[n].start for n in s]) + along[:, None] * ahead
        loss = np.array([streets[n].loss_db for n in s])
        part = _strongest(scene.paths(at, ahead, seed), 10 ** (-loss / 20))
        served = part.pop("power") > 10 ** (LEAST_DB / 10)
        part |= {"street": s.astype(np.uint8), "along": along.astype(np.float32)}
        kept.append({name: values[served] for name, values in part.items()})
        progress(min(i + AT_ONCE, len(rows)), len(rows))
    return {name: np.concatenate([part[name] for part in kept]) for name in kept[0]}


def _strongest(paths: dict[str, NDArray[Any]], loss: NDArray[np.float64]) -> dict[str, Any]:
    """The ``MOST_PATHS`` strongest paths of each place, what they keep, and all the power."""
    paths["gain"] = paths["gain"] * loss[:, None]
    power = np.abs(paths["gain"].astype(complex)) ** 2
    order = np.argsort(-power, axis=1, kind="stable")[:, :MOST_PATHS]
    part = {}
    for name, values in paths.items():
        best = np.take_along_axis(values, order, axis=1)
        short = ((0, 0), (0, MOST_PATHS - best.shape[1]))
        kind = np.complex64 if name == "gain" else np.float32
        part[name] = np.pad(best, short).astype(kind)
    part["cosine"] = part["cosine"].clip(-1, 1)
    total = power.sum(axis=1)
    best = np.take_along_axis(power, order, axis=1).sum(axis=1)
    part["kept"] = (best / np.maximum(total, np.finfo(float).tiny)).astype(np.float32)
    return {**part, "power": total}


def _found(
    scene: Scene, places: int, seed: int, progress: Progress
) -> tuple[list[Street], dict[str, NDArray[Any]]]:
    """Streets with as many places as are asked for, the last one cut."""
    streets: list[Street] = []
    parts: list[dict[str, NDArray[Any]]] = []
    have = 0
    progress(0, places)
    for street, traced in _served(scene, seed):
        part = {name: values[: places - have] for name, values in traced.items()}
        part["street"] = np.full(len(part["along"]), len(streets), np.uint8)
        streets.append(replace(street, name=f"{street.kind} {len(streets) + 1}"))
        parts.append(part)
        have += len(part["along"])
        progress(have, places)
        if have == places:
            return streets, {n: np.concatenate([part[n] for part in parts]) for n in parts[0]}
    raise ValueError(
        f"places={places}: only {have} within 200 m of the transmitter are on streets that it "
        "serves; ask for fewer, or move it"
    )


def _served(scene: Scene, seed: int) -> Iterator[tuple[Street, dict[str, NDArray[Any]]]]:
    """Streets found by chance that are served well; the strongest also for users indoors."""
    rng = np.random.default_rng(seed)
    for _ in range(TRIES):
        few = [street for street in (found(scene, rng) for _ in range(AT_A_TIME)) if street]
        look = _traced(scene, few, seed, step=LOOK) if few else {}
        for n, street in enumerate(few):
            here = look["street"] == n
            if _gain_db({name: values[here] for name, values in look.items()}) <= WELL_DB:
                continue
            part = _traced(scene, [street], seed)
            yield street, part
            if _gain_db(part) - WALL_DB > WELL_DB:
                yield _behind_walls(street, part)


def _gain_db(part: dict[str, NDArray[Any]]) -> float:
    """Of the middle one of the places, those that are not served at all left out."""
    power = (np.abs(part["gain"].astype(complex)) ** 2).sum(axis=1)
    return float(10 * np.log10(np.median(power))) if len(power) else -np.inf


def _behind_walls(
    street: Street, part: dict[str, NDArray[Any]]
) -> tuple[Street, dict[str, NDArray[Any]]]:
    """The same street for users in the houses along it."""
    weaker = {**part, "gain": part["gain"] * np.float32(10 ** (-WALL_DB / 20))}
    served = (np.abs(weaker["gain"]) ** 2).sum(axis=1) > 10 ** (LEAST_DB / 10)
    weaker = {name: values[served] for name, values in weaker.items()}
    return replace(street, kind="indoor", loss_db=WALL_DB), weaker


def _map(scene: Scene, streets: Sequence[Street]) -> tuple[NDArray[np.bool_], Floats]:
    """What is built around the streets, (rows of y, columns of x), and the first corner."""
    ends = np.array([end for street in streets for end in (street.start, street.end)])
    ends = np.concatenate([ends, scene.transmitter[None, :2]])
    low = np.maximum(ends.min(axis=0) - MAP_MARGIN, scene.low[:2] + MAP_STEP)
    high = np.minimum(ends.max(axis=0) + MAP_MARGIN, scene.high[:2] - MAP_STEP)
    x, y = (np.arange(a, b, MAP_STEP) for a, b in zip(low, high))
    at = np.stack(np.meshgrid(x, y), axis=-1)
    return scene.built(at.reshape(-1, 2)).reshape(at.shape[:2]), low
