"""Regret, certificate and bounds against their definitions, other solvers and worked figures."""

import math
from dataclasses import replace

import gymnasium as gym
import hypothesis.strategies as st
import numpy as np
import pytest
import scipy.optimize
from hypothesis import given, settings

import owo_agents
from owo_agents.learner.step import default_rate
from owo_agents.learner.weighting import DUALS
from owo_env import regret
from owo_env.problem import Problem

ID = "AIRAN-FairMTL-v0"
ALPHAS = [0.5, 1.0, 2.0, 5.0]


def problem(alpha=1.0, bounds=(2.0, 6.0), slots=4, users=2, **constants):
    return Problem(
        num_users=users,
        dim=4,
        num_slots=slots,
        alpha=alpha,
        utility_bounds=bounds,
        initial_model=np.zeros(4),
        model_bounds=(-1.0, 1.0),
        **constants,
    )


def psi(p, weights, utilities):
    """Ψ, eq. 3."""
    return float(p.fairness.conjugate(weights) + weights @ utilities)


def best_fixed_weights(p, utilities):
    """The comparator of R^w, the best in W for a whole round: p_k = ū_k^−α."""
    return p.fairness.priorities(utilities.mean(axis=-2))


def rounds(seed, alpha, count=3, slots=5, users=3):
    """Weights, utilities and the fairest model's, at random within the bounds."""
    rng = np.random.default_rng(seed)
    p = problem(alpha, slots=slots, users=users)
    shape = (count, slots, users)
    return p, rng.uniform(0.01, 1, shape), rng.uniform(2, 6, shape), rng.uniform(2, 6, shape)


@pytest.mark.parametrize("alpha", ALPHAS)
def test_terms_are_the_papers_definitions(alpha):
    p, w, u, best = rounds(0, alpha)
    certificate = regret.certify(p, w, u, best)
    for t in range(len(w)):
        primal = sum(psi(p, w[t, i], best[t, i]) - psi(p, w[t, i], u[t, i]) for i in range(5))
        assert certificate.primal_regret[t] == pytest.approx(primal, rel=1e-12)

        def summed_saddle(q, t=t):
            return sum(psi(p, q, u[t, i]) for i in range(5))

        low, high = p.fairness.priority_bounds
        least = scipy.optimize.minimize(
            summed_saddle, p.fairness.start, bounds=[(low, high)] * 3, tol=1e-14
        )
        dual = sum(psi(p, w[t, i], u[t, i]) for i in range(5)) - least.fun
        assert certificate.dual_regret[t] == pytest.approx(dual, rel=1e-6, abs=1e-6)
        assert best_fixed_weights(p, u[t]) == pytest.approx(least.x, rel=1e-3)
        residual = np.mean([-(w[t, i] - w[t].mean(0)) @ best[t, i] for i in range(5)])
        assert certificate.residual[t] == pytest.approx(residual, abs=1e-14)


@settings(max_examples=200)
@given(st.integers(0, 2**32), st.sampled_from([*ALPHAS, 0.1, 10.0]))
def test_certificate_holds_whatever_is_played(seed, alpha):
    """Weights lie inside and outside W; utilities are any within the bounds."""
    p, w, u, best = rounds(seed, alpha)
    slack = regret.certify(p, w, u, best).slack
    assert (slack >= -1e-12 * (1 + np.abs(slack))).all()


def test_certificate_is_tight_for_the_best_fixed_weights():
    """Both gaps of convexity close where weights are constant and best against θ*'s utilities."""
    p, _, u, best = rounds(1, 2.0)
    w = best_fixed_weights(p, best)[:, None].repeat(5, 1)
    certificate = regret.certify(p, w, u, best)
    assert certificate.residual == pytest.approx(0, abs=1e-14)
    assert certificate.slack == pytest.approx(0, abs=1e-12)


def test_a_worse_comparator_has_less_regret():
    p, w, u, best = rounds(2, 1.0)
    assert (regret.certify(p, w, u, best).regret > regret.certify(p, w, u, best - 0.5).regret).all()
    assert regret.certify(p, w, u, u).regret == pytest.approx(0)


@pytest.mark.parametrize(("alpha", "weight"), [(1.0, 0.0), (0.5, 0.0), (0.0, 0.5)])
def test_dual_regret_is_infinite_outside_the_conjugates_domain(alpha, weight):
    p, w, u, best = rounds(3, alpha)
    assert np.isposinf(regret.certify(p, np.full_like(w, weight), u, best).dual_regret).all()


