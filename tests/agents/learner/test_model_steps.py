"""Step sizes that know less: their regret bounds, their definitions, and what they cost."""

import gymnasium as gym
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

import owo_agents
import owo_env
from owo_agents.learner.step import AdaGradNorm, GuessFree, largest_stable_rate, make_step

ID = "AIRAN-FairMTL-v0"


def problem(dim=3, **kwargs):
    bounds = {"model_bounds": (-1.0, 1.0), "diameter": 2 * dim**0.5}
    return owo_env.Problem(
        num_users=2,
        dim=dim,
        num_slots=20,
        alpha=1.0,
        utility_bounds=(1.0, 3.0),
        initial_model=np.zeros(dim),
        **bounds | kwargs,
    )


def played(step, gradients, start):
    """The models that the step plays on a sequence of gradients (m, d)."""
    model = start
    step.begin_round(model)
    models = []
    for g in gradients:
        models.append(model)
        model = step.update(model, g)
    return np.array(models)


@settings(deadline=None)
@given(g=arrays(float, (20, 3), elements=st.floats(1e-6, 1e3) | st.floats(-1e3, -1e-6)))
def test_adagrad_norm_keeps_its_regret_bound(g):
    """√2 D √Σ‖g‖² on any sequence of linear utilities (Orabona 2019, Thm. 4.14)."""
    models = played(AdaGradNorm(problem()), g, np.zeros(3))
    regret = np.abs(g.sum(axis=0)).sum() - (models * g).sum()
    assert regret <= np.sqrt(2) * 2 * 3**0.5 * np.sqrt((g**2).sum()) * (1 + 1e-9)


def test_guess_free_is_the_best_step_for_the_rounds_before():
    """η minimizes Σ_s D_s²/(2η) + η G_s²/2 over the rounds s < t, whatever their scale."""
    rng = np.random.default_rng(0)
    step = GuessFree(problem(model_bounds=None))
    distances, squares = [], []
    for scale in (1.0, 10.0, 0.1):
        g, start, target = scale * rng.standard_normal((20, 3)), *rng.standard_normal((2, 3))
        models = played(step, g, start)
        if distances:
            eta = (models[1] - models[0])[0] / g[0, 0]
            grid = eta * np.array([0.9, 1.0, 1.1])
            bound = sum(distances) / (2 * grid) + grid * sum(squares) / 2
            assert bound.argmin() == 1
            assert np.allclose(np.diff(models, axis=0), eta * g[:-1])
        step.end_round(target)
        distances.append(((target - start) ** 2).sum())
        squares.append((g**2).sum())


def test_its_first_round_takes_distance_over_gradients_steps():
    g = np.random.default_rng(1).standard_normal((20, 3)) + 1
    models = played(GuessFree(problem(model_bounds=None)), g, np.zeros(3))
    reach = 0.01
    for i in range(19):
        reach = max(reach, np.linalg.norm(models[i] - models[0]))
        eta = reach / np.sqrt((g[: i + 1] ** 2).sum())
        assert np.allclose(models[i + 1] - models[i], eta * g[i])


@pytest.mark.parametrize("name", ["guess-free", "adagrad-norm"])
def test_the_scale_of_utilities_does_not_matter(name):
    g = np.random.default_rng(2).standard_normal((20, 3))
    one, other = make_step(problem(), name), make_step(problem(), name)
    for t in range(3):
        assert np.allclose(
            played(one, g + t, np.full(3, 0.1)), played(other, 1e6 * (g + t), np.full(3, 0.1))
        )
        one.end_round(np.full(3, 0.5)), other.end_round(np.full(3, 0.5))


@pytest.mark.parametrize("name", ["guess-free", "adagrad-norm"])
def test_zero_gradients_move_nothing(name):
    step = make_step(problem(), name)
    for _ in range(2):
        assert not played(step, np.zeros((5, 3)), np.zeros(3)).any()
        step.end_round(np.zeros(3))


def test_a_saved_step_goes_on_as_if_never_stopped():
    g = np.random.default_rng(3).standard_normal((20, 3))
    step, again = GuessFree(problem()), GuessFree(problem())
    again.load_state_dict(step.state_dict())  # nothing yet
    played(step, g, np.zeros(3))
    step.end_round(np.ones(3))
    again.load_state_dict(step.state_dict())
    assert np.array_equal(played(step, g, np.zeros(3)), played(again, g, np.zeros(3)))


def test_what_the_steps_refuse():
    with pytest.raises(ValueError, match="did you mean 'guess-free'"):
        make_step(problem(), "guess_free")
    with pytest.raises(ValueError, match="learns its own"):
        make_step(problem(), "guess-free", 0.1)
    with pytest.raises(ValueError, match="no diameter"):
        make_step(problem(diameter=None, model_bounds=None), "adagrad-norm")
    assert make_step(problem(diameter=None, model_bounds=None), "adagrad-norm", 2.0).diameter == 2.0


@pytest.mark.slow
@pytest.mark.parametrize("scenario", ["sinusoid", "csi-prediction"])
def test_guess_free_costs_at_most_twice_the_informed_steps_regret(scenario):
    env = gym.make_vec(ID, num_envs=4, scenario=scenario, autoreset_mode="Disabled")

    def regret(step):
        agent = owo_agents.make("owo-fmtl", env, step=step)
        rounds = owo_agents.play(env, agent, 96, seed=10)
        return np.mean([record.regret for record in rounds])

    assert 0 < regret("guess-free") <= 2 * regret("fixed")


def test_an_unbounded_problem_keeps_to_the_stable_step():
    """Θ unbounded: there is no D_Θ, but L is known, and 0.1 is far beyond 2/(K p_max L)."""
    rng = np.random.default_rng(0)
    x, y = rng.normal(0, 10, (6, 20, 2, 3)), rng.normal(0, 1, (6, 20, 2))
    env = gym.make(
        "AIRAN-FairMTL-v0",
        scenario="recorded",
        features=x,
        targets=y,
        l_max=50.0,
        utility_bounds=(20.0, 50.0),
    )
    agent = owo_agents.make("owo-fmtl", env)
    assert agent.step.learning_rate == largest_stable_rate(env.unwrapped.problem) < 0.1
    assert all(r.fairness > 0 for r in owo_agents.play(env, agent, 6, seed=0))
