"""A log's trace: what is in it, what it proposes, and what becomes of it in a benchmark."""

import gymnasium as gym
import numpy as np
import pytest
from places import REPOSITORY
from typer.testing import CliRunner

import owo_agents
import owo_env
from owo_agents.benchmark.run.execution import make_pair
from owo_agents.benchmark.suite import reader as suite
from owo_agents.command import main as cli
from owo_env.logs import trace_from
from owo_env.problem import problem_of

COLUMNS = {
    "time": "time",
    "user": "rnti",
    "user_class": "class",
    "features": ["snr_db", "cqi", "throughput_mbps"],
    "target": "throughput_mbps",
    "unit": "Mbit/s",
    "period": "10ms",
    "absent": "leave-out",
}


@pytest.fixture(scope="module")
def example():
    """The script that writes the engineer's log."""
    path = REPOSITORY / "examples" / "cell_log.py"
    found = {"__name__": "cell_log"}
    exec(compile(path.read_text(encoding="utf-8"), str(path), "exec"), found)
    return found


@pytest.fixture(scope="module")
def log(tmp_path_factory, example):
    path = tmp_path_factory.mktemp("log") / "cell.csv"
    example["write"](path, seconds=12.0)
    return path


@pytest.fixture(scope="module")
def trace(log):
    return trace_from(log, **COLUMNS, hold="50ms", slots=32, users=4)


def test_the_examples_log_has_the_faults_that_it_says(log, trace):
    assert log.read_bytes().startswith(b"\xef\xbb\xbftime;rnti;class")
    said = trace.summary
    assert said.dropped["doubled, the last counts"] > 0 and said.disorder > 0
    assert all(0 < share < 0.02 for share in said.missing.values())
    assert 0 < said.held < 0.05 and 0 < said.unused < 1
    assert said.users == 9 and trace.user[0, 0].startswith("0x")


def test_figures_are_the_logs_own_once_scales_are_taken_off(example):
    """A log without faults: what is played is the cell of its slot, and the target a later one."""
    rng = np.random.default_rng(0)
    rate = rng.gamma(2.0, 10.0, (100, 2))
    frame = {
        "time": np.repeat(0.01 * np.arange(100), 2),
        "ue": np.tile(["x", "y"], 100),
        "rate": rate.ravel(),
    }
    ahead = 3
    trace = trace_from(
        frame,
        time="time",
        user="ue",
        features=["rate"],
        target="rate",
        horizon=ahead,
        slots=10,
        absent="leave-out",
    )
    log = trace.settings["log"]
    at, by = log["features"]["rate"]["mean"], log["features"]["rate"]["scale"]
    played = trace.features[..., 0] * by + at
    np.testing.assert_allclose(played.reshape(-1, 2), rate[:90], rtol=1e-12)
    aims = trace.targets * log["target"]["scale"] + log["target"]["mean"]
    np.testing.assert_allclose(aims.reshape(-1, 2), rate[ahead : 90 + ahead], rtol=1e-12)
    assert (trace.features[..., 1] == 1).all() and trace.active.all()
    assert abs(trace.targets.mean()) < 1e-12 and trace.targets.std() == pytest.approx(1)
    simple = trace.summary.predictions["all"]
    assert simple.mean == pytest.approx(rate[ahead : 90 + ahead].std())
    last = rate[ahead : 90 + ahead] - rate[:90]
    assert simple.last == pytest.approx(np.sqrt(np.mean(last**2)))


def test_proposals_are_by_the_rule(trace):
    """u_min at what the better simple prediction keeps to in nine of ten users' rounds; ratio 3."""
    low, high = trace.settings["utility_bounds"]
    assert high == trace.settings["l_max"] == pytest.approx(3 * low)
    scale = trace.settings["log"]["target"]["scale"]
    now = trace.features[..., 2] * trace.settings["log"]["features"]["throughput_mbps"]["scale"]
    now = now + trace.settings["log"]["features"]["throughput_mbps"]["mean"]
    now = (now - trace.settings["log"]["target"]["mean"]) / scale
    losses = [np.mean(e**2, axis=1) for e in (trace.targets, trace.targets - now)]
    better = min(losses, key=np.mean)
    assert np.mean(high - better >= low - 0.03 * low) == pytest.approx(0.9, abs=0.05)


