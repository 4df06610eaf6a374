"""The parts of the agents against their formulas' properties; the registry and the loop."""

from functools import partial

import gymnasium as gym
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

import owo_agents
import owo_env
from owo_agents.learner.initialization import RunningMean, make_initialization
from owo_agents.learner.step import GradientAscent, default_rate, largest_stable_rate
from owo_agents.learner.weighting import Constant, Dual, DualByRound, Normalized
from owo_agents.registry import registry

ID = "AIRAN-FairMTL-v0"


def problem(alpha=1.0, bounds=(0.5, 1.5), users=3, **kwargs):
    given_ = dict(
        num_users=users,
        dim=4,
        num_slots=32,
        alpha=alpha,
        utility_bounds=bounds,
        initial_model=np.zeros(4),
        model_bounds=(-1.0, 1.0),
        diameter=4.0,
        gradient_bound=8.0,
        hindsight=True,
    )
    return owo_env.Problem(**given_ | kwargs)


def run_dual(weighting, utilities):
    """The priorities played against a sequence of utilities (m, K)."""
    p = weighting.begin_round(())
    played = [p]
    for i, u in enumerate(utilities[:-1]):
        p = weighting.update(p, u, i + 1)
        played.append(p)
    return np.array(played)


@settings(deadline=None)
@given(
    u=arrays(float, (40, 3), elements=st.floats(0.5, 1.5)),
    alpha=st.sampled_from([0.5, 1.0, 2.0, 3.0]),
)
def test_dual_stays_in_w_and_keeps_its_regret_bound(u, alpha):
    """Bound (10) with G_W = √K(u_max − u_min) and the modulus u_min^{1+α}/α, on any sequence."""
    weighting = Dual(problem(alpha))
    p = run_dual(weighting, u)
    assert (p >= 1.5**-alpha - 1e-12).all() and (p <= 0.5**-alpha + 1e-12).all()
    f = weighting.fairness
    best = f.priorities(u.mean(axis=0))
    regret = f.conjugate(p).sum() + (p * u).sum() - len(u) * f.conjugate(best) - (best * u).sum()
    modulus = 0.5 ** (1 + alpha) / alpha
    assert regret <= 3 * (1.5 - 0.5) ** 2 / (2 * modulus) * (1 + np.log(40)) + 1e-9


@given(u=st.floats(0.5, 1.5), alpha=st.sampled_from([0.5, 1.0, 2.0]))
def test_equal_utilities_give_equal_priorities(u, alpha):
    p = run_dual(Dual(problem(alpha)), np.full((10, 3), u))
    assert (p == p[:, :1]).all()


@pytest.mark.parametrize("alpha", [0.1, 1.0, 2.0])
def test_dual_from_zero_steps_to_the_largest_priority(alpha):
    weighting = Dual(problem(alpha), initial_weights=[0.0, 1e-310, 1.0])
    p = run_dual(weighting, np.full((2, 3), 1.0))
    assert (p[1, :2] == weighting.fairness.priority_bounds[1]).all()


def test_alpha_zero_never_moves_the_priorities():
    p = run_dual(Dual(problem(0.0)), np.random.default_rng(0).uniform(0.5, 1.5, (9, 3)))
    assert (p == 1).all()


def test_dual_converges_to_the_best_priorities_on_constant_utilities():
    u = np.tile([0.6, 1.0, 1.4], (4000, 1))
    assert run_dual(Dual(problem(2.0)), u)[-1] == pytest.approx(u[0] ** -2.0, rel=1e-2)


def test_paper_modulus_is_a_longer_step_below_one():
    """u_min < 1 and α > 1: 1/u_min^{1+1/α} < 1/u_min^{1+α}; at α = 1 they agree."""

    def first(alpha, constants="corrected"):
        dual = Dual(problem(alpha), constants=constants)
        return dual.fairness.first_step

    assert first(2.0, "paper") < first(2.0)
    assert first(1.0, "paper") == first(1.0)


def test_constant_weights_are_shares_of_a_total():
    p = Constant(problem(), (1, 1, 2), total=8).begin_round((5,))
    assert p.shape == (5, 3) and p[0] == pytest.approx([2, 2, 4])
    assert Constant(problem()).begin_round(()).sum() == pytest.approx(
        Dual(problem()).begin_round(()).sum()
    )


