"""The oracle of ordered notions against another solver, its own proofs and its symmetries."""

import functools
import warnings

import gymnasium as gym
import numpy as np
import pytest
from gymnasium.utils import seeding
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import lsq_linear
from test_oracle import nearest_in_box

import owo_agents
from owo_env.fairness import AlphaFair, Fairness, Ordered, make_fairness
from owo_env.oracle import Certified, UnsolvedError, fairest_model, piecewise
from owo_env.oracle import rounds as rounds_module
from owo_env.scenarios import make_scenario
from owo_env.scenarios.least_squares import Source

NOTIONS = {
    "max-min": "max-min",
    "cvar": {"name": "cvar", "share": 0.5},
    "gini": {"name": "gini", "ratio": 0.5},
    "steep gini": {"name": "gini", "ratio": 0.01},
    "mean": {"name": "gini", "ratio": 1.0},
}
CSI = [("csi-prediction", {"num_users": 4}), ("csi-prediction", {"num_users": 8})]
SINUSOID = [("sinusoid", {"num_slots": 32}), ("sinusoid", {"num_slots": 4, "adversary": "blocks"})]
SINGLE = ("sinusoid", {"num_slots": 1})
FIELDS = ("model", "utilities", "fairness", "gap", "priorities", "iterations")


def notion(name, users, utility_bounds=(0.4, 1.25)) -> Ordered:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # cvar of one user
        return make_fairness(NOTIONS[name], users, utility_bounds)


