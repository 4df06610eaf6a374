"""Who has a job in which slot, and what of its feedback is heard: drawn a block of rounds ahead."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from owo_env.link.settings import Link

Floats = NDArray[np.floating]
Mask = NDArray[np.bool_]
Air = Mapping[str, NDArray[Any]]
"""What a scenario tells of a block of rounds, its streams' ``air()``."""


@dataclass
class Block:
    """A block of rounds of N streams, which lie last in memory.

    Attributes:
        active: Who has a job, (rounds, m, K, N).
        heard: Whose feedback arrives, none but theirs; likewise.
        dither: Uniform numbers that decide which way a gradient's entries are rounded,
            (rounds, m, d, K, N); None where nothing is rounded.
    """

    active: Mask
    heard: Mask
    dither: Floats | None


class Draws:
    """How a link's masks are drawn.

    Every block takes the same numbers from its stream's generator, whatever the settings, so that
    links differ by their settings alone: presence, activity, hearing, and with ``bits`` the dither.

    Args:
        link: The settings.
        classes: The names of the classes of users that settings may speak of.
        shape: (rounds in a block, m, K, d).

    Raises:
        ValueError: A setting is for another number of users, or an unknown class.
    """

    def __init__(self, link: Link, classes: Sequence[str], shape: tuple[int, int, int, int]):
        rounds, m, users, d = shape
        self.link, self.classes = link, list(classes)
        self._shapes: list[tuple[int, ...]] = [
            (rounds, 1, users),
            (rounds, m, users),
            (rounds, m, users),
        ]
        if link.bits is not None:
            self._shapes.append((rounds, m, users, d))
        names = "present", "active", "loss"
        self._chances = {name: link.chances(name, self.classes, users) for name in names}
        self._by_class = {name: isinstance(getattr(link, name), Mapping) for name in names}

    def draw(self, rngs: Sequence[np.random.Generator], airs: Sequence[Air]) -> Block:
        """The next block of n streams.

        Args:
            rngs: The link's own generator of each stream.
            airs: What the scenario tells of each stream's block.
        """
        sizes = [math.prod(shape) for shape in self._shapes]
        numbers = np.empty((len(rngs), sum(sizes)))
        for rng, row in zip(rngs, numbers):
            rng.random(out=row)
        parts = np.split(numbers, np.cumsum(sizes)[:-1], axis=1)
        who, jobs, lost, *dither = (
            part.reshape(-1, *shape) for part, shape in zip(parts, self._shapes)
        )
        active = self._spells(jobs, self._each("active", airs))
        active &= who < self._each("present", airs)
        if "active" in self.link.recorded:
            active &= _stacked("active", airs)
        heard = active & (lost < self._arrives(airs))
        if "heard" in self.link.recorded:
            heard &= _stacked("heard", airs)
        masks = [np.ascontiguousarray(np.moveaxis(mask, 0, -1)) for mask in (active, heard)]
        uniform = [np.ascontiguousarray(u.transpose(1, 2, 4, 3, 0)) for u in dither]
        return Block(masks[0], masks[1], uniform[0] if uniform else None)

    def _arrives(self, airs: Sequence[Air]) -> Floats:
        """The probability that feedback is heard, of the shape of :meth:`_each`."""
        arrives = 1 - self._each("loss", airs)
        if self.link.outage_db is None:
            return arrives
        above = (self.link.outage_db - _stacked("snr_db", airs)) / 10
        faded: Floats = np.exp(-(10**above))[:, :, None]
        return faded * arrives

    def _each(self, name: str, airs: Sequence[Air]) -> Floats:
        """A probability of every user in every round, (n or 1, rounds or 1, 1, K)."""
        chances = self._chances[name]
        if not self._by_class[name]:
            return chances[None, None, None]
        places = _stacked("user_class", airs)
        found = np.zeros(places.shape)
        for one, chance in zip(self.classes, chances):
            found[places == one] = chance
        return found[:, :, None]

    def _spells(self, jobs: Floats, chance: Floats) -> Mask:
        """Whether a user who is present has a job, (n, rounds, m, K)."""
        length = self.link.burst
        if not length:
            return jobs < chance
        # A chain that leaves jobs with probability 1/length, and pauses so that ``chance`` stays.
        chance = chance[:, :, 0]
        pause = np.divide(chance, (1 - chance) * length, out=np.ones_like(chance), where=chance < 1)
        stay = np.where(chance < 1, 1 - 1 / length, 1.0)
        found = np.empty(jobs.shape, bool)
        found[:, :, 0] = jobs[:, :, 0] < chance
        for i in range(1, jobs.shape[2]):
            found[:, :, i] = jobs[:, :, i] < np.where(found[:, :, i - 1], stay, pause)
        return found


def _stacked(name: str, airs: Sequence[Air]) -> NDArray[Any]:
    return np.stack([air[name] for air in airs])
