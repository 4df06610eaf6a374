"""The oracle of eq. 2 against another solver, optimality conditions and its own symmetries."""

import itertools
import pickle

import numpy as np
import pytest
from gymnasium.utils import seeding
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import minimize

from owo_env.fairness import AlphaFair, make_fairness
from owo_env.oracle import Fairest, UnsolvedError, fairest_model
from owo_env.scenarios import make_scenario

# SciPy 1.15's SLSQP says it of steps that it takes itself.
pytestmark = pytest.mark.filterwarnings("ignore:Values in x were outside bounds:RuntimeWarning")

ALPHAS = (0.0, 0.5, 1.0, 2.0, 5.0)
SINUSOID = {"l_max": 6.0, "u_min": 2.0, "bounds": (-1.0, 1.0), "anchor": np.zeros(4)}
RADIO = {"l_max": 1.25, "u_min": 0.4, "bounds": (-2.0, 2.0), "anchor": np.zeros(4)}
FIELDS = ("model", "utilities", "fairness", "kkt", "iterations")


def notion(users, alpha, u_min):
    return AlphaFair(users, (u_min, u_min + 1e9), alpha)


def solve(H, b, s, alpha, l_max, u_min, bounds, anchor):
    """``fairest_model`` with the rounds on the first axis."""
    H, b, s = np.asarray(H), np.asarray(b), np.asarray(s)
    found = fairest_model(
        H.transpose(2, 3, 1, 0),
        b.T,
        s.T,
        fairness=notion(b.shape[1], alpha, u_min),
        l_max=l_max,
        bounds=bounds,
        anchor=anchor,
    )
    return Fairest(*(getattr(found, name).T for name in FIELDS))


def moments(x, y):
    """(H, b, s) of samples x (B, m, K, d) and y (B, m, K)."""
    m = x.shape[1]
    H = np.einsum("bmki,bmkj->bkij", x, x) / m
    return H, np.einsum("bmki,bmk->bki", x, y) / m, (y**2).mean(1)


def sinusoids(rounds, m, seed):
    """Rounds like those of §IV: cubic features of τ ∈ [0, 1], a sine and a cosine as labels."""
    rng = np.random.default_rng(seed)
    tau = rng.random((rounds, m, 2))
    angle = rng.normal((1.0, 0.75), 1.0, (rounds, 1, 2)) * tau + (np.pi / 3, np.pi / 4)
    amplitude = rng.normal((1.0, 0.6), (0.2, 0.5), (rounds, 1, 2))
    wave = np.stack([np.sin(angle[..., 0]), np.cos(angle[..., 1])], -1)
    labels = amplitude * wave + rng.normal(0.05, 0.1, tau.shape)
    return moments(tau[..., None] ** np.arange(4), labels)


def channels(rounds, users, seed, d=4):
    """Rounds like those of csi-prediction: unit power, noise of 0 to 20 dB, a filter to predict."""
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(rounds, 12, users, d))
    y = np.einsum("bmki,bki->bmk", x, rng.normal(size=(rounds, users, d)) / np.sqrt(d))
    y += rng.normal(size=y.shape) * 10 ** -rng.uniform(0, 1, (rounds, 1, users))
    H, b, s = moments(x, y)
    return H, b / np.sqrt(s)[..., None], np.ones_like(s)


def slsqp(H, b, s, alpha, l_max, u_min, bounds, anchor):
    """The best F_α that SLSQP finds for one round."""

    def utilities(theta):
        return l_max - (np.einsum("i,kij,j->k", theta, H, theta) - 2 * b @ theta + s)

    def slope(theta):
        p = np.maximum(utilities(theta), u_min) ** -alpha
        return -2 * p @ (b - H @ theta)

    found = minimize(
        lambda theta: -notion(len(s), alpha, u_min).value(utilities(theta)),
        anchor,
        jac=slope,
        method="SLSQP",
        bounds=bounds and [bounds] * len(anchor),
        options={"ftol": 1e-14, "maxiter": 1000},
    )
    return -found.fun


def assert_never_below_slsqp(data, solved: Fairest, alpha, settings_):
    for i in range(len(solved.fairness)):
        best = slsqp(*(a[i] for a in data), alpha, **settings_)
        assert solved.fairness[i] >= best - 1e-9 * max(1.0, abs(best))


