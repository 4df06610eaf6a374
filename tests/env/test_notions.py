"""What every notion of fairness must be, in one list of cases; add your own to ``CASES``."""

import itertools
import math
from dataclasses import dataclass

import gymnasium as gym
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import owo_agents
import owo_env
from owo_agents.learner.weighting import Dual
from owo_env import regret
from owo_env.fairness import Fairness, make_fairness, sum_users

ID = "AIRAN-FairMTL-v0"
K, BOUNDS = 4, (0.4, 1.25)


@dataclass(frozen=True)
class SoftWorst(Fairness):
    """A user's own notion: F(u) = −τ log mean_k exp(−u_k/τ), and C(p) = τ Σ p log(pK)."""

    num_users: int
    utility_bounds: tuple[float, float]
    tau: float = 0.25

    most = 1.0
    limit = 1.0

    @property
    def start(self):
        return np.full(self.num_users, 1 / self.num_users)

    @property
    def priority_bounds(self):
        return 0.0, 1.0

    @property
    def modulus(self):
        return self.tau

    def value(self, u, above=False):
        low = u.min(axis=-1, keepdims=True)
        mean = sum_users(np.exp((low - u) / self.tau)) / self.num_users
        return low[..., 0] - self.tau * np.log(mean)

    def priorities(self, u):
        raised = np.exp((u.min(axis=-1, keepdims=True) - u) / self.tau)
        return raised / sum_users(raised)[..., None]

    def conjugate_terms(self, p):
        with np.errstate(divide="ignore", invalid="ignore"):
            return self.tau * np.where(p > 0, p * np.log(p * self.num_users), 0.0)

    def project(self, z):
        ranked = -np.sort(-z, axis=-1)
        over = (np.cumsum(ranked, axis=-1) - 1) / np.arange(1, self.num_users + 1)
        kept = (ranked > over).sum(axis=-1, keepdims=True)
        return np.maximum(z - np.take_along_axis(over, kept - 1, -1), 0.0)

    def move(self, z, p, u, slot, num_slots):
        """Exponential weights, a mirror step, at the step that keeps R^w ≤ span √(m log K/2)."""
        rate = math.sqrt(8 * math.log(self.num_users) / num_slots) / np.ptp(self.utility_bounds)
        gain = u + self.tau * np.log(np.maximum(p, 1e-300) * self.num_users)
        raised = p * np.exp(-rate * gain)
        return raised / sum_users(raised)[..., None]

    def dual_bound(self, num_slots):
        span = np.ptp(self.utility_bounds) + 2 * self.tau * math.log(self.num_users) + 8
        return span * math.sqrt(num_slots * math.log(self.num_users))


CASES = {
    "α = 1": {"name": "alpha"},
    "α = 0.5": {"name": "alpha", "alpha": 0.5},
    "α = 2": {"name": "alpha", "alpha": 2.0},
    "weights": {"name": "alpha", "weights": [4.0, 1.0, 2.0, 0.5]},
    "weights, α = 2": {"name": "alpha", "alpha": 2.0, "weights": [4.0, 1.0, 2.0, 0.5]},
    "nash": {"name": "nash", "disagreement": 0.25},
    "nash by user": {
        "name": "nash",
        "disagreement": [0.25, 0.0, -1.0, 0.3],
        "weights": [1, 2, 3, 4],
    },
    "min-rate": {"name": "min-rate", "floor": 0.6},
    "min-rate, α = 0": {"name": "min-rate", "floor": 0.6, "alpha": 0.0},
    "min-rate by user": {
        "name": "min-rate",
        "floor": [0.5, 0.7, 0.9, 1.1],
        "alpha": 2,
        "penalty": 50,
    },
    "a kink at the floor": {"name": "alpha", "floor": 0.6},
    "max-min": "max-min",
    "cvar ½": {"name": "cvar", "share": 0.5},
    "cvar .6": {"name": "cvar", "share": 0.6},
    "gini ½": "gini",
    "gini by rank": {"name": "gini", "weights": [4, 4, 1, 0]},
    "one's own": SoftWorst(K, BOUNDS),
}
every_notion = pytest.mark.parametrize("name", CASES)


