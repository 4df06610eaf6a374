"""The environment against Gymnasium's own checks and the protocol of one episode a round."""

import functools
import warnings

import gymnasium as gym
import numpy as np
import pytest
from gymnasium.utils.env_checker import check_env, data_equivalence
from gymnasium.wrappers import RecordEpisodeStatistics

import owo_env
from owo_env.fairness import AlphaFair

ID = "AIRAN-FairMTL-v0"

# check_env's advice on spaces in physical units; every other warning is an error.
ADVICE = (
    "For Box action spaces, we recommend using a symmetric and normalized space",
    "A Box observation space minimum value is -infinity",
    "A Box observation space maximum value is infinity",
    "A Box action space maximum value is infinity",
    "A Box action space minimum value is -infinity",
)

SMALL = {
    "sinusoid": {"num_slots": 5},
    "csi-prediction": {"num_slots": 4},
    "rainbow-mnist": {"num_slots": 2},
}


def check(env):
    with warnings.catch_warnings():
        for advice in ADVICE:
            warnings.filterwarnings("ignore", message=f".*{advice}")
        check_env(env.unwrapped, skip_render_check=True)


@pytest.mark.parametrize("gradients", ["weighted", "per_user"])
@pytest.mark.parametrize("scenario", SMALL)
def test_gymnasium_checker_passes(scenario, gradients):
    check(gym.make(ID, scenario=scenario, gradients=gradients, **SMALL[scenario]))


def random_round(env, rng, seed=None):
    """A round of random models and weights; the last info, the actions and the return."""
    _, info = env.reset(seed=seed)
    problem = env.unwrapped.problem
    actions, rewards, utilities = [], [], []
    done = False
    while not done:
        actions.append(
            {
                "model": rng.uniform(-1, 1, problem.dim).astype(problem.initial_model.dtype),
                "weights": rng.uniform(0.1, 1, problem.num_users),
            }
        )
        obs, reward, done, truncated, info = env.step(actions[-1])
        rewards.append(reward)
        utilities.append(obs["utilities"])
        assert not truncated
    return info, actions, rewards, np.array(utilities)


@pytest.mark.parametrize("alpha", [0.0, 0.5, 1.0, 2.0])
def test_return_is_the_fairness_of_the_rounds_mean_utilities(alpha):
    env = RecordEpisodeStatistics(gym.make(ID, num_slots=7, alpha=alpha))
    rng = np.random.default_rng(0)
    for seed in range(3):
        info, _, rewards, utilities = random_round(env, rng, seed)
        expected = AlphaFair(2, (2.0, 6.0), alpha).value(utilities.mean(axis=0))
        assert len(rewards) == 7
        assert info["episode"]["r"] == pytest.approx(expected, abs=1e-12)
        best = env.unwrapped.evaluate(info["fairest_model"]).mean(axis=0)
        assert info["fairest_fairness"] == pytest.approx(
            AlphaFair(2, (2.0, 6.0), alpha).value(best), abs=1e-10
        )
        assert info["regret"] == pytest.approx(info["fairest_fairness"] - expected, abs=1e-10)


@pytest.mark.parametrize("adversary", ["none", "blocks"])
def test_a_model_constant_within_the_round_never_has_negative_regret(adversary):
    env = gym.make(ID, adversary=adversary, num_slots=9)
    rng = np.random.default_rng(1)
    for t in range(40):
        env.reset(seed=0 if t == 0 else None)
        action = {"model": rng.uniform(-1, 1, 4), "weights": np.ones(2)}
        for _ in range(9):
            info = env.step(action)[-1]
        assert info["regret"] >= -1e-10


def test_evaluate_says_what_the_users_would_have_had():
    env = gym.make(ID, num_slots=6)
    rng = np.random.default_rng(2)
    model = rng.uniform(-1, 1, 4)
    env.reset(seed=3)
    played = np.array(
        [env.step({"model": model, "weights": np.ones(2)})[0]["utilities"] for _ in range(6)]
    )
    assert (env.unwrapped.evaluate(model) == played).all()


