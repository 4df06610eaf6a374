"""The fairness mathematics against identities, numerical derivatives and duality."""

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from owo_env import fairness
from owo_env.fairness import AlphaFair, sum_users
from owo_env.problem import Problem

ALPHAS = [0.0, 0.5, 1.0, 2.0, 5.0]
U_MIN, U_MAX = 0.5, 4.0
alphas = st.floats(0.05, 8.0) | st.sampled_from(ALPHAS[1:])
utilities = arrays(float, 3, elements=st.floats(U_MIN, U_MAX))


def notion(alpha, users=3):
    return AlphaFair(users, (U_MIN, U_MAX), alpha)


def psi(f, p, u):
    """Ψ, eq. 3."""
    return f.conjugate(p) + sum_users(p * u)


def test_known_values():
    u = np.array([2.0, 4.0])
    assert fairness.fairness(u, 0) == pytest.approx(4.0)  # Σ (u − 1)
    assert fairness.fairness(u, 1) == pytest.approx(np.log(8))
    assert fairness.fairness(u, 2) == pytest.approx(2 - 1 / 2 - 1 / 4)  # Σ (1 − 1/u)
    assert notion(1.0, 2).value(u) == pytest.approx(np.log(8))
    assert notion(1.0, 2).conjugate(np.array([0.5, 0.25])) == pytest.approx(np.log(8) - 2)
    assert fairness.jain_index([1.0, 1.0, 1.0]) == pytest.approx(1.0)
    assert fairness.jain_index([1.0, 0.0, 0.0, 0.0]) == pytest.approx(0.25)
    assert fairness.price_of_fairness([2.0, 2.0], [1.0, 4.0]) == pytest.approx(0.2)


@given(u=utilities)
def test_alpha_one_is_the_limit(u):
    near = (notion(1 - 1e-6).value(u) + notion(1 + 1e-6).value(u)) / 2
    assert near == pytest.approx(notion(1.0).value(u), abs=1e-8)


@given(u=utilities, p=arrays(float, 3, elements=st.floats(1e-2, 10)), alpha=alphas)
def test_fenchel_inequality_is_tight_at_the_best_priorities(u, p, alpha):
    f = notion(alpha)
    value = f.value(u)
    assert psi(f, p, u) >= value - 1e-9 * (1 + abs(value))
    best = f.priorities(u)
    assert psi(f, best, u) == pytest.approx(value, abs=1e-8, rel=1e-9)
    assert f.dual_gradient(best, u) == pytest.approx(np.zeros(3), abs=1e-6)


@given(u=st.floats(U_MIN, U_MAX), p=st.floats(0.1, 5), alpha=alphas.filter(lambda a: a > 0.2))
def test_dual_gradient_is_the_derivative_of_psi(u, p, alpha):
    f, step = notion(alpha, 1), 1e-6 * p
    below, above = (psi(f, np.array([q]), np.array([u])) for q in (p - step, p + step))
    # w = −p, so ∂Ψ/∂w = −∂Ψ/∂p.
    expected = f.dual_gradient(np.array([p]), np.array([u]))[0]
    assert (below - above) / (2 * step) == pytest.approx(expected, rel=1e-4, abs=1e-4)


@given(u=arrays(float, 3, elements=st.floats(-20, U_MAX)), alpha=alphas)
def test_extension_is_what_the_dual_on_w_computes(u, alpha):
    """min over w ∈ W of Ψ equals the extended F_α, utilities far below u_min included."""
    f, alone = notion(alpha), notion(alpha, 1)
    p = np.geomspace(U_MAX**-alpha, U_MIN**-alpha, 4001)[:, None]
    dual = sum(psi(alone, p, u_k + np.zeros_like(p)).min() for u_k in u)
    extended = f.value(u)
    assert extended <= dual + 1e-9 * (1 + abs(dual))
    assert extended == pytest.approx(dual, rel=1e-4, abs=1e-4)


@given(u=arrays(float, (2, 3), elements=st.floats(-5, U_MAX)), alpha=alphas, mix=st.floats(0, 1))
def test_extended_fairness_is_concave(u, alpha, mix):
    f = notion(alpha)
    ends = f.value(u)
    between = f.value(mix * u[0] + (1 - mix) * u[1])
    assert between >= mix * ends[0] + (1 - mix) * ends[1] - 1e-9 * (1 + np.abs(ends).max())


