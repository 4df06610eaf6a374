"""Learners under notions other than α-fairness: one by one or side by side, the same rounds."""

import gymnasium as gym
import numpy as np
import pytest

import owo_agents
from owo_agents.learner.weighting import Dual
from owo_agents.playing import side_by_side
from owo_agents.rl.control import RoundView, WeightMap
from owo_env.fairness import make_fairness

ID = "AIRAN-FairMTL-v0"
CONTRACTS = {
    "weights": {"name": "alpha", "weights": [4.0, 1.0, 1.0, 1.0]},
    "nash": {"name": "nash", "disagreement": 0.25},
    "min-rate": {"name": "min-rate", "floor": 0.6},
}
ORDERED = {
    "max-min": {"name": "max-min"},
    "cvar": {"name": "cvar", "share": 0.5},
    "gini": {"name": "gini", "ratio": 0.5},
}
NOTIONS = {**CONTRACTS, **ORDERED}
every_notion = pytest.mark.parametrize("name", NOTIONS)


def radio(name, kind=gym.make, gradients="weighted", **more):
    given = {"scenario": "csi-prediction", "num_slots": 16, "gradients": gradients, **more}
    return kind(ID, fairness=NOTIONS[name], **given)


def many(name, seeds, **more):
    return radio(name, gym.make_vec, num_envs=len(seeds), autoreset_mode="Disabled", **more)


@every_notion
@pytest.mark.parametrize("agent", ["owo-fmtl", "owo-adaptive", "cws", "hedge"])
def test_one_by_one_or_side_by_side_it_is_the_same(name, agent):
    gradients = "per_user" if agent == "owo-adaptive" else "weighted"
    seeds, rounds = [3, 4], 5
    env = many(name, seeds, gradients=gradients)
    vector = list(owo_agents.play(env, owo_agents.make(agent, env), rounds, seed=seeds))
    for n, seed in enumerate(seeds):
        env = radio(name, gradients=gradients)
        scalar = list(owo_agents.play(env, owo_agents.make(agent, env), rounds, seed=seed))
        for one, all_ in zip(scalar, vector, strict=True):
            for figure in ("fairness", "regret", "utilities", "weights", "model"):
                assert (getattr(one, figure) == getattr(all_, figure)[n]).all(), figure
        if agent != "owo-adaptive":
            beside = side_by_side.play(env, owo_agents.make(agent, env), rounds, seed)
            assert [r.regret for r in beside] == [r.regret for r in scalar]


@every_notion
def test_certificate_and_bounds_hold_in_every_round(name):
    env = radio(name)
    f = env.unwrapped.problem.fairness
    agent = owo_agents.make("owo-fmtl", env)
    for record in owo_agents.play(env, agent, 24, seed=0, certify=True):
        told = record.extras
        bound = (told["primal_regret"] + told["dual_regret"]) / 16 + told["residual"]
        assert record.regret <= bound + 1e-9
        assert told["dual_regret"] <= f.dual_bound(16) + 1e-9
        assert told["primal_regret"] <= told["primal_bound"] + 1e-9


@every_notion
def test_learning_pays(name):
    """OWO-FMTL is nearer its oracle than constant weights, by a paired interval over seeds."""
    seeds = list(range(8))

    def regret(agent):
        env = many(name, seeds, num_slots=64)
        records = owo_agents.play(env, owo_agents.make(agent, env), 16, seed=seeds)
        return np.mean([record.regret for record in records], axis=0)

    gain = regret("cws") - regret("owo-fmtl")
    assert gain.mean() > 2.4 * gain.std(ddof=1) / len(seeds) ** 0.5


def test_the_worst_user_is_better_off_where_he_alone_counts():
    seeds = list(range(8))

    def worst(fairness):
        env = gym.make_vec(
            ID,
            num_envs=8,
            autoreset_mode="Disabled",
            scenario="csi-prediction",
            fairness=fairness,
        )
        records = owo_agents.play(env, owo_agents.make("owo-fmtl", env), 48, seed=seeds)
        return np.mean([record.utilities.min(axis=-1) for record in records])

    assert worst("max-min") >= 1.2 * worst("alpha")


@every_notion
def test_the_weights_as_actions(name):
    problem = radio(name).unwrapped.problem
    f, map_ = problem.fairness, WeightMap(problem)
    action = np.random.default_rng(0).uniform(-1, 1, (50, 4))
    p = map_.priorities(action)
    assert f.project(p) == pytest.approx(p, abs=1e-12)
    if name in CONTRACTS:
        assert map_.actions(p) == pytest.approx(action, abs=1e-9)
        assert map_.priorities(-np.ones(4)) == pytest.approx(map_.low)
    assert RoundView(problem).space.shape == (13,)


@every_notion
def test_the_scalarizer_plays_the_same_priorities(name):
    torch = pytest.importorskip("torch")
    pytest.importorskip("torchjd")
    from owo_agents.scalarizer import DualScalarizer

    problem = radio(name).unwrapped.problem
    given = {"utility_bounds": problem.utility_bounds, "fairness": NOTIONS[name]}
    ours = DualScalarizer((2, 2), max_loss=1.25, num_slots=16, **given).double()
    dual = Dual(problem)
    for _ in range(2):
        ours.reset()
        p = dual.begin_round(())
        for i, losses in enumerate(np.random.default_rng(1).uniform(0, 0.9, (16, 4))):
            assert ours.priorities.numpy().ravel() == pytest.approx(p, abs=1e-6)
            ours.update(torch.tensor(losses.reshape(2, 2)))
            p = dual.update(p, 1.25 - losses, i + 1)
    if name in ORDERED:
        with pytest.raises(ValueError, match="num_slots"):
            DualScalarizer(4, max_loss=1.25, **given)


def test_constant_weights_know_the_contract():
    problem = radio("weights").unwrapped.problem
    p = owo_agents.make("cws", problem).weighting.start
    assert p / p[1] == pytest.approx([4, 1, 1, 1])
    assert p.sum() == pytest.approx(problem.fairness.total)


def test_a_step_by_the_round_is_refused_where_nothing_is_counted():
    problem = radio("max-min").unwrapped.problem
    with pytest.raises(ValueError, match="step_index='round'"):
        owo_agents.make("owo-fmtl", problem, step_index="round")
    by_round = owo_agents.make("owo-fmtl", radio("nash").unwrapped.problem, step_index="round")
    assert by_round.weighting.round == 0


def test_the_step_is_stable_where_the_total_never_falls():
    """Half of the limit: Σp is Σω in every slot."""
    problem = radio("max-min").unwrapped.problem
    smoothness = problem.smoothness
    assert owo_agents.make("owo-fmtl", problem).learning_rate == pytest.approx(1 / smoothness)
    f = make_fairness("alpha", 4, problem.utility_bounds)
    plain = owo_agents.make("owo-fmtl", problem.judged_by(f))
    assert plain.learning_rate == pytest.approx(2 / (f.most * smoothness))


def test_a_policy_is_of_its_notion():
    """It says under which it was trained, and is refused under another."""
    from owo_agents.rl.policy import Policy, described

    plain = gym.make(ID, scenario="csi-prediction").unwrapped.problem
    fair = radio("max-min").unwrapped.problem
    layers = [(np.zeros((4, 13)), np.zeros(4))]
    for trained, other in ((fair, plain), (plain, fair)):
        policy = Policy(layers, "tanh", False, described(trained))
        policy.check(trained)
        with pytest.raises(ValueError, match="trained on"):
            policy.check(other)