@functools.cache
def rounds(name, count, seed=0, **about):
    """A scenario and (H, b, s) of its rounds, last."""
    scenario = make_scenario(name, **about)
    streams = -(-count // scenario.rounds_per_block)
    bits = [seeding.np_random(1000 * seed + n)[0].bit_generator for n in range(streams)]
    data = scenario.draw([Source(one) for one in bits], np.ones(streams, int)).moments()
    return scenario, [np.moveaxis(a, 0, -2).reshape(*a.shape[1:-1], -1)[..., :count] for a in data]


def solve_scenario(scenario, data, fairness) -> Certified:
    problem = scenario.problem
    about = {"l_max": scenario.l_max, "bounds": problem.model_bounds}
    return fairest_model(*data, fairness=fairness, anchor=problem.initial_model, **about)


def moments(x, y):
    """(H, b, s) of samples x (m, K, d, B) and y (m, K, B)."""
    m = len(x)
    H = np.einsum("mkib,mkjb->ijkb", x, x) / m
    return H, np.einsum("mkib,mkb->ikb", x, y) / m, (y**2).mean(0)


def solve(x, y, fairness, bounds=None, anchor=None, l_max=1.25) -> Certified:
    anchor = np.zeros(x.shape[2]) if anchor is None else anchor
    about = dict(l_max=l_max, bounds=bounds, anchor=anchor)
    return fairest_model(*moments(x, y), fairness=fairness, **about)


def utilities(data, theta, l_max):
    H, b, s = data
    loss = np.einsum("ib,ijkb,jb->kb", theta, H, theta) - 2 * np.einsum("ikb,ib->kb", b, theta) + s
    return l_max - loss


def assert_proven(data, found: Certified, fairness: Ordered, l_max, bounds, within=1e-9):
    """No model has more than F + ``within``, for F(u) ≤ p̂ᵀu.

    The maximum of p̂ᵀu over Θ is told by bounded least squares, of every twentieth round.
    """
    H, b, s = data
    p, u = found.priorities, utilities(data, found.model, l_max)
    np.testing.assert_allclose(found.utilities, u, atol=1e-11)
    np.testing.assert_allclose(found.fairness, fairness.value(u.T), atol=1e-11)
    assert (found.model >= bounds[0]).all() and (found.model <= bounds[1]).all()
    assert (fairness.conjugate(p.T) == 0).all()
    assert (found.gap >= 0).all() and found.gap.max() <= within
    for n in range(0, p.shape[1], 20):
        values, vectors = np.linalg.eigh((H[..., n] * p[:, n]).sum(-1))
        kept = values > 1e-15 * values[-1]
        root, along = np.sqrt(values[kept, None]) * vectors.T[kept], b[..., n] @ p[:, n]
        target = np.linalg.solve(root @ root.T, root @ along) if kept.any() else np.zeros(0)
        best = lsq_linear(root, target, bounds, method="bvls", tol=1e-15).x
        most = p[:, n] @ utilities([a[..., n : n + 1] for a in data], best[:, None], l_max)
        assert most[0] <= found.fairness[n] + within


# Known answers and another solver.


def test_worked_example():
    """Labels (1, 0) then (1, −1) of a constant feature: losses (θ−1)² and θ² + θ + ½."""
    found = fairest_model(
        np.ones((1, 1, 2, 1)),
        [[[1.0], [-0.5]]],
        [[1.0], [0.5]],
        fairness=notion("max-min", 2, (1.0, 5.0)),
        l_max=5.0,
        bounds=(-1.0, 1.0),
        anchor=[0.0],
    )
    assert found.model[0, 0] == pytest.approx(1 / 6, abs=1e-9)
    assert found.fairness[0] == pytest.approx(155 / 36, abs=1e-11)
    np.testing.assert_allclose(found.priorities[:, 0], [4 / 9, 5 / 9], atol=1e-9)


def clarabel(H, b, s, omega, l_max, bounds):
    """θ* of one round as another solver finds it."""
    cp = pytest.importorskip("cvxpy")
    pytest.importorskip("clarabel")
    theta = cp.Variable(len(b))
    utility = []
    for k in range(len(s)):
        values, vectors = np.linalg.eigh(H[..., k])
        root = np.sqrt(values.clip(0))[:, None] * vectors.T
        utility.append(l_max - cp.sum_squares(root @ theta) + 2 * b[:, k] @ theta - s[k])
    depth = -np.diff([*omega, 0.0])
    worst = [D * cp.sum_smallest(cp.hstack(utility), j + 1) for j, D in enumerate(depth) if D > 0]
    within = [theta >= bounds[0], theta <= bounds[1]]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # "may be inaccurate"
        cp.Problem(cp.Maximize(sum(worst)), within).solve(solver=cp.CLARABEL)
    return theta.value.clip(*bounds)


@pytest.mark.parametrize("name", ["max-min", "cvar", "gini"])
@pytest.mark.parametrize(("scenario", "about"), [*SINUSOID, *CSI])
def test_another_solver_finds_nothing_fairer(scenario, about, name):
    scenario, data = rounds(scenario, 5, seed=1, **about)
    problem = scenario.problem
    fairness = notion(name, problem.num_users, problem.utility_bounds)
    found = solve_scenario(scenario, data, fairness)
    more = fairness.omega, scenario.l_max, problem.model_bounds
    other = np.stack([clarabel(*(a[..., n] for a in data), *more) for n in range(5)], -1)
    best = fairness.value(utilities(data, other, scenario.l_max).T)
    assert (best <= found.fairness + found.gap + 1e-8).all()
    np.testing.assert_allclose(best, found.fairness, atol=1e-6)  # the same problem was solved


# Proofs, and bits.


@pytest.mark.parametrize("name", NOTIONS)
@pytest.mark.parametrize(("scenario", "about"), [*SINUSOID, SINGLE, *CSI])
def test_every_round_is_proven(scenario, about, name):
    scenario, data = rounds(scenario, 200, **about)
    problem = scenario.problem
    fairness = notion(name, problem.num_users, problem.utility_bounds)
    found = solve_scenario(scenario, data, fairness)
    assert_proven(data, found, fairness, scenario.l_max, problem.model_bounds)
    assert found.iterations.mean() <= (25 if name == "steep gini" else 14)


@pytest.mark.parametrize("name", NOTIONS)
@pytest.mark.parametrize(("scenario", "about"), [SINGLE, *CSI])
def test_bits_do_not_depend_on_the_batch(monkeypatch, scenario, about, name):
    scenario, data = rounds(scenario, 100, **about)
    problem = scenario.problem
    fairness = notion(name, problem.num_users, problem.utility_bounds)
    batch = solve_scenario(scenario, data, fairness)
    for lot in (slice(0, 1), slice(77, 78), slice(3, 40), slice(2, 100, 9)):
        part = solve_scenario(scenario, [a[..., lot] for a in data], fairness)
        for field in FIELDS:
            np.testing.assert_array_equal(getattr(part, field), getattr(batch, field)[..., lot])
    monkeypatch.setattr(piecewise, "CHUNK", 1 << 13)
    chunked = solve_scenario(scenario, data, fairness)
    for field in FIELDS:
        np.testing.assert_array_equal(getattr(chunked, field), getattr(batch, field))


# Symmetries.


def samples(seed, count=6, m=8, users=3, dim=4):
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(m, users, dim, count))
    y = (x * rng.normal(size=(users, dim, count))).sum(2) / dim**0.5
    return x, y + 0.3 * rng.normal(size=y.shape)