@given(alpha=alphas, p=st.floats(0, 1))
def test_strong_convexity_modulus_holds_on_w_and_is_attained(alpha, p):
    """∂²Ψ/∂w² = p^{−1/α − 1}/α ≥ u_min^{1+α}/α on W, with equality at p = u_min^−α."""
    f = notion(alpha)
    low, high = f.priority_bounds
    p = low + p * (high - low)
    curvature = p ** (-1 / alpha - 1) / alpha
    assert curvature >= f.modulus * (1 - 1e-12)
    assert high ** (-1 / alpha - 1) / alpha == pytest.approx(f.modulus)


@given(u=utilities, alpha=alphas, order=st.permutations(range(3)))
def test_users_are_interchangeable(u, alpha, order):
    assert notion(alpha).value(u[list(order)]) == pytest.approx(notion(alpha).value(u))


@pytest.mark.parametrize("alpha", ALPHAS)
def test_a_batch_has_the_bits_of_its_members(alpha):
    f, u = notion(alpha), np.random.default_rng(0).uniform(-1, 5, (257, 3))
    u[::2] = np.maximum(u[::2], U_MIN)
    batch, columns = f.value(u), f.value(np.asfortranarray(u))
    single, numbers = [f.value(row) for row in u], [f.value_of(row.tolist()) for row in u]
    assert (batch == single).all() and (batch == columns).all() and (batch == numbers).all()
    assert (f.value(u[::2], above=True) == batch[::2]).all()


def test_where_there_is_no_dual_nothing_is_stepped():
    f, p = notion(0.0), np.ones(3)
    assert f.move(p, p, np.array([1.0, 2.0, 3.0]), 1, 8) is p and (f.project(p) == p).all()
    assert f.dual_bound(8) == 0 and f.priority_bounds == (1, 1)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: fairness.fairness([1.0, 2.0], -1), "alpha=-1"),
        (lambda: notion(-1), "alpha=-1"),
        (lambda: notion(np.nan), "alpha=nan"),
        (lambda: AlphaFair(2, (1.0, 2.0), 1.0, "printed"), "constants"),
        (lambda: fairness.fairness([1.0, np.nan], 1), "finite"),
        (lambda: fairness.fairness([1.0, 0.0], 1), "positive"),
    ],
)
def test_bad_input(call, message):
    with pytest.raises(ValueError, match=message):
        call()


@given(
    alpha=st.one_of(st.floats(0, 100), st.floats(-12, -2).map(lambda e: 1 + 10**e)),
    u=st.floats(-8, 7),
)
def test_extreme_figures_against_sixty_digits(alpha, u):
    """Values and conjugates, near α = 1 too, or a refusal in words."""
    mp = pytest.importorskip("mpmath")
    u = 10.0**u
    try:
        f = AlphaFair(1, (u, 2 * u), alpha)
    except ValueError as error:
        assert f"alpha={alpha:g}" in str(error) and alpha * -np.log10(u) > 240
        return
    with mp.workdps(60):
        a, v = mp.mpf(alpha), mp.mpf(u)
        value = mp.log(v) if a == 1 else (v ** (1 - a) - 1) / (1 - a)
        p = 0.9 * f.priorities(np.array([u]))
        assert f.value(np.array([u])) == pytest.approx(float(value), rel=1e-9, abs=1e-9)
        if alpha > 0.05 and p[0] > 1e-300:
            q = mp.mpf(p[0])
            conjugate = -mp.log(q) - 1 if a == 1 else (a * q ** (1 - 1 / a) - 1) / (1 - a)
            assert f.conjugate(p) == pytest.approx(float(conjugate), rel=1e-9, abs=1e-9)


