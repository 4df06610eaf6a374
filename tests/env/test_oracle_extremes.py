"""The oracle in any units and far from one: what it finds, and what it refuses in words."""

import gymnasium as gym
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import lsq_linear

from owo_env.fairness import AlphaFair
from owo_env.oracle import UnsolvedError, fairest_model, newton
from owo_env.scenarios.least_squares import Quadratics, Samples

mp = pytest.importorskip("mpmath")
KINDS = ("plain", "identical users", "collinear", "zero column", "zero", "zero user", "exact")


def samples(rng, kind, rounds, m, users, dim):
    x = rng.normal(size=(rounds, m, users, dim))
    theta = rng.normal(size=(rounds, 1, users, dim)) / dim**0.5
    if kind == "identical users":
        x[:], theta[:] = x[:, :, :1], theta[:, :, :1]
    if kind == "collinear":
        x[..., 1:] = x[..., :1] * rng.normal(size=dim - 1)
    if kind == "zero column":
        x[..., 0] = 0
    if kind == "zero":
        x[:] = 0
    if kind == "zero user":
        x[:, :, 0] = 0
    y = (x * theta).sum(-1)
    noise = 0.3 * rng.normal(size=y.shape)
    return x, y if kind == "exact" else y + noise


def solve(x, y, alpha, l_max, utility_bounds, bounds=None, anchor=None):
    m, dim = x.shape[1], x.shape[-1]
    H = np.einsum("bmki,bmkj->ijkb", x, x) / m
    b, s = np.einsum("bmki,bmk->ikb", x, y) / m, (y**2).mean(1).T
    fairness = AlphaFair(x.shape[2], utility_bounds, alpha)
    anchor = np.zeros(dim) if anchor is None else anchor
    more = dict(l_max=l_max, bounds=bounds, anchor=anchor)
    return (H, b, s), fairest_model(H, b, s, fairness=fairness, **more)


# Units of columns.


def assert_same_in_units(units, alpha, l_max, seed, kind="plain", anchor=0.0):
    x, y = samples(np.random.default_rng(seed), kind, 4, 32, 3, len(units))
    at = np.full(len(units), anchor)
    about = alpha, l_max, (0.1, max(2.0, l_max))
    _, one = solve(x, y, *about, anchor=at)
    _, two = solve(x * units, y, *about, anchor=at / units)
    np.testing.assert_allclose(two.fairness, one.fairness, rtol=1e-9, atol=1e-9)
    size = np.abs(one.model).max(axis=0)
    assert (np.abs(two.model * units[:, None] - one.model) <= 1e-6 * size).all()


@given(
    decades=st.lists(st.floats(-8, 8), min_size=1, max_size=6),
    alpha=st.sampled_from([0.0, 0.5, 1.0, 2.0, 20.0]),
    l_max=st.sampled_from([0.5, 2.0, 1e3]),
    anchor=st.sampled_from([0.0, 0.7]),
    seed=st.integers(0, 10**6),
)
@settings(max_examples=60, deadline=None)
def test_units_of_columns_do_not_matter(decades, alpha, l_max, anchor, seed):
    assert_same_in_units(10.0 ** np.array(decades), alpha, l_max, seed, anchor=anchor)


@pytest.mark.parametrize("units", [1e-8, 1e-6, 1e6, 1e8])
def test_units_of_one_column_or_of_all_do_not_matter(units):
    for kind in ("plain", "zero column"):
        assert_same_in_units(np.array([1.0, 1.0, units]), 1.0, 2.0, 0, kind)
        assert_same_in_units(np.array([units, units, 1.0]), 2.0, 2.0, 1, kind)
        assert_same_in_units(np.array([units] * 3), 5.0, 2.0, 2, kind)


