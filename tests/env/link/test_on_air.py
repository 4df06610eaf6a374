"""Scenarios on the air: the worked example, the vector environment, what a link cannot touch."""

import copy
import math

import gymnasium as gym
import numpy as np
import pytest
from gymnasium.utils.env_checker import data_equivalence
from gymnasium.vector import AutoresetMode

from owo_env.fairness import AlphaFair, Fairness
from owo_env.link import Link
from owo_env.regret import certifiable
from owo_env.scenarios.least_squares import base as least_squares
from owo_env.scenarios.least_squares import streams as least_squares_streams

ID = "AIRAN-FairMTL-v0"
LINKS = {
    "present": {"present": 0.6},
    "active": {"active": [0.3, 0.9, 1.0, 0.5]},
    "by class": {"active": {"edge": 0.3}, "present": {"vehicular": 0.8}},
    "bursts": {"active": 0.5, "burst": 4},
    "outage": {"outage_db": 0.0},
    "loss": {"loss": 0.3},
    "delay": {"delay": 3},
    "bits": {"bits": 2},
    "all": {"present": 0.8, "active": 0.7, "outage_db": -3.0, "loss": 0.1, "delay": 2, "bits": 3},
    "jobs": {"active": 0.5, "count": "jobs"},
}
SOME = ["active", "delay", "all"]


@pytest.fixture(autouse=True)
def blocks_of_two_rounds(monkeypatch):
    """So that a few rounds cross several blocks."""
    monkeypatch.setattr(least_squares, "SLOTS_PER_BLOCK", 18)
    monkeypatch.setattr(least_squares_streams, "STREAMS_PER_DRAW", 2)


def csi(link, **settings):
    return {"scenario": "csi-prediction", "num_slots": 9, "link": link, **settings}


def actions(seed, slots, users=4, dim=4):
    rng = np.random.default_rng(seed)
    for _ in range(slots):
        yield {"model": rng.uniform(-1, 1, dim), "weights": rng.uniform(0.3, 2.0, users)}


def stream(env, seed, rounds, played=actions):
    """What one stream answers to the same actions, slot by slot."""
    m, seen = env.unwrapped.problem.num_slots, []
    for t in range(rounds):
        seen.append(env.reset(seed=seed if t == 0 else None))
        for action in played(t, m):
            seen.append(env.step(action))
    return seen


def same(one, other):
    return data_equivalence(one, other, exact=True)


def equal(batch, n, one):
    """Whether stream n of a batch is the answer of an environment alone, bit for bit."""
    return batch.keys() == one.keys() and all(
        np.array_equal(batch[k][n], v) for k, v in one.items()
    )


def recorded(link, targets=((1, 0), (1, -1)), **masks):
    """Two users, two slots, one feature equal to 1, loss (θ − y)², Θ = [−1, 1]; α = 1."""
    return gym.make(
        ID,
        scenario="recorded",
        features=np.ones((1, 2, 2, 1)),
        targets=np.array([targets], float),
        model_bounds=(-1.0, 1.0),
        l_max=5.0,
        utility_bounds=(1.0, 5.0),
        link=link,
        **{name: np.array([mask]) for name, mask in masks.items()},
    )


MASKS = {"active": [[True, True], [True, False]], "heard": [[True, False], [True, False]]}