@pytest.mark.parametrize("adversary", ["none", "blocks"])
def test_gradient_is_the_derivative_of_the_weighted_utility(adversary):
    kwargs = {"num_slots": 4, "adversary": adversary}
    rng = np.random.default_rng(4)
    info, actions, _, _ = random_round(gym.make(ID, **kwargs), rng, seed=5)
    env = gym.make(ID, gradients="per_user", **kwargs)
    weighted = gym.make(ID, **kwargs)
    env.reset(seed=5), weighted.reset(seed=5)
    for i, action in enumerate(actions):
        per_user = env.step(action)[0]["gradients"]
        total = weighted.step(action)[0]["gradient"]
        assert action["weights"] @ per_user == pytest.approx(total, abs=1e-12)
        actions[i]["per_user"] = per_user
    for i, action in enumerate(actions):
        for j in range(4):
            h = 1e-6 * np.eye(4)[j] * (-1 if action["model"][j] > 0 else 1)
            ahead = env.unwrapped.evaluate(action["model"] + h)[i]
            here = env.unwrapped.evaluate(action["model"])[i]
            assert (ahead - here) / h[j] == pytest.approx(action["per_user"][:, j], abs=1e-4)


def test_same_seed_same_bits_and_reset_goes_on_to_the_next_round():
    def stream(env, seed, rounds=40):
        rng = np.random.default_rng(0)
        return [random_round(env, rng, seed if t == 0 else None)[::3] for t in range(rounds)]

    first, again = (stream(gym.make(ID, num_slots=16), 11) for _ in range(2))
    assert data_equivalence(first, again)
    assert [info["round"] for info, _ in first] == list(range(1, 41))
    other = stream(gym.make(ID, num_slots=16), 12, rounds=1)
    assert (other[0][1] != first[0][1]).any()


def test_a_reset_in_mid_round_consumes_the_round():
    rng = np.random.default_rng(0)
    env = gym.make(ID, num_slots=3)
    env.reset(seed=1)
    env.step({"model": np.zeros(4), "weights": np.ones(2)})
    abandoned = random_round(env, np.random.default_rng(0))
    env.reset(seed=1)
    random_round(env, rng, seed=1)
    assert abandoned[0]["round"] == 2
    kept = random_round(env, np.random.default_rng(0))
    assert data_equivalence(abandoned[3], kept[3])


def test_hindsight_can_be_switched_off():
    env = gym.make(ID, num_slots=3, hindsight=False)
    info, *_ = random_round(env, np.random.default_rng(0), seed=0)
    assert not env.unwrapped.problem.hindsight
    assert not {"regret", "fairest_model"} & set(info)


def test_every_way_to_make_it_gives_the_same_stream():
    makes = [
        lambda: gym.make(ID, scenario="sinusoid", num_slots=4),
        lambda: gym.make(f"owo_env:{ID}", num_slots=4),
        lambda: gym.make(ID, scenario={"name": "sinusoid", "num_slots": 4}),
        lambda: gym.make(ID, scenario=owo_env.make_scenario("sinusoid", num_slots=4)),
    ]
    rounds = [random_round(make(), np.random.default_rng(0), seed=9) for make in makes]
    assert all(data_equivalence(rounds[0], other) for other in rounds[1:])

    vector = gym.vector.SyncVectorEnv([makes[0]] * 2)
    vector.reset(seed=9)
    model = np.stack([a["model"] for a in rounds[0][1][:1]] * 2)
    weights = np.stack([a["weights"] for a in rounds[0][1][:1]] * 2)
    obs, *_ = vector.step({"model": model, "weights": weights})
    assert (obs["utilities"][0] == rounds[0][3][0]).all()


def test_spec_survives_json():
    spec = gym.make(ID, scenario="sinusoid", adversary="blocks", num_slots=4).spec
    again = gym.make(gym.envs.registration.EnvSpec.from_json(spec.to_json()))
    assert again.unwrapped.scenario.adversary == "blocks"


@pytest.mark.parametrize(
    ("kwargs", "error", "message"),
    [
        ({"scenario": "sinusoyd"}, ValueError, "did you mean 'sinusoid'"),
        ({"scenario": {"num_slots": 3}}, ValueError, "needs the key 'name'"),
        ({"scenario": 3}, TypeError, "scenario=3"),
        ({"adversery": "blocks"}, TypeError, "did you mean 'adversary'"),
        ({"adversary": "block"}, ValueError, "did you mean 'blocks'"),
        ({"alpha": -1}, ValueError, "alpha=-1"),
        ({"alpha": float("nan")}, ValueError, "alpha=nan"),
        ({"num_slots": 0}, ValueError, "num_slots=0"),
        ({"num_slots": 2.5}, ValueError, "num_slots=2.5"),
        ({"utility_bounds": (0.0, 6.0)}, ValueError, "u_min"),
        ({"utility_bounds": (6.0, 6.0)}, ValueError, "u_max"),
        ({"l_max": 7.0}, ValueError, "l_max=7.0"),
        ({"gradients": "all"}, ValueError, "gradients"),
        ({"render_mode": "depth_array"}, ValueError, "render_mode"),
    ],
)
def test_bad_settings_are_named(kwargs, error, message):
    with pytest.raises(error, match=message):
        owo_env.AIRANEnv(**kwargs)


