"""Traces: what is written replays with the same bits, and a bad trace is refused by name."""

import gymnasium as gym
import numpy as np
import pytest
from gymnasium.utils.env_checker import check_env
from typer.testing import CliRunner

import owo_agents
import owo_env  # noqa: F401  (registers the environment)
from owo_agents.command.main import app
from owo_env.scenarios import make_scenario, traces
from owo_env.scenarios.least_squares.measured import Recording
from owo_env.scenarios.recorded import Recorded

SMALL = {"num_slots": 8}
BOUNDS = {"l_max": 5.0, "utility_bounds": (1.0, 5.0)}


def arrays(rng=None, rounds=4, slots=3, users=2, samples=None, d=2, complex_=False):
    """A trace of random numbers."""
    rng = rng or np.random.default_rng(0)
    shape = (rounds, slots, users) + (() if samples is None else (samples,))
    x, y = rng.uniform(-1, 1, (*shape, d)), rng.uniform(-1, 1, shape)
    if complex_:
        x, y = x + 1j * rng.uniform(-1, 1, x.shape), y + 1j * rng.uniform(-1, 1, y.shape)
    return x, y


def played(env, rounds=5):
    """Every bit that an agent sees in some rounds."""
    agent = owo_agents.make("owo-fmtl", env)
    return [
        (r.utilities, r.model, r.regret, r.fairness, r.extras.get("user_class"))
        for r in owo_agents.play(env, agent, rounds, seed=3)
    ]


@pytest.mark.parametrize("suffix", [".npz", ".parquet"])
@pytest.mark.parametrize(
    "spec",
    [
        {"name": "csi-prediction", **SMALL},
        {"name": "csi-prediction", "adversary": "blocks", "alpha": 2.0, **SMALL},
        {"name": "sinusoid", "num_slots": 5},
    ],
    ids=["csi", "csi-adversary", "sinusoid"],
)
def test_replay_has_the_same_bits(tmp_path, spec, suffix):
    if suffix == ".parquet":
        pytest.importorskip("pyarrow")
    scenario = make_scenario(spec)
    path = tmp_path / f"trace{suffix}"
    traces.write(scenario, path, rounds=5, seed=3)
    live = played(gym.make("AIRAN-FairMTL-v0", scenario=spec))
    replay = played(
        gym.make(
            "AIRAN-FairMTL-v0",
            scenario="recorded",
            trace=str(path),
            alpha=scenario.problem.alpha,
        )
    )
    for ours, theirs in zip(live, replay, strict=True):
        for a, b in zip(ours, theirs, strict=True):
            np.testing.assert_array_equal(a, b)


def test_replay_of_a_replay(tmp_path):
    traces.write(make_scenario("csi-prediction", **SMALL), tmp_path / "a.npz", 3, 0)
    traces.write(Recorded(trace=tmp_path / "a.npz"), tmp_path / "b.npz", 3, 1)
    a, b = (traces.open_trace(tmp_path / name).read(0, 3) for name in ("a.npz", "b.npz"))
    np.testing.assert_array_equal(a.features, b.features)
    np.testing.assert_array_equal(a.targets, b.targets)
    np.testing.assert_array_equal(a.about["user_class"], b.about["user_class"])


def test_npz_is_mapped_not_read(tmp_path):
    traces.write(make_scenario("csi-prediction", **SMALL), tmp_path / "a.npz", 3, 0)
    trace = traces.open_trace(tmp_path / "a.npz")
    base = trace._whole.features
    while base.base is not None and not isinstance(base, np.memmap):
        base = base.base
    assert isinstance(base, np.memmap)


def test_npz_written_by_numpy_plays(tmp_path):
    """The format is what numpy.savez writes, whatever the order in memory."""
    x, y = arrays(samples=5)
    np.savez(tmp_path / "c.npz", features=x, targets=y)
    np.savez(tmp_path / "f.npz", features=np.asfortranarray(x), targets=y)
    for name in ("c.npz", "f.npz"):
        found = Recorded(trace=tmp_path / name, **BOUNDS).trace.read(1, 3)
        np.testing.assert_array_equal(found.features, x[1:3])
        np.testing.assert_array_equal(found.targets, y[1:3])


