"""A trace made of a log."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from owo_env import checks
from owo_env.figure import spoken
from owo_env.logs import summary as sums
from owo_env.logs.cells import Floats, seconds
from owo_env.logs.grid import Grid, Integers, Series, Spans, check_period, on_grid
from owo_env.logs.rounds import (
    PLACES,
    RULES,
    Rounds,
    best_number,
    masked,
    most_at_once,
    most_in_a_round,
    whole,
)
from owo_env.logs.table import Roles, Table, of_frame, read
from owo_env.scenarios import traces
from owo_env.scenarios.least_squares.measured import Recording
from owo_env.scenarios.traces.trace import Arrays


class LogTrace(Arrays):
    """Rounds made of a log, for scenario ``recorded``: ``gym.make(…, trace=…)``, or a file.

    Features and targets are standardized over all rounds: less their mean, divided by their
    standard deviation, which ``settings["log"]`` keeps.

    Attributes:
        features: (T, m, K, d); the last is 1 where a constant was asked for.
        targets: (T, m, K).
        user_class: (T, K), or None.
        user: The users' names as the log has them, (T, K).
        active: Whether a user has figures in a slot, (T, m, K).
        summary: What was read, left out and proposed.
    """

    def __init__(
        self,
        features: Floats,
        targets: Floats,
        user_class: NDArray[np.str_] | None,
        user: NDArray[np.str_],
        active: NDArray[np.bool_],
        settings: Mapping[str, Any],
        summary: sums.Summary,
    ) -> None:
        link = None if active.all() else {"active": active}
        super().__init__(summary.source, features, targets, link)
        self.features, self.targets, self.user_class = features, targets, user_class
        self.user, self.active, self.settings, self.summary = user, active, settings, summary

    def _read(self, first: int, stop: int) -> Recording:
        part = super()._read(first, stop)
        if self.user_class is not None:
            part.about["user_class"] = self.user_class[first:stop].copy()
        return part

    def write(self, path: str | os.PathLike[str]) -> None:
        """Write it as a trace file.

        Args:
            path: The file, ``.npz`` or ``.parquet``; it appears whole or not at all.

        Raises:
            ValueError: Another kind of file.
            OSError: The file cannot be written.
        """
        traces.save(self, path)


@dataclass
class _Figures:
    """What is played, in the log's own units.

    Attributes:
        features: (T, m, K, F).
        targets: (T, m, K).
        now: The target when the prediction is made, (T, m, K).
        codes: The users' classes, (T, K).
        held: The share of these figures that are held over a gap.
    """

    features: Floats
    targets: Floats
    now: Floats
    codes: Integers
    held: float


def trace_from(
    log: Any,
    *,
    time: str,
    user: str | None = None,
    features: Sequence[str],
    target: str,
    user_class: str | None = None,
    horizon: int = 1,
    period: float | str | None = None,
    hold: float | str = 0.0,
    slots: int = 64,
    users: int | None = None,
    absent: str = "mask",
    unit: str = "",
    time_unit: float | str | None = None,
    align: bool = False,
    constant: bool = True,
    encoding: str | None = None,
) -> LogTrace:
    """A trace from a log in long form: a row for each time and user.

    In each slot every user predicts its target some slots ahead from its features of now, by one
    shared linear model.

    Args:
        log: A data frame (pandas, polars, pyarrow) or a mapping of columns; or a file's path, or
            several (text or Parquet).
        time: The column of times: numbers, or dates with a time of day.
        user: The column of users, numbers or texts; None: each file is a user.
        features: The columns that the model sees; the target's may be among them.
        target: The column that it predicts.
        user_class: The column of the users' classes, by which reports tell them apart.
        horizon: How many slots ahead it predicts.
        period: Of a slot, in s or such as ``"10ms"``; default the median time between a user's
            rows. Rows that are denser are averaged.
        hold: The longest gap, in s or such as ``"50ms"``, over which values are held; a user is
            absent where its figures are missing for longer.
        slots: m, the slots of a round.
        users: K; default the median number of users in a round, and where absent ones are left out
            that with which most is played.
        absent: What is done about absent users: ``"mask"`` plays all rounds and marks who is absent
            when, so that they are played over a link (docs/guide/on-the-air.md); ``"leave-out"``
            plays rounds in which K users are there throughout.
        unit: The target's unit, for reports.
        time_unit: Of times that are numbers, in s or such as ``"ms"``; default by their size (those
            since 1970), else seconds.
        align: Let each user's clock begin at its first row, for logs taken one after the other.
        constant: Whether a feature that is always 1 is added.
        encoding: Of text files; default as a byte-order mark says, else UTF-8.

    Raises:
        FileNotFoundError: No such file.
        ValueError: A column is missing, a cell cannot be read (the message has its line), there is
            one user or too few at once, no round fits, or the target or a feature is constant.
    """
    roles = _roles(time, user, features, target, user_class)
    horizon, slots = checks.whole("horizon", horizon, low=1), checks.whole("slots", slots, low=1)
    length = None if period is None else seconds("period", period) or None
    longest = seconds("hold", hold)
    given_unit = None if time_unit is None else seconds("time_unit", time_unit)
    checks.one_of("absent", absent, RULES)
    if users is not None:
        checks.whole("users", users, low=2)
    if period is not None and length is None:
        raise ValueError(f"period={period!r}: must be longer than 0")
    is_path = isinstance(log, str | os.PathLike)
    if is_path or (isinstance(log, Sequence) and log and isinstance(log[0], str | os.PathLike)):
        table = read([log] if is_path else log, roles, encoding, given_unit)
    else:
        table = of_frame(log, roles, given_unit)
    grid = on_grid(table, length, checks.flag("align", align))
    gap = int(longest / grid.period + 1e-6)
    check_period(grid, gap, table.source)
    spans = [one.complete(gap, horizon) for one in grid.users]
    count = _number(table, grid, spans, slots, users, absent)
    rounds = (whole if absent == "leave-out" else masked)(spans, slots, count)
    rule = f"{RULES[absent].format(users=count, slots=slots)}; {PLACES}"
    constant = checks.flag("constant", constant)
    return _made(table, grid, spans, rounds, rule, horizon, unit, constant)


def _roles(
    time: str, user: str | None, features: Sequence[str], target: str, user_class: str | None
) -> Roles:
    if isinstance(features, str) or not features or not all(isinstance(f, str) for f in features):
        raise ValueError(f"features={features!r}: must be a list of one column's name or more")
    if len(set(features)) < len(features):
        raise ValueError(f"features={list(features)!r}: names a column twice")
    return Roles(time, user, tuple(features), target, user_class)


def _number(
    table: Table, grid: Grid, spans: list[Spans], slots: int, users: int | None, absent: str
) -> int:
    """K, which there must be."""
    if len(grid.users) < 2:
        raise ValueError(
            f"{table.source}: has one user, {grid.users[0].name!r}: must have at least two, who "
            "share the model"
        )
    most, long = most_at_once(spans, slots), spoken(slots * grid.period)
    usual = best_number(spans, slots)
    if absent == "mask":
        most, usual = most_in_a_round(spans, slots)
    if most < 2:
        stay = max((int((ends - starts).max()) for starts, ends in spans if len(starts)), default=0)
        raise ValueError(
            f"slots={slots}: no two users are there at once for a round of {long}, with all "
            f"figures and no gap longer than hold; the longest stay of a user is {stay} slots of "
            f"{spoken(grid.period)}"
        )
    if users is not None and users > most:
        raise ValueError(
            f"users={users}: at most {most} are there at once for a round of {slots} slots ({long})"
        )
    return usual if users is None else users


def _made(
    table: Table,
    grid: Grid,
    spans: list[Spans],
    rounds: Rounds,
    rule: str,
    horizon: int,
    unit: str,
    constant: bool,
) -> LogTrace:
    """Everything gathered, standardized and summed up."""
    roles, found = table.roles, _gathered(grid.users, rounds, horizon, table.roles)
    active = rounds.active
    measured, seen = found.targets[active], found.features[active]
    mean, scale = measured.mean(), measured.std()
    _varies(table.source, f"target {roles.target}", measured, scale)
    targets, now = (np.where(active, (v - mean) / scale, 0.0) for v in (found.targets, found.now))
    means, scales = seen.mean(axis=0), seen.std(axis=0)
    for j, name in enumerate(roles.features):
        _varies(table.source, f"feature {name}", seen[:, j], scales[j])
    x = np.where(active[..., None], (found.features - means) / scales, 0.0)
    if constant:
        x = np.concatenate([x, np.ones((*x.shape[:-1], 1))], axis=-1)
    classes = None
    if roles.user_class is not None:
        classes = np.array([*table.classes, "unknown"])[found.codes]
    l_max, bounds = sums.proposed(targets, now, active)
    T, m, users, d = x.shape
    complete = sum(int((ends - starts).sum()) for starts, ends in spans)
    said = sums.Summary(
        source=table.source,
        rows=len(table.time),
        dropped=grid.dropped,
        disorder=grid.disorder,
        missing=dict(zip(roles.numbers, np.isnan(table.numbers).mean(axis=0).tolist())),
        users=len(grid.users),
        played=len(np.unique(rounds.who)),
        rounds=T,
        slots=m,
        places=users,
        dim=d,
        period=grid.period,
        step=grid.step,
        rule=rule,
        absent=float(1 - active.mean()),
        unused=1 - active.sum() / complete,
        held=found.held,
        target=roles.target,
        unit=unit,
        scale=float(scale),
        predictions=sums.predictions(targets, now, active, classes, float(scale)),
        l_max=l_max,
        utility_bounds=bounds,
        zones=table.zones,
    )
    settings = {
        "l_max": l_max,
        "utility_bounds": list(bounds),
        "model_bounds": _model_bounds(x, targets, active, classes),
        "smoothness": 2 * float(np.nanmax(sums.by_round((x**2).sum(axis=-1), active))),
        "log": {
            "target": {
                "name": roles.target,
                "unit": unit,
                "mean": float(mean),
                "scale": float(scale),
            },
            "features": {
                name: {"mean": float(a), "scale": float(b)}
                for name, a, b in zip(roles.features, means, scales)
            },
            "constant": constant,
            "period_s": grid.period,
            "horizon": horizon,
        },
    }
    names = np.array([one.name for one in grid.users])
    return LogTrace(x, targets, classes, names[rounds.who], active, settings, said)


def _gathered(users: list[Series], rounds: Rounds, horizon: int, roles: Roles) -> _Figures:
    """The figures of every round, slot and user."""
    T, m, places = rounds.active.shape
    columns = [roles.numbers.index(name) for name in roles.features]
    slots = rounds.first[:, None] + np.arange(m)
    x = np.empty((T, m, places, len(columns)))
    y, now = np.empty((2, T, m, places))
    codes, held = np.empty((T, places), np.int64), 0
    for who in np.unique(rounds.who):
        t, k = np.nonzero(rounds.who == who)
        values, measured, code = users[who].at(slots[t])
        ahead, later, _ = users[who].at(slots[t] + horizon)
        x[t, :, k], now[t, :, k], y[t, :, k] = values[..., columns], values[..., -1], ahead[..., -1]
        codes[t, k] = code[:, 0]
        there = rounds.active[t, :, k]
        old = measured[there][:, columns] != slots[t][there][:, None]
        held += int(old.sum() + (later[there][:, -1] != slots[t][there] + horizon).sum())
    figures = rounds.active.sum() * (len(columns) + 1)
    return _Figures(x, y, now, codes, held / float(figures))


def _varies(source: str, what: str, values: Floats, scale: float) -> None:
    if not scale > 1e-12 * float(np.abs(values).max()):
        raise ValueError(
            f"{source}: {what} is {float(values.flat[0]):g} throughout the rounds: nothing can be "
            "learned of it or from it"
        )


def _model_bounds(
    x: Floats, y: Floats, active: NDArray[np.bool_], classes: NDArray[np.str_] | None
) -> list[float]:
    """Θ: a cube that holds twice the best models of all users and of each class; at least ±1."""
    every = np.ones((len(x), x.shape[2]), bool)
    groups = [every] if classes is None else [every, *(classes == c for c in np.unique(classes))]
    largest = 0.5
    for group in groups:
        rows = active & group[:, None]
        model = np.linalg.lstsq(x[rows], y[rows], rcond=1e-6)
        largest = max(largest, float(np.abs(model[0]).max()))
    bound = float(np.ceil(2 * largest))
    return [-bound, bound]
