"""What an agent, or a part of one, carries from round to round."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

import numpy as np


class Carries:
    """Something that learns over rounds, and says what it carries from one to the next.

    Attributes:
        carried: The names of the attributes that it carries: arrays, numbers, texts, or parts
            that say so themselves. () of what begins every round alike; None of what does not
            say. A subclass speaks for itself: it does not inherit the answer, since it may carry
            more.
    """

    carried: ClassVar[tuple[str, ...] | None] = None

    def __init_subclass__(cls, **options: Any) -> None:
        super().__init_subclass__(**options)
        if "carried" not in vars(cls):
            cls.carried = None

    def savable(self) -> bool:
        """Whether :meth:`state_dict` has all that it carries."""
        if self.carried is None:
            return "state_dict" in vars(type(self))
        return all(part.savable() for part in self._values() if isinstance(part, Carries))

    def forgetful(self) -> bool:
        """Whether it begins every round alike, so that rounds can be played side by side."""
        if self.carried is None:
            return False
        return all(isinstance(part, Carries) and part.forgetful() for part in self._values())

    def state_dict(self) -> dict[str, Any]:
        """What it carries from round to round: copies of arrays, numbers and texts.

        Raises:
            TypeError: It does not say what that is.
        """
        if self.carried is None:
            raise TypeError(
                f"{type(self).__name__} cannot be saved: it does not say what it carries from "
                "round to round (`carried`)"
            )
        return {
            name: _plain(value)
            for name, value in zip(self.carried, self._values())
            if value is not None
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on from ``state``, a result of :meth:`state_dict`."""
        for name, value in zip(self.carried or (), self._values()):
            if isinstance(value, Carries):
                value.load_state_dict(state[name])
            else:
                setattr(self, name, _plain(state.get(name)))

    def _values(self) -> list[Any]:
        return [getattr(self, name) for name in self.carried or ()]


def _plain(value: Any) -> Any:
    if isinstance(value, Carries):
        return value.state_dict()
    return value.copy() if isinstance(value, np.ndarray) else value