def test_in_binary_units_even_ties_have_the_same_bits():
    x, y = samples(np.random.default_rng(0), "plain", 8, 1, 2, 5)
    units = 2.0 ** np.array([30, -20, 0, 7, -3])
    about = 2.0, 3.0, (0.5, 3.0)
    one, two = solve(x, y, *about)[1], solve(x * units, y, *about)[1]
    np.testing.assert_array_equal(two.model * units[:, None], one.model)
    np.testing.assert_array_equal(two.fairness, one.fairness)


@given(power=st.floats(-8, 8), seed=st.integers(0, 10**6), alpha=st.sampled_from([0.0, 1.0, 5.0]))
@settings(max_examples=30, deadline=None)
def test_the_unit_of_all_columns_scales_theta_and_its_bounds(power, seed, alpha):
    unit = 10.0**power
    x, y = samples(np.random.default_rng(seed), "plain", 4, 8, 3, 4)
    about = alpha, 2.0, (0.1, 2.0)
    _, one = solve(x, y, *about, bounds=(-0.3, 0.5))
    _, two = solve(x * unit, y, *about, bounds=(-0.3 / unit, 0.5 / unit))
    np.testing.assert_allclose(two.model * unit, one.model, atol=1e-7)
    np.testing.assert_allclose(two.fairness, one.fairness, rtol=1e-9, atol=1e-9)
    assert ((one.model == 0.5) == (two.model == 0.5 / unit)).all()


def test_regret_does_not_depend_on_units():
    rng = np.random.default_rng(0)
    x = rng.normal(size=(1, 32, 3, 3))
    y = x @ [0.5, -0.3, 0.2] + 0.1 * rng.normal(size=(1, 32, 3))
    regrets = []
    for units in ([1, 1, 1], [1, 1, 1e6], [1e-6, 1e-6, 1], [1e-8, 1, 1e8]):
        data = {"features": x * units, "targets": y, "l_max": 2.0, "utility_bounds": (0.1, 2.0)}
        env = gym.make("AIRAN-FairMTL-v0", scenario="recorded", **data)
        env.reset(seed=0)
        action = {"model": np.array([0.5, -0.3, 0.2]) / units, "weights": np.ones(3)}
        for _ in range(32):
            *_, info = env.step(action)
        regrets.append(info["regret"])
    np.testing.assert_allclose(regrets, regrets[0], atol=1e-9)


# Extreme figures.


def exact_residual(data, theta, alpha, l_max, u_min, n):
    """‖∇F/Σp‖ of round n in z = Dθ and units of the targets, in 60 digits; and ū."""
    H, b, s = ([mp.mpf(v) for v in a[..., n].ravel().tolist()] for a in data)
    dim, users = data[1].shape[:2]
    theta = [mp.mpf(v) for v in theta[:, n].tolist()]
    utilities, residuals = [], []
    for k in range(users):
        r = [
            b[i * users + k] - sum(H[(i * dim + j) * users + k] * theta[j] for j in range(dim))
            for i in range(dim)
        ]
        residuals.append(r)
        loss = s[k] - sum(theta[i] * (r[i] + b[i * users + k]) for i in range(dim))
        utilities.append(l_max - loss)
    p = [max(u, mp.mpf(u_min)) ** -mp.mpf(alpha) for u in utilities]
    worst = mp.mpf(0)
    for i in range(dim):
        D = mp.sqrt(sum(H[(i * dim + i) * users + k] for k in range(users))) or mp.mpf(1)
        ascent = 2 * sum(p_k * r[i] for p_k, r in zip(p, residuals)) / sum(p)
        worst = max(worst, abs(ascent / D))
    return worst / (mp.sqrt(max(s)) or 1), utilities