@pytest.mark.parametrize("name", NOTIONS)
@pytest.mark.parametrize("m", [1, 8])
def test_units_of_columns_do_not_matter(name, m):
    x, y = samples(0, m=m, users=3 if m > 1 else 2)
    fairness = notion(name, x.shape[1])
    units = np.array([1.0, 1e6, 1e-6, 30.0])
    one, two = solve(x, y, fairness), solve(x * units[:, None], y, fairness)
    np.testing.assert_allclose(two.utilities, one.utilities, atol=1e-9)
    np.testing.assert_allclose(two.model * units[:, None], one.model, rtol=1e-2 if m == 1 else 1e-5)
    box = (-0.2, 0.3)
    one = solve(x, y, fairness, box)
    two = solve(1e6 * x, y, fairness, (box[0] / 1e6, box[1] / 1e6))
    np.testing.assert_allclose(two.utilities, one.utilities, atol=1e-9)
    np.testing.assert_allclose(1e6 * two.model, one.model, atol=1e-3 if m == 1 else 1e-6)


def test_in_binary_units_even_ties_have_the_same_bits():
    x, y = samples(0, m=1, users=2, dim=5)
    units = 2.0 ** np.array([30, -20, 0, 7, -3])[:, None]
    one, two = (solve(z, y, notion("gini", 2)) for z in (x, x * units))
    np.testing.assert_array_equal(two.model * units, one.model)


@pytest.mark.parametrize("name", NOTIONS)
def test_permuting_the_users_permutes_their_utilities(name):
    x, y = samples(1, users=4)
    order, fairness = [2, 0, 3, 1], notion(name, 4)
    one, two = solve(x, y, fairness), solve(x[:, order], y[:, order], fairness)
    np.testing.assert_allclose(two.model, one.model, atol=1e-6)
    np.testing.assert_allclose(two.utilities, one.utilities[order], atol=1e-9)
    np.testing.assert_allclose(two.fairness, one.fairness, atol=1e-11)


def test_what_utilities_are_counted_from_does_not_matter():
    """They may all lie far below u_min."""
    x, y = samples(2)
    one = solve(x, y, notion("cvar", 3), (-0.3, 0.3))
    two = solve(x, y, notion("cvar", 3, (1e5, 1e7)), (-0.3, 0.3), l_max=-100.0)
    np.testing.assert_array_equal(two.model, one.model)
    np.testing.assert_allclose(two.fairness, one.fairness - 101.25, atol=1e-12)


@given(power=st.floats(-8, 8), name=st.sampled_from(sorted(NOTIONS)), seed=st.integers(0, 99))
@settings(max_examples=12, deadline=None)
def test_the_unit_of_the_targets_scales_theta(power, name, seed):
    unit, (x, y) = 10.0**power, samples(seed)
    box = (-0.3, 0.5)
    one = solve(x, y, notion(name, 3), box, l_max=0.0)
    two = solve(x, unit * y, notion(name, 3), (unit * box[0], unit * box[1]), l_max=0.0)
    np.testing.assert_allclose(two.model / unit, one.model, atol=1e-5)
    np.testing.assert_allclose(two.fairness / unit**2, one.fairness, atol=1e-10)


# Properties.


@given(
    name=st.sampled_from(sorted(NOTIONS)),
    users=st.integers(1, 5),
    dim=st.integers(1, 6),
    m=st.integers(1, 6),
    seed=st.integers(0, 10**6),
    bounds=st.sampled_from([None, (-1.0, 1.0), (-3.0, 0.1), (-1e-3, 1e-3), (-1e6, 1e6)]),
)
@settings(max_examples=40, deadline=None)
def test_no_model_nearby_or_far_is_fairer(name, users, dim, m, seed, bounds):
    """Any shape, often singular: F is concave, so beating a cloud of points is telling."""
    rng = np.random.default_rng(seed)
    x, y = rng.normal(size=(m, users, dim, 3)), rng.normal(size=(m, users, 3))
    fairness = notion(name, users)
    found = solve(x, y, fairness, bounds)
    for _ in range(30):
        theta = found.model + rng.normal() ** 5 * rng.normal(size=(dim, 3))
        theta = theta if bounds is None else theta.clip(*bounds)
        value = fairness.value(utilities(moments(x, y), theta, 1.25).T)
        assert (value <= found.fairness + 1e-9 * (1 + np.abs(value))).all()


