"""Whether the streams of a scenario depend on nothing but their generators.

A scenario that keeps something of a stream on itself gives another stream to whoever plays another
order, and its fairest model is not that of what is played.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from gymnasium.utils import seeding
from numpy.typing import NDArray

from owo_env.scenarios.base import Scenario


def prove(scenario: Scenario) -> None:
    """Look once at a scenario of somebody's own, before it is used.

    One stream is opened three times: alone, in turn with another, and beside another in a batch.

    Raises:
        ValueError: It was not three times the same.
    """
    if scenario.proven or type(scenario).__module__.startswith(f"{__package__}."):
        return
    alone = list(_shown(scenario, 0))
    other, again = _shown(scenario, 1), _shown(scenario, 0)
    in_turn = [seen for _, seen in zip(other, again)]
    ways = {"opened again, in turn with another": in_turn, "beside another": _shown(scenario, 1, 0)}
    for way, seen in ways.items():
        for (number, ours), (_, theirs) in zip(alone, seen):
            near = np.finfo(scenario.problem.initial_model.dtype).eps ** 0.5  # for GPUs
            if not np.allclose(ours, theirs, near, near, equal_nan=True):
                raise ValueError(
                    f"scenario {scenario.name!r}: round {number} of a stream is not the same when "
                    f"the stream is {way}: every draw must come from the generator that is given, "
                    "and what a stream carries must not lie on the scenario (self), which all "
                    "streams share, but on its Stream, or for least squares in rng.carried"
                )
    scenario.proven = True


def _shown(scenario: Scenario, *seeds: int) -> Iterator[tuple[int, NDArray[np.floating]]]:
    """What the last of some streams answers to x_1 in its first round and in its next block's.

    Yields:
        The round's number, and utilities and gradient of its first slot, (K + d,).
    """
    problem, n = scenario.problem, len(seeds)
    batch = scenario.batch([seeding.np_random(seed)[0] for seed in seeds], None)
    x_1, p = np.tile(problem.initial_model, (n, 1)), np.ones((n, problem.num_users))
    last = min(scenario.rounds_per_block + 1, scenario.rounds or np.inf)
    number = 0
    while number < last:
        number += 1
        batch.open_rounds(np.arange(n), {})
        if number in (1, last):
            utilities, gradient = batch.play(0, x_1, p, False, np.ones(n, bool))
            yield number, np.concatenate([utilities[-1], gradient[-1]])