OF_SINUSOID = "adversary, l_max, num_slots, utility_bounds"


@pytest.mark.parametrize(
    ("make", "also"),
    [
        (gym.make, "alpha, fairness, gradients, hindsight, link, render_mode"),
        (
            gym.make_vec,
            "alpha, autoreset_mode, fairness, gradients, hindsight, link, num_envs, render_mode",
        ),
        (lambda _, **settings: owo_env.make_scenario("sinusoid", **settings), "alpha"),
    ],
)
def test_who_misspells_an_argument_hears_of_those_that_fit_there(make, also):
    known = ", ".join(sorted([*OF_SINUSOID.split(", "), *also.split(", ")]))
    with pytest.raises(TypeError, match=f"did you mean 'alpha'. known are {known}( was|$)"):
        make(ID, alfa=1.0)


def test_an_argument_of_gym_make_is_not_asked_of_a_scenario():
    with pytest.raises(TypeError, match=r"autoreset_mode .* but of gym\.make_vec\b"):
        gym.make(ID, autoreset_mode="Disabled")
    for make in (owo_env.make_scenario, lambda scenario: gym.make(ID, scenario=scenario)):
        with pytest.raises(TypeError, match=r"gradients .* but of gym\.make\b(?!_)"):
            make({"name": "sinusoid", "gradients": "per_user"})


GOOD = {"model": np.zeros(4), "weights": np.ones(2)}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"model": np.zeros(3)}, r"round 1, slot 2: action\['model'\] has shape \(3,\)"),
        ({"weights": np.ones((2, 1))}, r"action\['weights'\] has shape \(2, 1\)"),
        ({"model": np.array([0, np.nan, 0, 0])}, r"round 1, slot 2: action\['model'\] is not fini"),
        ({"model": np.array([0, 0, 0, np.inf])}, "not finite: inf at index"),
        ({"model": np.array([0, 0, 1.01, 0])}, r"is 1.01 at index \(2,\): must lie in \[-1, 1\]"),
        ({"weights": np.array([1, -0.1])}, r"action\['weights'\] is -0.1"),
        ({"weights": np.array([np.nan, 1])}, r"action\['weights'\] is not finite"),
        ({"model": "zero"}, "round 1, slot 2: .* must be a mapping with the arrays"),
    ],
)
def test_bad_actions_are_named_and_cost_nothing(change, message):
    env = owo_env.AIRANEnv(num_slots=3)
    env.reset(seed=0)
    env.step(GOOD)
    with pytest.raises(ValueError, match=message):
        env.step({**GOOD, **change})
    assert env.step(GOOD)[-1]["slot"] == 2


@pytest.mark.parametrize("vector", [False, True])
@pytest.mark.parametrize("name", ["model", "weights"])
def test_complex_actions_are_refused(name, vector):
    """An imaginary part would be lost."""
    env = owo_env.AIRANVectorEnv(1) if vector else owo_env.AIRANEnv()
    env.reset(seed=0)
    good = {key: value[None] if vector else value for key, value in GOOD.items()}
    with pytest.raises(ValueError, match=r"round 1, slot 1.*complex128 has an imaginary part"):
        env.step({**good, name: good[name] + 0j})


@pytest.mark.parametrize("vector", [False, True])
def test_actions_with_a_graph_are_named(vector):
    torch = pytest.importorskip("torch")
    env = owo_env.AIRANVectorEnv(1) if vector else owo_env.AIRANEnv()
    env.reset(seed=0)
    good = {key: value[None] if vector else value for key, value in GOOD.items()}
    model = torch.zeros(good["model"].shape, dtype=torch.float64, requires_grad=True)
    with pytest.raises(ValueError, match="requires grad"):
        env.step({**good, "model": model})
    env.step({**good, "model": model.detach()})