def test_a_file_plays_as_the_trace_in_memory(trace, tmp_path):
    pytest.importorskip("pyarrow")
    records = []
    for name in (None, "cell.npz", "cell.parquet"):
        given = trace if name is None else tmp_path / name
        if name is not None:
            trace.write(given)
        env = gym.make("AIRAN-FairMTL-v0", scenario="recorded", trace=given)
        agent = owo_agents.make("owo-fmtl", env)
        records.append(list(owo_agents.play(env, agent, 4, seed=0)))
        problem = problem_of(env)
        assert problem.error_unit == ("Mbit/s", trace.summary.scale)
        assert problem.smoothness == trace.settings["smoothness"]
    for other in records[1:]:
        for one, two in zip(records[0], other):
            np.testing.assert_array_equal(one.model, two.model)
            np.testing.assert_array_equal(one.utilities, two.utilities)
            np.testing.assert_array_equal(one.extras["user_class"], two.extras["user_class"])


def test_errors_are_in_the_targets_unit(trace, tmp_path):
    """An agent that plays θ = 0 predicts the mean: its RMSE is that of the summary."""
    trace.write(tmp_path / "cell.npz")
    results = owo_agents.bench(
        {"still": ("frozen", {"target": "last"})},
        scenarios={"cell": ("recorded", {"trace": str(tmp_path / "cell.npz")})},
        rounds=trace.summary.rounds,
        seeds=1,
        backend="serial",
        progress=False,
    )
    (row,) = results.figures()
    metric = {m.key: m.title for board in results.boards for m in board.metrics}
    for name, simple in trace.summary.predictions.items():
        if name != "all":
            assert metric[f"rmse {name}"] == f"RMSE Mbit/s {name}"
            # By class: the mean over rounds of the class's mean loss.
            assert row[f"rmse {name}"] == pytest.approx(simple.mean, rel=0.15)
    only = [row[f"rmse {name}"] for name in trace.summary.predictions if name != "all"]
    assert min(only) > 5


def owo(words):
    return CliRunner().invoke(cli.app, words.split())


@pytest.fixture
def told(log, tmp_path, monkeypatch):
    """What the first command said; it wrote into the working folder."""
    monkeypatch.chdir(tmp_path)
    words = [f"--{k} {v}" for k, v in (("time", "time"), ("user", "rnti"), ("class", "class"))]
    words += ["--features snr_db,cqi,throughput_mbps --target throughput_mbps --unit Mbit/s"]
    words += ["--period 10ms --hold 50ms --slots 32 --users 4 --absent leave-out --out cell.npz"]
    done = owo(f"trace {log} {' '.join(words)}")
    assert done.exit_code == 0, done.output
    return done.output


def test_the_command_writes_a_trace_and_a_suite_that_compares_agents(log, trace, told):
    assert "compare agents with: owo bench cell.yaml" in told
    assert " ".join(told.split()).startswith(" ".join(str(trace.summary).split()[:12]))
    chosen = suite.load("cell.yaml")
    assert chosen.experiments[0].rounds == trace.summary.rounds
    for cell in chosen.cells():
        make_pair(cell)
    done = owo("run --scenario recorded --set trace=cell.npz --agent cws --rounds 3")
    assert done.exit_code == 0 and "RMSE Mbit/s edge" in done.output