def test_without_a_dual_nothing_is_lost_in_it():
    p, w, u, best = rounds(4, 0.0)
    certificate = regret.certify(p, np.ones_like(w), u, best)
    assert certificate.dual_regret == pytest.approx(0, abs=1e-12)
    assert certificate.regret == pytest.approx(certificate.primal_regret / 5)
    assert regret.dual_bound(p) == 0


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"weights": np.ones((5, 2))}, r"weights has shape \(5, 2\): must be \(..., 5, 3\)"),
        ({"utilities": np.ones((4, 3))}, "must be"),
        ({"fairest_utilities": np.full((3, 5, 3), np.nan)}, "fairest_utilities: must be finite"),
    ],
)
def test_bad_arrays_are_named(change, message):
    p, w, u, best = rounds(5, 1.0)
    arrays = {"weights": w, "utilities": u, "fairest_utilities": best}
    with pytest.raises(ValueError, match=message):
        regret.certify(p, **{**arrays, **change})


# Bounds.


def dual_regret(p, sequence, round_=1, step_index="slot", **choices):
    """R^w of OWO-FMTL's weights on a sequence of utilities, in its ``round_``-th round."""
    dual = DUALS[step_index](p, **choices)
    for _ in range(round_):
        w = dual.begin_round(())
    played = []
    for i, u in enumerate(sequence):
        played.append(w)
        w = dual.update(w, u, i + 1)
    return float(regret.certify(p, np.array(played), sequence, sequence).dual_regret)


@settings(max_examples=60)
@given(st.integers(0, 2**32), st.sampled_from(ALPHAS), st.sampled_from([0.5, 1.0, 2.0]))
def test_slot_indexed_step_keeps_bound_10(seed, alpha, u_min):
    """On constant, random and alternating extremes, for a ratio of bounds up to 3."""
    rng = np.random.default_rng(seed)
    bounds = (u_min, u_min * rng.uniform(1.1, 3))
    p = problem(alpha, bounds, slots=32)
    ends = np.array(bounds)
    turns = np.arange(32) // rng.integers(1, 32) % 2
    for u in (
        rng.uniform(*bounds, (32, 2)),
        ends[rng.integers(0, 2, (32, 2))],
        ends[np.stack([turns, 1 - turns], 1)],
        np.full((32, 2), ends[rng.integers(0, 2)]),
    ):
        assert dual_regret(p, u) <= regret.dual_bound(p)


def test_round_indexed_step_breaks_bound_10():
    """Algorithm 1's γ_t is by then so small that weights stay where they start in every round."""
    m = 128
    p = problem(1.0, slots=m)
    poor = np.full((m, 2), 2.0)
    late = {"round_": 512, "step_index": "round"}
    assert dual_regret(p, poor, **late) > regret.dual_bound(p)
    assert dual_regret(p, poor, step_index="slot", round_=512) < 0.1 * regret.dual_bound(p)
    half, late = problem(1.0, slots=m // 2), {**late, "round_": 8192}
    growth = dual_regret(p, poor, **late) / dual_regret(half, poor[: m // 2], **late)
    assert growth == pytest.approx(2, rel=0.1), "the dual regret grows linearly in m"


def test_papers_modulus_breaks_bound_10_where_u_min_is_below_one():
    small = problem(3.0, (0.25, 1.0), slots=128)
    poor = np.full((5000, 2), 0.25)
    assert dual_regret(small, poor[:128], constants="paper") > regret.dual_bound(small, "paper")
    assert dual_regret(small, poor[:128]) < regret.dual_bound(small)
    large = problem(3.0, (0.25, 1.0), slots=5000)
    assert dual_regret(large, poor, constants="paper") > regret.dual_bound(large)
    assert dual_regret(large, poor) < 0.01 * regret.dual_bound(large)


def test_corrected_constants_are_the_papers_at_alpha_one():
    p = problem(1.0, (2.0, 6.0), slots=32)
    paper = replace(p.fairness, constants="paper")
    assert paper.modulus == p.fairness.modulus == 4.0
    assert p.fairness.dual_gradient_bound == pytest.approx(math.sqrt(2) * 4)
    assert regret.dual_bound(p) == pytest.approx(32 / 8 * (1 + math.log(32)))
    # Printed: max{1/2 − 2, 6 − 1/6}.
    assert paper.dual_gradient_bound == pytest.approx(math.sqrt(2) * (6 - 1 / 6))


@settings(max_examples=100)
@given(st.sampled_from(ALPHAS), st.floats(0.2, 3), st.floats(1.01, 3), st.integers(0, 2**32))
def test_dual_gradient_is_within_its_bound_on_w(alpha, u_min, ratio, seed):
    p = problem(alpha, (u_min, u_min * ratio))
    rng = np.random.default_rng(seed)
    w = rng.uniform(*p.fairness.priority_bounds, (50, 2))
    g = p.fairness.dual_gradient(w, rng.uniform(*p.utility_bounds, (50, 2)))
    assert np.linalg.norm(g, axis=1).max() <= p.fairness.dual_gradient_bound * (1 + 1e-12)


def test_primal_bound_at_its_best_step():
    p = problem(slots=25, diameter=4.0, gradient_bound=8.0)
    assert regret.primal_bound(p, 2 / (8 * 5), 2.0) == pytest.approx(2 * 8 * 5)


def test_theorem_in_its_printed_form():
    p = problem(1.0, slots=16, diameter=4.0, gradient_bound=8.0)
    T, spread = 512, 1.5
    log = (1 + math.log(T)) / T
    printed = (8 * spread + 8 * 16 / (2 * spread) * log) / 4 + regret.dual_bound(p) / 16
    assert regret.theorem_bound(p, T, spread) == pytest.approx(printed)
    assert regret.theorem_bound(p, T, spread, constants="paper") > printed
    assert regret.theorem_bound(p, T) > printed


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: regret.primal_bound(problem(gradient_bound=1.0), 0.0, 1.0), "learning_rate=0.0"),
        (lambda: regret.primal_bound(problem(), 1.0, 1.0), "gradient_bound"),
        (lambda: regret.theorem_bound(problem(), 5), "diameter"),
        (lambda: regret.dual_bound(problem(), "printed"), "constants"),
        (lambda: regret.round_average([]), "at least one"),
        (lambda: regret.round_average([1.0, math.nan]), "finite"),
    ],
)
def test_bad_input_is_named(call, message):
    with pytest.raises(ValueError, match=message):
        call()