@pytest.mark.parametrize(("scenario", "about"), [*SINUSOID, SINGLE, *CSI])
def test_the_mean_is_alpha_zero(scenario, about):
    scenario, data = rounds(scenario, 100, **about)
    problem = scenario.problem
    users, utility_bounds = problem.num_users, problem.utility_bounds
    one = solve_scenario(scenario, data, notion("mean", users, utility_bounds))
    two = solve_scenario(scenario, data, AlphaFair(users, utility_bounds, 0.0))
    np.testing.assert_allclose(one.fairness, two.utilities.mean(0), atol=1e-11)
    width = np.sqrt(np.einsum("iikb->ib", data[0]))
    np.testing.assert_allclose(width * one.model, width * two.model, atol=2e-3)


@pytest.mark.parametrize("name", ["max-min", "gini", "mean"])
def test_ties_go_to_the_nearest_model(name):
    """At m = 1 all θ with the same two predictions tie; what is near is told in z = Dθ."""
    _, (H, b, s) = rounds(SINGLE[0], 40, seed=9, **SINGLE[1])
    anchor = np.array([0.3, -0.2, 0.1, 0.0])
    about = dict(l_max=6.0, bounds=(-1.0, 1.0), anchor=anchor)
    found = fairest_model(H, b, s, fairness=notion(name, 2, (2.0, 6.0)), **about)
    ties = 0
    for n, theta in enumerate(found.model.T):
        x = H[0, :, :, n].T / np.sqrt(H[0, 0, :, n])[:, None]
        D = np.sqrt(np.einsum("iik->i", H[..., n]))
        nearest = nearest_in_box(x / D, x @ theta, D * anchor, D)
        np.testing.assert_allclose(D * theta, nearest, atol=1e-3)
        ties += (np.abs(theta) < 1).sum() > 2
    assert ties >= 10


@pytest.mark.parametrize("steps", [1, 2, 3, 4])
@pytest.mark.parametrize("name", ["max-min", "cvar", "gini", "mean"])
def test_the_gap_is_a_bound_long_before_it_is_small(monkeypatch, name, steps):
    """And it is one in units of utility."""
    x, y = samples(6, users=4)
    about = notion(name, 4), (-0.3, 0.5)
    best = solve(x, y, *about).fairness
    monkeypatch.setattr(rounds_module, "UNSOLVED", np.inf)
    monkeypatch.setattr(piecewise, "MAX_ITERATIONS", steps)
    early = solve(x, y, *about)
    assert (early.fairness + early.gap >= best - 1e-11).all() and early.gap.max() > 1e-6
    scaled = solve(x, 8 * y, about[0], (-2.4, 4.0))
    np.testing.assert_allclose(scaled.gap / 64, early.gap, rtol=1e-6)


# Degenerate rounds.


@pytest.mark.parametrize("name", ["max-min", "gini", "mean"])
@pytest.mark.parametrize("bounds", [None, (-0.5, 0.4)])
@pytest.mark.parametrize("users", [1, 2, 7])
@pytest.mark.parametrize("kind", ["identical users", "m = 1", "collinear", "a zero user", "exact"])
def test_degenerate_rounds(kind, users, bounds, name):
    x, y = samples(3, m=1 if kind == "m = 1" else 6, users=users)
    if kind == "identical users":
        x[:], y[:] = x[:, :1], y[:, :1]
    if kind == "collinear":
        x[:, :, 1:] = x[:, :, :1] * np.array([2.0, -1.0, 0.3])[:, None]
    if kind == "a zero user":
        x[:, 0] = 0
    if kind == "exact":
        y = x.sum(2) / 4
    fairness = notion(name, users)
    found = solve(x, y, fairness, bounds)
    assert found.gap.max() <= 1e-9
    if bounds is not None:
        assert_proven(moments(x, y), found, fairness, 1.25, bounds, within=1e-8)
    if kind == "exact":  # θ = ¼ fits all, or one near it at m = 1
        np.testing.assert_allclose(found.fairness, 1.25, atol=1e-9)
    if kind == "identical users":
        alone = solve(x[:, :1], y[:, :1], notion("mean", 1), bounds)
        np.testing.assert_allclose(found.fairness, alone.fairness, atol=1e-9)


