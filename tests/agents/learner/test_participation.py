"""Learners over a link: the worked example, the decomposition of regret, and what rivals see."""

import gymnasium as gym
import numpy as np
import pytest
import torch

import owo_agents
import owo_env  # noqa: F401  (registers the environment)
from owo_agents import play
from owo_agents.learner.participation import Participation
from owo_agents.learner.step import default_rate, largest_stable_rate
from owo_env.regret import certify

ID = "AIRAN-FairMTL-v0"
WEIGHTED = ["owo-fmtl", "ftl", "cws", "srl", "frozen", "hedge", "owo-normalized"]
PER_USER = ["slot-fair", "fairgrad", "pcgrad", "upgrad", "mgda", "cagrad"]
LINKS = {
    "outage": {"outage_db": -3.0},
    "activity": {"active": [0.3, 0.9, 0.9, 0.6]},
    "bursts": {"active": 0.5, "burst": 6, "loss": 0.2},
    "presence": {"present": 0.5},
    "delay": {"delay": 3},
    "bits": {"bits": 2},
    "jobs": {"active": 0.4, "loss": 0.3, "count": "jobs"},
    "all": {"present": 0.7, "active": 0.7, "outage_db": -3.0, "delay": 2, "bits": 3},
}


def made(link, agent="owo-fmtl", num_slots=16, **settings):
    gradients = "per_user" if agent in (*PER_USER, "owo-adaptive") else "weighted"
    return gym.make(
        ID,
        scenario="csi-prediction",
        num_slots=num_slots,
        gradients=gradients,
        link=link,
        **settings,
    )


MASKS = {"active": [[True, True], [True, False]], "heard": [[True, False], [True, False]]}


def by_hand(count):
    return gym.make(
        ID,
        scenario="recorded",
        features=np.ones((1, 2, 2, 1)),
        targets=np.array([[[1.0, 0.0], [1.0, -1.0]]]),
        model_bounds=(-1.0, 1.0),
        l_max=5.0,
        utility_bounds=(1.0, 5.0),
        link={"count": count},
        **{name: np.array([mask]) for name, mask in MASKS.items()},
    )


@pytest.mark.parametrize("count", ["users", "jobs"])
def test_the_worked_example(count):
    """As heard: θ = .25, p = (.2, .2), then θ = .325, p = (.48125, 1); factors (1, 2) by then."""
    env = by_hand(count)
    options = {"learning_rate": 0.25, "initial_weights": (0.5, 0.5)}
    naive = owo_agents.make("owo-fmtl", env, participation="as-heard", **options)
    fair = owo_agents.make("owo-fmtl", env, **options)
    obs, info = env.reset(seed=0)
    for agent in (naive, fair):
        agent.begin_round(obs, info)
    obs, _, _, _, info = env.step(naive.act(obs, info))
    for agent in (naive, fair):
        agent.learn(obs, info)
        assert agent.model == pytest.approx([0.25])
        assert agent.weights == pytest.approx([0.2, 0.2])
    assert naive.act(obs, info)["weights"] == pytest.approx([0.2, 0.2])
    assert fair.act(obs, info)["weights"] == pytest.approx([0.2, 0.4])
    obs, _, _, _, info = env.step(naive.act(obs, info))
    naive.learn(obs, info)
    assert naive.model == pytest.approx([0.325])
    assert naive.weights == pytest.approx([0.48125, 1.0])


def test_factors_undo_how_often_users_are_heard():
    """Σ of factor times heard grows as the slots (or the user's own jobs) do."""
    rng = np.random.default_rng(0)
    for count in ("users", "jobs"):
        problem = made({"active": 0.5, "loss": 0.5, "count": count}).unwrapped.problem
        one = Participation(problem, "inverse")
        one.begin_round(())
        total, jobs, chance = np.zeros(4), np.zeros(4), np.array([0.3, 0.5, 0.8, 1.0])
        for slot in range(1, 4001):
            active = rng.random(4) < chance
            heard = active & (rng.random(4) < 0.4)
            total += one.factors() * heard
            jobs += active
            one.learn({"active": active, "heard": heard, "slot": slot})
        due = jobs if count == "jobs" else 4000
        assert total == pytest.approx(due * np.ones(4), rel=0.1)


