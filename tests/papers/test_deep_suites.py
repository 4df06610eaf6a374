"""Short versions of the paper's deep suites: every run plays, and means what it is called."""

import numpy as np
import pytest

from owo_agents.benchmark.run import runner
from owo_agents.benchmark.run.execution import execute
from owo_agents.benchmark.suite import reader as suite
from owo_agents.benchmark.suite.selection import overridden


def played(name):
    """Experiment → agent's label → result, of two rounds of six slots."""
    short = overridden(suite.load(name), {"num_slots": 6}, None, rounds=2, seeds=1)
    runner.validate(short)
    return {
        e.name: {label: execute(e.cell(e.variants[0], label, 0)) for label in e.agents}
        for e in short.experiments
    }


@pytest.fixture(scope="module")
def fig3():
    return played("paper-fig3")


def test_totals_are_those_in_the_names(fig3):
    totals = {"cws ½,½": 1.0, "cws .2,.8": 1.0, "cws .7,.7": 1.4, "cws 1,1": 2.0}
    for runs in fig3.values():
        for label, total in {**totals, "owo-normalized": 1.0}.items():
            assert np.array(runs[label].weights).sum(axis=1) == pytest.approx([total] * 2)


def test_last_and_avg_part_in_the_second_round(fig3):
    for runs in fig3.values():
        last, avg = runs["owo LAST"].fairness, runs["owo AVG"].fairness
        assert last[0] == avg[0] and last[1] != avg[1]


def test_outer_loops_part_in_the_second_round(fig3):
    first, second = zip(*(runs["owo LAST"].fairness for runs in fig3.values()))
    assert len(set(first)) == 1
    # After one round the running mean is that round's θ*: it and `continue` still agree.
    assert second[0] == pytest.approx(second[1], abs=1e-4) and abs(second[0] - second[2]) > 1e-4


def test_fig4_compares_with_learning_from_scratch():
    for runs in played("paper-fig4").values():
        losses = np.array(runs["srl"].extras["validation_loss"])
        assert losses.shape == (2, 2)
        assert losses == pytest.approx(np.full((2, 2), np.log(10)), abs=0.1)
