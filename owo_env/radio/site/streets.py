"""Streets of a scene that nobody has named: straight stretches of free ground, by chance."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from owo_env.radio.site.file import Street
from owo_env.radio.site.scene import Scene

Floats = NDArray[np.float64]

REACH = 200.0  # m around the transmitter
SHORTEST, LONGEST = 20.0, 80.0  # m
DIRECTIONS = 16
WIDE = 25.0  # m from wall to wall, of a square


def ahead(at: Floats, ray: Floats, scene: Scene, limit: float) -> Floats:
    """How far one can walk in m from places (N, 2) along directions (N, 2), at most ``limit``."""
    steps = np.arange(1.0, limit + 1.0)
    way = at[:, None] + steps[:, None] * ray[:, None]  # (N, steps, 2)
    flat = way.reshape(-1, 2)
    shut = (scene.outside(flat) | scene.built(flat)).reshape(len(at), -1)
    return np.where(shut.any(axis=1), steps[shut.argmax(axis=1)] - 1.0, limit)


def found(scene: Scene, rng: np.random.Generator) -> Street | None:
    """A stretch through a place drawn at random, along the longest free way; None if it is short.

    Its kind: a ``square`` is ``WIDE``; else ``open`` where most of it has the transmitter in
    sight; else a ``canyon`` within 100 m of it, and ``behind a block`` beyond.
    """
    here = scene.transmitter[None, :2] + rng.uniform(-REACH, REACH, 2)
    if scene.outside(here)[0] or scene.built(here)[0]:
        return None
    turns = np.pi * (np.arange(DIRECTIONS) + rng.random()) / DIRECTIONS
    rays = np.column_stack([np.cos(turns), np.sin(turns)])
    both = np.concatenate([rays, -rays])
    free = ahead(np.repeat(here, len(both), axis=0), both, scene, LONGEST / 2).reshape(2, -1)
    best = int(np.argmax(free.sum(axis=0)))
    forth, back = (max(length - 1.0, 0.0) for length in free[:, best])  # a metre from walls
    if forth + back < SHORTEST:
        return None
    across = int(best + DIRECTIONS // 2) % DIRECTIONS
    start, end = here[0] - back * rays[best], here[0] + forth * rays[best]
    way = start + np.linspace(0, 1, 9)[:, None] * (end - start)
    if free[:, across].sum() > WIDE:
        kind = "square"
    elif scene.sees(way).mean() > 0.5:
        kind = "open"
    else:
        near = np.linalg.norm(here[0] - scene.transmitter[:2]) < REACH / 2
        kind = "canyon" if near else "behind a block"
    ends = (tuple(float(c) for c in end.round(1)) for end in (start, end))
    return Street("", kind, *ends)  # type: ignore[arg-type]
