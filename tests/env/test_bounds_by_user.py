"""Users whose losses differ in scale: bounds and l_max of their own, a thousandfold apart.

With α-fairness, a user whose losses, l_max and bounds are all c times as large is the same user:
its priorities are c^−α times as large, and at α = 1 models and regret stay what they were.
"""

import dataclasses

import gymnasium as gym
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import owo_agents
import owo_env
from owo_env import regret
from owo_env.fairness import AlphaFair, Contract, make_fairness
from owo_env.fairness.proof import prove
from owo_env.oracle import fairest_model

SCALE = np.array([1.0, 1024.0])  # powers of two: nothing is rounded by them
NOTIONS = {
    "alpha": {"name": "alpha", "alpha": 2.0},
    "weighted": {"name": "alpha", "weights": [2.0, 1.0, 0.5]},
    "nash": {"name": "nash", "disagreement": [0.1, 0.2, 90.0]},
    "min-rate": {"name": "min-rate", "floor": [1.5, 3.0, 1500.0], "penalty": 0.1},
    "max-min": "max-min",
    "gini": "gini",
}
BOUNDS = (1.0, 2.0, 1000.0), (3.0, 9.0, 2500.0)


@pytest.mark.parametrize("name", NOTIONS)
def test_equal_bounds_are_those_of_everybody(name):
    low, high = 120.0, 2500.0
    arguments = dict(NOTIONS[name]) if isinstance(NOTIONS[name], dict) else {"name": name}
    arguments |= {"floor": 1500.0} if "floor" in arguments else {}
    one = make_fairness(arguments, 3, (low, high))
    same = make_fairness(arguments, 3, ([low] * 3, np.full(3, high)))
    assert one == same and same.utility_bounds == (low, high)
    assert all(np.ndim(b) == 0 for b in same.bounds)


@pytest.mark.parametrize("agent", ["owo-fmtl", "hedge", "ftl", "owo-adaptive"])
def test_equal_bounds_give_the_same_bits(agent):
    def played(l_max, bounds):
        env = gym.make("AIRAN-FairMTL-v0", num_slots=8, l_max=l_max, utility_bounds=bounds)
        if owo_agents.make(agent, owo_env.problem_of(env)).gradients == "per_user":
            env = gym.make(
                "AIRAN-FairMTL-v0",
                num_slots=8, l_max=l_max, utility_bounds=bounds, gradients="per_user",
            )  # fmt: skip
        records = owo_agents.play(env, owo_agents.make(agent, env), 3, seed=0, certify=True)
        return [
            (r.fairness, r.regret, *r.model, *r.weights, r.extras["dual_regret"]) for r in records
        ]

    assert played(6.0, (2.0, 6.0)) == played([6.0, 6.0], ([2.0, 2.0], (6.0, 6.0)))


@pytest.mark.parametrize("name", NOTIONS)
def test_a_notion_is_what_it_says(name):
    """Value, priorities, projection and conjugate agree, as of a notion of somebody's own."""
    fairness = make_fairness(NOTIONS[name], 3, BOUNDS)
    unproven = type("Unproven", (type(fairness),), {"proven": False})
    fields = {f.name: getattr(fairness, f.name) for f in dataclasses.fields(fairness)}
    prove(unproven(**fields))
    low, high = fairness.priority_box
    p = fairness.priorities(np.random.default_rng(0).uniform(*map(np.array, BOUNDS), (64, 3)))
    assert (p >= low * (1 - 1e-12)).all() and (p <= high * (1 + 1e-12)).all()
    assert np.sum(high) >= fairness.most * (1 - 1e-12)


