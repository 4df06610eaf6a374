"""What is drawn in split learning: every draw is a function of a seed, a number and its purpose.

So nothing depends on what was drawn before, and a stream's state is small.
"""

import hashlib
from enum import Enum

import numpy as np


class Draw(Enum):
    """What a draw is for, as the end of its key and how many indices follow: no two are alike.

    Numbers are those of the round, or of the cycle of rounds in which tasks are dealt.
    """

    ORDER = (0, 1)  # in which order a user (its index) goes through its data in a round
    HEADS = (1, 0)  # fresh heads in a round
    FRONTS = (3, 0)  # fresh front layers in a round
    DEAL = (0, 0)  # which images each task gets in a cycle, of a pool that is dealt out
    SHARE = (1, 1)  # which images a task (its index) gets in a cycle, of a pool that is shared
    TASKS = (2, 0)  # which task each user meets in a cycle
    TASK = (4, 1)  # what a user's function of tasks draws in a round
    # What is drawn from global generators for a user, a part of its task, and a slot or first item:
    DATA = (5, 3)  # by a data set
    FRONT = (6, 3)  # by front layers
    ENCODER = (7, 3)
    HEAD = (8, 3)  # by a head and its loss
    WIRE = (9, 4)  # likewise and by what crosses: which way its entries are rounded


def generator(draw: Draw, seed: int, number: int, *which: int) -> np.random.Generator:
    """The generator of a draw.

    Args:
        draw: What it is for.
        seed: The stream's.
        number: Of the round or cycle.
        which: As many indices as the draw has.
    """
    purpose, indices = draw.value
    if len(which) != indices:
        raise ValueError(f"which={which}: {draw} has {indices} indices")
    return np.random.default_rng((seed, number, purpose, *which))


def seed_of(draw: Draw, seed: int, number: int) -> int:
    """A seed for torch."""
    return int(generator(draw, seed, number).integers(2**63))


def torch_seed(seed: int) -> int:
    """A seed of any length as torch takes it: itself, where it fits into 64 bits."""
    if seed < 2**64:
        return seed
    return int(np.random.SeedSequence(seed).generate_state(1, np.uint64)[0])


def quick_seed_of(draw: Draw, seed: int, number: int, *which: int) -> int:
    """A seed for what is drawn many times a slot: a hash takes a tenth of a generator's time."""
    key = repr((seed, number, draw.value[0], *which)).encode()
    return int.from_bytes(hashlib.blake2b(key, digest_size=8).digest(), "little")