def test_a_round_worked_by_hand():
    """Users see (4, 5) and (4.4375, –): ū = (4.21875, 5); heard is user 1 alone."""
    env = recorded(None, **MASKS)
    env.reset(seed=0)
    obs, reward, *_ = env.step({"model": np.zeros(1), "weights": np.array([0.5, 0.5])})
    assert reward == pytest.approx(math.log(20), abs=1e-12)
    assert obs["utilities"].tolist() == [4, 3]
    assert obs["heard"].tolist() == [1, 0]
    assert obs["active"].tolist() == [1, 1]
    assert obs["gradient"] == pytest.approx([1.0])
    obs, reward, _, _, info = env.step({"model": np.array([0.25]), "weights": np.full(2, 0.2)})
    assert obs["utilities"] == pytest.approx([4.4375, 3])
    assert obs["active"].tolist() == [1, 0]
    assert obs["gradient"] == pytest.approx([0.3])
    assert reward == pytest.approx(0.053244514519, abs=1e-11)
    assert info["mean_utilities"] == pytest.approx([4.21875, 5])
    assert info["fairness"] == pytest.approx(3.048976788073, abs=1e-11)
    assert info["fairest_model"] == pytest.approx([0.5], abs=1e-10)
    assert info["regret"] == pytest.approx(0.067312448020, abs=1e-11)
    assert info["active_slots"].tolist() == [2, 1]
    assert info["heard_slots"].tolist() == [2, 0]
    assert info["feedback_age"].tolist() == [0, 1.5]  # of user 2 nothing was heard in 1, 2 slots


def test_what_is_late_is_as_old_as_its_delay():
    """1, 2, 3 slots without any, then what is heard is of three slots ago: (6 + 6·3)/9."""
    env = gym.make(ID, **csi({"delay": 3}))
    info = stream(env, 0, 1)[-1][-1]
    assert info["feedback_age"] == pytest.approx([24 / 9] * 4)


def test_the_same_round_where_jobs_count():
    env = recorded({"count": "jobs"}, **MASKS)
    env.reset(seed=0)
    env.step({"model": np.zeros(1), "weights": np.array([0.5, 0.5])})
    *_, info = env.step({"model": np.array([0.25]), "weights": np.full(2, 0.2)})
    assert info["fairest_model"] == pytest.approx([0.652200616398], abs=1e-9)
    assert info["fairest_fairness"] == pytest.approx(2.345210961752, abs=1e-11)
    assert info["fairness"] == pytest.approx(2.244257831856, abs=1e-11)
    assert info["regret"] == pytest.approx(0.100953129897, abs=1e-11)


@pytest.mark.parametrize("gradients", ["weighted", "per_user"])
@pytest.mark.parametrize("link", LINKS)
def test_the_vector_environment_gives_the_same_bits(link, gradients):
    """Each stream as the scalar environment has it, whoever its neighbours are."""
    settings = csi(LINKS[link], gradients=gradients)
    vector = gym.make_vec(ID, num_envs=3, autoreset_mode="Disabled", **settings)
    scalar = [gym.make(ID, **settings) for _ in range(3)]
    for t in range(5):
        seed = 7 if t == 0 else None
        obs, _ = vector.reset(seed=seed)
        alone = [env.reset(seed=None if t else 7 + n)[0] for n, env in enumerate(scalar)]
        assert all(equal(obs, n, one) for n, one in enumerate(alone))
        for each in zip(*(actions((t, n), 9) for n in range(3))):
            batch = {key: np.stack([one[key] for one in each]) for key in each[0]}
            obs, reward, done, _, info = vector.step(batch)
            for n, (env, action) in enumerate(zip(scalar, each)):
                one, gain, over, _, told = env.step(action)
                assert equal(obs, n, one)
                assert (gain, over) == (reward[n], done[n])
                assert all(np.array_equal(v, info[k][n]) for k, v in told.items())


@pytest.mark.parametrize("link", SOME)
@pytest.mark.parametrize("mode", ["SameStep", "NextStep"])
def test_autoreset_gives_what_gymnasiums_own_vectorisation_gives(link, mode):
    settings = csi(LINKS[link])
    native = gym.make_vec(ID, num_envs=2, autoreset_mode=AutoresetMode(mode), **settings)
    kwargs = {"autoreset_mode": AutoresetMode(mode)}
    sync = gym.make_vec(ID, num_envs=2, vectorization_mode="sync", vector_kwargs=kwargs, **settings)
    assert same(native.reset(seed=3)[0], sync.reset(seed=3)[0])
    for action in zip(actions(1, 25), actions(2, 25)):
        batch = {key: np.stack([one[key] for one in action]) for key in action[0]}
        ours, theirs = native.step(batch), sync.step(batch)
        assert all(same(a, b) for a, b in zip(ours[:4], theirs[:4]))


