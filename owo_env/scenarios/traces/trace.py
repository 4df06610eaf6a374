"""What a trace is, wherever its data lie."""

from __future__ import annotations

import json
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from owo_env import checks
from owo_env.scenarios.least_squares.measured import LINK, Recording, check_link_array, place

Array = NDArray[Any]
Recordings = Callable[[], Iterable[Recording]]
"""A stream's rounds, a block at a time, from the first on at every call."""

SETTINGS = ("l_max", "utility_bounds", "model_bounds", "initial_model", "smoothness")
LOG = "log"
"""What a trace that was made of a log says of it: units, means and scales."""


def parse_settings(source: str, text: str | bytes) -> Mapping[str, Any]:
    """The settings in a file, from their JSON.

    Raises:
        ValueError: It is not JSON, not a mapping, or has unknown keys.
    """
    try:
        settings = json.loads(text)
    except ValueError as error:
        raise ValueError(f"{source}: settings are not JSON ({error})") from error
    if not isinstance(settings, dict):
        raise ValueError(f"{source}: settings are {settings!r}: must be a mapping")
    for key in settings:
        checks.one_of(f"key of the settings in {source}", key, (*SETTINGS, LOG))
    return settings


class Trace(ABC):
    """Least-squares data by round, slot, user and sample.

    Attributes:
        source: For error messages.
        shape: (T, m, K, S, d): rounds, slots, users, samples, features.
        settings: Constants of the scenario that was recorded, among ``SETTINGS``; and of a log
            under ``LOG``.
        about: What it holds beside, among ``user_class`` and what links draw from.
    """

    source: str
    shape: tuple[int, int, int, int, int]
    settings: Mapping[str, Any]
    about: Sequence[str] = ()

    @abstractmethod
    def _read(self, first: int, stop: int) -> Recording:
        """Rounds ``first`` … ``stop − 1``, counted from 0, as arrays in memory."""

    def read(self, first: int, stop: int) -> Recording:
        """Rounds ``first`` … ``stop − 1``, counted from 0.

        Raises:
            ValueError: A figure is NaN or infinite; the message says where. Or the file was
                written anew.
        """
        recording = self._read(first, stop)
        for name, values in (("features", recording.features), ("targets", recording.targets)):
            finite = np.isfinite(values)
            if not finite.all():
                raise ValueError(f"{self.source}: {name} are not finite in {place(~finite, first)}")
        self._check_masks(recording.about, first)
        return recording

    def _check_masks(self, about: Mapping[str, Array], first: int) -> None:
        active, heard = about.get("_active"), about.get("_heard")
        if active is not None:
            for t in np.flatnonzero(~active.any(axis=(1, 2)))[:1].tolist():
                raise ValueError(f"{self.source}: active: nobody is there in round {first + t + 1}")
        if active is not None and heard is not None and (heard & ~active).any():
            where = place(heard & ~active, first)
            raise ValueError(f"{self.source}: heard without a job (active) in {where}")


class Arrays(Trace):
    """A trace in arrays in memory.

    Args:
        source: For error messages.
        features: x, real or complex, shape (T, m, K, S, d), or (T, m, K, d) if S = 1.
        targets: y, likewise, shape (T, m, K, S), or (T, m, K) if S = 1.
        link: What links draw from: ``active``, ``heard`` (T, m, K) and ``snr_db`` (T, K).

    Raises:
        ValueError: The shapes do not fit, or an array does not hold numbers, or has a mask.
    """

    def __init__(
        self, source: str, features: Array, targets: Array, link: Mapping[str, Array] | None = None
    ) -> None:
        self.source, self.about = source, tuple(link or ())
        self.shape = shape_of(
            source, (features.shape, features.dtype), (targets.shape, targets.dtype)
        )
        self.settings: Mapping[str, Any] = {}
        try:
            about = {f"_{name}": values for name, values in (link or {}).items()}
            self._whole = Recording(features, targets, about)
        except ValueError as error:
            raise ValueError(f"{source}: {error}") from None

    def _read(self, first: int, stop: int) -> Recording:
        part = self._whole[first:stop]
        about = {name: values.copy() for name, values in part.about.items()}
        return Recording(part.features.copy(), part.targets.copy(), about)


Kind = tuple[tuple[int, ...], np.dtype[Any]]  # the shape and the type of an array


def shape_of(
    source: str, features: Kind, targets: Kind, user_class: Kind | None = None, **link: Kind
) -> tuple[int, int, int, int, int]:
    """(T, m, K, S, d) of arrays that need not be in memory.

    Raises:
        ValueError: The shapes do not fit, or features or targets are no numbers.
    """
    for name, (_, dtype) in (("features", features), ("targets", targets)):
        if dtype.kind not in "iufc":
            raise ValueError(f"{source}: {name} have type {dtype}: must be numbers")
    x, y = (np.broadcast_to(np.zeros((), dtype), shape) for shape, dtype in (features, targets))
    try:
        blank = Recording(x, y)
    except ValueError as error:
        raise ValueError(f"{source}: {error}") from None
    T, m, users, samples, d = blank.features.shape
    if user_class is not None and user_class[0] != (T, users):
        raise ValueError(f"{source}: user_class has shape {user_class[0]}: must be {(T, users)}")
    for name, (shape, dtype) in link.items():
        values = np.broadcast_to(np.zeros((), dtype), shape)
        try:
            check_link_array(name, LINK[name], values, (T, m, users, samples))
        except ValueError as error:
            raise ValueError(f"{source}: {error}") from None
    return T, m, users, samples, d
