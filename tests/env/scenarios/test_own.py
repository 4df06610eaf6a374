"""Scenarios of somebody's own: what they keep, what their oracles say, and what is seen of both."""

import copy
import pickle

import gymnasium as gym
import numpy as np
import pytest

import owo_agents
import owo_env
from owo_agents.playing.checkpoint import resume
from owo_agents.playing.side_by_side import play as side_by_side
from owo_env.scenarios.least_squares import Measured, Recording
from owo_env.scenarios.least_squares.base import LeastSquares
from owo_env.scenarios.least_squares.slots import Samples
from owo_env.scenarios.least_squares.source import Source
from owo_env.scenarios.least_squares.streams import LeastSquaresStream

ID = "AIRAN-FairMTL-v0"


def constants(**more):
    return owo_env.Problem(
        num_users=2,
        dim=2,
        num_slots=128,  # four rounds a block
        l_max=9.0,
        utility_bounds=(1.0, 9.0),
        initial_model=np.zeros(2),
        model_bounds=(-1.0, 1.0),
        **more,
    )


class Drifts(Measured):
    """Two users fit a line that turns a little every round; how far is the stream's own."""

    name = "drifts"

    def __init__(self):
        super().__init__(constants())

    def measure(self, rng, first_round):
        angle = self.angle(rng) + rng.normal(0, 0.3, self.rounds_per_block).cumsum()
        self.keep(rng, angle[-1])
        x = rng.uniform(size=(self.rounds_per_block, 128, 2, 2))
        y = np.sin(angle)[:, None, None] * x.sum(axis=-1)
        return Recording(x, y + rng.normal(0, 0.5, y.shape))

    def angle(self, rng):
        return rng.carried.get("angle", 1.0)

    def keep(self, rng, angle):
        rng.carried["angle"] = angle


class OnSelf(Drifts):
    now = 1.0

    def angle(self, rng):
        return self.now

    def keep(self, rng, angle):
        self.now = angle


class FromTheStart(OnSelf):
    """It starts again with each stream, so that one after the other they are alike."""

    def measure(self, rng, first_round):
        self.now = 1.0 if first_round == 1 else self.now
        return super().measure(rng, first_round)


class ByDraws(OnSelf):
    """It goes on with every draw, whoever draws; a batch that is drawn at once hides that."""

    def draw(self, rngs, first_round):
        self.drawn = 0.0 if first_round[0] == 1 else self.drawn + 1.0
        return super().draw(rngs, first_round)

    def angle(self, rng):
        return self.drawn


class Global(Drifts):
    def angle(self, rng):
        return np.random.normal()


class OfTheFirst(Drifts):
    """All streams of a batch are drawn from the first one's generator."""

    def draw(self, rngs, first_round):
        return super().draw([rngs[0]] * len(rngs), first_round)


class Plain(owo_env.Scenario):
    """Utilities of two users by their distances from a point that moves; an oracle of its own."""

    name = "plain"
    has_oracle = True

    def __init__(self):
        self.problem = owo_env.Problem(
            num_users=2,
            dim=1,
            num_slots=3,
            utility_bounds=(0.5, 4.0),
            initial_model=np.zeros(1),
            model_bounds=(-1.0, 1.0),
        )

    def stream(self, rng, fairness):
        return Walk(rng)


class Walk(owo_env.Stream):
    best = np.array([0.25])

    def __init__(self, rng):
        self.rng, self.at = rng, 0.0

    def open_round(self, options):
        self.at = float(np.clip(self.at + self.rng.normal(0, 0.1), -1, 1))

    def utilities(self, model):
        return np.array([3 - (model[0] - self.at) ** 2, 3 - (model[0] + 0.5) ** 2])

    def play(self, slot, model, weights, per_user):
        slopes = -2 * (model[0] - np.array([[self.at], [-0.5]]))
        return self.utilities(model).tolist(), slopes if per_user else weights @ slopes

    def evaluate(self, model):
        return np.tile(self.utilities(model), (3, 1))

    def fairest(self):
        return self.best, np.array([99.0, 99.0])  # a wish


class WalkOnScenario(Plain):
    def stream(self, rng, fairness):
        walk = Walk(rng)
        walk.__dict__ = self.__dict__.setdefault("_shared", walk.__dict__)
        return walk


