"""Rounds worked by hand, played through the public agent."""

import gymnasium as gym
import numpy as np
import pytest

import owo_agents
import owo_env  # noqa: F401  (registers the environment)

APPROX = dict(abs=1e-12, rel=0)


def make_recorded(targets, alpha, l_max, utility_bounds):
    """Two users, two slots, one feature equal to 1, loss (θ − y)², Θ = [−1, 1]."""
    return gym.make(
        "AIRAN-FairMTL-v0",
        scenario="recorded",
        alpha=alpha,
        features=np.ones((1, 2, 2, 1)),
        targets=np.array([targets], float),
        model_bounds=(-1.0, 1.0),
        l_max=l_max,
        utility_bounds=utility_bounds,
    )


def play_by_hand(env, agent):
    """What agent and environment say after each of the two slots."""
    obs, info = env.reset(seed=0)
    agent.begin_round(obs, info)
    seen = []
    for _ in range(2):
        obs, reward, terminated, _, info = env.step(agent.act(obs, info))
        agent.learn(obs, info)
        seen.append((obs, reward, agent.model.copy(), agent.weights.copy()))
    assert terminated
    agent.end_round(obs, info)
    return seen, info


def test_worked_example_at_alpha_1():
    """Labels (1, 0) then (1, −1); [u_min, u_max] = [1, 5], l_max = 5, η = ¼, x = 0, p = (½, ½).

    Slot 1: losses (1, 0), u = (4, 5), Σw∇ℓ = 1, g^w = (−2, −3) → θ = 0.25, w = (−0.2, −0.2).
    Slot 2: losses (0.5625, 1.5625), u = (4.4375, 3.4375), Σw∇ℓ = −0.2 → θ = 0.2,
    w = (−0.48125, −0.98125).
    """
    env = make_recorded([[1, 0], [1, -1]], 1.0, 5.0, (1.0, 5.0))
    agent = owo_agents.make("owo-fmtl", env, learning_rate=0.25, initial_weights=(0.5, 0.5))
    (first, second), info = play_by_hand(env, agent)

    assert first[0]["utilities"] == pytest.approx([4, 5], **APPROX)
    assert first[0]["gradient"] == pytest.approx([1], **APPROX)
    assert first[2] == pytest.approx([0.25], **APPROX)
    assert first[3] == pytest.approx([0.2, 0.2], **APPROX)
    assert second[0]["utilities"] == pytest.approx([4.4375, 3.4375], **APPROX)
    assert second[0]["gradient"] == pytest.approx([-0.2], **APPROX)
    assert second[2] == pytest.approx([0.2], **APPROX)
    assert second[3] == pytest.approx([0.48125, 0.98125], **APPROX)

    assert first[1] + second[1] == pytest.approx(2.8790777512774, **APPROX)
    assert info["fairest_model"] == pytest.approx([0.2327576779582], abs=1e-11)
    assert info["fairest_fairness"] == pytest.approx(2.9223690138714, **APPROX)
    assert info["regret"] == pytest.approx(0.0432912625940, abs=1e-12)
    assert agent.initialization.x == pytest.approx(info["fairest_model"], **APPROX)


def test_worked_example_at_alpha_2():
    """Labels (1, 0) in both slots; [u_min, u_max] = [1, 4], l_max = 4, η = ½, p = (¼, ¼), x = 0.

    γ_i = α/(u_min³ i) = 2/i and W is p ∈ [1/16, 1].

    Slot 1: θ = 0: losses (1, 0), u = (3, 4). ∇u = −2(θ − y) = (2, 0), so Σp∇u = ½ and
    θ = 0 + ½·½ = 0.25. p^{−1/2} = 2, so g^w = 2 − u = (−1, −2); p + 2g^w = (−1.75, −3.75) →
    (1/16, 1/16). F_2(u) = (1 − 1/3) + (1 − 1/4) = 17/12.
    Slot 2: θ = ¼: losses (9/16, 1/16), u = (55/16, 63/16). ∇u = (3/2, −1/2), Σp∇u = 1/16, so
    θ = 0.25 + 1/32 = 0.28125. p^{−1/2} = 4, g^w = 4 − u = (9/16, 1/16), γ = 1, so
    p = (1/16 + 9/16, 1/16 + 1/16) = (0.625, 0.125).
    Round: ū = (103/32, 127/32), F_2 = 2 − 32/103 − 32/127.
    θ*: both slots are alike; u = (4 − (1−θ)², 4 − θ²) and by symmetry θ* = ½: u = 3.75 each,
    F* = 2(1 − 1/3.75) = 22/15.
    """
    env = make_recorded([[1, 0], [1, 0]], 2.0, 4.0, (1.0, 4.0))
    agent = owo_agents.make("owo-fmtl", env, learning_rate=0.5, initial_weights=(0.25, 0.25))
    (first, second), info = play_by_hand(env, agent)

    assert first[0]["utilities"] == pytest.approx([3, 4], **APPROX)
    assert first[1] == pytest.approx(17 / 12, **APPROX)
    assert first[2] == pytest.approx([0.25], **APPROX)
    assert first[3] == pytest.approx([1 / 16, 1 / 16], **APPROX)
    assert second[0]["utilities"] == pytest.approx([55 / 16, 63 / 16], **APPROX)
    assert second[0]["gradient"] == pytest.approx([1 / 16], **APPROX)
    assert second[2] == pytest.approx([0.28125], **APPROX)
    assert second[3] == pytest.approx([0.625, 0.125], **APPROX)

    round_fairness = 2 - 32 / 103 - 32 / 127
    assert first[1] + second[1] == pytest.approx(round_fairness, **APPROX)
    assert info["fairest_model"] == pytest.approx([0.5], abs=1e-10)
    assert info["regret"] == pytest.approx(22 / 15 - round_fairness, **APPROX)
