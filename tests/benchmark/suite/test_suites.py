"""Suites: what they mean, and what they refuse with the line and the key."""

import dataclasses
import shutil
from functools import partial

import numpy as np
import pytest
from bench_helpers import SMALL, small

import owo_agents
from owo_agents.benchmark.run import runner
from owo_agents.benchmark.suite import manifest
from owo_agents.benchmark.suite import reader as suite
from owo_agents.benchmark.suite.reader import parse
from owo_agents.registry import registry
from owo_agents.rl.policy import locate
from owo_env.radio.site import load
from owo_env.scenarios import make_scenario, traces

TEXT = """\
summary: a test
rounds: 2
seeds: [0, 7]
agents:
  owo-fmtl:
  equal: {agent: cws, weights: [0.5, 0.5]}
experiments:
  one:
    scenario: sinusoid
    settings: {num_slots: 4}
    grid: {alpha: [1.0, 2.0]}
"""


def written(tmp_path, text):
    path = tmp_path / "mine.yaml"
    path.write_text(text)
    return path


@pytest.mark.parametrize("name", suite.names())
def test_our_suites_are_read_and_have_cells(name):
    assert suite.load(name).cells()


def test_a_file_means_its_product(tmp_path):
    found = suite.load(written(tmp_path, TEXT))
    cells = found.cells()
    assert len(cells) == 2 * 2 * 2
    assert {cell.seed for cell in cells} == {0, 7}
    assert {cell.settings["alpha"] for cell in cells} == {1.0, 2.0}
    assert all(cell.settings["num_slots"] == 4 for cell in cells)


def test_a_mapping_means_the_same_as_the_file(tmp_path):
    from_file = suite.load(written(tmp_path, TEXT))
    plain = {
        "summary": "a test",
        "rounds": 2,
        "seeds": [0, 7],
        "agents": {"owo-fmtl": None, "equal": {"agent": "cws", "weights": [0.5, 0.5]}},
        "experiments": {
            "one": {
                "scenario": "sinusoid",
                "settings": {"num_slots": 4},
                "grid": {"alpha": [1.0, 2.0]},
            }
        },
    }
    assert parse("mine", plain).cells() == from_file.cells()


def test_experiments_inherit_and_override():
    found = small(
        settings={"num_slots": 8, "alpha": 2.0},
        arguments={"initialization": "continue"},
        experiments={
            "a": {"scenario": "sinusoid"},
            "b": {
                "scenario": "sinusoid",
                "rounds": 9,
                "settings": {"alpha": 1.0},
                "agents": {"srl": {"initialization": None}},
            },
        },
    )
    a, b = found.experiments
    assert (a.rounds, b.rounds) == (3, 9)
    assert a.variants[0].settings == {"num_slots": 8, "alpha": 2.0}
    assert b.variants[0].settings == {"num_slots": 8, "alpha": 1.0}
    assert a.agents["owo-fmtl"].arguments == {"initialization": "continue"}
    assert list(b.agents) == ["owo-fmtl", "equal", "srl"]
    assert b.agents["srl"].arguments == {}