# On what agents play.


def certified(agent="owo-fmtl", rounds=20, arguments=None, **options):
    env = gym.make_vec(ID, num_envs=4, autoreset_mode="Disabled", **options)
    learner = owo_agents.make(agent, env, **(arguments or {}))
    return env.problem, list(owo_agents.play(env, learner, rounds, seed=0, certify=True))


def column(records, name):
    return np.array([record.extras[name] for record in records])


@pytest.mark.parametrize("adversary", ["none", "blocks"])
@pytest.mark.parametrize("alpha", ALPHAS)
def test_owo_fmtl_keeps_certificate_and_bounds_in_every_round(alpha, adversary):
    p, records = certified(alpha=alpha, adversary=adversary, num_slots=16)
    primal, dual = column(records, "primal_regret"), column(records, "dual_regret")
    gap = np.array([record.regret for record in records])
    assert ((primal + dual) / 16 + column(records, "residual") >= gap - 1e-12).all()
    assert (primal <= column(records, "primal_bound")).all()
    assert (dual <= regret.dual_bound(p)).all()
    assert gap.mean() <= regret.theorem_bound(p, 20, learning_rate=default_rate(p))


def test_the_recorded_regret_is_the_environments():
    env = gym.make(ID, num_slots=8)
    agent = owo_agents.make("owo-fmtl", env)
    obs, info = env.reset(seed=0)
    agent.begin_round(obs, info)
    slots = []
    for _ in range(8):
        action = agent.act(obs, info)
        obs, *_, info = env.step(action)
        agent.learn(obs, info)
        slots.append((action["weights"], obs["utilities"]))
    best = env.unwrapped.evaluate(info["fairest_model"])
    found = regret.certify(env.unwrapped.problem, *map(np.array, zip(*slots)), best)
    assert found.regret == pytest.approx(info["regret"], abs=1e-12)


def test_constant_weights_outside_w_break_bound_10():
    p, records = certified("cws", num_slots=16, arguments={"total": 2.0})
    assert (column(records, "dual_regret") > regret.dual_bound(p)).all()


def test_a_vectors_certificates_are_the_scalars():
    _, batched = certified(alpha=2.0, num_slots=16, rounds=3)
    for n in range(4):
        env = gym.make(ID, alpha=2.0, num_slots=16)
        agent = owo_agents.make("owo-fmtl", env)
        for ours, alone in zip(batched, owo_agents.play(env, agent, 3, seed=n, certify=True)):
            for name in ("primal_regret", "dual_regret", "residual", "primal_bound"):
                assert ours.extras[name][n] == alone.extras[name]


def test_infinite_terms_are_left_out():
    _, records = certified("frozen", num_slots=4)
    assert "primal_bound" not in records[0].extras
    _, records = certified("cws", num_slots=4, arguments={"weights": [0.0, 1.0]})
    assert "dual_regret" not in records[0].extras and "primal_regret" in records[0].extras


def test_nothing_to_certify_without_hindsight():
    env = gym.make(ID, hindsight=False)
    with pytest.raises(ValueError, match="certify=True"):
        owo_agents.play(env, owo_agents.make("owo-fmtl", env), 1, certify=True)
