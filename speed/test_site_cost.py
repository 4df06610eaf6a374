"""Drawing a round of a site ÷ drawing one of 3GPP's profiles, side by side."""

import time

import numpy as np
import pytest

import owo_env
from owo_env.scenarios.least_squares.source import Source

pytestmark = pytest.mark.benchmark


@pytest.mark.parametrize("slots", [64, 512])
@pytest.mark.parametrize("users", [4, 16])
def test_a_round_on_streets_costs_at_most_three_of_a_cell(users, slots):
    """Measured: .87 to 1.14."""
    made = [
        owo_env.make_scenario("csi-prediction", num_slots=slots, num_users=users, **site)
        for site in ({}, {"site": "munich"})
    ]
    rngs = [Source(np.random.PCG64(0)) for _ in made]
    seconds = []
    for block in range(40):
        pair = []
        for scenario, rng in zip(made, rngs):
            start = time.perf_counter()
            scenario.draw([rng], np.array([1 + block * scenario.rounds_per_block]))
            pair.append(time.perf_counter() - start)
        seconds.append(pair)
    cell, site = np.median(seconds, axis=0)
    print(f"K = {users}, m = {slots}: site {1e3 * site:.1f} ms, cell {1e3 * cell:.1f} ms a block, "
          f"{site / cell:.2f} ×")  # fmt: skip
    assert site <= 3 * cell