def test_normalized_keeps_the_shares_of_the_dual():
    u = np.random.default_rng(1).uniform(0.5, 1.5, (20, 3))
    plain = run_dual(Dual(problem()), u)
    scaled = run_dual(Normalized(Dual(problem()), total=1.0), u)
    assert scaled.sum(axis=1) == pytest.approx(np.ones(20))
    assert scaled == pytest.approx(plain / plain.sum(axis=1, keepdims=True))


@given(targets=arrays(float, (50, 4), elements=st.floats(-1, 1)))
def test_running_mean_is_the_mean(targets):
    x = RunningMean(problem())
    assert (x.begin_round(()) == 0).all()
    for t, target in enumerate(targets):
        x.end_round(target)
        assert x.begin_round(()) == pytest.approx(targets[: t + 1].mean(axis=0), abs=1e-15 * 50)


def test_the_other_initializations():
    target = np.full(4, 0.5)
    after = {}
    for name in ("reptile", "continue", "reset"):
        x = make_initialization(problem(), name)
        x.end_round(target)
        after[name] = x.begin_round(())[0]
    assert after == {"reptile": pytest.approx(0.05), "continue": 0.5, "reset": 0.0}


def test_default_rate_is_algorithm_1_kept_stable():
    assert default_rate(problem()) == pytest.approx(4 / (8 * 32**0.5))
    stiff = problem(smoothness=100.0)
    assert default_rate(stiff) == largest_stable_rate(stiff) == pytest.approx(2 / (3 * 2 * 100))
    with pytest.warns(UserWarning, match=r"learning_rate=0.0133333 .* stable step 0.00333333"):
        GradientAscent(stiff, 4 * default_rate(stiff))


def test_projected_step():
    step = GradientAscent(problem(), 0.5)
    moved = step.update(np.array([0.0, 0.9, -0.9, 0.0]), np.array([0.2, 1.0, -1.0, 0.0]))
    assert moved == pytest.approx([0.1, 1.0, -1.0, 0.0])


@pytest.mark.parametrize("name", ["owo-fmtl", "cws", "srl", "frozen", "owo-normalized"])
def test_act_changes_nothing_and_state_goes_on(name):
    env = gym.make(ID, num_slots=4)
    agent = owo_agents.make(name, env)
    list(owo_agents.play(env, agent, 5, seed=0))
    other = owo_agents.make(name, env)
    other.load_state_dict(agent.state_dict())
    obs, info = env.reset()
    for learner in (agent, other):
        learner.begin_round(obs, info)
    for _ in range(4):
        first, again, copied = agent.act(obs, info), agent.act(obs, info), other.act(obs, info)
        for key in first:
            assert (first[key] == again[key]).all() and (first[key] == copied[key]).all()
        obs, *_, info = env.step(first)
        agent.learn(obs, info), other.learn(obs, info)


def test_scaling_all_losses_leaves_the_model_unchanged_at_alpha_1():
    """α = 1: losses, l_max and bounds times s change neither θ nor θ* (math of eq. 5 and 9)."""
    rng = np.random.default_rng(3)
    features, targets = rng.uniform(0, 1, (6, 5, 2, 3)), rng.uniform(-1, 1, (6, 5, 2))
    models = []
    for s in (1.0, 9.0):
        env = gym.make(
            ID,
            scenario="recorded",
            features=features * s**0.5,
            targets=targets * s**0.5,
            model_bounds=(-1.0, 1.0),
            l_max=6.0 * s,
            utility_bounds=(2.0 * s, 6.0 * s),
        )
        agent = owo_agents.make("owo-fmtl", env, learning_rate=0.1)
        models.append([r.model for r in owo_agents.play(env, agent, 6, seed=0)])
    assert np.array(models[0]) == pytest.approx(np.array(models[1]), abs=1e-8)


def test_permuting_the_users_permutes_everything():
    rng = np.random.default_rng(4)
    features, targets = rng.uniform(0, 1, (6, 5, 3, 2)), rng.uniform(-1, 1, (6, 5, 3))
    order = [2, 0, 1]
    records = []
    for users in ([0, 1, 2], order):
        env = gym.make(
            ID,
            scenario="recorded",
            features=features[:, :, users],
            targets=targets[:, :, users],
            model_bounds=(-1.0, 1.0),
            l_max=6.0,
            utility_bounds=(2.0, 6.0),
        )
        agent = owo_agents.make("owo-fmtl", env)
        records.append(list(owo_agents.play(env, agent, 6, seed=0)))
    for plain, permuted in zip(*records, strict=True):
        assert permuted.model == pytest.approx(plain.model, abs=1e-10)
        assert permuted.utilities == pytest.approx(plain.utilities[order], abs=1e-10)
        assert permuted.weights == pytest.approx(plain.weights[order], abs=1e-10)