@given(
    alpha=st.one_of(st.floats(0, 100), st.sampled_from([0.0, 1.0, 50.0, 100.0, 1000.0])),
    kind=st.sampled_from(KINDS),
    users=st.integers(1, 3),
    dim=st.integers(1, 3),
    l_max=st.floats(-8, 7),
    ratio=st.sampled_from([1.01, 3.0, 1e2, 1e4]),
    targets=st.sampled_from([1e-3, 1.0, 3.0, 1e3]),
    seed=st.integers(0, 10**6),
)
@settings(max_examples=100, deadline=None)
def test_extremes_against_sixty_digits(alpha, kind, users, dim, l_max, ratio, targets, seed):
    """Unbounded Θ, utility bounds from 1e-8 to 1e7; the residual is told by exact arithmetic."""
    l_max = 10.0**l_max
    u_min = l_max / ratio
    x, y = samples(np.random.default_rng(seed), kind, 2, 4, users, dim)
    y *= targets * l_max**0.5
    try:
        data, found = solve(x, y, alpha, l_max, (u_min, l_max))
    except ValueError as error:
        assert "alpha=" in str(error) and alpha * -np.log10(u_min) > 240
        return
    assert np.isfinite(found.fairness).all()
    with mp.workdps(60):
        for n in range(2):
            residual, utilities = exact_residual(data, found.model, alpha, l_max, u_min, n)
            # What rounding the moments' sum leaves of a priority, α/u times 1e-15 s.
            noise = alpha * 1e-14 * data[2][:, n].max() / u_min
            assert residual <= 1e-8 + noise
            loss = 1e-12 * (l_max + data[2][:, n].max())
            assert np.abs(np.array(utilities, float) - found.utilities[:, n]).max() <= loss


@pytest.mark.parametrize("alpha", [0.0, 7.5, 50.0, 100.0])
@pytest.mark.parametrize("utility_bounds", [(1e-2, 1.0), (0.9, 1.1), (1e5, 1e7)])
def test_many_users_and_dimensions(alpha, utility_bounds):
    rng, l_max = np.random.default_rng(1), utility_bounds[1]
    for kind in ("plain", "identical users", "collinear"):
        x, y = samples(rng, kind, 1, 4, 64, 16)
        for bounds in (None, (-0.1, 0.2)):
            scale = None if bounds is None else tuple(b * l_max**0.5 for b in bounds)
            _, found = solve(x, y * l_max**0.5, alpha, l_max, utility_bounds, scale)
            assert np.isfinite(found.fairness).all() and (found.kkt <= 1e-8).all()


def test_at_a_huge_alpha_the_worst_user_counts():
    """Losses (θ − 1)² and (θ + 1)²/4 + ¼: max-min has them equal, at θ = (5 − √19)/3."""
    x, y = np.ones((1, 1, 2, 1)), np.array([[[1.0, -0.5]]])
    x[..., 1, :] = 0.5
    H, b, s = x[..., 0] ** 2, x[..., 0] * y, y**2 + np.array([0.0, 0.25])
    found = fairest_model(
        H.reshape(1, 1, 2, 1),
        b.reshape(1, 2, 1),
        s.reshape(2, 1),
        fairness=AlphaFair(2, (1.0, 3.0), 1e3),
        l_max=3.0,
        bounds=(-1.0, 1.0),
        anchor=[0.0],
    )
    assert found.model[0, 0] == pytest.approx((5 - 19**0.5) / 3, abs=2e-3)


def test_a_trial_step_that_overflows_is_only_too_long():
    """At the optimum of the worse user the other is below u_min, by 10^1301 in units of p."""
    x, y = np.array([1.0, 3.0]).reshape(1, 1, 2, 1), np.array([[[10**0.5, -3.0]]])
    _, found = solve(x, y, 1e3, 30.0, (1.0, 30.0))
    assert (found.kkt <= 1e-10).all() and np.ptp(found.utilities) <= 0.1


def test_a_long_way_up_takes_few_steps():
    """From utilities of .01 to nearly 1 at α = 100: each plain step would gain 1%."""
    rng = np.random.default_rng(0)
    x = rng.normal(size=(20, 16, 3, 4))
    y = x @ rng.normal(size=4) + 0.01 * rng.normal(size=(20, 16, 3))
    y *= (0.99 / (y**2).mean(1).max(-1)[:, None, None]) ** 0.5
    _, found = solve(x, y, 100.0, 1.0, (1e-2, 1.0))
    assert found.iterations.max() <= 40