def notion(name):
    return make_fairness(CASES[name], K, BOUNDS)


def points(seed=0, n=200, below=True):
    """Utilities (n, K), some of them far below u_min, some equal."""
    u = np.random.default_rng(seed).uniform(-1.0 if below else BOUNDS[0], BOUNDS[1], (n, K))
    u[::5, 1] = u[::5, 0]
    u[::7] = u[::7, :1]
    return u


def in_p(f, seed=1, n=200):
    """Priorities in P."""
    low, high = f.priority_bounds
    z = np.random.default_rng(seed).uniform(1.5 * low - 0.5 * high, 1.5 * high - 0.5 * low, (n, K))
    return f.project(z)


@every_notion
def test_fenchel_with_equality_at_the_best_priorities(name):
    f, u = notion(name), points()
    value, best = f.value(u), f.priorities(u)
    close = 1e-11 * (1 + np.abs(value))
    for p in in_p(f)[:20]:
        assert (f.conjugate(p) + sum_users(p * u) >= value - close).all()
    assert (np.abs(f.conjugate(best) + sum_users(best * u) - value) <= close).all()


@every_notion
def test_priorities_are_the_derivative(name):
    f, u, h = notion(name), points(n=40), 1e-6
    u += np.linspace(1e-3, 5e-3, K)  # no ties, where there may be a kink
    for k, e in enumerate(np.eye(K)):
        slope = (f.value(u + h * e) - f.value(u - h * e)) / (2 * h)
        assert slope == pytest.approx(f.priorities(u)[:, k], rel=1e-4, abs=1e-4)


@every_notion
def test_it_is_concave_and_nobodys_gain_is_a_loss(name):
    f, u, v = notion(name), points(0), points(1)
    for mix in (0.1, 0.5, 0.8):
        chord = mix * f.value(u) + (1 - mix) * f.value(v)
        assert (f.value(mix * u + (1 - mix) * v) >= chord - 1e-9 * (1 + np.abs(chord))).all()
    gain = np.random.default_rng(2).uniform(0, 1, u.shape)
    assert (f.value(u + gain) >= f.value(u) - 1e-12).all()
    assert (f.priorities(u) >= 0).all()


@every_notion
def test_the_projection_is_the_nearest_point(name):
    """(z − Πz)ᵀ(p − Πz) ≤ 0 for all p in P; what lies in P stays."""
    f = notion(name)
    z = np.random.default_rng(3).normal(0, f.priority_bounds[1], (100, K))
    q = f.project(z)
    for p in [*in_p(f)[:20], *f.priorities(points())[:20]]:
        assert (sum_users((z - q) * (p - q)) <= 1e-9 * (1 + np.abs(z).max()) ** 2).all()
    assert f.project(q) == pytest.approx(q, abs=1e-12)


@pytest.mark.parametrize("name", ["max-min", "cvar ½", "cvar .6", "gini ½", "gini by rank"])
def test_the_permutahedron_against_a_solver(name):
    """Clarabel over the hull of all 24 permutations of ω."""
    cvxpy = pytest.importorskip("cvxpy")
    pytest.importorskip("clarabel")
    f = notion(name)
    corners = np.array(list(itertools.permutations(f.omega)))
    for z in np.random.default_rng(4).normal(0.25, 0.6, (8, K)):
        mix = cvxpy.Variable(len(corners), nonneg=True)
        distance = cvxpy.Minimize(cvxpy.sum_squares(corners.T @ mix - z))
        cvxpy.Problem(distance, [cvxpy.sum(mix) == 1]).solve(solver="CLARABEL")
        nearest = np.sum((corners.T @ mix.value - z) ** 2)
        assert np.sum((f.project(z) - z) ** 2) <= nearest + 1e-9
        assert f.conjugate(f.project(z)) == 0  # it is in P


@every_notion
def test_users_are_interchangeable_but_for_their_contracts(name):
    f, u, order = notion(name), points(), [2, 0, 3, 1]
    given = f.described()
    moved = {
        key: [value[k] for k in order]
        if isinstance(value, list) and given["name"] != "gini"
        else value
        for key, value in given.items()
    }
    other = f if name == "one's own" else make_fairness(moved, K, BOUNDS)
    assert other.value(u[:, order]) == pytest.approx(f.value(u), rel=1e-12, abs=1e-12)
    assert other.priorities(u[:, order]) == pytest.approx(f.priorities(u)[:, order], rel=1e-12)