@pytest.mark.parametrize("link", SOME)
def test_streams_may_stand_at_different_slots(link):
    """One stream is reset in mid-round; both go on as they would alone."""
    settings = csi(LINKS[link])
    vector = gym.make_vec(ID, num_envs=2, autoreset_mode="Disabled", **settings)
    scalar = [gym.make(ID, **settings) for _ in range(2)]
    vector.reset(seed=1)
    for n, env in enumerate(scalar):
        env.reset(seed=1 + n)
    for i, each in enumerate(zip(actions(5, 9), actions(6, 9))):
        if i == 4:
            vector.reset(options={"reset_mask": np.array([False, True])})
            scalar[1].reset()
        batch = {key: np.stack([one[key] for one in each]) for key in each[0]}
        obs, reward, *_ = vector.step(batch)
        for n, (env, action) in enumerate(zip(scalar, each)):
            one, gain, *_ = env.step(action)
            assert equal(obs, n, one)
            assert gain == reward[n]


@pytest.mark.parametrize("link", SOME)
@pytest.mark.parametrize("rounds", [1, 2, 3])
def test_a_stream_goes_on_from_a_checkpoint(link, rounds):
    env, other = gym.make(ID, **csi(LINKS[link])), gym.make(ID, **csi(LINKS[link]))
    stream(env, 2, rounds)
    other.unwrapped.load_state_dict(copy.deepcopy(env.unwrapped.state_dict()))
    assert same(stream(env, None, 3), stream(other, None, 3))


@pytest.mark.parametrize("scenario", ["sinusoid", "csi-prediction"])
def test_a_perfect_link_is_none(scenario):
    settings = {"scenario": scenario, "num_slots": 9}
    users = 2 if scenario == "sinusoid" else 4

    def played(seed, slots):
        return actions(seed, slots, users)

    plain = stream(gym.make(ID, **settings), 4, 3, played)
    for link in ({}, {"present": 1.0, "active": [1.0] * users, "delay": 0, "loss": 0.0}):
        assert same(plain, stream(gym.make(ID, **settings, link=link), 4, 3, played))


@pytest.mark.parametrize("link", LINKS)
def test_users_feel_the_same_data_over_every_link(link):
    """θ* changes with who had a job alone, and the data with nothing."""
    plain, over = (gym.make(ID, **csi(one)) for one in (None, LINKS[link]))
    for t in range(3):
        for env in (plain, over):
            env.reset(seed=8 if t == 0 else None)
        for action in actions(t, 9):
            plain.step(action)
            *_, info = over.step(action)
        theta = np.full(4, 0.2)
        assert same(plain.unwrapped.evaluate(theta), over.unwrapped.evaluate(theta))
        if not Link(**LINKS[link]).idles:
            best = plain.unwrapped.fairest()
            assert same(best[0], info["fairest_model"])


@pytest.mark.parametrize("count", ["users", "jobs"])
def test_rewards_telescope_to_the_fairness_of_means_over_ones_own_jobs(count):
    env = gym.make(
        ID, **csi({"active": 0.4, "present": 0.7, "loss": 0.5, "count": count}, alpha=2.0)
    )
    for t in range(6):
        env.reset(seed=0 if t == 0 else None)
        total = 0.0
        for action in actions(t, 9):
            _, reward, _, _, info = env.step(action)
            total += reward
        stream_ = env.unwrapped._stream
        active, felt = stream_.batch.masks()[0][0], stream_.batch.utilities[0]
        jobs = active.sum(axis=0)
        means = np.where(jobs > 0, (felt * active).sum(axis=0) / np.maximum(jobs, 1), 1.25)
        shares = jobs / 9 if count == "jobs" else 1.0
        inside = np.maximum(means, 0.4)
        terms = 1 - 1 / inside + (means - inside) / 0.4**2
        assert info["mean_utilities"] == pytest.approx(means)
        assert total == pytest.approx((shares * terms).sum(), abs=1e-12)
        assert info["active_slots"].tolist() == jobs.tolist()