@pytest.mark.parametrize("size", [1e3, 1e6, 1e9, 1e12])
def test_targets_that_are_huge_beside_theta(size):
    """All for one corner; and two opposite ones, whose loss (θ − y)² + (θ + y)² is least at 0."""
    x = np.ones((3, 2, 2, 1))
    y = np.full((3, 2, 2), size)
    _, found = solve(x, y, 2.0, 5.0, (1.0, 5.0), bounds=(-1.0, 1.0), anchor=np.array([0.5]))
    assert (found.model == 1).all()
    y[..., 1] *= -1
    _, found = solve(x, y, 2.0, 5.0, (1.0, 5.0), bounds=(-1.0, 1.0), anchor=np.array([0.5]))
    assert np.abs(found.model).max() <= 1e-3 + 1e-15 * size


@pytest.mark.parametrize("size", [1e2, 1e4, 1e6, 1e8])
def test_a_narrow_theta_does_not_hide_the_residual(size):
    """Two users with huge opposite targets and a common rest: bounded least squares of that."""
    rng = np.random.default_rng(3)
    x = np.repeat(rng.normal(size=(20, 12, 1, 10)), 2, axis=2)
    huge, rest = size * rng.normal(size=(20, 12)), rng.normal(size=(20, 12))
    y = np.stack([rest + huge, rest - huge], axis=-1)
    _, found = solve(x, y, 1.0, 6.0, (2.0, 6.0), bounds=(-0.3, 0.3))
    for n in range(20):
        best = lsq_linear(x[n, :, 0], rest[n], (-0.3, 0.3), method="bvls", tol=1e-15).x
        assert np.abs(found.model[:, n] - best).max() <= 1e-9 + 1e-13 * size


def test_in_a_narrow_theta_what_is_unsolved_is_an_error(monkeypatch):
    """The residual is at most Θ's width: measured against the targets it would be nothing."""
    monkeypatch.setattr(newton, "MAX_ITERATIONS", 1)
    x, y = samples(np.random.default_rng(0), "plain", 2, 8, 3, 4)
    with pytest.raises(UnsolvedError, match="KKT residual"):
        solve(x, 1e9 * y, 1.0, 6.0, (2.0, 6.0), bounds=(-1.0, 1.0))


def test_many_edges_are_taken_by_degrees(monkeypatch):
    rng = np.random.default_rng(1)
    x, y = rng.normal(size=(20, 1, 64, 3)), rng.normal(size=(20, 1, 64))
    monkeypatch.setattr(newton, "MAX_ITERATIONS", 60)
    _, found = solve(x, y, 5.0, 1.0, (1e-5, 2.0))
    assert (found.kkt <= 1e-8).all()
    monkeypatch.setattr(newton, "_by_degrees", newton._unpulled)
    with pytest.raises(UnsolvedError, match=r"utility_bounds\[0\]=1e-05 is tiny beside l_max=1"):
        solve(x, y, 5.0, 1.0, (1e-5, 2.0))


def nearly(distance):
    x, y = samples(np.random.default_rng(0), "plain", 2, 32, 3, 3)
    x[..., 2] = x[..., 0] + distance * x[..., 2]
    return x, y


def test_nearly_collinear_columns():
    """They are told apart while rounding allows it, and then it is said which they are.

    With (x_3 − x_1)/distance for a third column the problem is well conditioned.
    """
    about = 0.0, 9.0, (0.1, 9.0)
    x, y = nearly(1.0)
    x[..., 2] -= x[..., 0]
    plain = solve(x, y, *about)[1].model
    for distance in (1e-2, 1e-3, 1e-4, 1e-5):
        theta = solve(*nearly(distance), *about)[1].model
        theta = np.array([theta[0] + theta[2], theta[1], distance * theta[2]])
        assert np.abs(theta - plain).max() <= 1e-7 + 1e-14 / distance**2
    for distance in (1e-6, 1e-7):
        with pytest.raises(UnsolvedError, match="columns 0 and 2 of its features"):
            solve(*nearly(distance), *about)