@every_notion
def test_a_batch_has_the_bits_of_its_members(name):
    f, u = notion(name), points()
    for of in (f.value, f.priorities, f.project, lambda x: f.move(x, f.project(x), x, 3, 8)):
        batch, columns = of(u), of(np.asfortranarray(u))
        assert (batch == np.array([of(row) for row in u])).all() and (batch == columns).all()
    assert (f.value(u) == [f.value_of(row.tolist()) for row in u]).all()


@every_notion
def test_what_it_says_of_itself(name):
    f = notion(name)
    low, high = f.priority_box
    p = in_p(f, n=2000)
    assert (p >= low - 1e-12).all() and (p <= high + 1e-12).all()
    assert low.min() == f.priority_bounds[0] and high.max() == f.priority_bounds[1]
    assert sum_users(p).max() <= f.most * (1 + 1e-12)
    assert f.project(f.start) == pytest.approx(f.start, abs=1e-12)
    assert f.total == pytest.approx(f.start.sum())
    assert str(f) and (name == "one's own" or make_fairness(f.described(), K, BOUNDS) == f)


@pytest.mark.parametrize("name", [n for n in CASES if hasattr(notion(n), "dual_gradient")])
def test_the_dual_gradient_is_the_derivative_of_psi(name):
    f, rng, h = notion(name), np.random.default_rng(5), 1e-6
    low, high = f.priority_box
    p, u = low + rng.uniform(0.01, 0.99, (50, K)) * (high - low), points(n=50)
    for k, e in enumerate(np.eye(K)):
        above, under = ((f.conjugate(q) + sum_users(q * u)) for q in (p + h * e, p - h * e))
        if high[k] > low[k]:  # w = −p
            assert (under - above) / (2 * h) == pytest.approx(f.dual_gradient(p, u)[:, k], abs=1e-4)


@pytest.mark.parametrize("name", [n for n in CASES if hasattr(notion(n), "moduli")])
def test_the_modulus_holds_user_by_user_and_is_attained(name):
    """−∂²Ψ/∂p² = −du(p)/dp ≥ σ_k on P."""
    f = notion(name)
    low, high = f.priority_box
    p = low + np.linspace(0, 1, 2001)[:, None] * (high - low)
    rise = -np.diff(f.dual_gradient(p, np.zeros(K)), axis=0) / np.maximum(
        np.diff(p, axis=0), 1e-300
    )
    steep = rise.min(axis=0)
    inner = high > low
    assert (steep >= f.moduli * (1 - 1e-6))[inner].all()
    assert steep[inner] == pytest.approx(f.moduli[inner], rel=0.05)