def assert_optimal(data, solved: Fairest, alpha, settings_):
    """Within Θ; and the KKT conditions of the unpulled problem, written out for one round."""
    H, b, s = data
    theta = solved.model
    residual = b - np.einsum("bkij,bj->bki", H, theta)
    loss = np.einsum("bi,bkij,bj->bk", theta, H, theta) - 2 * np.einsum("bki,bi->bk", b, theta) + s
    np.testing.assert_allclose(solved.utilities, settings_["l_max"] - loss, atol=1e-12)
    p = np.maximum(solved.utilities, settings_["u_min"]) ** -alpha
    ascent = 2 * np.einsum("bk,bki->bi", p, residual) / p.sum(1, keepdims=True)
    low, high = settings_["bounds"] or (-np.inf, np.inf)
    assert (theta >= low).all() and (theta <= high).all()
    free = (theta > low) & (theta < high)
    assert np.abs(ascent[free]).max(initial=0) <= 1e-10
    assert (ascent[theta == low] <= 1e-10).all() and (ascent[theta == high] >= -1e-10).all()
    assert (solved.kkt <= 1e-10).all()


@pytest.mark.parametrize("alpha", ALPHAS)
@pytest.mark.parametrize("m", [1, 32])
def test_sinusoids(alpha, m):
    data = sinusoids(100, m, seed=m)
    solved = solve(*data, alpha=alpha, **SINUSOID)
    assert_optimal(data, solved, alpha, SINUSOID)
    assert_never_below_slsqp([a[:25] for a in data], solved_first(solved, 25), alpha, SINUSOID)


@pytest.mark.parametrize("alpha", [*ALPHAS, 10.0])
@pytest.mark.parametrize("bounds", [(-2.0, 2.0), (-0.2, 0.2), None])
def test_eight_users_on_a_radio_channel(alpha, bounds):
    """u_min is violated in some of these, so the tangent extension is at work."""
    radio = {**RADIO, "bounds": bounds}
    data = channels(60, 8, seed=8)
    solved = solve(*data, alpha=alpha, **radio)
    assert_optimal(data, solved, alpha, radio)
    assert_never_below_slsqp([a[:6] for a in data], solved_first(solved, 6), alpha, radio)


def solved_first(solved: Fairest, count: int) -> Fairest:
    return Fairest(*(getattr(solved, name)[:count] for name in FIELDS))


def test_the_extension_is_at_work():
    data = channels(60, 8, seed=8)
    solved = solve(*data, alpha=2.0, **{**RADIO, "bounds": (-0.2, 0.2)})
    assert (solved.utilities < RADIO["u_min"]).any()


def test_worked_example():
    """Labels (1, 0) then (1, −1) of a constant feature: losses (θ−1)² and θ² + θ + ½."""
    solved = solve(
        np.ones((1, 2, 1, 1)),
        [[[1.0], [-0.5]]],
        [[1.0, 0.5]],
        l_max=5.0,
        alpha=1.0,
        u_min=1.0,
        bounds=(-1.0, 1.0),
        anchor=[0.0],
    )
    assert solved.model[0, 0] == pytest.approx(0.2327576779582, abs=1e-12)
    assert solved.fairness[0] == pytest.approx(2.9223690138714, abs=1e-12)


@pytest.mark.parametrize("m", [1, 32])
@pytest.mark.parametrize("alpha", [*ALPHAS, 3.7, 10.0])
def test_bits_do_not_depend_on_the_batch(alpha, m):
    data = sinusoids(512, m, seed=5)
    batch = solve(*data, alpha=alpha, **SINUSOID)
    for lot in (slice(0, 1), slice(77, 78), slice(511, 512), slice(3, 40), slice(100, 512, 9)):
        part = solve(*(a[lot] for a in data), alpha=alpha, **SINUSOID)
        for name in FIELDS:
            np.testing.assert_array_equal(getattr(part, name), getattr(batch, name)[lot])


@pytest.mark.parametrize("alpha", [0.0, 1.0, 5.0])
def test_ties_go_to_the_nearest_model(alpha):
    """At m = 1 all θ with the same two predictions tie; the nearest is found by enumeration.

    What is near is told in z = Dθ, D² the diagonal of ΣH.
    """
    H, b, s = sinusoids(60, 1, seed=9)
    anchor = np.array([0.3, -0.2, 0.1, 0.0])
    solved = solve(H, b, s, alpha=alpha, **{**SINUSOID, "anchor": anchor})
    ties = 0
    for i, theta in enumerate(solved.model):
        x = H[i, :, 0] / np.sqrt(H[i, :, 0, :1])
        D = np.sqrt(np.diagonal(H[i].sum(0)))
        nearest = nearest_in_box(x / D, x @ theta, D * anchor, D) / D
        np.testing.assert_allclose(theta, nearest, atol=1e-3)
        ties += (np.abs(theta) < 1).sum() > 2
    assert ties >= 10