@pytest.mark.parametrize("seed", [np.int64(3), np.uint8(3), np.array(3)])
def test_a_seed_is_a_whole_number_of_any_type(seed):
    found, expected = owo_env.AIRANEnv(num_slots=1), owo_env.AIRANEnv(num_slots=1)
    found.reset(seed=seed), expected.reset(seed=3)
    assert (found.step(GOOD)[0]["utilities"] == expected.step(GOOD)[0]["utilities"]).all()


@pytest.mark.parametrize("seed", [-1, 3.0, True, "3", np.array([3]), np.float64(3)])
def test_a_seed_that_is_none_is_named(seed):
    with pytest.raises(ValueError, match=r"seed=.*: must be a whole number, at least 0"):
        owo_env.AIRANEnv().reset(seed=seed)


def test_step_needs_an_open_round():
    env = owo_env.AIRANEnv(num_slots=1)
    with pytest.raises(gym.error.ResetNeeded):
        env.step(GOOD)
    env.reset(seed=0)
    with pytest.raises(gym.error.ResetNeeded, match="end it first"):
        env.evaluate(np.zeros(4))
    env.step(GOOD)
    with pytest.raises(gym.error.ResetNeeded):
        env.step(GOOD)
    assert env.evaluate(np.zeros(4)).shape == (1, 2)
    state, other = env.state_dict(), owo_env.AIRANEnv(num_slots=1)
    other.load_state_dict(state)
    with pytest.raises(gym.error.ResetNeeded, match="just ended"):  # its data were not saved
        other.evaluate(np.zeros(4))


def test_utilities_outside_their_bounds_are_counted_not_clipped():
    env = owo_env.AIRANEnv(num_slots=32, utility_bounds=(5.0, 6.0))
    info, _, _, utilities = random_round(env, np.random.default_rng(0), seed=0)
    assert (utilities < 5).any()
    assert info["violations"] == (utilities < 5).sum()


def constants(dim, start, **more):
    """Two users, three slots."""
    return owo_env.Problem(
        num_users=2,
        dim=dim,
        num_slots=3,
        utility_bounds=(1.0, 3.0),
        initial_model=start,
        **more,
    )


class Fails(owo_env.Scenario):
    """The second user's utility of the second slot is NaN, once."""

    name = "fails"
    reset_options = ("refuse",)
    problem = constants(1, np.zeros(1))

    def stream(self, rng, fairness):
        return FailsOnce()


class FailsOnce(owo_env.Stream):
    failed = False

    def open_round(self, options):
        if options.get("refuse"):
            raise ValueError("refused")

    def play(self, slot, model, weights, per_user):
        if slot == 1 and not self.failed:
            self.failed = True
            return [2.0, float("nan")], np.zeros(1)
        return [2.0, 1.5], np.zeros(1)

    def evaluate(self, model):
        raise AssertionError


def test_a_slot_that_failed_counts_for_nobody():
    env = owo_env.AIRANEnv(Fails())
    action = {"model": np.zeros(1), "weights": np.ones(2)}
    env.reset(seed=0)
    rewards = [env.step(action)[1]]
    with pytest.raises(FloatingPointError, match="round 1, slot 2: the utility of user 1 is nan"):
        env.step(action)
    rewards += [env.step(action)[1] for _ in range(2)]
    assert sum(rewards) == pytest.approx(np.log(2.0) + np.log(1.5))


def test_a_stream_that_never_opened_is_not_played():
    env = owo_env.AIRANEnv(Fails())
    action = {"model": np.zeros(1), "weights": np.ones(2)}
    env.reset(seed=0)
    with pytest.raises(ValueError, match="refused"):
        env.reset(seed=1, options={"refuse": True})
    with pytest.raises(gym.error.ResetNeeded):
        env.step(action)


def test_streams_that_never_opened_are_not_played():
    env = owo_env.AIRANVectorEnv(2, scenario=Fails())
    action = {"model": np.zeros((2, 1)), "weights": np.ones((2, 2))}
    with pytest.raises(ValueError, match="refused"):
        env.reset(seed=1, options={"refuse": True})
    with pytest.raises(gym.error.ResetNeeded):
        env.step(action)
    env.reset(seed=1)
    env.step(action)


class Bounded(Fails):
    problem = constants(1, np.zeros(1, np.float32), model_bounds=(-0.3, 0.3))


