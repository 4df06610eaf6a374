"""The fairest model where users have jobs in some slots, against another solver."""

import gymnasium as gym
import numpy as np
import pytest
from scipy.optimize import minimize

import owo_env  # noqa: F401  (registers the environment)

M, K, D = 12, 3, 2
L_MAX, BOUNDS = 12.0, (1.0, 12.0)


def rounds(count, seed=0):
    rng = np.random.default_rng(seed)
    x, y = rng.normal(size=(count, M, K, D)), rng.normal(size=(count, M, K))
    active = rng.random((count, M, K)) < rng.uniform(0.2, 1.0, (count, 1, K))
    active[1, :, 2] = False  # one user is away for a round
    active[2] = False
    active[2, 5, 0] = True  # a single job
    return x, y, active


def played(x, y, active, **settings):
    env = gym.make(
        "AIRAN-FairMTL-v0",
        scenario="recorded",
        features=x,
        targets=y,
        active=active,
        l_max=L_MAX,
        utility_bounds=BOUNDS,
        model_bounds=(-1.0, 1.0),
        **settings,
    )
    for t in range(len(x)):
        env.reset(seed=0 if t == 0 else None)
        for _ in range(M):
            *_, info = env.step({"model": np.zeros(D), "weights": np.ones(K)})
        yield info


def mean_utilities(theta, x, y, active):
    utilities = L_MAX - (y - x @ theta) ** 2
    jobs = active.sum(axis=0)
    means = np.where(active, utilities, 0.0).sum(axis=0) / np.maximum(jobs, 1)
    return np.where(jobs > 0, means, L_MAX)


@pytest.mark.parametrize("alpha", [0.5, 1.0, 2.0])
@pytest.mark.parametrize("count", ["users", "jobs"])
def test_slsqp_finds_nothing_better(count, alpha):
    x, y, active = rounds(8)
    link = {"count": count}
    for t, info in enumerate(played(x, y, active, alpha=alpha, link=link)):
        shares = active[t].mean(axis=0) if count == "jobs" else np.ones(K)

        def value(theta, t=t, shares=shares):
            u = np.maximum(mean_utilities(theta, x[t], y[t], active[t]), BOUNDS[0])
            terms = np.log(u) if alpha == 1 else (u ** (1 - alpha) - 1) / (1 - alpha)
            return float((shares * terms).sum())

        starts = np.random.default_rng(t).uniform(-1, 1, (4, D))
        best = max(
            -minimize(lambda th: -value(th), s, method="SLSQP", bounds=[(-1, 1)] * D, tol=1e-12).fun
            for s in starts
        )
        assert info["fairest_fairness"] == pytest.approx(best, abs=1e-7)
        assert value(info["fairest_model"]) == pytest.approx(info["fairest_fairness"], abs=1e-9)


def test_the_worst_user_of_those_who_were_there():
    x, y, active = rounds(8, seed=1)
    for t, info in enumerate(played(x, y, active, fairness="max-min")):

        def value(theta, t=t):
            return mean_utilities(theta, x[t], y[t], active[t]).min()

        grid = np.stack(np.meshgrid(*[np.linspace(-1, 1, 201)] * D), -1).reshape(-1, D)
        best = max(value(theta) for theta in grid)
        assert info["fairest_fairness"] >= best - 1e-9
        assert value(info["fairest_model"]) == pytest.approx(info["fairest_fairness"], abs=1e-9)


def test_where_everybody_has_a_job_in_every_slot_the_oracle_is_the_same():
    """Through masks that leave nobody out, and shares that are all 1."""
    x, y, _ = rounds(8)
    everybody = np.ones((8, M, K), bool)
    masked = played(x, y, everybody, link={"count": "jobs"})
    for plain, info in zip(played(x, y, None), masked):
        assert info["fairest_model"] == pytest.approx(plain["fairest_model"], abs=1e-10)
        assert info["regret"] == pytest.approx(plain["regret"], abs=1e-12)