@pytest.mark.parametrize("group", [7, 1000])
def test_parquet_written_by_pandas_plays(tmp_path, group):
    """Any row groups, counting from 0, a column order of its own, real features."""
    pandas = pytest.importorskip("pandas")
    x, y = arrays()
    t, i, k = np.indices(y.shape)
    columns = {"y": y.ravel(), "x1": x[..., 1].ravel(), "x0": x[..., 0].ravel()}
    columns |= {"user": k.ravel(), "slot": i.ravel(), "round": t.ravel()}
    frame = pandas.DataFrame(columns)
    frame.to_parquet(tmp_path / "a.parquet", row_group_size=group, index=False)
    trace = Recorded(trace=tmp_path / "a.parquet", **BOUNDS).trace
    for first in range(4):
        for stop in range(first + 1, 5):
            found = trace.read(first, stop)
            np.testing.assert_array_equal(found.features[:, :, :, 0], x[first:stop])
            np.testing.assert_array_equal(found.targets[..., 0], y[first:stop])

    frame.sample(frac=1, random_state=0).to_parquet(tmp_path / "b.parquet", index=False)
    with pytest.raises(ValueError, match="not sorted by round, slot, user"):
        Recorded(trace=tmp_path / "b.parquet", **BOUNDS)
    frame.iloc[1:].to_parquet(tmp_path / "c.parquet", index=False)
    with pytest.raises(ValueError, match=r"has 23 rows: must be one for each of .* 4 × 3 × 2"):
        Recorded(trace=tmp_path / "c.parquet", **BOUNDS)
    frame.drop(columns="user").to_parquet(tmp_path / "d.parquet", index=False)
    with pytest.raises(ValueError, match="lacks the columns user"):
        Recorded(trace=tmp_path / "d.parquet", **BOUNDS)
    frame.assign(x0=None).to_parquet(tmp_path / "e.parquet", index=False)
    with pytest.raises(ValueError, match="column x0 has 24 empty cells"):
        Recorded(trace=tmp_path / "e.parquet", **BOUNDS)


@pytest.mark.parametrize("complex_", [False, True])
@pytest.mark.parametrize("samples", [1, 5])
def test_reduction_is_the_mean_squared_error(samples, complex_):
    """Utilities equal l_max less the mean of |y − θᵀx|² written out."""
    x, y = arrays(samples=samples, complex_=complex_)
    env = gym.make("AIRAN-FairMTL-v0", scenario="recorded", features=x, targets=y, **BOUNDS)
    theta = np.array([0.3, -0.7])
    env.reset(seed=0)
    for slot in range(3):
        obs, *_ = env.step({"model": theta, "weights": np.ones(2)})
        loss = np.mean(np.abs(y[0, slot] - x[0, slot] @ theta) ** 2, axis=-1)
        np.testing.assert_allclose(obs["utilities"], 5.0 - loss, rtol=1e-13)


def test_reduction_is_symmetric_and_independent_of_the_block():
    x, y = arrays(samples=16, d=4, complex_=True)
    x, y = x.astype(np.complex64), y.astype(np.complex64)
    whole = Recording(x, y).reduced()
    np.testing.assert_array_equal(whole, whole.swapaxes(-1, -2))
    np.testing.assert_array_equal(whole[2:3], Recording(x[2:3], y[2:3]).reduced())


def test_smoothness_and_gradient_bound_hold():
    """Finite differences of the gradient never exceed L; gradients G where u ≥ u_min."""
    x, y = arrays(samples=3)
    scenario = Recorded(features=x, targets=y, model_bounds=(-1, 1), **BOUNDS)
    problem = scenario.problem
    H = np.einsum("tiksa,tiksb->tikab", x, x) / 3
    b = np.einsum("tiksa,tiks->tika", x, y) / 3
    assert 2 * np.linalg.eigvalsh(H)[..., -1].max() <= problem.smoothness * (1 + 1e-12)
    for theta in np.random.default_rng(1).uniform(-1, 1, (100, 2)):
        norms = np.linalg.norm(2 * (b - H @ theta), axis=-1)
        assert (norms.sum(axis=-1) <= problem.gradient_bound).all()


