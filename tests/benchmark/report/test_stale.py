"""A picture that nothing draws any more goes, and nothing else does."""

import json
import os
import shutil

import pytest
from bench_helpers import small

from owo_agents.benchmark.figures import leaderboard
from owo_agents.benchmark.report import publish, stale
from owo_agents.benchmark.run import backends, runner
from owo_agents.benchmark.run.results import Store
from owo_agents.benchmark.suite.manifest import Origin


def suite_of(title, **changes):
    experiment = {"scenario": "sinusoid", "title": title, "settings": {"num_slots": 4}}
    given = {"rounds": 1, "seeds": 1, "charts": ["ranking"], **changes}
    return small(experiments={"e": experiment}, **given)


@pytest.fixture(scope="module")
def done(tmp_path_factory):
    store = Store(tmp_path_factory.mktemp("results"))
    runner.run(suite_of("a").cells(), store, backend=backends.serial)
    return store.folder


@pytest.fixture
def folder(done, tmp_path):
    return shutil.copytree(done, tmp_path / "out")


def draw(folder, chosen, formats=("svg",)):
    store = Store(folder)
    publish.publish(chosen, Origin("", ""), leaderboard.boards(chosen, store), store, formats)
    return sorted(path.name for path in (folder / "figures").iterdir())


def test_what_the_suite_draws_no_more_is_removed(folder):
    assert draw(folder, suite_of("before")) == ["before-ranking.svg"]
    assert draw(folder, suite_of("now")) == ["now-ranking.svg"]
    both = suite_of("now", charts=["ranking", "trade-off"])
    assert draw(folder, both) == ["now-ranking.svg", "now-trade-off.svg"]
    assert list(json.loads((folder / stale.LIST).read_text())) == [
        "now-ranking.svg",
        "now-trade-off.svg",
    ]


def test_other_formats_of_what_is_drawn_stay_until_it_is_no_more(folder):
    draw(folder, suite_of("a"), ["svg"])
    assert draw(folder, suite_of("a"), ["pdf"]) == ["a-ranking.pdf", "a-ranking.svg"]
    assert draw(folder, suite_of("b"), ["pdf"]) == ["b-ranking.pdf"]


def test_what_we_did_not_write_stays(folder):
    draw(folder, suite_of("a"), ["svg", "pdf"])
    figures = folder / "figures"
    (figures / "mine.svg").write_text("mine")
    (figures / "a-ranking.svg").write_text("changed by hand")
    assert draw(folder, suite_of("b")) == ["a-ranking.svg", "b-ranking.svg", "mine.svg"]


def test_no_list_leads_out_of_the_folder_and_no_link_is_followed(folder, tmp_path):
    precious = tmp_path / "precious.svg"
    precious.write_text("precious")
    draw(folder, suite_of("a"))
    (folder / "figures" / "link.svg").symlink_to(precious)
    os.mkfifo(folder / "figures" / "pipe.svg")
    known = stale.digest(b"precious")
    names = ["../../precious.svg", str(precious), "link.svg", "pipe.svg", "..", "", "a\0b"]
    (folder / stale.LIST).write_text(json.dumps(dict.fromkeys(names, known)))
    found = draw(folder, suite_of("b"))
    assert precious.read_text() == "precious"
    assert found == ["a-ranking.svg", "b-ranking.svg", "link.svg", "pipe.svg"]
    (folder / stale.LIST).unlink()
    (folder / stale.LIST).symlink_to(precious)
    with pytest.raises(ValueError, match="leads out of the folder"):
        draw(folder, suite_of("b"))
    assert precious.read_text() == "precious"


@pytest.mark.parametrize("text", ["{", "[]", "3", '{"a": 1}', "[" * 10**5])
def test_a_damaged_list_removes_nothing(folder, text):
    draw(folder, suite_of("a"))
    (folder / stale.LIST).write_text(text)
    assert draw(folder, suite_of("b")) == ["a-ranking.svg", "b-ranking.svg"]