def test_what_is_under_way_counts_for_nobody():
    """The first D slots have no feedback: then factors are 1, and count from what arrives."""
    one = Participation(made({"loss": 0.5, "delay": 3}).unwrapped.problem, "inverse")
    one.begin_round(())
    nobody, two = np.zeros(4, int), np.array([1, 0, 1, 0])
    for slot in (1, 2, 3):
        one.learn({"active": nobody, "heard": nobody, "slot": slot})
        assert one.factors().tolist() == [1, 1, 1, 1]
    one.learn({"active": np.ones(4, int), "heard": two, "slot": 4})
    assert one.factors().tolist() == [1, 2, 1, 2]


def test_the_delivered_total_never_exceeds_what_the_dual_itself_can_play():
    env = made({"outage_db": 3.0})
    agent = owo_agents.make("owo-fmtl", env)
    most, capped = env.unwrapped.problem.fairness.most, 0
    obs, info = env.reset(seed=0)
    agent.begin_round(obs, info)
    for _ in range(16):
        played = agent.act(obs, info)
        obs, _, _, _, info = env.step(played)
        agent.learn(obs, info)
        capped += (played["weights"] * obs["heard"]).sum() > most
        assert agent.delivered.sum() <= most * (1 + 1e-12)
    assert capped


@pytest.mark.parametrize("agent", WEIGHTED + PER_USER + ["owo-adaptive"])
@pytest.mark.parametrize("link", ["all", "jobs"])
def test_every_learner_plays_over_a_link(agent, link):
    settings = {"alpha": 1.0}
    env = made(LINKS[link], agent, **settings)
    records = list(play(env, owo_agents.make(agent, env), 4, seed=0))
    for record in records:
        assert np.isfinite(record.fairness)
        assert np.isfinite(record.model).all()
        assert (record.extras["heard_slots"] <= record.extras["active_slots"]).all()


@pytest.mark.parametrize("agent", ["owo-fmtl", "cws", "mgda", "owo-adaptive"])
def test_streams_side_by_side_learn_what_they_learn_alone(agent):
    env = made(LINKS["all"], agent)
    gradients = env.unwrapped.gradients
    vector = gym.make_vec(
        ID, num_envs=3, scenario="csi-prediction", num_slots=16, link=LINKS["all"],
        gradients=gradients, autoreset_mode="Disabled",
    )  # fmt: skip
    together = list(play(vector, owo_agents.make(agent, vector), 3, seed=5))
    for n in range(3):
        alone = made(LINKS["all"], agent)
        for record, batch in zip(
            play(alone, owo_agents.make(agent, alone), 3, seed=5 + n), together
        ):
            assert np.array_equal(record.model, batch.model[n])
            assert record.regret == batch.regret[n]


@pytest.mark.parametrize("agent", ["owo-fmtl", "cws", "owo-adaptive", "slot-fair"])
@pytest.mark.parametrize("link", LINKS)
def test_the_decomposition_of_regret_holds_in_every_round(agent, link):
    """regret ≤ (R_ω + R^w + B)/m + residual, whoever plays, whoever is heard."""
    env = made(LINKS[link], agent)
    for record in play(env, owo_agents.make(agent, env), 6, seed=1, certify=True):
        terms = record.extras
        bound = sum(terms[name] for name in ("primal_regret", "dual_regret", "missed")) / 16
        assert record.regret <= bound + terms["residual"] + 1e-9


def test_the_decomposition_against_sums_written_out():
    """Over jobs and users, with priorities and deliveries of no learner at all."""
    rng = np.random.default_rng(3)
    for count in ("users", "jobs"):
        problem = made({"active": 0.5, "count": count}, alpha=2.0).unwrapped.problem
        p, u, best = (
            rng.uniform(0.7, 3.0, (16, 4)),
            rng.uniform(0.5, 1.2, (16, 4)),
            rng.uniform(0.5, 1.2, (16, 4)),
        )
        active = rng.random((16, 4)) < 0.6
        active[:, 2] = False  # never there
        delivered = p * active * (rng.random((16, 4)) < 0.5)
        found = certify(problem, p, u, best, active, delivered)
        regret = primal = dual = residual = missed = 0.0
        for k in range(4):
            if not active[:, k].any():
                continue
            a = active[:, k] / (16 if count == "jobs" else active[:, k].sum())
            share = a.sum()
            mean, mean_best, mean_p = ((a * v[:, k]).sum() / share for v in (u, best, p))
            regret += share * (1 / mean - 1 / mean_best)  # f(u) = 1 − 1/u
            conjugate = 1 - 2 * np.sqrt(p[:, k])  # max f(u) − pu at u = p^−½
            dual += 16 * ((a * (conjugate + p[:, k] * u[:, k])).sum() - share * (1 - 1 / mean))
            residual -= (a * (p[:, k] - mean_p) * best[:, k]).sum()
            gain = best[:, k] - u[:, k]
            primal += (delivered[:, k] * gain).sum()
            missed += ((16 * a * p[:, k] - delivered[:, k]) * gain).sum()
        assert found.regret == pytest.approx(regret)
        assert found.primal_regret == pytest.approx(primal)
        assert found.dual_regret == pytest.approx(dual)
        assert found.residual == pytest.approx(residual)
        assert found.missed == pytest.approx(missed)
        assert found.slack >= 0