def test_rounds_come_in_order_and_end():
    x, y = arrays(rounds=7)
    settings = {"features": x, "targets": y, **BOUNDS}
    env = gym.make("AIRAN-FairMTL-v0", scenario="recorded", **settings)
    for t in range(7):
        env.reset(seed=0 if t == 0 else None)
        obs, *_ = env.step({"model": np.zeros(2), "weights": np.ones(2)})
        np.testing.assert_allclose(obs["utilities"], 5.0 - y[t, 0] ** 2, rtol=1e-15)
    with pytest.raises(ValueError, match="has 7 rounds, round 8 was asked for"):
        env.reset()
    env = gym.make("AIRAN-FairMTL-v0", scenario="recorded", repeat=True, **settings)
    for t in range(9):
        env.reset(seed=0 if t == 0 else None)
    obs, *_ = env.step({"model": np.zeros(2), "weights": np.ones(2)})
    np.testing.assert_allclose(obs["utilities"], 5.0 - y[1, 0] ** 2, rtol=1e-15)


@pytest.mark.filterwarnings("ignore:.*infinity.*", "ignore:.*normalized space.*")
@pytest.mark.filterwarnings("ignore:.*minimum value is -inf.*", "ignore:.*maximum value is inf.*")
def test_gymnasium_checks_the_environment():
    x, y = arrays(samples=2, complex_=True)
    settings = {"features": x, "targets": y, "repeat": True, **BOUNDS}
    env = gym.make("AIRAN-FairMTL-v0", scenario="recorded", **settings)
    check_env(env.unwrapped, skip_render_check=True)


def test_every_stream_of_a_batch_replays_the_same():
    x, y = arrays(rounds=6, samples=2)
    settings = {"features": x, "targets": y, "model_bounds": (-1, 1), **BOUNDS}
    single = played(gym.make("AIRAN-FairMTL-v0", scenario="recorded", **settings))
    batch = played(
        gym.make_vec(
            "AIRAN-FairMTL-v0",
            num_envs=2,
            scenario="recorded",
            autoreset_mode="Disabled",
            **settings,
        )
    )
    for one, many in zip(single, batch, strict=True):
        for a, b in zip(one[:4], many[:4], strict=True):
            np.testing.assert_array_equal(a, b[0])
            np.testing.assert_array_equal(b[0], b[1])


def test_play_refuses_more_rounds_than_there_are():
    x, y = arrays()
    env = gym.make("AIRAN-FairMTL-v0", scenario="recorded", features=x, targets=y, **BOUNDS)
    agent = owo_agents.make("owo-fmtl", env, learning_rate=0.01)
    with pytest.raises(ValueError, match="rounds=5: the scenario has only 4"):
        next(owo_agents.play(env, agent, 5, seed=0))


def nan_in(array, *index):
    array = array.copy()
    array[index] = np.nan
    return array


X, Y = arrays()
BAD = {
    "features have shape .* targets": {"features": X, "targets": Y[:, :, :1]},
    "features are not finite in round 2, slot 3, user 1": {
        "features": nan_in(X, 1, 2, 0, 1),
        "targets": Y,
    },
    "targets are not finite in round 4, slot 1, user 2": {
        "features": X,
        "targets": nan_in(Y, 3, 0, 1),
    },
    "must be numbers": {"features": X.astype(str), "targets": Y},
    "needs trace=": {"features": X},
    "num_slots=9": {"features": X, "targets": Y, "num_slots": 9},
    "does not say l_max": {"features": X, "targets": Y, "l_max": None},
    "num_users=1": {"features": X[:, :, :1], "targets": Y[:, :, :1]},
    "model_bounds": {"features": X, "targets": Y, "model_bounds": (1.0,)},
    "smoothness": {"features": X, "targets": Y, "smoothness": -1.0},
}


@pytest.mark.parametrize("message", BAD)
def test_bad_data_are_refused(message):
    with pytest.raises(ValueError, match=message):
        Recorded(**{**BOUNDS, **BAD[message]})