@given(
    alpha=st.one_of(st.floats(0, 10), st.sampled_from([0.0, 1.0, 50.0, 100.0, 1000.0])),
    u=arrays(float, 3, elements=st.floats(0, 2)),
    u_min=st.sampled_from([1e-2, 1.0, 3.0]),
    falls=arrays(float, 3, elements=st.sampled_from([-1.5, -0.9, -0.5, -1e-6, 0.0, 1e-3, 4.0])),
)
@example(alpha=1000.0, u=np.ones(3), u_min=1.0, falls=np.array([-1.5, 0.0, 0.0]))
@settings(max_examples=60, deadline=None)
def test_growth_is_reckoned_where_powers_overflow(alpha, u, u_min, falls):
    """In units of the largest priority, against exact powers, below u_min too."""
    mp = pytest.importorskip("mpmath")
    u = 10.0**u
    if alpha > 100:
        u_min = 1.0
    f, change = AlphaFair(3, (u_min, 1e9), alpha), falls * u
    with np.errstate(all="ignore"):
        p, found = f.relative_priorities(u), f.change(u, change)
    assert p.max() == 1 and not np.isnan(found).any()
    with mp.workdps(60):
        a, low, worst = mp.mpf(alpha), mp.mpf(u_min), mp.mpf(max(u_min, u.min()))

        def term(v):
            inside = max(v, low)
            at = mp.log(inside) if a == 1 else inside ** (1 - a) / (1 - a)
            return at + (v - inside) * inside**-a

        for u_k, d_k, found_k in zip(u, change, found):
            growth = (term(mp.mpf(u_k) + mp.mpf(d_k)) - term(mp.mpf(u_k))) / worst**-a
            close = abs(growth - mp.mpf(found_k)) <= 1e-9 * abs(growth) + 1e-300
            assert close or (growth < -1e290 and found_k < -1e290)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: AlphaFair(2, (1e-8, 1.0), 50.0), r"alpha=50 .*u_min to the power -50"),
        (lambda: AlphaFair(2, (0.1, 1.0), 1e-3, "paper"), r"u_min to the power 1001"),
        (lambda: fairness.fairness([1e-8, 1.0], 50), "alpha=50: F of a utility of 1e-08"),
        (lambda: problem(alpha=100.0, utility_bounds=(1e3, 1e7)), "priorities reach from"),
        (lambda: problem(alpha=1000.0, utility_bounds=(1.0, 3.0)), "priorities reach from"),
    ],
)
def test_what_no_float_can_hold_is_refused(call, message):
    with pytest.raises(ValueError, match=message):
        call()


# The problem that a notion belongs to.


def problem(**changes):
    given_ = dict(num_users=3, dim=1, num_slots=4, utility_bounds=(1.0, 3.0))
    return Problem(**{**given_, "initial_model": np.zeros(1), **changes})


def test_a_problem_is_judged_by_what_it_is_given():
    assert problem().fairness == AlphaFair(3, (1.0, 3.0), 1.0) and problem().alpha == 1.0
    assert problem(alpha=2).fairness == AlphaFair(3, (1.0, 3.0), 2.0)
    other = problem().judged_by(AlphaFair(3, (1.0, 3.0), 5.0))
    assert other.alpha == 5.0 and other.fairness.alpha == 5.0


def test_the_gradients_bound_follows_the_notion():
    steep = dict(l_max=3.0, smoothness=2.0, utility_bounds=(0.5, 3.0))
    plain, fair = problem(**steep), problem(**steep, alpha=2.0)
    most = AlphaFair(3, (0.5, 3.0), 2.0)
    assert plain.gradient_bound == pytest.approx(3 / 0.5 * (2 * 2.0 * 2.5) ** 0.5)
    assert plain.judged_by(most).gradient_bound == fair.gradient_bound
    own = problem(gradient_bound=6.0, utility_bounds=(0.5, 3.0))
    assert own.judged_by(most).gradient_bound == pytest.approx(12.0)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"fairness": AlphaFair(2, (1.0, 3.0))}, "num_users=2: must be 3"),
        ({"fairness": AlphaFair(3, (1.0, 2.0))}, r"utility_bounds=\(1.0, 2.0\): must be"),
        ({"fairness": AlphaFair(3, (1.0, 3.0)), "alpha": 2.0}, "alpha=2.0"),
        ({"l_max": 4.0}, "l_max=4.0"),
    ],
)
def test_a_notion_of_another_problem_is_refused(changes, message):
    with pytest.raises(ValueError, match=message):
        problem(**changes)