def sequences(m, f, rng):
    """Utilities (m, K) of many kinds, within their bounds."""
    low, high = f.utility_bounds
    turns = np.arange(m)[:, None] // max(1, math.isqrt(m))
    yield rng.uniform(low, high, (m, K))
    yield np.where(rng.random((m, K)) < 0.5, low, high)
    yield np.full((m, K), high)
    yield np.where((turns + np.arange(K)) % 2, low, high)
    yield np.where((np.arange(m)[:, None] + np.arange(K)) % 2, low, high)
    yield np.where(np.arange(m)[:, None] < m // 2, low, high) * np.ones(K)


def dual_played(f, m, utilities=None):
    """Priorities and utilities of a round; without ``utilities`` an adversary sees the former.

    It serves those worst whom the learner weights least, as far as the learner's own sum says so.
    """
    problem = owo_env.Problem(
        num_users=K,
        dim=1,
        num_slots=m,
        utility_bounds=BOUNDS,
        initial_model=np.zeros(1),
        fairness=f,
    )
    dual = Dual(problem)
    p, played, seen = dual.begin_round(()), [], []
    for i in range(m):
        if utilities is None:
            worst = p <= np.sort(p)[K // 2 - 1]
            u = np.where(worst, BOUNDS[0], BOUNDS[1])
        else:
            u = utilities[i]
        played.append(p)
        seen.append(u)
        p = dual.update(p, u, i + 1)
    return problem, np.array(played), np.array(seen)


@every_notion
def test_the_dual_step_keeps_its_bound(name):
    f, rng = notion(name), np.random.default_rng(6)
    for m in (1, 4, 33, 256):
        for utilities in (*sequences(m, f, rng), None):
            problem, p, u = dual_played(f, m, utilities)
            terms = regret.certify(problem, p, u, u)
            assert terms.dual_regret <= f.dual_bound(m) + 1e-9


@pytest.mark.parametrize("name", ["max-min", "cvar ½", "gini ½"])
def test_following_the_leader_would_not(name):
    """An ordered notion's ftl has a dual regret that is linear in m; it is refused."""
    f, m = notion(name), 1024
    played, seen, total = [f.start], [np.array([1.25, 0.4, 0.5, 0.6])], np.zeros(K)
    for i in range(1, m):
        total = total + seen[-1]
        p = f.priorities(total / i)
        played.append(p)  # … and now whom it weights most gains
        seen.append(np.where(np.arange(K) == p.argmax(), BOUNDS[1], BOUNDS[0]))
    problem = dual_played(f, m, np.array(seen))[0]
    terms = regret.certify(problem, np.array(played), np.array(seen), np.array(seen))
    assert terms.dual_regret > 3 * f.dual_bound(m)
    with pytest.raises(ValueError, match=r"agent 'ftl'.*linear"):
        owo_agents.make("ftl", gym.make(ID, scenario="csi-prediction", fairness=f))


@every_notion
@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 2**32))
def test_the_certificate_holds_whatever_is_played(name, seed):
    f, rng = notion(name), np.random.default_rng(seed)
    problem = dual_played(f, 5)[0]
    u, best = rng.uniform(*BOUNDS, (2, 5, K))
    terms = regret.certify(problem, in_p(f, seed, 5), u, best)
    assert terms.slack >= -1e-9


@pytest.mark.parametrize("name", [n for n in CASES if hasattr(notion(n), "change")])
def test_what_newtons_method_is_told(name):
    """Growth and bend against sixty digits' worth of the value's own definition."""
    f, u = notion(name), points()
    step = np.random.default_rng(7).normal(0, 0.4, u.shape)
    largest = f.priorities(u).max(axis=-1)
    growth = sum_users(f.change(u, step)) * largest
    assert growth == pytest.approx(f.value(u + step) - f.value(u), rel=1e-9, abs=1e-9)
    tiny = f.change(u, 1e-12 * step)  # where the values' difference would be rounding
    slope = f.relative_priorities(u) * 1e-12 * step
    assert tiny == pytest.approx(slope, rel=1e-6, abs=1e-18)
    h, p = 1e-6, f.priorities(u)
    inside = np.abs(u - BOUNDS[0]) > 1e-5
    if hasattr(f, "_r"):
        inside &= np.abs(u - f._r) > 1e-5
    bend = (f.priorities(u - h) - f.priorities(u + h)) / (2 * h)
    assert f.bend(u, p)[inside] == pytest.approx(bend[inside], rel=1e-4, abs=1e-4)
    assert f.bend(u, 3 * p) == pytest.approx(3 * f.bend(u, p))


# The worked examples, played by OWO-FMTL.


def worked(fairness):
    """Labels (1, 0) then (1, −1), one feature equal to 1, loss (θ − y)², η = ¼, x = 0."""
    env = gym.make(
        ID,
        scenario="recorded",
        fairness=fairness,
        features=np.ones((1, 2, 2, 1)),
        targets=np.array([[[1.0, 0.0], [1.0, -1.0]]]),
        model_bounds=(-1.0, 1.0),
        l_max=5.0,
        utility_bounds=(1.0, 5.0),
    )
    agent = owo_agents.make("owo-fmtl", env, learning_rate=0.25)
    obs, info = env.reset(seed=0)
    agent.begin_round(obs, info)
    seen = []
    for _ in range(2):
        obs, _, _, _, info = env.step(agent.act(obs, info))
        agent.learn(obs, info)
        seen.append((obs["utilities"], float(agent.model[0]), agent.weights.copy()))
    (record,) = owo_agents.play(
        env, owo_agents.make("owo-fmtl", env, learning_rate=0.25), 1, seed=0, certify=True
    )
    return seen, info, record