class Still(owo_agents.Agent):
    """The shortest agent: the initial model and equal priorities."""

    def act(self, obs, info):
        return {"model": self.problem.initial_model, "weights": np.ones(self.problem.num_users)}


class NoAct:
    def __init__(self, problem):
        self.problem = problem


class BlowsUp(Still):
    def act(self, obs, info):
        return {**super().act(obs, info), "model": np.full(4, np.nan if obs["slot"] > 2 else 0.5)}


class NeedsAll(Still):
    gradients = "per_user"


def test_an_agent_of_ones_own_needs_only_act():
    env = gym.make(ID, num_slots=4)
    agent = owo_agents.make(f"{__name__}:Still", env)
    records = list(owo_agents.play(env, agent, 3, seed=0))
    assert [r.round for r in records] == [1, 2, 3]
    assert all(r.regret >= 0 for r in records)
    owo_agents.register("still", Still, "stands still")
    assert owo_agents.names()["still"] == "stands still"
    again = list(owo_agents.play(env, owo_agents.make("still", env), 3, seed=0))
    assert [r.fairness for r in again] == [r.fairness for r in records]


@pytest.mark.parametrize(
    ("name", "kwargs", "error", "message"),
    [
        ("owo-fmlt", {}, ValueError, "did you mean 'owo-fmtl'"),
        ("owo-fmtl", {"learning_rat": 1}, TypeError, "did you mean 'learning_rate'"),
        ("ftl", {"learning_rat": 1}, TypeError, "did you mean 'learning_rate'"),
        ("cws-tuned", {"learning_rat": 1}, TypeError, "did you mean 'learning_rate'"),
        ("owo-fmtl", {"learning_rate": -1}, ValueError, "learning_rate=-1"),
        ("owo-fmtl", {"initial_weights": (1, 2, 3)}, ValueError, "initial_weights"),
        ("owo-fmtl", {"target": "next"}, ValueError, "unknown target 'next'"),
        ("owo-fmtl", {"initialization": "mean"}, ValueError, "initialization"),
        ("owo-fmtl", {"initialization": "continue", "rate": 0.5}, ValueError, "rate=0.5"),
        ("cws", {"shares": (0.5, -0.5)}, ValueError, "shares"),
        ("cws", {"shares": (1e308, 1e308)}, ValueError, "shares"),
        ("cws", {"shares": (1, 1), "weights": (1, 1)}, ValueError, "another name of shares"),
        ("cws", {"weights": (0, 0)}, ValueError, "at least one must be positive"),
        ("cws", {"total": 0}, ValueError, "total=0"),
        ("no.such.module:Agent", {}, ValueError, "there is no module 'no.such.module'"),
        ("owo_agents:Nobody", {}, ValueError, "has no 'Nobody'"),
        (f"{__name__}:NoAct", {}, ValueError, "no method act"),
        (f"{__name__}:NeedsAll", {}, ValueError, "gradients='per_user'"),
    ],
)
def test_bad_agents_are_named(name, kwargs, error, message):
    with pytest.raises(error, match=message):
        owo_agents.make(name, gym.make(ID), **kwargs)


def test_exact_target_needs_hindsight():
    env = gym.make(ID, hindsight=False)
    assert owo_agents.make("owo-fmtl", env).target == "last"
    with pytest.raises(ValueError, match="target='exact'"):
        owo_agents.make("owo-fmtl", env, target="exact")
    with pytest.raises(ValueError, match=r"unknown target 'lats': .*known are avg, last$"):
        owo_agents.make("owo-fmtl", env, target="lats")


def test_play_refuses_what_cannot_work():
    env = gym.make(ID)
    with pytest.raises(ValueError, match="rounds=0"):
        owo_agents.play(env, Still(env.unwrapped.problem), 0)
    with pytest.raises(ValueError, match="per_user"):
        owo_agents.play(env, NeedsAll(env.unwrapped.problem), 1)
    vector = gym.make_vec(ID, num_envs=2)
    with pytest.raises(ValueError, match="DISABLED"):
        owo_agents.play(vector, Still(vector.unwrapped.problem), 1)


