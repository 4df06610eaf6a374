"""The channel at places of a site, as users move along their streets."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from owo_env.radio.channel import SPEED_OF_LIGHT, Complex, Grid, phasor
from owo_env.radio.site.file import Site

Floats = NDArray[np.float64]
Integers = NDArray[np.integer]


def responses(site: Site, grid: Grid, place: Integers) -> Complex:
    """Each path's g·exp(−j2πfτ) at places, (N,) → (N, P, subcarriers).

    Frequencies are those of the grid, from the carrier on; the delay is the first path's more,
    since a receiver takes its time from the first arrival.
    """
    delay = site.delay[place].astype(float)
    gain = site.gain[place]
    first = np.where(gain == 0, np.inf, delay).min(axis=1, keepdims=True)
    frequencies = grid.spacing * np.arange(grid.subcarriers)
    return gain[..., None] * phasor(-(delay - first)[..., None] * frequencies)


def phases(site: Site, grid: Grid, place: Integers, ahead: Floats) -> Complex:
    """Each path's e^{j2π cos·Δs/λ} where users are Δs m ahead of their places, (…) → (…, P)."""
    turns = np.asarray(ahead * grid.carrier / SPEED_OF_LIGHT)
    return phasor(turns[..., None] * site.cosine[place])


def channels(site: Site, grid: Grid, place: Integers, ahead: Floats) -> Complex:
    """h(f, t) = Σ g e^{−j2πfτ} e^{j2π cos·Δs/λ} of B users over T slots.

    Between places only the phases of the paths move, as Δs, the way from the place, does.

    Args:
        site: The site.
        grid: Carrier, slot and subcarriers.
        place: The nearest place in each slot, (B, T).
        ahead: Δs, how far ahead of it in m, (B, T).

    Returns:
        Shape (B, T, subcarriers).
    """
    users, slots = place.shape
    new = np.ones_like(place, bool)
    new[:, 1:] = place[:, 1:] != place[:, :-1]
    run = np.cumsum(new.ravel()) - 1  # which stay at one place each slot belongs to
    stays = place.ravel()[new.ravel()]
    first = np.flatnonzero(new.ravel())
    within = np.arange(users * slots) - first[run]
    longest = int(within.max()) + 1
    way = np.zeros((len(stays), longest))
    way[run, within] = ahead.ravel()
    h = phases(site, grid, stays[:, None], way) @ responses(site, grid, stays)
    return h[run, within].reshape(users, slots, -1)