SHARING = [OnSelf, FromTheStart, ByDraws, Global, OfTheFirst, WalkOnScenario]


@pytest.mark.parametrize("scenario", SHARING)
@pytest.mark.parametrize("vector", [False, True])
def test_what_a_stream_carries_on_its_scenario_is_seen_at_first_use(scenario, vector):
    make = gym.make_vec if vector else gym.make
    with pytest.raises(ValueError, match=r"round \d of a stream is not the same .*rng\.carried"):
        make(ID, scenario=scenario())


@pytest.mark.parametrize("scenario", [Drifts, Plain])
def test_what_a_stream_carries_itself_is_fine(scenario):
    made = scenario()
    env = gym.make(ID, scenario=made)
    assert made.proven
    env.reset(seed=0)


def test_who_knows_better_is_not_looked_at():
    scenario = OnSelf()
    scenario.proven = True
    gym.make(ID, scenario=scenario)
    assert scenario.now == 1.0


def record(env, rounds=10, agent="owo-fmtl"):
    agent = owo_agents.make(agent, env)
    return [(r.utilities, r.model, r.regret) for r in owo_agents.play(env, agent, rounds, seed=3)]


def same(ours, theirs):
    for one, other in zip(ours, theirs, strict=True):
        for a, b in zip(one, other, strict=True):
            np.testing.assert_array_equal(a, b)


def test_a_drift_is_the_same_alone_in_a_batch_and_side_by_side():
    env = gym.make(ID, scenario=Drifts())
    alone = record(env)
    same(alone, record(env))
    batch = gym.make_vec(ID, num_envs=3, scenario=Drifts(), autoreset_mode="Disabled")
    agent = owo_agents.make("owo-fmtl", batch)
    records = owo_agents.play(batch, agent, 10, seed=2)
    same(alone, [(r.utilities[1], r.model[1], r.regret[1]) for r in records])
    records = side_by_side(env, owo_agents.make("owo-fmtl", env), 10, 3)
    same(alone, [(r.utilities, r.model, r.regret) for r in records])


@pytest.mark.parametrize("rounds", [3, 4, 6])
def test_a_drift_goes_on_after_a_checkpoint(tmp_path, rounds):
    def played(rounds, path):
        env = gym.make(ID, scenario=Drifts())
        agent = owo_agents.make("owo-fmtl", env)
        return [(r.utilities, r.regret) for r in resume(path, {}, env, agent, rounds, 3)]

    whole = played(10, tmp_path / "whole")
    played(rounds, tmp_path / "part")
    same(whole, played(10, tmp_path / "part"))


@pytest.mark.parametrize("way", [copy.deepcopy, lambda env: pickle.loads(pickle.dumps(env))])
def test_a_copy_carries_its_own(way):
    env = owo_env.AIRANEnv(Drifts())
    env.reset(seed=3)
    twin = way(env)
    action = {"model": np.zeros(2), "weights": np.ones(2)}
    played = []
    for one in (env, twin):
        for _ in range(9):
            one.reset()
        played.append(one.step(action)[0]["utilities"])
    np.testing.assert_array_equal(*played)


def test_a_source_draws_what_its_generator_draws():
    plain = np.random.default_rng(1)
    source = Source(np.random.default_rng(1).bit_generator, {"a": 1})
    again = pickle.loads(pickle.dumps(source))
    assert again.carried == {"a": 1}
    assert plain.normal() == source.normal() == again.normal()


# Whose word is taken for the fairest model's utilities


@pytest.mark.parametrize("vector", [False, True])
def test_regret_is_measured_at_the_model_not_at_what_is_said_of_it(vector):
    if vector:
        env = gym.make_vec(ID, num_envs=2, scenario=Plain(), autoreset_mode="Disabled")
        action = {"model": np.full((2, 1), 0.25), "weights": np.ones((2, 2))}
    else:
        env = gym.make(ID, scenario=Plain())
        action = {"model": np.full(1, 0.25), "weights": np.ones(2)}
    env.reset(seed=0)
    for _ in range(3):
        info = env.step(action)[4]
    np.testing.assert_allclose(info["regret"], 0.0, atol=1e-14)