def test_agents_have_grids_too():
    agents = {"loop": {"agent": "owo-fmtl", "grid": {"target": ["last", "avg"]}}}
    (experiment,) = small(agents=agents).experiments
    assert {k: v.arguments for k, v in experiment.agents.items()} == {
        "loop last": {"target": "last"},
        "loop avg": {"target": "avg"},
    }


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("rounds: 2", "rounds: 0", r"mine.yaml:2: rounds: rounds=0"),
        ("rounds: 2", "rounds: two", r"mine.yaml:2: rounds"),
        ("rounds: 2", "round: 2", r"mine.yaml:2: round: unknown key 'round': did you mean 'round"),
        ("seeds: [0, 7]", "seeds: [0, 0]", r"mine.yaml:3: seeds"),
        ("    scenario: sinusoid", "    scenari: sinusoid", r"mine.yaml:9: .*did you mean 'scen"),
        ("alpha: [1.0, 2.0]", "alpha: 1.0", r"mine.yaml:11: experiments.one.grid.alpha"),
        ("  owo-fmtl:", "  owo-fmtl: [1]", r"mine.yaml:5: agents.owo-fmtl"),
        ("  owo-fmtl:", "  1:", r"mine.yaml:5: agents.1: a key must be a text"),
        ("summary: a test", "summary: a\nsummary: b", r"mine.yaml:2: key 'summary' is given twice"),
        ("summary: a test", "summary: [", r"mine.yaml:\d+"),
        ("rounds: 2", "rounds: 2\nbaseline: owo", r"mine.yaml:3: baseline: .*'owo-fmtl'"),
        ("rounds: 2", "rounds: 2\ncharts: [pie]", r"mine.yaml:3: charts: unknown chart 'pie'"),
        *(
            ("rounds: 2", f"rounds: 2\nclaims:\n  it wins: {{{claim}}}", rf"mine.yaml:4: {message}")
            for claim, message in (
                ("figure: fairnes, agent: equal, than: owo-fmtl", ".*did you mean 'fairness'"),
                ("figure: regret, agent: equals, than: owo-fmtl", ".*did you mean 'equal'"),
                ("figure: regret, agent: equal, than: owo", ".*unknown than 'owo'"),
                ("figure: regret, agent: [equal], than: owo-fmtl", ".*unknown agent"),
                ("figure: regret, agent: equal", ".*must have 'than'"),
                ("figure: regret, agent: equal, than: owo-fmtl, at_most: 1", ".*must have 'than'"),
                ("figure: regret, agent: equal, by: 0.1, at_most: 1", ".*must have 'than'"),
                ("figure: regret, agent: equal, at_most: much", ".*at_most='much': must be a"),
                ("figure: regret, agent: equal, at_most: .nan", ".*at_most=nan"),
                ("figure: regret, agent: equal, than: owo-fmtl, by: -1", ".*by=-1"),
                ("figure: regret, agent: equal, at_least: 2, at_most: 1", ".*at_least is above"),
                ("figure: regret, agent: equal, than: equal", ".*compares 'equal' with itself"),
                ("figure: utility, agent: equal, at_most: 1", ".*must be like 'utility user 1'"),
                ("figure: regret user 1, agent: equal, at_most: 1", ".*must be like 'regret'"),
                ("figure: total_weight, agent: equal, than: owo-fmtl", ".*neither more nor less"),
                ("figure: regret, agent: equal, most: 1", ".*unknown key 'most'"),
                ("figure: mine, agent: equal, at_most: 1", ".* regret, .*utility user 1, "),
                ("figure: regret, agent: equal, at_most: 1, slope_in: alpha", ".*needs a grid"),
                ("figure: regret, agent: equal, than: owo-fmtl, slope_in: a", ".*not with 'than'"),
            )
        ),
    ],
)
def test_mistakes_are_named_by_line_and_key(tmp_path, old, new, message):
    assert old in TEXT
    with pytest.raises(ValueError, match=message):
        suite.load(written(tmp_path, TEXT.replace(old, new)))


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("scenario: sinusoid", "scenario: sinusiod", r"mine.yaml:10: .*did you mean 'sinusoid'"),
        ("num_slots: 4", "num_slotz: 4", r"mine.yaml:10: .*did you mean 'num_slots'"),
        ("alpha: [1.0, 2.0]", "alpha: [1.0, -1.0]", r"mine.yaml:10: .*alpha=-1.0"),
        ("[0.5, 0.5]", "[0.5, -0.5]", r"mine.yaml:6: .*shares"),
        ("agent: cws", "agent: csw", r"mine.yaml:6: .*unknown agent 'csw': did you mean 'cws'"),
        ("agent: cws", "agent: 'nowhere:It'", r"mine.yaml:6: .*there is no module 'nowhere'"),
        ("agent: cws", "agent: 'bench_helpers:NoAct'", r"mine.yaml:6: .*no method act"),
    ],
)
def test_all_is_built_before_the_first_slot(tmp_path, old, new, message):
    assert old in TEXT
    chosen = suite.load(written(tmp_path, TEXT.replace(old, new)))
    with pytest.raises(ValueError, match=message):
        runner.validate(chosen)


def test_unknown_suites_and_files():
    with pytest.raises(ValueError, match="did you mean 'quickstart'"):
        suite.load("quickstrat")
    with pytest.raises(ValueError, match=r"nowhere.yaml.*cannot be read"):
        suite.load("nowhere.yaml")


def test_numbers_may_be_written_as_people_do(tmp_path):
    text = TEXT.replace("weights: [0.5, 0.5]", "learning_rate: 1e-3")
    (experiment,) = suite.load(written(tmp_path, text)).experiments
    assert experiment.agents["equal"].arguments["learning_rate"] == 1e-3


def keys(chosen):
    return {cell.key for cell in chosen.cells()}


