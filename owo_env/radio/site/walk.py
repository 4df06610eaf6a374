"""Where users are on a site's streets: to and fro along stretches that are served."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from owo_env.radio.site.file import Site

Floats = NDArray[np.float64]
Integers = NDArray[np.integer]

GAP = 1.5  # m; where places lie farther apart, a stretch ends


class Stretches:
    """The unbroken stretches of a site's streets, of which users walk one to and fro.

    Args:
        site: The site.
        served: Which of its places may be visited, (N,).
    """

    def __init__(self, site: Site, served: NDArray[np.bool_]) -> None:
        self.places = np.flatnonzero(served)
        street, along = site.street[self.places], site.along[self.places].astype(float)
        starts = np.ones(len(self.places), bool)
        starts[1:] = (np.diff(street) != 0) | (np.diff(along) > GAP) | (np.diff(along) <= 0)
        self.of = np.cumsum(starts) - 1  # the stretch of each place
        self.first = np.flatnonzero(starts)
        self.count = np.diff([*self.first, len(starts)])
        self.along = along
        self.begin = along[self.first]
        self.length = along[self.first + self.count - 1] - self.begin
        self.street = street[self.first]

    def walk(self, stretch: Integers, way: Floats) -> tuple[Integers, Floats, Floats]:
        """Where users are who have gone ``way`` m on their stretch, turning at its ends.

        Args:
            stretch: Of each user, (B,).
            way: Of each user in each slot, (B, T), of either sign.

        Returns:
            The nearest place of the site, how far ahead of it in m, and how far along the street,
            all (B, T).
        """
        length = self.length[stretch][:, None]
        way = np.where(length > 0, np.mod(way, np.maximum(2 * length, 1e-9)), 0.0)
        along = self.begin[stretch][:, None] + np.minimum(way, 2 * length - way)
        # Places of all stretches on one line, far enough apart that the nearest is one's own.
        apart = 1e5 * self.of[self.first]
        line = self.along + apart[self.of]
        point = along + apart[stretch][:, None]
        after = np.clip(np.searchsorted(line, point), 1, max(len(line) - 1, 1))
        near = np.where(
            point - line[after - 1] <= line[after % len(line)] - point, after - 1, after
        )
        near = np.clip(near, self.first[stretch][:, None], None)
        near = np.minimum(near, (self.first + self.count - 1)[stretch][:, None])
        return self.places[near], along - self.along[near], along