def test_bad_files_are_refused(tmp_path):
    x, y = arrays()
    np.savez(tmp_path / "key.npz", features=x)
    np.savez_compressed(tmp_path / "compressed.npz", features=x, targets=y)
    np.savez(tmp_path / "settings.npz", features=x, targets=y, settings='{"lmax": 5}')
    np.savez(tmp_path / "text.npz", features=x, targets=y, settings="l_max=5")
    np.savez(tmp_path / "objects.npz", features=np.array([None]), targets=y)
    (tmp_path / "junk.npz").write_text("junk")
    (tmp_path / "trace.csv").write_text("junk")
    for name, message in {
        "key.npz": "lacks targets",
        "compressed.npz": "numpy.savez, not numpy.savez_compressed",
        "objects.npz": "Python objects",
        "settings.npz": "unknown key of the settings .*'lmax': did you mean 'l_max'",
        "text.npz": "settings are not JSON",
        "junk.npz": "not an .npz file",
        "trace.csv": "must end in .npz or .parquet",
    }.items():
        with pytest.raises(ValueError, match=message):
            Recorded(trace=tmp_path / name, **BOUNDS)
    with pytest.raises(FileNotFoundError, match="no such file"):
        Recorded(trace=tmp_path / "missing.npz", **BOUNDS)
    pytest.importorskip("pyarrow")
    (tmp_path / "junk.parquet").write_text("junk")
    with pytest.raises(ValueError, match="not a Parquet file"):
        Recorded(trace=tmp_path / "junk.parquet", **BOUNDS)


def test_writing_refuses_before_it_draws(tmp_path):
    scenario = make_scenario("csi-prediction", **SMALL)
    with pytest.raises(ValueError, match="rounds=0"):
        traces.write(scenario, tmp_path / "a.npz", 0, 0)
    with pytest.raises(ValueError, match=r"must end in \.npz or \.parquet"):
        traces.write(scenario, tmp_path / "a.csv", 1, 0)
    with pytest.raises(OSError):
        traces.write(scenario, tmp_path / "nowhere" / "a.npz", 1, 0)
    assert not list(tmp_path.iterdir())


def test_the_command_writes_a_trace_or_says_why_not(tmp_path):
    path = tmp_path / "a.npz"
    call = ["record", str(path), "--rounds", "3", "--seed", "2", "--set", "num_slots=8"]
    assert CliRunner().invoke(app, call).exit_code == 0
    scenario = make_scenario("csi-prediction", **SMALL)
    traces.write(scenario, tmp_path / "b.npz", 3, 2)
    assert path.read_bytes() == (tmp_path / "b.npz").read_bytes()
    for wrong in (["--scenario", "rainbow-mnist"], ["--set", "mix=edgy"], ["--rounds", "0"]):
        assert CliRunner().invoke(app, [*call, *wrong]).exit_code == 2


@pytest.mark.parametrize("vector", [False, True])
def test_a_round_that_is_not_there_is_refused_again_and_again(vector):
    x, y = arrays(rounds=2, slots=2)
    settings = {"scenario": "recorded", "features": x, "targets": y, **BOUNDS}
    make = gym.make_vec if vector else gym.make
    mode = {"num_envs": 2, "autoreset_mode": "Disabled"} if vector else {}
    env = make("AIRAN-FairMTL-v0", **mode, **settings)
    agent = owo_agents.make("cws", env, learning_rate=0.01)
    *_, last = owo_agents.play(env, agent, 2, seed=0)
    best = env.unwrapped.fairest()[0]
    for _ in range(2):
        with pytest.raises(ValueError, match="has 2 rounds, round 3 was asked for"):
            env.reset()
    np.testing.assert_array_equal(env.unwrapped.fairest()[0], best)  # still at the second
    _, info = env.reset(seed=0)
    assert np.all(info["round"] == 1) and last.round == 2


@pytest.mark.parametrize("kind", [np.uint8, np.int64, np.float32])
def test_the_adversary_flips_whole_numbers_too(kind):
    x, y = np.ones((1, 4, 2, 1)), np.full((1, 4, 2), 3)
    utilities = [
        Recorded(
            features=x,
            targets=y.astype(t),
            l_max=90.0,
            utility_bounds=(1.0, 90.0),
            adversary="blocks",
        ).stream(np.random.default_rng(0), None)
        for t in (kind, float)
    ]
    for stream in utilities:
        stream.open_round({})
    found, expected = (stream.evaluate(np.array([1.0])) for stream in utilities)
    np.testing.assert_array_equal(found, expected)
    assert expected[:, 0].tolist() == [86.0, 86.0, 74.0, 74.0]  # 90 − (3 − 1)², 90 − (−3 − 1)²
