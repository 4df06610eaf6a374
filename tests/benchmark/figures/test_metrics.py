"""The figures of a run and its curves, on hand-made rounds."""

import dataclasses

import numpy as np
import pytest
from bench_helpers import small

from owo_agents.benchmark.figures import certificates
from owo_agents.benchmark.figures.metrics import by_class, metrics_of
from owo_agents.benchmark.report import charts, sweep
from owo_agents.benchmark.report.chart import Series
from owo_agents.benchmark.run.execution import execute


@pytest.fixture(scope="module")
def played():
    return execute(small().cells()[0])


@pytest.fixture
def shuffled(played):
    """Three rounds in which two users change places and, in the last, are of one class."""
    return dataclasses.replace(
        played,
        utilities=np.array([[4.0, 2.0], [1.0, 5.0], [3.0, 4.0]]),
        weights=np.array([[1.0, 2.0], [3.0, 1.0], [1.0, 1.0]]),
        extras={"user_class": np.array([["far", "near"], ["near", "far"], ["far", "far"]])},
    )


def figures(result):
    return {metric.key: metric.of(result) for metric in metrics_of([result])}


def test_figures_worked_by_hand(shuffled):
    found = figures(shuffled)
    assert found["utility far"] == pytest.approx((4 + 5 + 3.5) / 3)
    assert found["utility near"] == pytest.approx((2 + 1) / 2)
    assert found["worst_user"] == pytest.approx((2 + 1 + 3) / 3)
    assert found["mean_utility"] == pytest.approx(19 / 6)
    assert found["total_weight"] == pytest.approx((3 + 4 + 2) / 3)
    assert found["below_u_min"] == pytest.approx(1 / 6)  # sinusoid has u_min = 2
    jain = [36 / (2 * 20), 36 / (2 * 26), 49 / (2 * 25)]
    assert found["jain"] == pytest.approx(sum(jain) / 3)


def test_a_class_that_is_not_there_has_no_figure(shuffled):
    np.testing.assert_array_equal(by_class(shuffled, shuffled.utilities)["near"], [2, 1, np.nan])
    rounds = charts._curve("near", [shuffled], lambda r: by_class(r, r.utilities)["near"]).x
    assert rounds == [1, 2]


def test_columns_without_figures_are_left_out(played):
    assert "regret" in figures(played)
    blind = dataclasses.replace(played, regret=None)
    assert "regret" not in figures(blind)
    assert "validation_loss user 1" not in figures(blind)


def test_validation_figures_are_of_the_last_rounds(played):
    loss = np.concatenate([np.full((30, 2), 9.0), np.full((20, 2), [1.0, 2.0])])
    many = {
        "utilities": np.ones((50, 2)),
        "weights": np.ones((50, 2)),
        "fairness": np.zeros(50),
        "regret": None,
        "extras": {"validation_loss": loss},
    }
    found = figures(dataclasses.replace(played, **many))
    assert found["validation_loss user 1"] == 1.0
    assert found["validation_loss user 2"] == 2.0


def test_moving_and_running_means():
    values = np.arange(1.0, 33.0)
    np.testing.assert_allclose(charts._running_mean(values), (values + 1) / 2)
    np.testing.assert_allclose(charts._moving_mean(values)[1:], values[1:] - 0.5)  # window 2


def test_the_fitted_slope_of_a_power():
    x = [4.0, 8.0, 16.0, 32.0]
    series = Series("a", x, [3 * v**-0.48 for v in x])
    assert sweep.slope(series) == pytest.approx(-0.48)
    assert sweep.slope(Series("a", x, [1.0, 2.0, -1.0, 3.0])) is None


def test_certificates_hold_for_what_was_played_and_fail_for_what_was_not(played):
    found = {check.name: check for check in certificates.checks_of([played])}
    assert set(found) == {"certificate", "R^θ ≤ (6)", "R^w ≤ (10)"}
    assert all(check.held == 1.0 and check.rounds == 3 for check in found.values())
    worse = dataclasses.replace(played, regret=played.regret + [0.0, 0.0, 100.0])
    (check, *_) = certificates.checks_of([worse])
    assert check.held == pytest.approx(2 / 3)
    assert "66.7% of rounds" in str(check)
