"""What a trace is, wherever its data lie."""

from __future__ import annotations

import json
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from owo_env import checks
from owo_env.scenarios.least_squares.measured import Recording

Array = NDArray[Any]
Recordings = Callable[[], Iterable[Recording]]
"""A stream's rounds, a block at a time, from the first on at every call."""

SETTINGS = ("l_max", "utility_bounds", "model_bounds", "initial_model", "smoothness")


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
        checks.one_of(f"key of the settings in {source}", key, SETTINGS)
    return settings


class Trace(ABC):
    """Least-squares data by round, slot, user and sample.

    Attributes:
        source: For error messages.
        shape: (T, m, K, S, d): rounds, slots, users, samples, features.
        settings: Constants of the scenario that was recorded, among ``SETTINGS``.
    """

    source: str
    shape: tuple[int, int, int, int, int]
    settings: Mapping[str, Any]

    @abstractmethod
    def _read(self, first: int, stop: int) -> Recording:
        """Rounds ``first`` … ``stop − 1``, counted from 0, as arrays in memory."""

    def read(self, first: int, stop: int) -> Recording:
        """Rounds ``first`` … ``stop − 1``, counted from 0.

        Raises:
            ValueError: A figure is NaN or infinite; the message says where.
        """
        recording = self._read(first, stop)
        for name, values in (("features", recording.features), ("targets", recording.targets)):
            finite = np.isfinite(values)
            if not finite.all():
                t, slot, user, *_ = np.argwhere(~finite)[0].tolist()
                raise ValueError(
                    f"{self.source}: {name} are not finite in round {first + t + 1}, "
                    f"slot {slot + 1}, user {user + 1}"
                )
        return recording


class Arrays(Trace):
    """A trace in arrays, in memory or mapped into it.

    Args:
        source: For error messages.
        features: x, real or complex, shape (T, m, K, S, d), or (T, m, K, d) if S = 1.
        targets: y, likewise, shape (T, m, K, S), or (T, m, K) if S = 1.
        user_class: Names of the users' classes, shape (T, K), or None.
        settings: Constants among ``SETTINGS``.

    Raises:
        ValueError: The shapes do not fit, or an array does not hold numbers.
    """

    def __init__(
        self,
        source: str,
        features: Array,
        targets: Array,
        user_class: Array | None = None,
        settings: Mapping[str, Any] | None = None,
    ) -> None:
        for name, array in (("features", features), ("targets", targets)):
            if array.dtype.kind not in "iufc":
                raise ValueError(f"{source}: {name} have type {array.dtype}: must be numbers")
        try:
            whole = Recording(features, targets)
        except ValueError as error:
            raise ValueError(f"{source}: {error}") from None
        T, m, users, samples, d = whole.features.shape
        if user_class is not None and user_class.shape != (T, users):
            raise ValueError(
                f"{source}: user_class has shape {user_class.shape}: must be {(T, users)}"
            )
        self.source = source
        self.shape = (T, m, users, samples, d)
        self.settings = settings or {}
        self._whole, self._user_class = whole, user_class

    def _read(self, first: int, stop: int) -> Recording:
        about = {}
        if self._user_class is not None:
            about["user_class"] = np.array(self._user_class[first:stop], str)
        part = self._whole[first:stop]
        return Recording(np.array(part.features), np.array(part.targets), about)