def test_a_round_worked_by_hand_with_a_floor():
    """q = 1/4.25, P = [.2, 1.8602941176], σ = 2."""
    (first, second), info, record = worked(
        {"name": "min-rate", "alpha": 1.0, "floor": 4.25, "penalty": 0.5}
    )
    near = dict(abs=1e-9, rel=0)
    assert first[0] == pytest.approx([4, 5])
    assert first[1] == pytest.approx(0.4301470588, **near)
    assert first[2] == pytest.approx([0.3602941176, 0.2], **near)
    assert second[0] == pytest.approx([4.6752676254, 2.9546793901], **near)
    assert second[1] == pytest.approx(0.3897896843, **near)
    assert second[2] == pytest.approx([0.2, 0.7113301525], **near)
    assert info["fairness"] == pytest.approx(2.8315067016, **near)
    assert info["fairest_model"] == pytest.approx([0.2214937442], **near)
    assert info["regret"] == pytest.approx(0.0906942102, **near)
    assert record.extras["primal_regret"] == pytest.approx(0.3059780885, **near)
    assert record.extras["dual_regret"] == pytest.approx(1.2583608188, **near)
    assert record.extras["residual"] == pytest.approx(-0.2381990376, **near)


def test_a_round_worked_by_hand_for_the_worst_user():
    """γ = √2/8; θ* = 1/6, where the two users' parabolas cross."""
    (first, second), info, record = worked("max-min")
    near = dict(abs=1e-9, rel=0)
    assert first[0] == pytest.approx([4, 5]) and first[1] == pytest.approx(0.25)
    assert first[2] == pytest.approx([0.5883883476, 0.4116116524], **near)
    assert second[0] == pytest.approx([4.4375, 3.4375])
    assert second[1] == pytest.approx(0.2133883476, **near)
    assert second[2] == pytest.approx([0.5, 0.5], **near)
    assert info["fairness"] == pytest.approx(4.21875)
    assert info["fairest_model"] == pytest.approx([1 / 6], abs=1e-8)
    assert info["fairest_fairness"] == pytest.approx(155 / 36, **near)
    assert info["regret"] == pytest.approx(0.0868055556, **near)
    assert record.extras["primal_regret"] == pytest.approx(0.1441483287, abs=1e-7)
    assert record.extras["dual_regret"] == pytest.approx(0.0883883476, **near)
    assert record.extras["residual"] == pytest.approx(-0.0294627826, abs=1e-7)


# What is refused.


@pytest.mark.parametrize(
    ("fairness", "error", "message"),
    [
        ({"name": "alpha", "weights": [1, 2, 3]}, ValueError, "weights=.*must have 4 numbers"),
        ({"name": "alpha", "weights": [1, 2, 3, 0]}, ValueError, r"weights\[3\]=0: .*\(0, inf\]"),
        ({"name": "alpha", "weights": [1, 2, -3, 1]}, ValueError, r"weights\[2\]=-3"),
        ({"name": "alpha", "weights": [1, 2, math.nan, 1]}, ValueError, r"weights\[2\]=nan"),
        ({"name": "alpha", "weights": {"edge": 2.0}}, ValueError, "users change places"),
        ({"name": "nash"}, TypeError, "needs disagreement"),
        ({"name": "nash", "disagreement": 0.4}, ValueError, r"disagreement=0.4: .*0.4\)"),
        ({"name": "min-rate", "floor": 1.25}, ValueError, r"floor=1.25: .*1.25\)"),
        ({"name": "min-rate", "floor": 0.4}, ValueError, "floor=0.4: must be above u_min=0.4"),
        ({"name": "min-rate", "floor": 0.6, "penalty": 0}, ValueError, "penalty=0"),
        ({"name": "cvar", "share": 0.0}, ValueError, r"share=0.0: .*\(0, 1\]"),
        ({"name": "cvar", "share": 1.5}, ValueError, "share=1.5"),
        ({"name": "gini", "ratio": 2}, ValueError, "ratio=2"),
        ({"name": "gini", "weights": [1, 2, 3, 4]}, ValueError, r"weights\[1\]=2: must be at most"),
        ({"name": "gini", "weights": [0, 0, 0, 0]}, ValueError, "at least one must be positive"),
        ({"name": "gini", "weights": [1, 0, 0, 0], "ratio": 0.5}, ValueError, "give one"),
        ({"name": "max-min", "alpha": 2.0}, TypeError, "unknown argument of fairness 'max-min'"),
        ({"name": "maxmin"}, ValueError, "did you mean 'max-min'"),
        ({"share": 0.5}, TypeError, "key 'name'"),
        (2.0, TypeError, "fairness=2.0"),
    ],
)
def test_bad_input_is_named(fairness, error, message):
    with pytest.raises(error, match=message):
        gym.make(ID, scenario="csi-prediction", fairness=fairness)


