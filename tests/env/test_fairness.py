"""The fairness mathematics against identities, numerical derivatives and duality."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from owo_env import fairness

ALPHAS = [0.0, 0.5, 1.0, 2.0, 5.0]
U_MIN, U_MAX = 0.5, 4.0
alphas = st.floats(0.05, 8.0) | st.sampled_from(ALPHAS[1:])
utilities = arrays(float, 3, elements=st.floats(U_MIN, U_MAX))


def test_known_values():
    u = np.array([2.0, 4.0])
    assert fairness.fairness(u, 0) == pytest.approx(4.0)  # Σ (u − 1)
    assert fairness.fairness(u, 1) == pytest.approx(np.log(8))
    assert fairness.fairness(u, 2) == pytest.approx(2 - 1 / 2 - 1 / 4)  # Σ (1 − 1/u)
    assert fairness.conjugate(np.array([0.5, 0.25]), 1) == pytest.approx(np.log(8) - 2)
    assert fairness.jain_index([1.0, 1.0, 1.0]) == pytest.approx(1.0)
    assert fairness.jain_index([1.0, 0.0, 0.0, 0.0]) == pytest.approx(0.25)
    assert fairness.price_of_fairness([2.0, 2.0], [1.0, 4.0]) == pytest.approx(0.2)


@given(u=utilities)
def test_alpha_one_is_the_limit(u):
    near = (fairness.fairness(u, 1 - 1e-6) + fairness.fairness(u, 1 + 1e-6)) / 2
    assert near == pytest.approx(fairness.fairness(u, 1), abs=1e-8)


@given(u=utilities, p=arrays(float, 3, elements=st.floats(1e-2, 10)), alpha=alphas)
def test_fenchel_inequality_is_tight_at_the_best_priorities(u, p, alpha):
    value = fairness.fairness(u, alpha)
    assert fairness.saddle(p, u, alpha) >= value - 1e-9 * (1 + abs(value))
    best = fairness.fairness_gradient(u, alpha, U_MIN)
    assert fairness.saddle(best, u, alpha) == pytest.approx(value, abs=1e-8, rel=1e-9)
    assert fairness.dual_gradient(best, u, alpha) == pytest.approx(np.zeros(3), abs=1e-6)


@given(u=st.floats(U_MIN, U_MAX), p=st.floats(0.1, 5), alpha=alphas.filter(lambda a: a > 0.2))
def test_dual_gradient_is_the_derivative_of_psi(u, p, alpha):
    step = 1e-6 * p
    below, above = (
        fairness.saddle(np.array([q]), np.array([u]), alpha) for q in (p - step, p + step)
    )
    # w = −p, so ∂Ψ/∂w = −∂Ψ/∂p.
    expected = fairness.dual_gradient(np.array([p]), np.array([u]), alpha)[0]
    assert (below - above) / (2 * step) == pytest.approx(expected, rel=1e-4, abs=1e-4)


@given(u=arrays(float, 3, elements=st.floats(-20, U_MAX)), alpha=alphas)
def test_extension_is_what_the_dual_on_w_computes(u, alpha):
    """min over w ∈ W of Ψ equals the extended F_α, utilities far below u_min included."""
    p = np.geomspace(U_MAX**-alpha, U_MIN**-alpha, 4001)
    dual = sum(fairness.saddle(p[:, None], u_k + np.zeros((len(p), 1)), alpha).min() for u_k in u)
    extended = fairness.fairness(u, alpha, u_min=U_MIN)
    assert extended <= dual + 1e-9 * (1 + abs(dual))
    assert extended == pytest.approx(dual, rel=1e-4, abs=1e-4)


@given(u=arrays(float, (2, 3), elements=st.floats(-5, U_MAX)), alpha=alphas, mix=st.floats(0, 1))
def test_extended_fairness_is_concave(u, alpha, mix):
    f = [fairness.fairness(row, alpha, u_min=U_MIN) for row in u]
    between = fairness.fairness(mix * u[0] + (1 - mix) * u[1], alpha, u_min=U_MIN)
    assert between >= mix * f[0] + (1 - mix) * f[1] - 1e-9 * (1 + max(map(abs, f)))


@given(alpha=alphas, p=st.floats(0, 1))
def test_strong_convexity_modulus_holds_on_w_and_is_attained(alpha, p):
    """∂²Ψ/∂w² = p^{−1/α − 1}/α ≥ u_min^{1+α}/α on W, with equality at p = u_min^−α."""
    low, high = U_MAX**-alpha, U_MIN**-alpha
    p = low + p * (high - low)
    curvature = p ** (-1 / alpha - 1) / alpha
    assert curvature >= fairness.dual_modulus(alpha, U_MIN) * (1 - 1e-12)
    assert high ** (-1 / alpha - 1) / alpha == pytest.approx(fairness.dual_modulus(alpha, U_MIN))


@given(u=utilities, alpha=alphas, order=st.permutations(range(3)))
def test_users_are_interchangeable(u, alpha, order):
    assert fairness.fairness(u[list(order)], alpha) == pytest.approx(fairness.fairness(u, alpha))


@pytest.mark.parametrize("alpha", ALPHAS)
def test_a_batch_has_the_bits_of_its_members(alpha):
    u = np.random.default_rng(0).uniform(-1, 5, (257, 3))
    batch = fairness.fairness(u, alpha, u_min=U_MIN)
    columns = fairness.fairness(np.asfortranarray(u), alpha, u_min=U_MIN)
    single = [fairness.fairness(row, alpha, u_min=U_MIN) for row in u]
    assert (batch == single).all() and (batch == columns).all()


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: fairness.fairness([1.0, 2.0], -1), "alpha=-1"),
        (lambda: fairness.fairness([1.0, np.nan], 1), "finite"),
        (lambda: fairness.fairness([1.0, 0.0], 1), "positive"),
        (lambda: fairness.conjugate([1.0, 0.0], 1), "positive"),
        (lambda: fairness.conjugate([1.0, np.nan], 1), "positive"),
        (lambda: fairness.conjugate([1.0, 0.5], 0), "alpha=0"),
    ],
)
def test_bad_input(call, message):
    with pytest.raises(ValueError, match=message):
        call()
