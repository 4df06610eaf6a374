"""Whether a notion of somebody's own is what it says: value, priorities and projection agree."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from owo_env.fairness.notion import Fairness, sum_users

Floats = NDArray[np.floating]

POINTS = 64
CLOSE = 1e-6  # of the figures compared


def prove(fairness: Fairness) -> None:
    """Look once at a notion of somebody's own, at random utilities and priorities.

    Raises:
        ValueError: Two of its parts contradict each other; it names them and the figure.
    """
    if fairness.proven:
        return
    rng, (u_min, u_max) = np.random.default_rng(0), fairness.bounds
    span, shape = u_max - u_min, (POINTS, fairness.num_users)
    u, other = rng.uniform(u_min - 0.5 * span, u_max, (2, *shape))
    p, low, high = fairness.priorities(u), *fairness.priority_bounds
    z = rng.uniform(low - (high - low), high + (high - low), shape)
    q, value = fairness.project(z), fairness.value(u)
    conjugate, size = fairness.conjugate(p), 1 + np.abs(value)
    dual = conjugate + sum_users(p * u)
    above = fairness.value(other) - value - sum_users(p * (other - u))
    outward = sum_users((z - q) * (p - q))
    looked: tuple[tuple[str, Floats, str], ...] = (
        (
            "project(priorities(u)) differs from priorities(u)",
            np.abs(fairness.project(p) - p).max(axis=-1) / (1 + np.abs(p).max(axis=-1)),
            "priorities must lie in P",
        ),
        (
            "project(project(z)) differs from project(z)",
            np.abs(fairness.project(q) - q).max(axis=-1) / (1 + np.abs(q).max(axis=-1)),
            "a projection stays where it is",
        ),
        (
            "project(z) is not the nearest point of P: (z − Πz)ᵀ(p − Πz)",
            outward / (1 + np.abs(z).max(axis=-1) ** 2),
            "must be ≤ 0 for every p in P",
        ),
        (
            "value(v) − value(u) − priorities(u)ᵀ(v − u)",
            above / size,
            "must be ≤ 0: F is concave and priorities(u) a supergradient",
        ),
        (
            "conjugate(priorities(u)) + priorities(u)ᵀu differs from value(u)",
            np.abs(dual - value) / size,
            "must be equal (Fenchel)",
        ),
        (
            "value(u) − conjugate(p) − pᵀu",
            (value - fairness.conjugate(q) - sum_users(q * u)) / size,
            "must be ≤ 0 for every p in P (Fenchel)",
        ),
    )
    for what, figures, wanted in looked:
        worst = np.argmax(np.where(np.isnan(figures), np.inf, figures))
        if not figures[worst] <= CLOSE:
            raise ValueError(
                f"fairness {fairness}: {what} by {figures[worst]:.3g} at u={u[worst].tolist()}: "
                f"{wanted}"
            )
    if not (np.abs(fairness.project(fairness.start) - fairness.start) <= CLOSE).all():
        raise ValueError(f"fairness {fairness}: start={fairness.start.tolist()} is not in P")
    if not sum_users(q).max() <= fairness.most * (1 + CLOSE):
        raise ValueError(
            f"fairness {fairness}: most={fairness.most:g}: but project() gives priorities of the "
            f"sum {sum_users(q).max():g}"
        )
