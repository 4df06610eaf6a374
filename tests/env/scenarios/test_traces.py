"""Traces: what is written replays with the same bits, and a bad trace is refused by name."""

import copy
import os
import pickle
import tracemalloc

import gymnasium as gym
import numpy as np
import pytest
from gymnasium.utils.env_checker import check_env
from typer.testing import CliRunner

import owo_agents
import owo_env  # noqa: F401  (registers the environment)
from owo_agents.command.main import app
from owo_env.scenarios import make_scenario, registry, traces
from owo_env.scenarios.least_squares.base import LeastSquares
from owo_env.scenarios.least_squares.measured import Measured, Recording
from owo_env.scenarios.recorded import Recorded
from owo_env.scenarios.traces.file import TraceFile

SMALL = {"num_slots": 8}
BOUNDS = {"l_max": 5.0, "utility_bounds": (1.0, 5.0)}
SUFFIXES = [".npz", ".parquet"]


def arrays(rng=None, rounds=4, slots=3, users=2, samples=None, d=2, complex_=False):
    """A trace of random numbers."""
    rng = rng or np.random.default_rng(0)
    shape = (rounds, slots, users) + (() if samples is None else (samples,))
    x, y = rng.uniform(-1, 1, (*shape, d)), rng.uniform(-1, 1, shape)
    if complex_:
        x, y = x + 1j * rng.uniform(-1, 1, x.shape), y + 1j * rng.uniform(-1, 1, y.shape)
    return x, y


def table(x, y, **more):
    """The columns of a Parquet trace, and further ones; None leaves one out."""
    y = y if y.ndim == 4 else y[..., None]
    x = x.reshape(*y.shape, -1)
    columns = {
        n: a.ravel() for n, a in zip(("round", "slot", "user", "sample"), np.indices(y.shape))
    }
    columns |= {f"x{j}": x[..., j].ravel() for j in range(x.shape[-1])} | {"y": y.ravel()}
    return {name: values for name, values in (columns | more).items() if values is not None}