@pytest.mark.parametrize("at_a_time", [2, 4096])
def test_an_environment_says_which_round_and_stream_is_unsolvable(monkeypatch, at_a_time):
    monkeypatch.setattr("owo_env.scenarios.least_squares.base.ORACLE_BATCH", at_a_time)
    good, bad = samples(np.random.default_rng(0), "plain", 2, 32, 3, 3), nearly(1e-6)
    x, y = (np.concatenate(parts) for parts in zip(good, bad))
    data = {"features": x, "targets": y, "l_max": 9.0, "utility_bounds": (0.1, 9.0)}
    with pytest.raises(ArithmeticError, match=r"round 3 of stream 0: .*columns 0 and 2"):
        gym.make("AIRAN-FairMTL-v0", scenario="recorded", **data).reset(seed=0)
    with pytest.raises(ArithmeticError, match=r"round 3 of stream 0: .*columns 0 and 2"):
        gym.make_vec("AIRAN-FairMTL-v0", 2, scenario="recorded", **data).reset(seed=0)
    env = gym.make("AIRAN-FairMTL-v0", scenario="recorded", hindsight=False, **data)
    env.reset(seed=0)


# Whole numbers, nothing, too much.


def test_whole_numbers_do_not_overflow():
    x = np.arange(200, 248, dtype=np.uint8).reshape(2, 3, 2, 2, 2)
    y = x[:, :, 0]
    for kind in (np.uint8, np.int16, np.float16, np.float32):
        mean = (x[:, :, 1:].astype(float) ** 2).mean(1)
        found = Samples(x.astype(kind), y.astype(kind)).moments()
        assert all(a.dtype == np.float64 for a in found)
        np.testing.assert_allclose(found[0][:, 1, 1], mean[:, 0])
    whole = Quadratics(x[:, :, :, None], x, y)
    assert all(a.dtype == np.float64 for a in whole.arrays)


def test_recorded_whole_numbers_have_the_same_fairest_model():
    rng, kept = np.random.default_rng(0), []
    x, y = rng.integers(0, 255, (1, 8, 2, 3)), rng.integers(0, 255, (1, 8, 2))
    for kind in (np.uint8, np.float64):
        data = {"features": x.astype(kind), "targets": y.astype(kind)}
        about = {"l_max": 1e5, "utility_bounds": (1e3, 1e5)}
        env = gym.make("AIRAN-FairMTL-v0", scenario="recorded", **data, **about)
        env.reset(seed=0)
        for _ in range(8):
            *_, info = env.step({"model": np.zeros(3), "weights": np.ones(2)})
        kept.append(info["fairest_model"])
    np.testing.assert_array_equal(*kept)


@pytest.mark.parametrize("factor", [0.0, 1e-200, 1e200])
def test_features_that_are_nothing_or_too_much_are_refused(factor):
    x, y = samples(np.random.default_rng(0), "plain", 1, 4, 2, 2)
    data = {"features": factor * x, "targets": y, "l_max": 9.0, "utility_bounds": (0.1, 9.0)}
    with pytest.raises(ValueError, match="features are all 0, or so large or small"):
        gym.make("AIRAN-FairMTL-v0", scenario="recorded", **data)


def test_what_is_not_finite_is_named():
    x, y = samples(np.random.default_rng(0), "plain", 3, 4, 2, 2)
    H, b, s = (a.copy() for a in solve(x, y, 1.0, 9.0, (0.1, 9.0))[0])
    H[1, 0, 1, 2] = np.inf
    about = dict(fairness=AlphaFair(2, (0.1, 9.0)), l_max=9.0, bounds=None, anchor=np.zeros(2))
    with pytest.raises(ValueError, match=r"H\[1, 0, 1, 2\] is inf: must be finite"):
        fairest_model(H, b, s, **about)