def test_a_user_absent_for_a_round_changes_nobodys_result():
    """The others' θ* and utilities are those of a problem without it; its own utility is l_max."""
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(1, 6, 3, 2)), rng.normal(size=(1, 6, 3))
    settings = {
        "scenario": "recorded",
        "l_max": 30.0,
        "utility_bounds": (1.0, 30.0),
        "model_bounds": (-1.0, 1.0),
    }
    there = np.ones((1, 6, 3), bool)
    there[..., 1] = False
    with_it = gym.make(ID, **settings, features=x, targets=y, active=there)
    kept = [0, 2]
    without = gym.make(ID, **settings, features=x[:, :, kept], targets=y[:, :, kept])
    for env in (with_it, without):
        env.reset(seed=0)
    for _ in range(6):
        theta = rng.uniform(-1, 1, 2)
        one = with_it.step({"model": theta, "weights": np.ones(3)})
        other = without.step({"model": theta, "weights": np.ones(2)})
        assert one[0]["gradient"] == pytest.approx(other[0]["gradient"], abs=1e-12)
    assert one[4]["mean_utilities"][1] == 30.0
    assert one[4]["fairest_model"] == pytest.approx(other[4]["fairest_model"], abs=1e-9)
    assert one[4]["regret"] == pytest.approx(other[4]["regret"], abs=1e-10)


def test_a_round_with_nobody_there_is_played():
    env = gym.make(ID, scenario="sinusoid", num_slots=4, link={"present": 0.3})
    empty = 0
    for t in range(12):
        env.reset(seed=1 if t == 0 else None)
        for action in actions(t, 4, users=2):
            *_, info = env.step(action)
        empty += not info["active_slots"].any()
        if not info["active_slots"].any():
            assert info["regret"] == 0
            assert info["fairest_model"] == pytest.approx(env.unwrapped.problem.initial_model)
    assert empty


@pytest.mark.parametrize("gradients", ["weighted", "per_user"])
def test_the_checkers_are_silent(gradients, recwarn):
    theirs = pytest.importorskip("stable_baselines3.common.env_checker")
    env = gym.make(ID, **csi(LINKS["all"], gradients=gradients))
    gym.utils.env_checker.check_env(env.unwrapped, skip_render_check=True)
    theirs.check_env(gym.wrappers.FlattenObservation(env), skip_render_check=True)
    told = [str(w.message) for w in recwarn if "Box" not in str(w.message)]
    assert not [text for text in told if "active" in text or "heard" in text]


def test_masks_are_observed_only_where_something_can_be_masked():
    for link, masked in (("loss", True), ("present", True), ("delay", False), ("bits", False)):
        space = gym.make(ID, **csi(LINKS[link])).observation_space
        assert ("heard" in space.spaces) == masked


def test_delayed_feedback_is_that_of_the_slot_before_under_the_weights_of_its_arrival():
    plain = gym.make(ID, **csi(None, gradients="per_user"))
    late = gym.make(ID, **csi({"delay": 3}))
    plain.reset(seed=0)
    late.reset(seed=0)
    sent = []
    for i, action in enumerate(actions(0, 9)):
        sent.append(plain.step(action)[0])
        obs, *_ = late.step(action)
        if i < 3:
            assert obs["utilities"].tolist() == [0.825] * 4
            assert not obs["gradient"].any()
        else:
            assert same(obs["utilities"], sent[i - 3]["utilities"])
            expected = action["weights"] @ sent[i - 3]["gradients"]
            assert obs["gradient"] == pytest.approx(expected, abs=1e-12)


