"""The suite csi: what it says can be built, and its own figures mean what they claim."""

import dataclasses

import numpy as np
import pytest

from owo_agents.benchmark.figures import leaderboard, metrics
from owo_agents.benchmark.report.frontier import frontier
from owo_agents.benchmark.run import runner
from owo_agents.benchmark.run.execution import execute
from owo_agents.benchmark.run.results import Store
from owo_agents.benchmark.suite import reader as suite


@pytest.fixture(scope="module")
def small(tmp_path_factory):
    """The experiment ``frontier`` of the suite, 2 rounds of 4 slots, and its leaderboards."""
    whole = suite.load("csi")
    (experiment,) = (e for e in whole.experiments if e.name == "frontier")
    variants = tuple(
        dataclasses.replace(v, settings={**v.settings, "num_slots": 4}) for v in experiment.variants
    )
    experiment = dataclasses.replace(experiment, rounds=2, seeds=(0, 1), variants=variants)
    tiny = dataclasses.replace(whole, experiments=(experiment,))
    store = Store(tmp_path_factory.mktemp("csi"))
    for cell in tiny.cells():
        store.save(execute(cell))
    return leaderboard.boards(tiny, store)


def test_every_cell_of_the_suite_can_be_built():
    loaded = suite.load("csi")
    runner.validate(loaded)
    mixes = {"vehicular-heavy", "balanced", "edge-heavy"}
    for experiment in loaded.experiments:
        if experiment.name in mixes:
            assert [v.point["alpha"] for v in experiment.variants] == [0.5, 1.0, 2.0, 3.0]
            assert len(experiment.seeds) >= 5 and experiment.rounds == 512
            mixes.remove(experiment.name)
    assert not mixes


def test_nmse_in_db_is_the_loss(small):
    """At 10 log10 of l_max less the class's mean utility."""
    run = small[0].runs["oracle"][0]
    by_key = {m.key: m for m in metrics.metrics_of([run])}
    for name in ("edge", "vehicular"):
        mine = run.extras["user_class"] == name
        loss = 1.25 - np.mean(run.utilities[mine].reshape(run.rounds, -1).mean(axis=1))
        assert by_key[f"nmse_db {name}"].of(run) == pytest.approx(10 * np.log10(loss))


def test_frontier(small):
    """A point for each α and agent; at α = 0 the oracle pays nothing, later something."""
    chart = frontier(small)
    trade, price = chart.panels
    assert [s.label for s in trade.series] == list(small[0].experiment.agents)
    assert all(len(s.x) == 6 for s in trade.series)
    (oracle,) = (s for s in price.series if s.label == "oracle")
    assert oracle.x == [0.0, 0.5, 1.0, 2.0, 3.0, 5.0]
    assert oracle.y[0] == pytest.approx(0.0, abs=1e-12)
    assert np.all(np.diff(oracle.y) > 0)


def test_frontier_is_drawn_only_where_alpha_varies_and_the_rest_stays(small):
    assert frontier([]) is None
    assert frontier(small[:1]) is None
    other = dataclasses.replace(small[0].variant, point={"alpha": 0.0, "num_slots": 4})
    assert frontier([dataclasses.replace(small[0], variant=other), small[1]]) is None
    lonely = frontier([dataclasses.replace(small[0], variant=other), *small[1:]])
    assert all(len(s.x) == 5 for s in lonely.panels[0].series)
