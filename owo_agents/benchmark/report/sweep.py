"""The headline figure along a grid, as data for a chart: curves, their slopes, and the bounds."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from owo_agents.benchmark.figures import certificates, claims
from owo_agents.benchmark.figures.leaderboard import Board
from owo_agents.benchmark.figures.metrics import Metric
from owo_agents.benchmark.figures.statistics import SAME
from owo_agents.benchmark.report.chart import Chart, Panel, Series
from owo_agents.benchmark.report.charts import positive, without_zeros

BOUND = "Theorem 1"
CERTIFICATE = "certificate"
"""Labels of the bounds in a sweep: the theorem's, and that of what the baseline played."""


def sweep(boards: Sequence[Board]) -> Chart | None:
    """The headline figure against the longest numeric key of the grid, a panel for the rest.

    Both axes are logarithmic where all values are positive; the label of each curve then has
    the fitted slope of log y against log x.
    """
    key = _numeric_key(boards)
    if key is None:
        return None
    panels, endings = [], []
    groups: dict[str, list[Board]] = {}
    for board in boards:
        groups.setdefault(board.variant.without(key).label, []).append(board)
    for title, group in groups.items():
        metric = group[0].headline
        group.sort(key=lambda board: board.variant.point[key])
        series, zero = list(_sweep_series(key, metric, group)), "."
        if metric.key == "regret":
            series, zero = without_zeros(series)
        log = positive(series)  # on linear axes a bound would flatten everything else
        if log and metric.key == "regret":
            series += _bounds(key, group)
        panels.append(Panel(title or metric.title, key, metric.title, series, log=log))
        endings.append(zero)
    caption = f"Mean {boards[0].headline.title} by {key}"
    if any(s.low for panel in panels for s in panel.series):
        caption += ", with 95% bootstrap intervals over seeds"
    elif all(len(board.same) == len(board.rows) for board in boards):
        caption += f", {SAME}"
    caption += endings[0] if len(set(endings)) == 1 else "; what is zero throughout is not drawn."
    title = f"{boards[0].headline.title.capitalize()} by {key}"
    drawn = {s.label for panel in panels for s in panel.series}
    bounds = [label for label in _meanings(boards[0]) if label in drawn]
    caption = " ".join([caption, *(_meanings(boards[0])[label] for label in bounds)])
    labels = [*boards[0].experiment.agents, *bounds]
    return Chart("sweep", title, caption, panels, labels, bounds=bounds)


def _bounds(key: str, boards: Sequence[Board]) -> Iterator[Series]:
    """What the theory says of the regret, where it says something positive at every point."""
    for label, of in ((BOUND, certificates.theorem), (CERTIFICATE, certificates.certified)):
        points = [(board.variant.point[key], of(board)) for board in boards]
        if all(bound is not None and bound > 0 for _, bound in points):
            yield Series(label, *map(list, zip(*points)))  # type: ignore[arg-type]


def _meanings(board: Board) -> dict[str, str]:
    """What a caption says of each bound, by label."""
    baseline = board.experiment.baseline
    return {
        BOUND: f"{BOUND}: its bound with corrected constants, the mean residual left out.",
        CERTIFICATE: f"{CERTIFICATE}: mean (R^θ + R^w)/m + residual of {baseline}.",
    }


def _numeric_key(boards: Sequence[Board]) -> str | None:
    """The numeric key of the grid with the most values, if one has two or more."""
    counts = {}
    for key in boards[0].variant.point if boards else ():
        values = [board.variant.point[key] for board in boards]
        if all(isinstance(v, int | float) for v in values) and len(set(values)) > 1:
            counts[key] = len(set(values))
    return max(counts, key=counts.__getitem__, default=None)


def _sweep_series(key: str, metric: Metric, boards: Sequence[Board]) -> Iterator[Series]:
    for label in boards[0].experiment.agents:
        rows = ((board.variant.point[key], board.row(label)) for board in boards)
        points = [(x, row.figures[metric.key]) for x, row in rows if row is not None]
        if points:
            x, y, low, high = map(list, zip(*((x, f.value, f.low, f.high) for x, f in points)))
            yield Series(label, x, y, *((None, None) if None in low else (low, high)))


def slope(series: Series) -> float | None:
    """The fitted exponent b of y ∝ x^b; None where it has no meaning."""
    return claims.fitted_slope(series.x, series.y)