@pytest.mark.parametrize("end", [-1.0, 1.0])
def test_the_ends_of_the_models_range_are_within_it_in_the_models_own_type(end):
    scenario = Bounded()
    model = scenario.problem.project(np.full(1, end, np.float32))
    env = owo_env.AIRANEnv(scenario)
    env.reset(seed=0)
    action = {"model": model, "weights": np.ones(2)}
    env.step(action)
    assert env.action_space.contains(action)


def test_nobody_can_write_into_the_model_that_all_start_from():
    problem = owo_env.AIRANEnv().problem
    with pytest.raises(ValueError, match="read-only"):
        problem.initial_model += 1.0
    mine = np.zeros(4)
    problem = constants(4, mine)
    mine += 1.0
    assert (problem.initial_model == 0).all()


def test_models_are_never_whole_numbers():
    assert constants(2, [0, 0]).initial_model.dtype == float


@pytest.mark.parametrize("start", [[0, 1j], np.zeros(2, complex), ["0", "1"], [None, 1.0]])
def test_the_first_model_is_of_real_numbers(start):
    with pytest.raises(ValueError, match=r"initial_model has .* entries: must be real numbers"):
        constants(2, start)


@pytest.mark.parametrize("bounds", [(np.zeros(2), np.ones(2)), np.eye(2), 3.0, (1, 2, 3), (0, 1j)])
def test_the_bounds_of_models_are_two_numbers(bounds):
    with pytest.raises(ValueError, match=r"model_bounds(\[.\])?=.*: must be a "):
        constants(2, np.zeros(2), model_bounds=bounds)
    assert constants(2, np.zeros(2), model_bounds=np.array([-1, 1])).model_bounds == (-1.0, 1.0)


@pytest.mark.parametrize(
    "value", [1j, np.complex128(1), np.complex64(1 + 1j), np.array(1j), np.ones(1), np.str_("1")]
)
def test_alpha_is_one_real_number(value):
    for make in (
        lambda: owo_env.AIRANEnv(alpha=value),
        lambda: constants(2, np.zeros(2), alpha=value),
        lambda: AlphaFair(2, (1.0, 2.0), value),
    ):
        with pytest.raises(ValueError, match=r"alpha=.*: must be a finite number in \[0, inf\]"):
            make()
    assert AlphaFair(2, (1.0, 2.0), np.float32(2)).alpha == 2.0


@pytest.mark.parametrize("value", [np.inf, np.float32(np.inf), "inf"])
def test_infinite_alpha_is_answered_with_the_notion_that_it_is(value):
    for make in (
        lambda: owo_env.AIRANEnv(alpha=value),
        lambda: owo_env.AIRANVectorEnv(2, alpha=value),
        lambda: owo_env.AIRANEnv(fairness={"name": "alpha", "alpha": value}),
    ):
        with pytest.raises(ValueError, match=r'alpha=.*: is max-min fairness: use fairness="max-m'):
            make()


@pytest.mark.parametrize("value", [5.0, np.nan, -np.inf])
def test_the_first_model_lies_in_its_bounds(value):
    start = np.array([0.0, value])
    with pytest.raises(ValueError, match=r"initial_model is .* at index 1: must be finite and in"):
        constants(2, start, model_bounds=(-1.0, 1.0))


@pytest.mark.parametrize(
    "bounds",
    [
        (-np.ones(2), np.ones(2)),
        np.array([[-1.0, 1.0], [-1.0, 1.0]]),
        1.0,
        (1.0,),
        {"low": -1.0, "high": 1.0},
        (-1.0, np.complex128(1j)),
        (-np.inf, np.inf),
    ],
)
def test_models_lie_in_a_cube_of_two_numbers(bounds):
    with pytest.raises(ValueError, match="model_bounds"):
        constants(2, np.zeros(2), model_bounds=bounds)


@pytest.mark.parametrize(
    "start",
    [[0.0, 1j], [None, 0.0], "00", np.ma.array(np.zeros(2), mask=[0, 1])],
)
def test_the_first_model_is_real_and_whole(start):
    with pytest.raises(ValueError, match=r"(?s)initial_model.*(must be real numbers|are missing)"):
        constants(2, start)


@pytest.mark.parametrize("name", ["diameter", "smoothness", "gradient_bound"])
@pytest.mark.parametrize("value", [np.nan, 0.0, -1.0, np.inf, np.ones(3), np.complex64(1)])
def test_constants_of_the_theory_are_positive_numbers(name, value):
    with pytest.raises(ValueError, match=name):
        constants(2, np.zeros(2), **{name: value})


