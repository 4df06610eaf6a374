"""Rounds per second of the oracle of ordered notions, and how much slower a general solver is.

Processor time of one thread, so that other work on the machine does not count.
"""

import warnings
from time import process_time

import numpy as np
import pytest
from gymnasium.utils import seeding

from owo_env.fairness import make_fairness
from owo_env.oracle import fairest_model
from owo_env.scenarios import make_scenario
from owo_env.scenarios.least_squares import Source

pytestmark = pytest.mark.benchmark
BATCH, BLOCKS, OTHERS = 512, 5, 20
NOTIONS = ["max-min", {"name": "cvar", "share": 0.5}, {"name": "gini", "ratio": 0.5}]


def rounds(scenario):
    """(H, b, s) of a batch of rounds, last."""
    streams = BATCH // scenario.rounds_per_block
    bits = [seeding.np_random(n)[0].bit_generator for n in range(streams)]
    data = scenario.draw([Source(one) for one in bits], np.ones(streams, int)).moments()
    return [np.moveaxis(a, 0, -2).reshape(*a.shape[1:-1], -1) for a in data]


def seconds(function):
    start = process_time()
    function()
    return process_time() - start


def solve_generally(cp, H, b, s, omega, scenario):
    """One round by cvxpy and Clarabel, the problem stated anew as each round has its own."""
    theta = cp.Variable(len(b))
    utility = []
    for k in range(len(s)):
        values, vectors = np.linalg.eigh(H[..., k])
        root = np.sqrt(values.clip(0))[:, None] * vectors.T
        utility.append(2 * b[:, k] @ theta - cp.sum_squares(root @ theta) - s[k])
    depth = -np.diff([*omega, 0.0])
    worst = [D * cp.sum_smallest(cp.hstack(utility), j + 1) for j, D in enumerate(depth) if D > 0]
    low, high = scenario.problem.model_bounds
    cp.Problem(cp.Maximize(sum(worst)), [theta >= low, theta <= high]).solve(solver=cp.CLARABEL)


@pytest.mark.parametrize("notion", NOTIONS, ids=["max-min", "cvar", "gini"])
@pytest.mark.parametrize("users", [4, 8])
def test_rounds_per_second(users, notion):
    cp = pytest.importorskip("cvxpy")
    scenario = make_scenario("csi-prediction", num_users=users)
    problem, data = scenario.problem, rounds(scenario)
    fairness = make_fairness(notion, users, problem.utility_bounds)

    def ours():
        fairest_model(
            *data,
            fairness=fairness,
            l_max=scenario.l_max,
            bounds=problem.model_bounds,
            anchor=problem.initial_model,
        )

    def other():
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            for n in range(OTHERS):
                solve_generally(cp, *(a[..., n] for a in data), fairness.omega, scenario)

    ours()
    own = min(seconds(ours) for _ in range(BLOCKS)) / BATCH
    others = min(seconds(other) for _ in range(2)) / OTHERS
    print(
        f"\nK={users} {fairness}: {1 / own:,.0f} rounds/s at batch {BATCH}, "
        f"{others / own:,.0f} times cvxpy with Clarabel ({1 / others:,.0f} rounds/s)"
    )
    assert others / own > 20