@given(st.floats(0.25, 4.0), st.lists(st.floats(0.0, 1.0), min_size=2, max_size=2))
@settings(max_examples=40, deadline=None)
def test_a_scaled_user_is_the_same_user(alpha, shares):
    plain = AlphaFair(2, (1.0, 3.0), alpha)
    scaled = AlphaFair(2, (SCALE, 3 * SCALE), alpha)
    u = 0.5 + 2.5 * np.array(shares)
    to = SCALE**-alpha
    assert scaled.priorities(u * SCALE) == pytest.approx(plain.priorities(u) * to, rel=1e-12)
    assert scaled.start == pytest.approx(plain.start * to, rel=1e-12)
    p, q = plain.start, scaled.start
    for slot in range(1, 6):
        p = plain.project(plain.move(p, p, u, slot, 8))
        q = scaled.project(scaled.move(q, q, u * SCALE, slot, 8))
        assert q == pytest.approx(p * to, rel=1e-9)
    assert scaled.total == pytest.approx(float(np.sum(plain.start * to)))
    contract = Contract(2, (SCALE, 3 * SCALE), alpha, disagreement=0.5 * SCALE)
    other = Contract(2, (1.0, 3.0), alpha, disagreement=0.5)
    assert contract.moduli == pytest.approx(other.moduli * SCALE ** (1 + alpha), rel=1e-12)


@given(st.sampled_from(list(NOTIONS)), st.integers(0, 2**32 - 1), st.sampled_from([1, 4, 32]))
@settings(max_examples=60, deadline=None)
def test_the_dual_step_keeps_its_bound(name, seed, m):
    """Bound (10) on utilities that jump between the users' bounds."""
    fairness, rng = make_fairness(NOTIONS[name], 3, BOUNDS), np.random.default_rng(seed)
    u = np.where(rng.random((m, 3)) < 0.5, *map(np.array, BOUNDS))
    z = p = fairness.start
    total = 0.0
    for slot, u_i in enumerate(u, 1):
        total += float(fairness.conjugate(p) + p @ u_i)
        z = fairness.move(z, p, u_i, slot, m)
        p = fairness.project(z)
    best = m * float(fairness.value(u.mean(axis=0)))
    size = 1 + abs(best)
    assert total - best <= fairness.dual_bound(m) * (1 + 1e-9) + 1e-9 * size


def recorded(scale, **more):
    rng = np.random.default_rng(3)
    x = rng.normal(size=(4, 8, 2, 5, 3))
    y = np.einsum("tikns,ks->tikn", x, rng.uniform(-0.5, 0.5, (2, 3)))
    root = np.sqrt(scale)[:, None]
    return gym.make(
        "AIRAN-FairMTL-v0",
        scenario="recorded",
        features=x * root[..., None],
        targets=y * root,
        l_max=6.0 * scale,
        utility_bounds=(2.0 * scale, 6.0 * scale),
        model_bounds=(-1, 1),
        **more,
    )


@pytest.mark.parametrize("link", [None, {"active": [0.6, 0.9], "loss": 0.5}])
def test_models_oracle_and_certificate_do_not_depend_on_a_user_s_scale(link):
    """α = 1: only F is shifted, by the logarithm of the scale."""
    both = []
    rate = owo_agents.make("owo-fmtl", recorded(np.ones(2))).learning_rate
    for scale in (np.ones(2), SCALE):
        env = recorded(scale, link=link, smoothness=(12.0 * scale).tolist())
        agent = owo_agents.make("owo-fmtl", env, learning_rate=rate)
        default = owo_agents.make("owo-fmtl", recorded(scale)).learning_rate
        assert default >= rate * (1 - 1e-9)
        both.append(list(owo_agents.play(env, agent, 4, seed=0, certify=True)))
        bound = regret.dual_bound(owo_env.problem_of(env))
        assert bound == pytest.approx(regret.dual_bound(owo_env.problem_of(recorded(np.ones(2)))))
    for one, other in zip(*both):
        assert other.model == pytest.approx(one.model, abs=1e-9)
        assert other.utilities == pytest.approx(one.utilities * SCALE, rel=1e-9)
        assert other.regret == pytest.approx(one.regret, abs=1e-8)
        assert other.fairness == pytest.approx(one.fairness + np.log(SCALE).sum())
        for term in ("primal_regret", "dual_regret", "residual"):
            assert other.extras[term] == pytest.approx(one.extras[term], abs=1e-7)