def test_the_diameter_of_a_cube_need_not_be_said():
    assert constants(4, np.zeros(4), model_bounds=(-1, 1)).diameter == 4.0
    assert constants(4, np.zeros(4), model_bounds=(-1, 1), diameter=3.0).diameter == 3.0
    assert constants(4, np.zeros(4)).diameter is None
    assert owo_env.make_scenario("csi-prediction").problem.diameter == 8.0


@pytest.mark.parametrize(
    ("name", "settings"),
    [
        ("hindsight", {}),
        ("shuffle", {"scenario": "csi-prediction"}),
        ("normalize", {"scenario": "rainbow-mnist"}),
        ("last_relu", {"scenario": "rainbow-mnist"}),
        ("download", {"scenario": "rainbow-mnist"}),
        ("weights_scale_heads", {"scenario": "rainbow-mnist"}),
    ],
)
def test_a_text_is_neither_true_nor_false(name, settings):
    with pytest.raises(ValueError, match=f"{name}='no': must be true or false"):
        owo_env.AIRANEnv(**settings, **{name: "no"})


class Doubles(Bounded):
    """Its models are float32, its gradients float64."""

    def stream(self, rng, fairness):
        return DoublesStream()


class DoublesStream(FailsOnce):
    failed = True

    def play(self, slot, model, weights, per_user):
        return [2.0, 1.5], np.ones((2, 1) if per_user else 1)


@pytest.mark.parametrize("gradients", ["weighted", "per_user"])
def test_gradients_have_the_type_of_the_space(gradients):
    for vector in (False, True):
        make = functools.partial(owo_env.AIRANVectorEnv, 2) if vector else owo_env.AIRANEnv
        env = make(scenario=Doubles(), gradients=gradients)
        env.reset(seed=0)
        shape = (2,) if vector else ()
        obs, *_ = env.step({"model": np.zeros((*shape, 1)), "weights": np.ones((*shape, 2))})
        assert env.observation_space.contains(obs)


def test_a_scenario_by_its_path():
    assert (
        owo_env.make_scenario("owo_env.scenarios.sinusoid:Sinusoid", num_slots=4).name == "sinusoid"
    )
    for path, message in (
        ("no_such_module:A", "there is no module 'no_such_module'"),
        ("owo_env.scenarios.sinusoid:Sinus", "has no 'Sinus'"),
        ("owo_env.problem:Problem", "not a class derived from Scenario"),
    ):
        with pytest.raises(ValueError, match=message):
            owo_env.make_scenario(path)


@pytest.mark.parametrize("vector", [False, True])
@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"reset_haeds": True}, "unknown reset option 'reset_haeds': did you mean 'reset_heads'"),
        ({"reset_heads": "yes"}, "reset_heads='yes': must be true or false"),
    ],
)
def test_reset_options_that_nobody_has_are_refused(vector, options, message):
    env = gym.make_vec(ID, num_envs=2) if vector else gym.make(ID)
    with pytest.raises(ValueError, match=message):
        env.reset(seed=0, options=options)


def test_the_same_data_are_judged_by_any_alpha_also_as_a_ready_object():
    scenario = owo_env.make_scenario("sinusoid", num_slots=8, alpha=2.0)
    infos = {}
    for name, settings in {
        "its own": {"scenario": scenario},
        "by name": {"scenario": "sinusoid", "num_slots": 8, "alpha": 2.0},
        "by mapping": {"scenario": {"name": "sinusoid", "num_slots": 8, "alpha": 2.0}},
        "another": {"scenario": scenario, "alpha": 0.5},
        "a notion": {"scenario": scenario, "fairness": AlphaFair(2, (2.0, 6.0), 0.5)},
    }.items():
        env = gym.make(ID, **settings)
        infos[name], *_ = random_round(env, np.random.default_rng(0), seed=3)
    assert scenario.problem.alpha == 2.0
    for name, twin in (("by name", "its own"), ("by mapping", "its own"), ("a notion", "another")):
        assert data_equivalence(infos[name], infos[twin])
    one, other = infos["its own"], infos["another"]
    assert (one["mean_utilities"] == other["mean_utilities"]).all()
    assert one["regret"] != other["regret"]
    with pytest.raises(ValueError, match="give one of the two"):
        owo_env.AIRANEnv(scenario, alpha=1.0, fairness=AlphaFair(2, (2.0, 6.0)))