def test_alpha_beside_a_notion_is_refused():
    with pytest.raises(ValueError, match=r"alpha=2.0: is short for a fairness, beside.*max-min"):
        gym.make(ID, scenario="csi-prediction", fairness="max-min", alpha=2.0)


def test_a_share_of_at_most_one_user_is_max_min():
    with pytest.warns(UserWarning, match="share=0.25 of 4 users.*max-min"):
        f = make_fairness({"name": "cvar", "share": 0.25}, K, BOUNDS)
    assert f == notion("max-min")


def test_weights_by_class_follow_the_users():
    env = gym.make(
        ID,
        scenario="csi-prediction",
        shuffle=False,
        fairness={"name": "alpha", "weights": {"edge": 4.0, "vehicular": 1.0}},
    )
    assert env.unwrapped.problem.fairness.weights == (4.0, 1.0, 1.0, 1.0)
    given = {"name": "alpha", "weights": {"edge": 4.0, "vehicle": 1.0}}
    with pytest.raises(ValueError, match=r"class in weights 'vehicle'.*vehicular"):
        gym.make(ID, scenario="csi-prediction", shuffle=False, fairness=given)
    given = {"name": "alpha", "weights": {"edge": 4.0}}
    with pytest.raises(ValueError, match="nothing for vehicular"):
        gym.make(ID, scenario="csi-prediction", shuffle=False, fairness=given)


@pytest.mark.parametrize("agent", ["fairgrad", "ftl"])
def test_methods_that_are_none_there_are_refused(agent):
    pytest.importorskip("torchjd")
    env = gym.make(ID, scenario="csi-prediction", fairness="max-min")
    with pytest.raises(ValueError, match="max-min"):
        owo_agents.make(agent, env.unwrapped.problem)


class Upward(SoftWorst):
    def priorities(self, u):
        return SoftWorst.priorities(self, -u)


class Short(SoftWorst):
    def project(self, z):
        return z / sum_users(z)[..., None]


class Off(SoftWorst):
    def conjugate_terms(self, p):
        return 2 * SoftWorst.conjugate_terms(self, p)


class Low(SoftWorst):
    most = 0.5


@pytest.mark.parametrize(
    ("cls", "message"),
    [
        (Upward, r"value\(v\) − value\(u\) − priorities.*by [\d.]+ at u="),
        (Short, "is not the nearest point of P.*by"),
        (Off, r"conjugate\(priorities\(u\)\).*differs from value\(u\) by"),
        (Low, "most=0.5.*sum 1"),
    ],
)
def test_a_notion_that_contradicts_itself_is_refused(cls, message):
    with pytest.raises(ValueError, match=message):
        gym.make(ID, scenario="csi-prediction", hindsight=False, fairness=cls(K, BOUNDS))


def test_ones_own_notion_is_played():
    env = gym.make(ID, scenario="csi-prediction", hindsight=False, fairness=notion("one's own"))
    records = list(owo_agents.play(env, owo_agents.make("owo-fmtl", env), 3, seed=0))
    own = notion("one's own")
    for record in records:
        assert record.fairness == own.value(record.utilities)
