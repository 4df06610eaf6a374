"""When an adversary corrupts a user's labels; shared by all scenarios (paper §IV)."""

import functools
import math

import numpy as np
from numpy.typing import NDArray

CONVEX = ("none", "blocks")
DEEP = ("none", "flip-9-minus-y", "blocks")


def label_signs(
    adversary: str, num_slots: int, first_round: NDArray[np.integer], rounds: int
) -> NDArray[np.floating]:
    """±1 for a real label in each slot.

    ``blocks``: the sign flips every ⌊√m⌋ slots; odd rounds start with the true sign, even ones
    with the opposite ("ping-pong").

    Args:
        adversary: One of ``CONVEX``.
        num_slots: m.
        first_round: Number of the block's first round in each stream, from 1; shape (N,).
        rounds: Rounds in the block.

    Returns:
        Shape (rounds, m, N).
    """
    if adversary == "none":
        return np.ones((rounds, num_slots, len(first_round)))
    number = first_round + np.arange(rounds)[:, None, None]  # (rounds, 1, N)
    block = np.arange(num_slots)[:, None] // math.isqrt(num_slots)
    return 1.0 - 2.0 * ((block + number + 1) % 2)


@functools.lru_cache(maxsize=256)  # asked for in every slot
def corrupted_slots(adversary: str, num_slots: int, number: int) -> NDArray[np.bool_]:
    """In which slots of round ``number`` (from 1) class labels are corrupted; (m,).

    ``flip-9-minus-y``: slots ⌊√m⌋, 2⌊√m⌋, … counted from 1; ``blocks``: every other block of ⌊√m⌋
    slots, beginning with the first in even rounds.

    Args:
        adversary: One of ``DEEP``.
        num_slots: m.
        number: The round's number.
    """
    if adversary == "flip-9-minus-y":
        return np.arange(1, num_slots + 1) % math.isqrt(num_slots) == 0
    return label_signs(adversary, num_slots, np.array([number]), 1)[0, :, 0] < 0