def nearest_in_box(x, predictions, anchor, high):
    """argmin ‖θ − anchor‖ over θ ∈ [−high, high] with xθ = predictions, over all 3^d faces."""
    best = None
    for face in map(np.array, itertools.product((-1.0, 0.0, 1.0), repeat=len(anchor))):
        theta, free = face * high, face == 0
        theta[free] = anchor[free]
        theta[free] += np.linalg.lstsq(x[:, free], predictions - x @ theta, rcond=1e-9)[0]
        feasible = (np.abs(theta) <= high + 1e-9).all() and np.allclose(
            x @ theta, predictions, atol=1e-8
        )
        if feasible and (
            best is None or np.sum((theta - anchor) ** 2) < np.sum((best - anchor) ** 2)
        ):
            best = theta
    return best


def test_permuting_the_users_permutes_their_utilities():
    data = channels(40, 4, seed=1)
    order = [2, 0, 3, 1]
    one = solve(*data, alpha=2.0, **RADIO)
    two = solve(*(a[:, order] for a in data), alpha=2.0, **RADIO)
    np.testing.assert_allclose(two.model, one.model, atol=1e-9)
    np.testing.assert_allclose(two.utilities, one.utilities[:, order], atol=1e-12)


@given(scale=st.floats(1e-6, 1e6), seed=st.integers(0, 10**6))
@settings(max_examples=25, deadline=None)
def test_at_alpha_one_the_unit_of_utility_does_not_matter(scale, seed):
    data = channels(4, 3, seed)
    radio = {**RADIO, "l_max": RADIO["l_max"] * scale, "u_min": RADIO["u_min"] * scale}
    one = solve(*data, alpha=1.0, **RADIO)
    two = solve(*(a * scale for a in data), alpha=1.0, **radio)
    np.testing.assert_allclose(two.model, one.model, atol=1e-9)


@given(
    alpha=st.one_of(st.sampled_from(ALPHAS), st.floats(0, 10)),
    users=st.integers(1, 5),
    dim=st.integers(1, 6),
    m=st.integers(1, 6),
    seed=st.integers(0, 10**6),
    bounds=st.sampled_from([None, (-1.0, 1.0), (-3.0, 0.1)]),
)
@settings(max_examples=60, deadline=None)
def test_no_model_nearby_or_far_is_fairer(alpha, users, dim, m, seed, bounds):
    """Any shape, often singular: F is concave, so beating a cloud of points is telling."""
    rng = np.random.default_rng(seed)
    H, b, s = moments(rng.normal(size=(3, m, users, dim)), rng.normal(size=(3, m, users)))
    solved = solve(H, b, s, l_max=3.0, alpha=alpha, u_min=0.5, bounds=bounds, anchor=np.zeros(dim))
    cloud = solved.model + rng.normal(size=(50, 1, 1)) ** 5 * rng.normal(size=(50, 3, dim))
    cloud = np.clip(cloud, *bounds) if bounds else cloud
    loss = np.einsum("cbi,bkij,cbj->cbk", cloud, H, cloud) + s
    loss -= 2 * np.einsum("bki,cbi->cbk", b, cloud)
    best = notion(users, alpha, 0.5).value(3.0 - loss).max(0)
    assert (solved.fairness >= best - 1e-9 * (1 + np.abs(best))).all()


def test_a_round_without_signal_stays_at_the_anchor():
    zeros = np.zeros((2, 2, 3, 3)), np.zeros((2, 2, 3)), np.zeros((2, 2))
    solved = solve(*zeros, l_max=2.0, alpha=1.0, u_min=1.0, bounds=None, anchor=[0.5, 0.0, -3.0])
    np.testing.assert_array_equal(solved.model, [[0.5, 0.0, -3.0]] * 2)
    np.testing.assert_allclose(solved.fairness, 2 * np.log(2.0))


@given(
    alpha=st.one_of(st.sampled_from(ALPHAS), st.floats(0, 10)),
    u=st.floats(-3, 6),
    change=st.floats(-3, 3),
)
def test_change_is_the_difference_of_values(alpha, u, change):
    u, change = np.array([u]), np.array([change])
    f = notion(1, alpha, 0.5)
    difference = (f.value(u + change) - f.value(u)) / f.priorities(u)[0]
    tolerance = 1e-9 if abs(alpha - 1) > 1e-3 or alpha == 1 else 1e-3  # difference cancels
    np.testing.assert_allclose(f.change(u, change)[0], difference, rtol=tolerance, atol=tolerance)