def write(path, x, y, **more):
    """A trace as its user would write it; ``more`` are further arrays or columns."""
    if path.suffix == ".npz":
        np.savez(path, features=x, targets=y, **more)
        return path
    pa = pytest.importorskip("pyarrow")
    columns = table(x, y, **more)
    rows = len(columns["y"])
    # The same size, whatever the figures.
    options = {"use_dictionary": False, "compression": "none", "row_group_size": rows // len(x)}
    pa.parquet.write_table(pa.table(columns), path, **options)
    return path


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


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_a_trace_is_read_in_pieces(tmp_path, suffix):
    path = write(tmp_path / f"a{suffix}", *arrays(rounds=256, slots=32, samples=8, d=4))
    traces.open_trace(path).read(0, 1)  # what is imported for the first time does not count
    tracemalloc.start()
    try:
        trace = traces.open_trace(path)
        for t in range(256):
            trace.read(t, t + 1)
        assert tracemalloc.get_traced_memory()[1] < path.stat().st_size / 2
    finally:
        tracemalloc.stop()


def changed_in_place(path, other):
    path.write_bytes(other.read_bytes())


def cut_short(path, other):
    os.truncate(path, 100)


def replaced(path, other):
    os.replace(other, path)


def removed(path, other):
    path.unlink()


@pytest.mark.parametrize("suffix", SUFFIXES)
@pytest.mark.parametrize("change", [changed_in_place, cut_short, replaced, removed])
def test_a_file_that_changes_while_it_is_played_is_refused(tmp_path, change, suffix):
    """Another file of the same size, type and shape; with the settings of the first one."""
    x, y = arrays(rounds=4, slots=300)
    path = write(tmp_path / f"a{suffix}", x, y)
    other = write(tmp_path / f"b{suffix}", -x, y)
    os.utime(path, ns=(0, 0))
    env = gym.make("AIRAN-FairMTL-v0", scenario="recorded", trace=path, **BOUNDS)
    env.reset(seed=0)
    copies = [copy.deepcopy(env), pickle.loads(pickle.dumps(env.unwrapped))]
    change(path, other)
    for one in (env, *copies):
        with pytest.raises((ValueError, FileNotFoundError), match=r"written anew|No such file"):
            one.reset()


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_a_file_that_changes_within_a_reading_is_refused(tmp_path, suffix):
    path = write(tmp_path / f"a{suffix}", *arrays())
    file = TraceFile(path)
    with pytest.raises(ValueError, match="written anew"), file.open() as opened:
        os.truncate(path, 100)
        opened.seek(200)
        raise OSError("what comes of it says less")


@pytest.mark.parametrize("suffix", SUFFIXES)
@pytest.mark.parametrize("way", [copy.deepcopy, lambda env: pickle.loads(pickle.dumps(env))])
def test_copies_play_on_wherever_they_are(tmp_path, monkeypatch, way, suffix):
    x, y = arrays(rounds=6, slots=300)
    write(tmp_path / f"a{suffix}", x, y)
    monkeypatch.chdir(tmp_path)
    env = gym.make("AIRAN-FairMTL-v0", scenario="recorded", trace=f"a{suffix}", **BOUNDS)
    env.reset(seed=0)
    twin = way(env.unwrapped)
    monkeypatch.chdir("/")
    action = {"model": np.ones(2), "weights": np.ones(2)}
    for t in range(1, 6):
        for one in (env, twin):
            one.reset()
            utilities = one.step(action)[0]["utilities"]
            np.testing.assert_allclose(utilities, 5 - (y[t, 0] - x[t, 0].sum(axis=-1)) ** 2)


def test_the_home_folder_may_be_written_as_people_write_it(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("USERPROFILE", str(tmp_path))
    scenario = make_scenario("sinusoid", num_slots=2)
    traces.write(scenario, "~/a.npz", 2, 0)
    assert traces.open_trace("~/a.npz").shape[0] == 2 and (tmp_path / "a.npz").exists()


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


def masked(array, *index):
    mask = np.zeros(array.shape, bool)
    mask[index] = True
    return np.ma.array(array, mask=mask)


X, Y = arrays()
BAD = {
    r"features are masked \(missing\) in round 2, slot 3, user 1": {
        "features": masked(X, 1, 2, 0, 1),
        "targets": Y,
    },
    r"targets are masked \(missing\) in round 4, slot 1, user 2": {
        "features": X,
        "targets": masked(Y, 3, 0, 1),
    },
    "features: lists of unequal length": {"features": [[1.0], [2.0, 3.0]], "targets": Y},
    "features are all 0": {"features": 0 * X, "targets": Y},
    "initial_model has complex128 entries: must be real numbers": {
        "features": X,
        "targets": Y,
        "initial_model": [0, 1j],
    },
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
    np.savez(tmp_path / "names.npz", features=x, targets=y, user_class=np.array([["a", None]] * 4))
    np.savez(tmp_path / "lies.npz", features=x, targets=y)
    whole = (tmp_path / "lies.npz").read_bytes()
    (tmp_path / "lies.npz").write_bytes(whole.replace(b"(4, 3, 2, 2)", b"(9, 3, 2, 2)"))
    (tmp_path / "junk.npz").write_text("junk")
    (tmp_path / "trace.csv").write_text("junk")
    for name, message in {
        "key.npz": "lacks targets",
        "names.npz": r"user_class holds Python objects: must be an array of text \(names.astype",
        "lies.npz": "features has shape .* its data are not as long",
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
    (tmp_path / "folder.parquet").mkdir()
    with pytest.raises(ValueError, match="is a folder, must be one file"):
        Recorded(trace=tmp_path / "folder.parquet", **BOUNDS)
    with pytest.raises(TypeError, match="trace is a ndarray: must be the path of a file"):
        Recorded(trace=x, **BOUNDS)
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
    with pytest.raises(ValueError, match=r"rounds=5: must be a whole number, .* at most 4"):
        traces.write(Recorded(features=X, targets=Y, **BOUNDS), tmp_path / "a.npz", 5, 0)
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


ONES = np.ones(24)
BAD_COLUMNS = {
    "only x0 to x0, and yet the columns x2": {"x1": None, "x2": ONES},
    "only x0 to x1, and yet the columns x2_re": {"x2_re": ONES},
    "and yet the columns x0_im, x0_re": {"x0_im": ONES, "x0_re": ONES},
    "and yet the columns y_im": {"y_im": ONES},
    "column user has 2 numbers from 4601 to 4733: must be counted without gaps": {
        "user": np.tile([4601, 4733], 12)
    },
    "round, slot, user, sample must be whole numbers": {"round": np.r_[np.nan, np.ones(23)]},
    "column user_class has 1 empty cells": {"user_class": [None] + ["car"] * 23},
    "column user_class changes within a round": {"user_class": ["edge"] * 3 + ["car"] * 21},
}


@pytest.mark.parametrize("message", BAD_COLUMNS)
def test_columns_that_would_be_lost_or_misread_are_refused(tmp_path, message):
    path = write(tmp_path / "a.parquet", X, Y, **BAD_COLUMNS[message])
    with pytest.raises(ValueError, match=message):
        Recorded(trace=path, **BOUNDS)


def test_tables_of_no_rows_or_with_a_column_twice_are_refused(tmp_path):
    pa = pytest.importorskip("pyarrow")
    whole = pa.table(table(X, Y))
    pa.parquet.write_table(whole.slice(0, 0), tmp_path / "a.parquet")
    pa.parquet.write_table(whole.append_column("y", whole["y"]), tmp_path / "b.parquet")
    for name, message in {"a": "has no rows", "b": "has two columns y"}.items():
        with pytest.raises(ValueError, match=message):
            Recorded(trace=tmp_path / f"{name}.parquet", **BOUNDS)


def test_columns_of_ones_own_are_left_alone(tmp_path):
    path = write(tmp_path / "a.parquet", X, Y, rsrp=[[1.0]] * 24, xylophone=["x"] * 24)
    np.testing.assert_array_equal(traces.open_trace(path).read(0, 4).targets[..., 0], Y)


def test_damaged_data_are_refused_by_the_files_name(tmp_path):
    path = tmp_path / "a.parquet"
    traces.write(make_scenario("sinusoid", num_slots=64), path, 4, 0)
    content = path.read_bytes()
    path.write_bytes(content[:50] + content[400:450] + content[100:])
    with pytest.raises(ValueError, match=r"a\.parquet: "):
        Recorded(trace=path)


def test_a_mask_that_hides_nothing_is_no_mask():
    plain = Recorded(features=X, targets=Y, **BOUNDS)
    found = Recorded(features=np.ma.array(X), targets=np.ma.array(Y), **BOUNDS).trace.read(0, 4)
    np.testing.assert_array_equal(found.features, plain.trace.read(0, 4).features)
    assert not np.ma.isMaskedArray(found.features)


class Gaps(Measured):
    """Measures what ``recorded`` was given, with a gap."""

    name = "gaps"

    def __init__(self):
        super().__init__(Recorded(features=X, targets=Y, **BOUNDS).problem)
        self.rounds_per_block = 1

    def measure(self, rng, first_round):
        return Recording(X[:1], masked(Y[:1], 0, 1, 0))


def test_gaps_in_ones_own_measurements_are_refused():
    with pytest.raises(
        ValueError, match=r"targets are masked \(missing\) in round 1, slot 2, user 1"
    ):
        gym.make("AIRAN-FairMTL-v0", scenario=Gaps())


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_names_that_grow_longer_are_never_cut(tmp_path, suffix):
    """In a batch whose streams stand at different rounds, and in a trace of a trace."""
    x, y = arrays(rounds=3, slots=300)
    names = np.array([["a", "b"], ["edge", "b"], ["vehicular", "pedestrian"]])
    column = np.broadcast_to(names[:, None], y.shape).ravel()
    path = write(tmp_path / "a.parquet", x, y, user_class=column)
    env = gym.make_vec(
        "AIRAN-FairMTL-v0",
        num_envs=2,
        autoreset_mode="Disabled",
        scenario="recorded",
        trace=path,
        **BOUNDS,
    )
    env.reset(seed=0)
    inner = env.unwrapped._batch
    for t in (1, 2):
        env.reset(options={"reset_mask": np.array([True, False])})
        assert inner.round_info(np.arange(2))["user_class"].tolist() == [
            names[t].tolist(),
            names[0].tolist(),
        ]
    again = tmp_path / f"b{suffix}"
    traces.write(Recorded(trace=path, **BOUNDS), again, 3, 0)
    np.testing.assert_array_equal(traces.open_trace(again).read(0, 3).about["user_class"], names)


class Grows(Gaps):
    """Samples become more."""

    def measure(self, rng, first_round):
        more = np.repeat(X[:1, :, :, None], first_round, axis=3)
        return Recording(more, more.sum(axis=-1))


def test_what_no_npz_can_hold_is_refused_and_leaves_nothing(tmp_path):
    with pytest.raises(ValueError, match="features: change their type or shape"):
        traces.write(Grows(), tmp_path / "a.npz", 3, 0)
    assert not list(tmp_path.iterdir())


def test_what_can_be_recorded_is_what_has_samples():
    known = registry.entries.items()
    ours = [name for name, (path, _) in known if str(path).startswith("owo_env.")]
    found = {name for name in ours if issubclass(registry.find(name), LeastSquares)}
    assert set(traces.RECORDABLE) == found