def test_steps_are_shorter_where_feedback_is_late_and_halved_where_it_is_corrected():
    plain = made(None).unwrapped.problem
    late = made({"delay": 3}).unwrapped.problem
    limit = largest_stable_rate(late) / largest_stable_rate(plain)
    assert limit == pytest.approx(np.sin(np.pi / 14))
    # x ← x − a x_{−3} is stable up to 2 sin(π/14): its roots are within the unit circle.
    for scale, stable in ((0.99, True), (1.01, False)):
        roots = np.roots([1, -1, 0, 0, scale * 2 * limit])
        assert (np.abs(roots).max() < 1) == stable
    assert default_rate(late) <= default_rate(plain) * limit * (1 + 1e-12)
    env = made({"outage_db": -3.0})
    full = default_rate(env.unwrapped.problem)
    assert owo_agents.make("cws", env).learning_rate == full / 2
    assert owo_agents.make("cws", env, participation="as-heard").learning_rate == full
    there = made({"present": 0.5})
    assert owo_agents.make("cws", there).learning_rate == full


def test_the_dual_does_not_move_before_anything_arrives_and_then_goes_on_as_without_delay():
    """θ stands still (η = 0): utilities come three slots later, and so do the priorities."""
    played = {}
    for delay in (0, 3):
        env = made({"delay": delay} if delay else None)
        agent = owo_agents.make("owo-fmtl", env, learning_rate=0.0)
        obs, info = env.reset(seed=0)
        agent.begin_round(obs, info)
        weights = []
        for _ in range(16):
            action = agent.act(obs, info)
            weights.append(action["weights"])
            obs, _, _, _, info = env.step(action)
            agent.learn(obs, info)
        played[delay] = np.array(weights)
    assert (played[3][:4] == played[3][0]).all()
    assert np.array_equal(played[3][3:], played[0][:-3])


def test_rivals_see_the_heard_rows_alone():
    from torchjd.aggregation import UPGrad

    env = made({"loss": 0.5}, "upgrad")
    agent = owo_agents.make("upgrad", env)
    obs, info = env.reset(seed=0)
    agent.begin_round(obs, info)
    seen = set()
    for _ in range(16):
        obs, _, _, _, info = env.step(agent.act(obs, info))
        rows = obs["gradients"][obs["heard"] > 0]
        seen.add(len(rows))
        direction = agent.direction(obs)
        expected = -UPGrad()(-torch.from_numpy(rows)).numpy() if len(rows) else np.zeros(4)
        assert direction == pytest.approx(expected, abs=1e-9)
        assert (agent.weighting.weights[obs["heard"] == 0] == 0).all()
    assert len(seen) > 2


def test_bad_names_and_other_links_are_refused():
    env = made({"loss": 0.5})
    with pytest.raises(ValueError, match=r"unknown participation 'reverse'.*inverse"):
        owo_agents.make("owo-fmtl", env, participation="reverse")
    with pytest.raises(ValueError, match=r"unknown participation 'reverse'.*inverse"):
        owo_agents.make("owo-fmtl", made(None), participation="reverse")
    with pytest.raises(ValueError, match="made for link=None"):
        next(play(env, owo_agents.make("owo-fmtl", made(None)), 1, seed=0))
    with pytest.raises(ValueError, match=r"single-task.*link"):
        next(play(env, owo_agents.make("single-task", env), 1, seed=0))
    per_user = made({"active": 0.5}, "upgrad", fairness="max-min")
    with pytest.raises(ValueError, match="no sum over users"):
        next(play(per_user, owo_agents.make("upgrad", per_user), 1, seed=0, certify=True))