class Flatters(Drifts):
    """Its oracle says half of each loss."""

    def fairest(self, moments, fairness):
        model, utilities = super().fairest(moments, fairness)
        return model, (9.0 + utilities) / 2


def test_an_oracle_that_was_overridden_is_asked_for_its_model_alone():
    honest = record(gym.make(ID, scenario=Drifts()))
    flattering = record(gym.make(ID, scenario=Flatters()))
    for (u, model, regret), (v, other, said) in zip(honest, flattering, strict=True):
        np.testing.assert_array_equal(u, v)
        np.testing.assert_array_equal(model, other)
        assert said == pytest.approx(regret, abs=1e-12)
    batch = gym.make_vec(ID, num_envs=1, scenario=Flatters(), autoreset_mode="Disabled")
    same(flattering, [[a[0] for a in one] for one in record(batch)])


def test_the_packages_own_oracle_is_not_asked_twice(monkeypatch):
    def refuse(*_):
        raise AssertionError

    monkeypatch.setattr(LeastSquaresStream, "evaluate", refuse)
    env = gym.make(ID, scenario="sinusoid", num_slots=2)
    env.reset(seed=0)
    assert env.unwrapped.fairest() is not None


class Answers(Plain):
    """Its oracle answers what it was told to."""

    def __init__(self, answer, evaluated=None):
        super().__init__()
        self.answer, self.evaluated = answer, evaluated

    def stream(self, rng, fairness):
        stream = Walk(rng)
        stream.fairest = lambda: self.answer
        if self.evaluated is not None:
            stream.evaluate = lambda model: self.evaluated
        return stream


ANSWERS = {
    r"must be its mean utilities, shape \(": (np.zeros(1), 3.0),
    "must be a pair": np.zeros(1),
    "must be finite, of shape": (np.zeros(2), np.ones(2)),
    r"nan.*must be finite, of shape": (np.full(1, np.nan), np.ones(2)),
    "outside Θ": (np.full(1, 1.5), np.ones(2)),
}


@pytest.mark.parametrize("vector", [False, True])
@pytest.mark.parametrize("message", ANSWERS)
def test_oracles_that_answer_something_else_are_refused(message, vector):
    env = owo_env.AIRANEnv(Answers(ANSWERS[message]))
    if vector:
        env = owo_env.AIRANVectorEnv(2, scenario=Answers(ANSWERS[message]))
    env.reset(seed=0)
    with pytest.raises(ValueError, match=message):
        env.fairest()


@pytest.mark.parametrize(
    ("evaluated", "error"),
    [(np.ones(2), ValueError), (np.full((3, 2), np.nan), FloatingPointError)],
)
def test_an_evaluation_that_is_none_is_refused(evaluated, error):
    env = owo_env.AIRANEnv(Answers((np.zeros(1), np.ones(2)), evaluated))
    env.reset(seed=0)
    with pytest.raises(error, match="evaluate"):
        env.fairest()


# Mistakes that are found when the scenario is made


class Draws(LeastSquares):
    """Draws samples of some kind."""

    name = "draws"

    def __init__(self, kind):
        super().__init__(constants())
        self.kind = kind

    def draw(self, rngs, first_round):
        x = np.ones((self.rounds_per_block, 128, 2, 2, len(rngs)))
        return Samples(self.kind(x), x[:, :, 0])


@pytest.mark.parametrize(
    "kind",
    [lambda x: x * 1j, lambda x: x.astype(object), lambda x: np.ma.masked_equal(x, 1.0)],
    ids=["complex", "objects", "masked"],
)
def test_samples_that_would_lose_something_are_refused(kind):
    with pytest.raises(ValueError, match="must be real numbers, all there"):
        owo_env.AIRANEnv(Draws(kind))
    owo_env.AIRANEnv(Draws(lambda x: x.astype(np.uint8)))


class NoProblem(Plain):
    def __init__(self):
        pass


def test_what_is_no_whole_scenario_is_refused():
    with pytest.raises(TypeError, match="must set problem"):
        owo_env.AIRANEnv(NoProblem())
    with pytest.raises(ValueError, match="'Measured' is abstract: it lacks measure"):
        owo_env.AIRANEnv("owo_env.scenarios.least_squares:Measured")