def test_bits_round_without_bias_and_keep_the_largest_entry():
    fine = gym.make(ID, **csi(None, gradients="per_user"))
    bits = [gym.make(ID, **csi({"bits": b}, gradients="per_user")) for b in (1, 3, 20)]
    errors = [[] for _ in bits]
    for seed in range(60):
        fine.reset(seed=seed)
        for env in bits:
            env.reset(seed=seed)
        for action in actions(seed, 9):
            exact = fine.step(action)[0]["gradients"]
            size = np.abs(exact).max(axis=1, keepdims=True)
            for env, b, found in zip(bits, (1, 3, 20), errors):
                coarse = env.step(action)[0]["gradients"]
                step = 2 * size / (2.0**b - 1)
                places = (coarse + size) / step
                assert places == pytest.approx(np.round(places), abs=1e-6)
                assert np.abs(coarse).max(axis=1) == pytest.approx(size[:, 0])
                assert (np.abs(coarse - exact) <= step * (1 + 1e-9)).all()
                found.append((coarse - exact) / step)
    for found in errors:
        found = np.array(found).ravel()
        assert abs(found.mean()) < 4 * found.std() / math.sqrt(found.size)
        assert (found**2).mean() <= 0.25


def test_links_differ_by_their_settings_alone():
    """Whoever is heard over a worse link is heard over a better one: the draws are the same."""
    masks = {}
    for loss in (0.2, 0.6):
        env = gym.make(ID, **csi({"loss": loss, "active": 0.8}))
        env.reset(seed=3)
        masks[loss] = env.unwrapped._stream.batch.masks()
    assert same(masks[0.2][0], masks[0.6][0])
    assert (masks[0.2][1] >= masks[0.6][1]).all()
    assert masks[0.2][1].sum() > masks[0.6][1].sum()


def test_frequencies_are_the_probabilities():
    """Presence by round, activity and its spells by slot, outage of Rayleigh fading."""
    env = gym.make_vec(
        ID, num_envs=64, scenario="csi-prediction", num_slots=64, hindsight=False,
        link={"active": {"edge": 0.25, "vehicular": 0.75}, "burst": 8, "outage_db": -3.0},
        autoreset_mode="Disabled",
    )  # fmt: skip
    classes, active, heard = [], [], []
    for t in range(8):
        env.reset(seed=0 if t == 0 else None)
        one = env.unwrapped._batch
        classes.append(one.inner.round_info(np.arange(64))["user_class"])
        both = one.masks()
        active.append(both[0])
        heard.append(both[1])
    edge = np.concatenate(classes) == "edge"
    active, heard = (np.moveaxis(np.concatenate(a), 1, -1) for a in (active, heard))
    assert active[edge].mean() == pytest.approx(0.25, abs=0.02)
    assert active[~edge].mean() == pytest.approx(0.75, abs=0.02)
    ends = active[..., :-1] & ~active[..., 1:]
    assert ends.sum() / active[..., :-1].sum() == pytest.approx(1 / 8, abs=0.01)
    assert heard[edge].sum() / active[edge].sum() == pytest.approx(0.59, abs=0.02)
    assert heard[~edge].sum() / active[~edge].sum() == pytest.approx(np.exp(-(10**-2.3)), abs=0.01)