def test_bad_input_names_the_argument():
    H, b, s = sinusoids(2, 4, seed=0)
    good = {"H": H, "b": b, "s": s, "alpha": 1.0, **SINUSOID}
    for name, value in {
        "H": H[:, :1],
        "b": np.full_like(b, np.nan),
        "s": s[:1],
        "alpha": -1.0,
        "u_min": 0.0,
        "l_max": np.inf,
        "bounds": (1.0, -1.0),
        "anchor": np.zeros(3),
    }.items():
        with pytest.raises(ValueError, match=name):
            solve(**{**good, name: value})


def test_a_round_that_cannot_be_solved_is_an_error(monkeypatch):
    monkeypatch.setattr("owo_env.oracle.newton.MAX_ITERATIONS", 1)
    with pytest.raises(UnsolvedError, match="round 0 of the batch") as caught:
        solve(*sinusoids(3, 8, seed=0), alpha=1.0, **SINUSOID)
    assert str(pickle.loads(pickle.dumps(caught.value))) == str(caught.value)


def test_faces_do_not_alternate_for_ever():
    """Rounds in which a bound pushes the search back into a face that it had just left."""
    for seed, m in ((201, 3), (5, 1), (17, 2)):
        scenario = make_scenario("sinusoid", num_slots=m, adversary="blocks")
        H, b, s = scenario.draw([seeding.np_random(seed)[0]], np.ones(1, int)).moments()
        rounds = [np.moveaxis(a[..., 0], -1, 1) for a in (H, b, s)]
        found = solve(*rounds, alpha=1.0, **SINUSOID)
        assert found.iterations.max() <= 60


CONTRACTS = [
    {"name": "alpha", "weights": [4.0, 1.0, 1.0, 100.0]},
    {"name": "nash", "disagreement": [0.25, 0.39, 0.0, -1.0]},
    {"name": "min-rate", "floor": 0.6, "penalty": 10.0},
    {"name": "min-rate", "floor": [0.5, 0.7, 0.9, 1.1], "alpha": 2.0, "penalty": 1000.0},
    {"name": "min-rate", "floor": 0.6, "alpha": 0.0},
    {"name": "alpha", "alpha": 5.0, "disagreement": 0.3, "floor": 0.5},
]


@pytest.mark.parametrize("contract", CONTRACTS, ids=str)
def test_contracts(contract):
    f = make_fairness(contract, 4, (0.4, 1.25))
    H, b, s = channels(200, 4, seed=7)
    given_ = dict(l_max=1.25, bounds=(-2.0, 2.0), anchor=np.zeros(4))
    found = fairest_model(H.transpose(2, 3, 1, 0), b.T, s.T, fairness=f, **given_)
    assert found.kkt.max() <= 1e-9

    def value(theta, i):
        loss = np.einsum("i,kij,j->k", theta, H[i], theta) - 2 * b[i] @ theta + s[i]
        u = 1.25 - loss
        slope = 2 * f.priorities(u) @ (b[i] - H[i] @ theta)
        return -f.value(u), -slope

    for i in range(12):
        theirs = minimize(
            value, np.zeros(4), (i,), "SLSQP", jac=True, bounds=[(-2.0, 2.0)] * 4, tol=1e-13
        )
        assert found.fairness[i] >= -theirs.fun - 1e-8 * (1 + abs(theirs.fun))
    alone = [
        fairest_model(
            *(a[..., [i]] for a in (H.transpose(2, 3, 1, 0), b.T, s.T)), fairness=f, **given_
        )
        for i in range(20)
    ]
    assert all((one.model[:, 0] == found.model[:, i]).all() for i, one in enumerate(alone))


def test_a_contract_that_asks_for_nothing_is_alpha_fairness():
    H, b, s = channels(50, 4, seed=8)
    arrays_ = H.transpose(2, 3, 1, 0), b.T, s.T
    given_ = dict(l_max=1.25, bounds=(-2.0, 2.0), anchor=np.zeros(4))
    plain = fairest_model(*arrays_, fairness=AlphaFair(4, (0.4, 1.25), 2.0), **given_)
    weighted = make_fairness({"name": "alpha", "alpha": 2.0, "weights": 1.0}, 4, (0.4, 1.25))
    np.testing.assert_allclose(
        fairest_model(*arrays_, fairness=weighted, **given_).utilities, plain.utilities, atol=1e-9
    )