def test_what_does_not_matter_does_not_change_a_cell():
    first = keys(small())
    renamed = {"owo-fmtl": None, "other name": SMALL["agents"]["equal"]}
    titled = {"other": {**SMALL["experiments"]["short"], "title": "T", "notes": "N"}}
    assert keys(small(agents=renamed, summary="another", experiments=titled)) == first
    assert first < keys(small(seeds=3))
    assert first < keys(small(agents={**SMALL["agents"], "srl": None}))


def test_the_order_of_settings_does_not_matter():
    one, other = ({"alpha": 1.0, "num_slots": 4}, {"num_slots": 4, "alpha": 1.0})
    assert keys(small(settings=one)) == keys(small(settings=other))


@pytest.mark.parametrize(
    "change",
    [
        {"rounds": 4},
        {"settings": {"alpha": 2.0}},
        {"arguments": {"learning_rate": 0.5}},
        {"seeds": [5, 6]},
    ],
)
def test_what_matters_changes_every_cell(change):
    assert not keys(small()) & keys(small(**change))


def test_editing_a_plugged_in_agent_makes_new_cells(tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(tmp_path)
    file = tmp_path / "my_plugin_agent.py"
    agents = {"mine": {"agent": "my_plugin_agent:Mine"}}
    file.write_text("class Mine: ...\n")
    before = keys(small(agents=agents))
    assert keys(small(agents=agents)) == before
    file.write_text("class Mine: pass\n")
    assert not keys(small(agents=agents)) & before


def test_narrowing_keeps_the_rest_as_it_was():
    chosen = small().narrowed(lambda experiment, label: label == "equal")
    assert {cell.agent for cell in chosen.cells()} == {"cws"}
    assert keys(chosen) < keys(small())
    with pytest.raises(ValueError, match="nothing"):
        small().narrowed(lambda experiment, label: False)


def test_the_manifest_gives_the_suite_back(tmp_path):
    for name in suite.names():
        chosen = suite.load(name)
        manifest.write(tmp_path / name, chosen, "owo bench")
        back, origin = manifest.read(tmp_path / name)
        assert keys(back) == keys(chosen)
        assert dataclasses.asdict(back) == dataclasses.asdict(chosen)
        assert origin.command == "owo bench"


@pytest.mark.parametrize("text", ["", "{", "[]", '{"suite": {}}', '{"suite": 3, "origin": {}}'])
def test_a_damaged_manifest_is_named(tmp_path, text):
    (tmp_path / "suite.json").write_text(text)
    with pytest.raises(ValueError, match=r"suite\.json: damaged"):
        manifest.read(tmp_path)


def key_of(**experiment):
    one = {"scenario": "sinusoid", **experiment}
    agents = {"agents": {"mine": None, "owo-fmtl": None}} if "mine" in registry.entries else {}
    return small(experiments={"one": one}, **agents).cells()[0].key


def test_other_data_in_a_trace_make_other_cells(tmp_path):
    file = tmp_path / "t.npz"
    keys = []
    for seed in (0, 1, 0):
        traces.write(make_scenario("sinusoid", num_slots=2), file, rounds=3, seed=seed)
        keys.append(key_of(scenario="recorded", settings={"trace": str(file)}))
    assert keys[0] == keys[2] != keys[1]


def test_another_site_in_a_file_makes_other_cells(tmp_path, monkeypatch):
    munich, file, keys = load("munich"), tmp_path / "mine.npz", []
    monkeypatch.chdir(tmp_path)
    for power in (0.5, 0.25):
        dataclasses.replace(munich, kept=munich.kept * np.float32(power)).save(file)
        keys += [
            key_of(scenario="csi-prediction", settings={"site": where})
            for where in (str(file), "mine.npz", "munich")
        ]
    assert keys[0] == keys[1] != keys[3] == keys[4] and keys[2] == keys[5]
    chosen = small(experiments={"t": {"scenario": "csi-prediction", "settings": {"site": "munic"}}})
    assert chosen.cells()[0].settings["site"] == "munic"  # a name that is none, and no path


def test_a_trace_is_the_same_file_in_any_folder(tmp_path, monkeypatch):
    (tmp_path / "inner").mkdir()
    traces.write(make_scenario("sinusoid", num_slots=2), tmp_path / "t.npz", rounds=3, seed=0)

    def cell(folder, trace):
        monkeypatch.chdir(tmp_path / folder)
        chosen = small(experiments={"t": {"scenario": "recorded", "grid": {"trace": [trace]}}})
        assert chosen.experiments[0].variants[0].label == f"trace={trace}"
        return chosen.cells()[0]

    here, there = cell(".", "t.npz"), cell("inner", "../t.npz")
    assert here.key == there.key == cell("inner", str(tmp_path / "t.npz")).key
    assert here.settings["trace"] == str(tmp_path / "t.npz")
    (experiment,) = small(experiments={"t": {"scenario": "recorded"}}).experiments
    monkeypatch.chdir(tmp_path)
    (variant,) = experiment.with_settings({"trace": "t.npz"}).variants
    assert variant.settings["trace"] == str(tmp_path / "t.npz") and variant.digest


def test_a_policy_is_the_same_file_in_any_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    shutil.copy(locate("sinusoid"), "mine.safetensors")
    agents = {
        "a": {"agent": "rl:mine.safetensors"},
        "b": {"agent": "rl", "path": "mine.safetensors"},
    }
    a, b = small(agents=agents, seeds=1).cells()
    assert a.agent == f"rl:{tmp_path / 'mine.safetensors'}"
    assert b.arguments == {"path": str(tmp_path / "mine.safetensors")}
    assert a.digest == b.digest is not None
    shutil.copy(locate("csi-prediction"), "mine.safetensors")
    assert {a.key, b.key}.isdisjoint(keys(small(agents=agents)))
    shipped = small(
        agents={"a": {"agent": "rl:sinusoid"}, "b": {"agent": "rl", "path": "sinusoid"}}
    )
    assert [cell.agent for cell in shipped.cells()[:2]] == ["rl:sinusoid", "rl"]


def test_a_class_that_an_argument_names_counts(tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(tmp_path)
    agents = {"mine": {"agent": "aggregator", "aggregator": "my_plugin_aggregator:Mine"}}
    found = []
    for text in ("class Mine: ...\n", "class Mine: pass\n"):
        (tmp_path / "my_plugin_aggregator.py").write_text(text)
        found.append(keys(small(agents=agents)))
    assert not found[0] & found[1]


def test_another_class_under_a_registered_name_makes_other_cells(monkeypatch):
    monkeypatch.setattr(registry, "entries", dict(registry.entries))

    class First(owo_agents.Agent):
        def act(self, obs, info):
            return {"a": 1}

    class Second(owo_agents.Agent):
        def act(self, obs, info):
            return {"a": 2}

    def keys_of(*agents):
        keys = []
        for agent in agents:
            owo_agents.register("mine", agent)
            keys.append(key_of())
        return keys

    first, second, again = keys_of(First, Second, First)
    assert first == again != second
    assert len(set(keys_of(partial(First), partial(First, 1), partial(First, a=1)))) == 3
    half, one = keys_of(partial(owo_agents.cws, total=0.5), partial(owo_agents.cws, total=1.0))
    assert half != one


def test_a_folder_keeps_to_its_suite(tmp_path):
    manifest.write(tmp_path, small(), "owo bench")
    manifest.write(tmp_path, small(rounds=5), "owo bench")  # it may grow
    with pytest.raises(ValueError, match="has the results of suite 'small'"):
        manifest.write(tmp_path, suite.load("csi"), "owo bench csi")
    (tmp_path / "suite.json").write_text("{")
    manifest.write(tmp_path, suite.load("csi"), "owo bench csi")


def test_seeded_settings_take_the_runs_seed_unless_they_are_given():
    def seeds_of(**settings):
        one = {"scenario": "rainbow-mnist", "seeded": ["model_seed"], "settings": settings}
        cells = small(seeds=[3, 8], experiments={"one": one}).cells()
        return {(cell.seed, cell.settings["model_seed"]) for cell in cells}

    assert seeds_of() == {(3, 3), (8, 8)}
    assert seeds_of(model_seed=5) == {(3, 5), (8, 5)}
    with pytest.raises(ValueError, match="seeded: 'model_seed': must be a list of names"):
        small(seeded="model_seed")
    with pytest.raises(ValueError, match="did you mean 'model_seed'"):
        one = {"scenario": "rainbow-mnist", "seeded": ["model_sed"]}
        runner.validate(small(experiments={"one": one}))


def test_a_manifest_that_is_a_link_out_of_the_folder_is_not_read(tmp_path):
    manifest.write(tmp_path / "theirs", small(), "owo")
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "suite.json").symlink_to(tmp_path / "theirs" / "suite.json")
    with pytest.raises(ValueError, match="leads out of the folder"):
        manifest.read(tmp_path / "mine")


def test_a_suite_that_is_not_utf8_is_refused_by_name(tmp_path):
    (tmp_path / "s.yaml").write_bytes("summary: Größe".encode("cp1252"))
    with pytest.raises(ValueError, match=r"s\.yaml'?: must be UTF-8 \(byte 12"):
        suite.load(tmp_path / "s.yaml")