def test_many_streams_are_the_single_ones():
    one = recorded(SCALE)
    problem = owo_env.problem_of(one)
    many = gym.make_vec(
        "AIRAN-FairMTL-v0", num_envs=2, autoreset_mode="Disabled",
        scenario=one.unwrapped.scenario, hindsight=True,
    )  # fmt: skip
    assert owo_env.problem_of(many).utility_bounds == problem.utility_bounds
    play = owo_agents.play
    alone = list(play(one, owo_agents.make("owo-fmtl", one), 2, seed=0))
    beside = list(play(many, owo_agents.make("owo-fmtl", many), 2, seed=0))
    for a, b in zip(alone, beside):
        assert (b.utilities[0] == a.utilities).all() and b.regret[0] == a.regret
        assert b.extras["violations"][0] == a.extras["violations"]


@pytest.mark.parametrize("name", ["max-min", "gini", "alpha", "min-rate"])
def test_the_oracle_finds_no_better_model_on_a_grid(name):
    rng = np.random.default_rng(5)
    H = rng.uniform(0.5, 2.0, 3) * np.array([1.0, 1.0, 900.0])
    b, l_max = H * rng.uniform(-1, 1, 3), np.array([3.0, 9.0, 2500.0])
    s = b * b / H
    fairness = make_fairness(NOTIONS[name], 3, BOUNDS)
    found = fairest_model(
        H[None, None, :, None], b[None, :, None], s[:, None],
        fairness=fairness, l_max=l_max, bounds=(-1.0, 1.0), anchor=np.zeros(1),
    )  # fmt: skip
    grid = np.linspace(-1, 1, 200_001)[:, None]
    u = l_max - (H * grid**2 - 2 * b * grid + s)
    assert found.fairness[0] >= fairness.value(u).max() - 1e-9 * abs(found.fairness[0])
    assert found.fairness[0] <= fairness.value(u).max() + 1e-6 * (1 + abs(found.fairness[0]))
    theta = found.model[0, 0]
    assert found.utilities[:, 0] == pytest.approx(l_max - (H * theta**2 - 2 * b * theta + s))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"utility_bounds": ([1.0, 2.0, 3.0], 6.0)}, "must have 2 numbers, one a user"),
        ({"l_max": [6.0] * 3}, "l_max=.* must have 2 numbers"),
        ({"utility_bounds": ([2.0, 7.0], 6.0)}, r"utility_bounds\[1\] \(u_max\)=6.0: .*\(7,"),
        ({"utility_bounds": (2.0, [6.0, 1.0])}, r"\(u_max\)\[1\]=1.0: .*\(2,"),
        ({"utility_bounds": ([2.0, np.nan], 6.0)}, r"\(u_min\)\[1\]=nan"),
        ({"utility_bounds": (2.0, [9.0, 6.0]), "l_max": [9.0, 7.0]}, r"l_max\[1\]=7.0: .*\(2, 6\]"),
        ({"utility_bounds": 3.0}, "must be a pair"),
    ],
)
def test_what_cannot_be_a_user_s_is_refused_by_name(changes, message):
    with pytest.raises(ValueError, match=message):
        gym.make("AIRAN-FairMTL-v0", **{"l_max": 6.0, "utility_bounds": (2.0, 6.0), **changes})


def test_a_picture_shows_each_user_in_its_own_range():
    for mode, kind in (("ansi", str), ("rgb_array", np.ndarray)):
        env = recorded(SCALE, render_mode=mode)
        env.reset(seed=0)
        env.step({"model": np.zeros(3), "weights": 1 / (4 * SCALE)})
        shown = env.render()
        assert isinstance(shown, kind)
        if mode == "ansi":
            bars = [line.split("▕")[1].split("▏")[0].count("█") for line in shown.splitlines()[1:]]
            assert abs(bars[0] - bars[1]) <= 4  # alike, though one's utilities are thousands