BAD = {
    "active": ({"active": 1.2}, "active=1.2.*[0, 1]"),
    "one of K": ({"active": [0.5, -0.1, 1, 1]}, r"active\[1\]=-0.1"),
    "nobody": ({"present": 0.0}, "nobody would ever be there"),
    "never heard": ({"loss": 1.0}, "nobody would ever be heard"),
    "K": ({"loss": [0.1, 0.2]}, "must have 4 numbers"),
    "delay": ({"delay": 9}, "delay=9: must be less than num_slots=9"),
    "bits": ({"bits": 0}, "bits=0"),
    "count": ({"count": "slots"}, "unknown count 'slots'.*jobs"),
    "burst": ({"active": 0.9, "burst": 4}, "burst=4: must be at least 9"),
    "short burst": ({"active": 0.2, "burst": 0.5}, "burst=0.5"),
    "class": ({"loss": {"edgy": 0.2}}, "unknown class of users in loss 'edgy'.*'edge'"),
    "text": ({"loss": "much"}, "loss='much'"),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_settings_are_refused_by_name(case):
    link, text = BAD[case]
    with pytest.raises(ValueError, match=text.replace("[0, 1]", r"\[0, 1\]")):
        gym.make(ID, **csi(link))


def test_what_a_scenario_cannot_have_is_refused():
    with pytest.raises(ValueError, match=r"outage_db=-3: needs SNRs .* 'sinusoid'"):
        gym.make(ID, scenario="sinusoid", link={"outage_db": -3.0})
    with pytest.raises(ValueError, match=r"delay=2: .* 'rainbow-mnist'"):
        gym.make(ID, scenario="rainbow-mnist", link={"delay": 2})
    with pytest.raises(ValueError, match="this scenario has no classes"):
        gym.make(ID, scenario="sinusoid", link={"loss": {"edge": 0.2}})
    with pytest.raises(ValueError, match=r"count='jobs': .*max-min"):
        gym.make(ID, **csi({"active": 0.5, "count": "jobs"}, fairness="max-min"))
    with pytest.raises(TypeError, match=r"unknown argument of a link 'los'.*'loss'"):
        gym.make(ID, **csi({"los": 0.2}))
    with pytest.raises(TypeError, match="link=0"):
        gym.make(ID, **csi(0.2))


def test_a_notion_of_ones_own_without_terms_is_played_but_not_counted_by_jobs():
    class Plain(AlphaFair):
        proven = True
        terms = Fairness.terms  # says nothing of them
        value = staticmethod(lambda u, above=False: np.log(np.maximum(u, 0.4)).sum(axis=-1))

        def value_of(self, means):
            return float(self.value(np.array(means)))

    notion = Plain(4, (0.4, 1.25))
    assert not notion.separable
    assert AlphaFair(4, (0.4, 1.25)).separable
    env = gym.make(ID, **csi({"active": 0.5}, fairness=notion))
    env.reset(seed=0)
    for action in actions(0, 9):
        *_, info = env.step(action)
    assert np.isfinite(info["regret"])
    assert not certifiable(env.unwrapped.problem)
    with pytest.raises(ValueError, match="count='jobs'"):
        gym.make(ID, **csi({"active": 0.5, "count": "jobs"}, fairness=notion))


def test_a_block_that_could_not_be_solved_leaves_no_masks_of_another(monkeypatch):
    """The round after the one that failed has masks of its own block, not of the block before."""
    env = gym.make(ID, **csi({"active": 0.5}))
    env.reset(seed=0)
    for action in actions(0, 9):
        env.step(action)
    env.reset()
    for action in actions(1, 9):
        env.step(action)
    before = env.unwrapped.on_air()[0]
    batch = env.unwrapped._stream.batch
    solve = batch._solve
    monkeypatch.setattr(batch, "_solve", lambda *_: (_ for _ in ()).throw(ArithmeticError("no")))
    with pytest.raises(ArithmeticError):
        env.reset()
    monkeypatch.setattr(batch, "_solve", solve)
    env.reset()
    assert not np.array_equal(env.unwrapped.on_air()[0], before)
    theta = env.unwrapped.fairest()[0]
    for action in actions(2, 9):
        *_, info = env.step({**action, "model": theta})
    assert info["regret"] == pytest.approx(0, abs=1e-9)  # θ* is that of these masks
