"""Estimates over seeds against known answers and SciPy."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from owo_agents.benchmark.figures import statistics

stats = pytest.importorskip("scipy.stats")

FLOATS = st.lists(st.floats(-1e3, 1e3), min_size=1, max_size=40)


@given(FLOATS)
def test_iqm_is_scipys_trimmed_mean(values):
    expected = stats.trim_mean(values, 0.25)
    assert statistics.iqm(np.array(values)) == pytest.approx(expected, abs=1e-9)


def test_iqm_ignores_a_quarter_on_either_side():
    assert statistics.iqm(np.array([-1e9, 1.0, 2.0, 1e9])) == 1.5
    assert statistics.iqm(np.array([1.0, 2.0, 6.0])) == 3.0  # too few to leave one out


def test_iqm_reduces_only_its_axis():
    values = np.arange(24.0).reshape(4, 3, 2)
    assert statistics.iqm(values).shape == (3, 2)
    assert statistics.iqm(values, axis=1).shape == (4, 2)


def test_bootstrap_of_two_seeds_is_the_binomial():
    """The mean of two draws from {0, 1} is 0, ½, 1 with probabilities ¼, ½, ¼."""
    draws = statistics.bootstrap(np.array([0.0, 1.0]), resamples=40_000)
    shares = [(draws == value).mean() for value in (0.0, 0.5, 1.0)]
    assert shares == pytest.approx([0.25, 0.5, 0.25], abs=0.01)


@pytest.mark.parametrize("seeds", [5, 10, 30])
def test_interval_is_scipys_percentile_bootstrap(seeds):
    values = np.random.default_rng(seeds).gamma(2.0, size=seeds)
    low, high = statistics.interval(values)
    theirs = stats.bootstrap(
        (values,),
        lambda x, axis: stats.trim_mean(x, 0.25, axis=axis),
        method="percentile",
        n_resamples=20_000,
        rng=np.random.default_rng(1),
    ).confidence_interval
    width = theirs.high - theirs.low
    assert abs(low - theirs.low) < 0.06 * width
    assert abs(high - theirs.high) < 0.06 * width


def test_interval_covers_as_often_as_it_says():
    """95% intervals for a mean of 40 normal draws cover the truth in about 93% of trials."""
    rng = np.random.default_rng(0)
    covered = 0
    for _ in range(300):
        values = rng.normal(3.0, 1.0, 40)
        low, high = statistics.interval(values, lambda x, axis: x.mean(axis=axis))
        covered += low <= 3.0 <= high
    assert 0.89 <= covered / 300 <= 0.98


def test_a_single_seed_has_no_interval():
    found = statistics.estimate([2.0])
    assert (found.value, found.low, found.high, found.seeds) == (2.0, None, None, 1)


def test_paired_difference_cancels_what_seeds_share():
    """Scores that differ by 1 at every seed, though seeds differ by hundreds."""
    base = {seed: 100.0 * seed for seed in range(5)}
    found = statistics.paired_difference({s: v + 1 for s, v in base.items()}, base)
    assert (found.value, found.low, found.high) == (1.0, None, None)
    assert found.same


def test_paired_difference_takes_common_seeds_alone():
    found = statistics.paired_difference({1: 5.0, 2: 7.0, 9: 1e6}, {1: 4.0, 2: 6.0, 3: -1e6})
    assert (found.value, found.seeds) == (1.0, 2)
    with pytest.raises(ValueError, match="no common seed"):
        statistics.paired_difference({1: 1.0}, {2: 1.0})


def test_probability_of_improvement_is_paired_by_seed():
    """A little better at every seed is better for sure, however much the seeds differ."""
    base = {seed: 100.0 * seed for seed in range(5)}
    better = {seed: value + 0.1 + 0.01 * seed for seed, value in base.items()}
    assert statistics.probability_of_improvement(better, base).value == 1.0
    assert statistics.probability_of_improvement(base, better).value == 0.0


@given(st.dictionaries(st.integers(0, 9), st.integers(0, 2), min_size=1))
def test_probability_of_improvement_is_the_share_of_common_seeds_ties_half(x):
    y = dict.fromkeys(range(12), 1.0)
    found = statistics.probability_of_improvement(x, y)
    assert found.value == pytest.approx(np.mean([value / 2 for value in x.values()]))
    assert found.seeds == len(x)
    back = statistics.probability_of_improvement(y, x)
    assert back.value == pytest.approx(1 - found.value)


def test_round_off_is_no_difference():
    """The same numbers summed in another order."""
    x = {0: 0.1 + 0.2 + 0.3, 1: 0.3 + 0.2 + 0.1, 2: 0.6}
    assert len(set(x.values())) > 1
    assert statistics.estimate(list(x.values())).same
    y = dict.fromkeys(x, 0.6)
    assert statistics.paired_difference(x, y).value == 0.0
    assert statistics.probability_of_improvement(x, y).value == 0.5


@pytest.mark.parametrize("values", [[0.1] * 5, [[1.0, 2.0]] * 3])
def test_what_is_the_same_in_every_seed_has_no_interval(values):
    assert statistics.interval(np.array(values)) is None
    found = statistics.estimate(np.array(values)[..., 0] if np.ndim(values) > 1 else values)
    assert found.same and (found.low, found.high) == (None, None)
    assert not statistics.estimate([0.1]).same
    assert not statistics.estimate([0.1, 0.2]).same


@pytest.mark.parametrize("values", [[], [1.0, np.nan], [np.inf, 1.0]])
def test_nothing_and_nan_are_refused(values):
    with pytest.raises(ValueError, match="at least one seed, and finite"):
        statistics.bootstrap(np.array(values))