@pytest.mark.slow
def test_two_commands(tmp_path, told):
    done = owo("bench cell.yaml --rounds 3 --backend serial --only agent=cws --only agent=frozen")
    assert done.exit_code == 0, done.output
    assert "RMSE Mbit/s edge" in (tmp_path / "results/cell/leaderboard.md").read_text()


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("--time t --features snr_db --target cqi --user rnti", "unknown column"),
        ("--time time --features snr_db --target cqi", "which column tells users apart"),
        ("--time time --user rnti --features snr_db --target cqi --out cell.txt", "must end in"),
        ("--time time --user rnti --features snr_db --target cqi --out LOG", "the log itself"),
    ],
)
def test_the_command_refuses_in_one_line(log, words, message):
    done = owo(f"trace {log} {words.replace('LOG', str(log))}")
    assert done.exit_code == 2 and "owo:" in done.output
    assert message in " ".join(done.output.split())


def test_five_lines_of_pandas(log, trace):
    pandas = pytest.importorskip("pandas")
    frame = pandas.read_csv(log, sep=";", decimal=",")
    same = owo_env.trace_from(frame, **COLUMNS, hold="50ms", slots=32, users=4)
    np.testing.assert_array_equal(same.targets, trace.targets)
    np.testing.assert_array_equal(same.features, trace.features)


def test_settings_of_a_log_that_say_nothing_are_refused(tmp_path):
    x = np.random.default_rng(0).normal(size=(2, 3, 2, 1))
    said = '{"l_max": 2, "utility_bounds": [1, 2], "log": {"target": {"unit": "Mbit/s"}}}'
    np.savez(tmp_path / "a.npz", features=x, targets=x[..., 0], settings=np.array(said))
    with pytest.raises(ValueError, match="must have a target with a unit and a scale"):
        owo_env.make_scenario("recorded", trace=tmp_path / "a.npz")


def test_absent_users_become_masks(log, tmp_path):
    """More rounds than without, on the air; errors are of those who are there."""
    masks = {**COLUMNS, "absent": "mask"}
    trace = trace_from(log, **masks, hold="50ms", slots=32, users=6)
    whole = trace_from(log, **COLUMNS, hold="50ms", slots=32, users=6)
    assert trace.summary.rounds > whole.summary.rounds
    assert trace.summary.unused < whole.summary.unused
    assert 0 < trace.summary.absent < 0.5 and not trace.active.all()
    assert (trace.features[~trace.active][:, :-1] == 0).all()
    trace.write(tmp_path / "cell.npz")
    records = []
    for given in (trace, tmp_path / "cell.npz"):
        env = gym.make("AIRAN-FairMTL-v0", scenario="recorded", trace=given)
        agent = owo_agents.make("owo-fmtl", env)
        records.append(list(owo_agents.play(env, agent, 6, seed=0)))
    for t, (one, two) in enumerate(zip(*records)):
        np.testing.assert_array_equal(one.utilities, two.utilities)
        np.testing.assert_array_equal(one.extras["active_slots"], trace.active[t].sum(axis=0))
        assert one.regret == two.regret
    with pytest.raises(ValueError, match="users=10: at most"):
        trace_from(log, **masks, slots=32, users=10)
    with pytest.raises(ValueError, match="unknown absent 'masks': did you mean 'mask'"):
        trace_from(log, **{**COLUMNS, "absent": "masks"})


def test_the_suite_is_one_that_the_trace_can_play(log, tmp_path, monkeypatch):
    """Over a link too: each of its agents plays a round."""
    monkeypatch.chdir(tmp_path)
    words = "--time time --user rnti --features snr_db,throughput_mbps --target throughput_mbps"
    done = owo(f"trace {log} {words} --period 10ms --hold 50ms --slots 8 --out cell.npz")
    assert done.exit_code == 0, done.output
    chosen = suite.load("cell.yaml")
    assert "owo-fmtl as heard" in chosen.experiments[0].agents
    for cell in chosen.cells():
        env, agent = make_pair(cell)
        next(iter(owo_agents.play(env, agent, 1, seed=0)))
