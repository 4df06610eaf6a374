"""What is on the grid, and who plays when: against the plainest of programs."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from owo_env.logs.grid import on_grid, shared
from owo_env.logs.rounds import best_number, masked, most_at_once, most_in_a_round, whole
from owo_env.logs.table import Roles, of_frame

ROLES = Roles("time", "ue", ("a",), "b")


def grid_of(time, ue, a, b, period=0.01, **given):
    frame = {"time": time, "ue": ue, "a": a, "b": b}
    return on_grid(of_frame(frame, ROLES), period, **given)


# The grid


@pytest.mark.parametrize("start", [0.0, 1_772_366_400.0])
def test_jitter_moves_no_row_into_another_slot(start):
    """Users have phases of their own: rows at 5.1 and 14.9 ms are one slot apart, not zero."""
    rng, n = np.random.default_rng(0), np.arange(500)
    time = [start + 0.01 * n + phase + rng.uniform(-0.004, 0.004, 500) for phase in (0, 0.0049)]
    grid = grid_of(np.concatenate(time), np.repeat(["x", "y"], 500), np.tile(n, 2), np.tile(n, 2))
    for one in grid.users:
        np.testing.assert_array_equal(np.diff(one.slots), 1)
        np.testing.assert_array_equal(one.values[:, 0], n)


def test_denser_rows_are_averaged():
    n = np.arange(100)
    grid = grid_of(0.01 * n, ["x"] * 100, n, np.where(n % 10 == 3, np.nan, n), period=0.1)
    np.testing.assert_array_equal(grid.users[0].slots, np.arange(10))
    np.testing.assert_allclose(grid.users[0].values[:, 0], 4.5 + 10 * np.arange(10))
    np.testing.assert_allclose(grid.users[0].values[:, 1], (45 - 3) / 9 + 10 * np.arange(10))


def test_gaps_are_held_by_the_last_value_and_no_longer_than_said():
    """Rows in slots 0 1 2 5 6 9; a is missing in slot 1."""
    slots = np.array([0, 1, 2, 5, 6, 9])
    a = np.array([1.0, np.nan, 3.0, 4.0, 5.0, 6.0])
    one = grid_of(0.01 * slots, ["x"] * 6, a, 10.0 + slots).users[0]
    assert [list(zip(*one.spans(0, hold))) for hold in (0, 1, 2)] == [
        [(0, 1), (2, 3), (5, 7), (9, 10)],
        [(0, 3), (5, 7), (9, 10)],
        [(0, 10)],
    ]
    values, measured, _ = one.at(np.arange(10))
    assert values[:, 0].tolist() == [1, 1, 3, 3, 3, 4, 5, 5, 5, 6]
    assert measured[:, 0].tolist() == [0, 0, 2, 2, 2, 5, 6, 6, 6, 9]


@settings(max_examples=150, deadline=None)
@given(
    have=st.lists(st.tuples(st.booleans(), st.booleans()), min_size=3, max_size=40),
    hold=st.integers(0, 3),
    horizon=st.integers(1, 3),
)
def test_a_slot_is_complete_where_each_figure_is_there_or_held(have, hold, horizon):
    """Against the definition, slot by slot."""
    n = len(have)
    a, b = (np.where([h[j] for h in have], np.arange(n) + 100.0 * j, np.nan) for j in (0, 1))
    # A second user keeps the clock, so that slot 0 is slot 0.
    time = 0.01 * np.r_[np.arange(n), np.arange(n)]
    grid = grid_of(time, ["x"] * n + ["y"] * n, np.r_[a, a * 0 + 1], np.r_[b, b * 0 + 1])
    one = grid.users[0]

    def there(values, slot):
        before = [i for i in range(min(slot, n - 1) + 1) if values[i] == values[i]]
        after = [i for i in range(slot, n) if values[i] == values[i]]
        return bool(before and after) and after[0] - before[-1] <= hold + 1

    expected = [
        there(a, s) and there(b, s) and there(b, s + horizon) if s + horizon < n else False
        for s in range(n)
    ]
    found = np.zeros(n, bool)
    for start, end in zip(*one.complete(hold, horizon)):
        found[start:end] = True
    assert found.tolist() == expected


def test_where_spans_overlap():
    a = np.array([0, 10]), np.array([5, 20])
    b = np.array([3, 12, 18]), np.array([11, 15, 30])
    starts, ends = shared([a, b])
    assert list(zip(starts, ends)) == [(3, 5), (10, 11), (12, 15), (18, 20)]


# The rounds


@st.composite
def presences(draw):
    """When some users are there, as booleans (users, slots), and how long rounds are."""
    users, length = draw(st.integers(2, 5)), draw(st.integers(1, 60))
    flips = st.lists(st.integers(0, length), min_size=0, max_size=6)
    there = np.zeros((users, length), bool)
    for row in there:
        for flip in draw(flips):
            row[flip:] ^= True
    return there, draw(st.integers(1, 8))


def spans_of(there):
    found = []
    for row in there:
        edges = np.flatnonzero(np.diff(np.r_[False, row, False].astype(int)))
        found.append((edges[::2], edges[1::2]))
    return found


@settings(max_examples=200, deadline=None)
@given(presences(), st.integers(2, 4))
def test_rounds_are_those_of_the_rule(drawn, users):
    there, m = drawn
    spans = spans_of(there)
    rounds = whole(spans, m, users)
    able = np.array(
        [[row[n : n + m].all() for row in there] for n in range(there.shape[1] - m + 1)]
    )
    able = able.reshape(-1, len(there))
    assert most_at_once(spans, m) == max(able.sum(axis=1), default=0)
    expected, n = [], 0
    while n < len(able):
        if able[n].sum() >= users:
            expected.append(n)
            n += m
        else:
            n += 1
    assert rounds.first.tolist() == expected
    played = np.zeros(len(there), int)
    for t, first in enumerate(rounds.first):
        who = rounds.who[t]
        assert len(set(who)) == users and able[first][who].all()
        if t:
            before = rounds.who[t - 1]
            stayed = able[first][before]
            np.testing.assert_array_equal(who[stayed], before[stayed])
            new = who[~stayed]
            others = np.setdiff1d(np.flatnonzero(able[first]), who)
            if len(new) and len(others):  # nobody who waits has played less
                assert played[new].max() <= played[others].min()
        played[who] += 1


@settings(max_examples=200, deadline=None)
@given(presences(), st.integers(2, 4))
def test_masks_say_who_is_there(drawn, users):
    """Rounds one after the other from the first slot on; nobody there is left out for an empty
    place, and no mask says more or less than the log."""
    there, m = drawn
    spans = spans_of(there)
    rounds = masked(spans, m, users)
    begin = int(np.argmax(there.any(axis=0)))
    padded = np.pad(there[:, begin:], ((0, 0), (0, m)))
    windows = padded[:, : padded.shape[1] // m * m].reshape(len(there), -1, m)
    some = windows.any(axis=2).T
    assert rounds.first.tolist() == [begin + m * w for w in range(len(some)) if some[w].sum() >= 2]
    most = [some[w].sum() for w in range(len(some))]
    assert most_in_a_round(spans, m)[0] == max(most, default=0)
    for t, first in enumerate(rounds.first):
        w = (first - begin) // m
        for k in np.flatnonzero(rounds.active[t].any(axis=0)):
            np.testing.assert_array_equal(rounds.active[t, :, k], windows[rounds.who[t, k], w])
        seated = rounds.who[t, rounds.active[t].any(axis=0)]
        assert len(set(seated)) == len(seated) == min(users, some[w].sum())


def test_the_number_with_which_most_is_played():
    """Three users for 20 slots, two of them for 80 more: 2·100 is more than 3·20."""
    spans = [(np.array([0]), np.array([100]))] * 2 + [(np.array([0]), np.array([20]))]
    assert best_number(spans, 10) == 2
    assert best_number([*spans[:2], (np.array([0]), np.array([90]))], 10) == 3