@pytest.mark.parametrize("users", [2, 16, 56])
def test_max_min_of_many_users(users):
    x, y = samples(4, users=users, count=3)
    fairness = notion("max-min", users)
    found = solve(x, y, fairness, (-1.0, 1.0))
    assert_proven(moments(x, y), found, fairness, 1.25, (-1.0, 1.0))


def test_rounds_without_signal_stay_at_the_anchor():
    x, y = np.zeros((2, 2, 3, 4)), np.ones((2, 2, 4))
    anchor = np.array([0.5, 0.0, -3.0])
    for bounds in (None, (-4.0, 1.0)):
        found = solve(x, y, notion("gini", 2), bounds, anchor)
        np.testing.assert_array_equal(found.model, np.tile(anchor[:, None], 4))
        np.testing.assert_allclose(found.fairness, 0.25)


def test_a_column_without_signal_stays_at_the_anchor():
    x, y = samples(5)
    x[:, :, 1] = 0
    anchor = np.array([0.0, 0.7, 0.0, 0.0])
    found = solve(x, y, notion("max-min", 3), (-1.0, 1.0), anchor)
    assert (found.model[1] == 0.7).all() and found.gap.max() <= 1e-9


@pytest.mark.parametrize("size", [1e3, 1e6, 1e9])
def test_targets_that_are_huge_beside_theta(size):
    """All for one corner; and two opposite ones, whose worse loss is least at 0."""
    x, y = np.ones((2, 2, 1, 3)), np.full((2, 2, 3), size)
    found = solve(x, y, notion("max-min", 2), (-1.0, 1.0), np.array([0.5]))
    np.testing.assert_allclose(found.model, 1.0, atol=1e-8)
    y[:, 1] *= -1
    found = solve(x, y, notion("max-min", 2), (-1.0, 1.0), np.array([0.5]))
    np.testing.assert_allclose(found.model, 0.0, atol=1e-6)


# What is refused, and the environment.


def test_a_round_that_cannot_be_solved_is_an_error(monkeypatch):
    monkeypatch.setattr(piecewise, "MAX_ITERATIONS", 2)
    with pytest.raises(UnsolvedError, match=r"round 0 of the batch: a gap of .*\(max-min\)"):
        solve(*samples(0), notion("max-min", 3))


def test_columns_that_cannot_be_told_apart_are_named():
    x, y = samples(0, m=32)
    x[:, :, 2] = x[:, :, 0] + 1e-7 * x[:, :, 2]
    with pytest.raises(UnsolvedError, match="columns 0 and 2 of its features"):
        solve(x, y, notion("max-min", 3))


def test_bad_input_names_the_argument():
    x, y = samples(0)
    with pytest.raises(ValueError, match="fairness is of 2 users: b is of 3"):
        solve(x, y, notion("gini", 2))
    with pytest.raises(ValueError, match="is nan: must be finite"):
        solve(x, y * np.nan, notion("gini", 3))
    with pytest.raises(ValueError, match="bounds"):
        solve(x, y, notion("gini", 3), (1.0, -1.0))


@pytest.mark.parametrize("vector", [False, True])
def test_regret_of_the_oracle_is_nothing(vector):
    about = {"scenario": "csi-prediction", "fairness": "max-min"}
    if vector:
        env = gym.make_vec("AIRAN-FairMTL-v0", num_envs=3, autoreset_mode="Disabled", **about)
    else:
        env = gym.make("AIRAN-FairMTL-v0", **about)
    agent = owo_agents.make("oracle", env)
    records = list(owo_agents.play(env, agent, 3, seed=0))
    assert len(records) == 3 and max(np.abs(r.regret).max() for r in records) <= 1e-10


def test_other_notions_have_no_exact_oracle():
    class Other(Fairness):
        pass

    Other.__abstractmethods__ = frozenset()
    scenario, rng = make_scenario("csi-prediction"), np.random.default_rng(0)
    with pytest.raises(ValueError, match="has no exact oracle; pass hindsight=False"):
        scenario.batch([rng], Other())