def test_an_agent_that_blows_up_is_named_with_round_and_slot():
    env = gym.make(ID)
    with pytest.raises(owo_agents.AgentError, match=r"BlowsUp: round 1, slot 4: .* not finite"):
        list(owo_agents.play(env, BlowsUp(env.unwrapped.problem), 1, seed=0))


class Factory:
    """A callable that makes agents and takes anything."""

    def __call__(self, problem, **anything: "no.such.annotation"):  # noqa: F821
        return Still(problem)


def test_a_factory_may_take_anything():
    env = gym.make(ID)
    owo_agents.register("anything", Factory())
    owo_agents.register("partly", partial(Factory(), shade=1))
    for name in ("anything", "partly"):
        assert isinstance(owo_agents.make(name, env, colour="red"), Still)


def test_at_alpha_zero_w_is_a_point():
    assert Dual(problem(0.0), (1, 1, 1)).begin_round(()).tolist() == [1, 1, 1]
    with pytest.raises(ValueError, match="at α = 0 W is a point"):
        Dual(problem(0.0), (1, 2, 1))


def test_normalized_carries_what_its_inner_weighting_carries():
    first, second = (Normalized(DualByRound(problem())) for _ in range(2))
    for _ in range(3):
        first.begin_round(())
    second.load_state_dict(first.state_dict())
    u = np.array([0.6, 1.0, 1.4])
    for weighting in (first, second):
        weighting.begin_round(())
    assert (first.update(u, u, 1) == second.update(u, u, 1)).all()


@pytest.mark.parametrize(
    ("known", "expected"),
    [
        ({"convex": True}, "RunningMean"),
        ({"convex": True, "hindsight": False, "model_bounds": None}, "RunningMean"),
        ({}, "Reptile"),
    ],
)
def test_the_default_outer_loop(known, expected):
    agent = owo_agents.make("owo-fmtl", problem(**known))
    assert type(agent.initialization).__name__ == expected


def test_what_act_hands_out_is_not_the_outer_loops_own():
    env = gym.make(ID, num_slots=2)
    agent = owo_agents.make("owo-fmtl", env)
    agent.begin_round(*env.reset(seed=0))
    agent.act({}, {})["model"][:] = 0.5  # a wrapper that adds noise in place
    assert (agent.initialization.begin_round(()) == 0).all()


def test_agents_are_called_by_the_name_they_were_made_by():
    env = gym.make(ID, num_slots=2)
    agent = owo_agents.make("cws", env, learning_rate=0.1)
    agent.learn = lambda obs, info: setattr(agent, "model", np.full(4, np.nan))
    with pytest.raises(owo_agents.AgentError, match="agent cws: round 1, slot 2"):
        list(owo_agents.play(env, agent, 1, seed=0))


def test_an_agents_own_name_stays(monkeypatch):
    class Named(Still):
        name = "mine"

    monkeypatch.setattr(registry, "entries", {"other": (Named, "")})
    assert owo_agents.make("other", gym.make(ID)).name == "mine"


def test_a_wrong_kind_of_gradients_is_the_agents_mistake():
    env = gym.make(ID)

    class Typo(Still):
        gradients = "per-user"

    with pytest.raises(ValueError, match=r"gradients of agent Typo.*did you mean 'per_user'"):
        owo_agents.play(env, Typo(env.unwrapped.problem), 1)


def test_what_is_no_agent_is_refused_before_it_plays(monkeypatch):
    env = gym.make(ID)

    class Duck:
        def __init__(self, problem):
            pass

        def act(self, obs, info):
            raise AssertionError

    with pytest.raises(TypeError, match=r"must be an owo_agents\.Agent"):
        owo_agents.play(env, Duck(None), 1)
    monkeypatch.setattr(registry, "entries", {"duck": (Duck, "")})
    with pytest.raises(ValueError, match="agent 'duck': Duck is no owo_agents"):
        owo_agents.make("duck", env)


def test_gymnasiums_own_vectors_have_no_hindsight_of_a_batch():
    env = gym.make_vec(ID, 2, "sync", vector_kwargs={"autoreset_mode": "Disabled"}, num_slots=2)
    agent = owo_agents.make("owo-fmtl", env)
    assert len(list(owo_agents.play(env, agent, 2, seed=0))) == 2
    with pytest.raises(ValueError, match=r"certify=True.*Sync-"):
        owo_agents.play(env, agent, 1, certify=True)
    with pytest.raises(ValueError, match="agent 'oracle' needs a native environment"):
        list(owo_agents.play(env, owo_agents.make("oracle", env), 1))
