"""Where a stream's draws come from, and what it carries from one block of rounds to the next."""

from __future__ import annotations

from typing import Any

import numpy as np


class Source(np.random.Generator):
    """A stream's generator, beside which lies what the stream carries.

    Args:
        bit_generator: The generator's own.
        carried: What there is already.

    Attributes:
        carried: The stream's own state, by name: numbers, texts and arrays, which go into
            checkpoints. Empty when the stream starts.
    """

    def __init__(
        self, bit_generator: np.random.BitGenerator, carried: dict[str, Any] | None = None
    ) -> None:
        super().__init__(bit_generator)
        self.carried: dict[str, Any] = {} if carried is None else carried

    def __reduce__(self) -> tuple[Any, ...]:
        return Source, (self.bit_generator, self.carried)
