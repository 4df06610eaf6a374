"""Values as people write them, in files, on the command line and in Python."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import pytest
import torch
from bench_helpers import SMALL, small

from owo_agents.benchmark.suite import reader, values
from owo_agents.command.terminal import pairs

MERGED = """\
summary: settings in common
rounds: 2
seeds: 1
experiments:
  one:
    scenario: sinusoid
    settings: &slow
      <<: &base {num_slots: 4, alpha: 1.0}
      alpha: 2.0
agents: {owo-fmtl: }
settings:
  <<: *slow
  hindsight: true
"""


@pytest.mark.parametrize(
    ("text", "value"),
    [
        *(("1e-3", 1e-3), ("-1E+3", -1e3), (".5e2", 50.0), ("5.e1", 50.0), ("1e0", 1.0)),
        *(("3", 3), ("0.1", 0.1), ("e3", "e3"), ("1.2.3e5", "1.2.3e5"), ("1e", "1e")),
        ("[1e-3, x]", [1e-3, "x"]),
    ],
)
def test_a_value_is_the_same_in_a_suite_and_on_the_command_line(tmp_path, text, value):
    for option in ("--set", "--arg", "--hyper"):
        assert pairs(option, [f"key={text}"]) == {"key": value}
    file = tmp_path / "s.yaml"
    file.write_text(MERGED.replace("hindsight: true", f"some: {text}"))
    assert reader.load(file).experiments[0].variants[0].settings["some"] == value


@pytest.mark.parametrize("text", ["[", "{a: 1, a: 2}", "a: 1\na: 2", "2020-13-01", "\x00"])
def test_what_is_no_value_is_refused_by_the_option(text):
    with pytest.raises(ValueError, match="--set 'key="):
        pairs("--set", [f"key={text}"])


def test_a_merged_anchor_is_not_given_twice():
    cells = reader._parse_text("s", MERGED, "s.yaml").cells()
    assert cells[0].settings == {"num_slots": 4, "alpha": 2.0, "hindsight": True}
    both = values.read("a: &a {x: 1}\nb: &b {y: 2}\nc:\n  <<: *a\n  <<: *b")["c"]
    assert both == {"x": 1, "y": 2}  # nothing of either is lost
    twice = MERGED.replace("      alpha: 2.0", "      alpha: 2.0\n      alpha: 3.0")
    with pytest.raises(ValueError, match=r"s\.yaml:10: key 'alpha' is given twice"):
        reader._parse_text("s", twice, "s.yaml")


@pytest.mark.parametrize("content", [b"summary: \xff", b"summary: \x00", b"summary: 2020-13-01"])
def test_what_cannot_be_read_is_named_by_its_file(tmp_path, content):
    (tmp_path / "mine.yaml").write_bytes(content)
    with pytest.raises(ValueError, match=r"mine\.yaml"):
        reader.load(tmp_path / "mine.yaml")


class Config(Mapping):
    """A mapping that is no dict, as OmegaConf's."""

    def __init__(self, **content):
        self.content = content

    def __getitem__(self, key):
        return self.content[key]

    def __iter__(self):
        return iter(self.content)

    def __len__(self):
        return len(self.content)


class Listed(Sequence):
    """A sequence that is no list."""

    def __init__(self, *content):
        self.content = content

    def __getitem__(self, index):
        return self.content[index]

    def __len__(self):
        return len(self.content)


@pytest.mark.parametrize(
    ("value", "meant"),
    [
        *((np.int64(4), 4), (np.float32(1), 1.0), (np.bool_(True), True), (np.str_("a"), "a")),
        *(((1, 2), [1, 2]), (np.linspace(0, 2, 3), [0.0, 1.0, 2.0]), (range(2), [0, 1])),
        *((torch.tensor(2), 2), (Path("a") / "b", "a/b"), (Config(a=Listed(1)), {"a": [1]})),
    ],
)
def test_values_of_other_libraries_mean_plain_ones(value, meant):
    found = small(settings={"key": value}).experiments[0].variants[0].settings["key"]
    assert found == meant
    assert type(found) is type(meant)
    assert values.plain("key", value) == meant
    assert small(settings={"key": value}).cells() == small(settings={"key": meant}).cells()


def test_a_whole_suite_may_be_made_of_them():
    def other(value):
        if isinstance(value, dict):
            return Config(**{key: other(inner) for key, inner in value.items()})
        return Listed(*value) if isinstance(value, list) else value

    assert reader.parse("small", other(SMALL)).cells() == small().cells()
    assert small(seeds=np.arange(2)).cells() == small().cells()
    assert small(seeds=np.int64(2), rounds=np.int8(3)).cells() == small().cells()


def test_infinite_alpha_is_answered_with_the_notion_that_it_is():
    one = {"scenario": "sinusoid"}
    for given in ({"settings": {"alpha": np.inf}}, {"grid": {"alpha": [1, float("inf")]}}):
        with pytest.raises(ValueError, match=r'alpha: alpha=inf: .*use fairness="max-min"'):
            small(experiments={"one": {**one, **given}})


@pytest.mark.parametrize("value", [object(), {1, 2}, b"a", 1j, float("nan"), [float("inf")]])
def test_what_has_no_plain_value_is_refused_by_its_key(value):
    with pytest.raises(ValueError, match=r"experiments\.one\.settings\.key: key="):
        small(experiments={"one": {"scenario": "sinusoid", "settings": {"key": value}}})
