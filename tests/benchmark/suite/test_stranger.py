"""A suite's file is measured before it is parsed."""

import time

import pytest
import yaml
from bench_helpers import SMALL

from owo_agents.benchmark.run.results import Result
from owo_agents.benchmark.suite import manifest, stranger
from owo_agents.benchmark.suite import reader as suite

LAUGHS = "a: &a [x, x, x, x, x, x, x, x, x, x]\n" + "\n".join(
    f"{new}: &{new} [{', '.join([f'*{old}'] * 10)}]" for old, new in zip("abcdef", "bcdefg")
)
TEXTS = {
    "a billion laughs": (LAUGHS, r"s\.yaml:\d: is deeper than 32 levels or has more than 100000"),
    "deep": ("a: " + "[" * 100_000, r"s\.yaml:1: is deeper"),
    "deep blocks": ("- " * 10_000 + "x", "is deeper"),
    "large": ("#" * (stranger.MOST_BYTES + 1), "is larger than a suite may be"),
    "many": ("[" + "1," * 100_001 + "]", "more than 100000 values"),
    "in itself": ("summary: &a [*a]", "alias 'a' stands for nothing, or for itself"),
    "bytes": (b"summary: \xff", r"s\.yaml.: must be UTF-8 \(byte 10: invalid start byte\)"),
}


@pytest.mark.parametrize("what", TEXTS)
def test_bombs_are_refused_before_they_are_parsed(tmp_path, monkeypatch, what):
    text, message = TEXTS[what]
    file = tmp_path / "s.yaml"
    file.write_bytes(text if isinstance(text, bytes) else text.encode())
    for parser in ("load", "compose"):
        monkeypatch.setattr(yaml, parser, lambda *_: pytest.fail("it was parsed"))
    with pytest.raises(ValueError, match=message):
        suite.load(file)


def test_a_file_of_a_gigabyte_is_not_read(tmp_path):
    file = tmp_path / "s.yaml"
    with open(file, "wb") as sparse:
        sparse.truncate(1 << 30)
    before = time.monotonic()
    with pytest.raises(ValueError, match="is larger than a suite may be, 1048576 bytes"):
        suite.load(file)
    assert time.monotonic() - before < 5


def test_aliases_that_a_suite_may_have_are_counted_and_read(tmp_path):
    file = tmp_path / "s.yaml"
    both = {**SMALL, "experiments": dict.fromkeys("ab", SMALL["experiments"]["short"])}
    text = yaml.safe_dump(both)
    assert "*id" in text and "&id" in text
    file.write_text(text)
    assert stranger.read_limited(file) == text
    assert {e.name for e in suite.load(file).experiments} == {"a", "b"}


def test_every_text_is_seen_also_those_that_stand_twice_or_before_an_error():
    found = list(stranger.texts("{a: {agent: 'x:A'}, a: {'y:B': &b [z:C]}, c: *b, d: {e"))
    assert {"x:A", "y:B", "z:C"} <= set(found)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"seeds": 10**9}, r"seeds.*1000000000.*100000"),
        (
            {"seeds": 1, "grid": {f"k{i}": list(range(99)) for i in range(9)}},
            "points: at most 100000",
        ),
    ],
)
def test_more_runs_than_memory_holds_are_refused(given, message):
    experiment = {"scenario": "sinusoid", "rounds": 1, **given}
    data = {
        "summary": "s",
        "baseline": "cws",
        "agents": {"cws": {}},
        "experiments": {"e": experiment},
    }
    with pytest.raises(ValueError, match=message):
        suite.parse("s", data)


def test_json_that_is_nested_without_end_is_damaged(tmp_path):
    deep = "[" * 100_000
    (tmp_path / "suite.json").write_text(deep)
    with pytest.raises(ValueError, match=r"suite\.json: damaged"):
        manifest.read(tmp_path)
    with pytest.raises(ValueError, match="nested deeper"):
        Result.from_json(deep)
