"""Times that can be compared on a busy machine: blocks of each function in turn, and medians.

And how much of a time was spent in drawing data.
"""

from collections.abc import Callable, Mapping
from statistics import median
from time import perf_counter


def seconds(functions: Mapping[str, Callable[[], object]], blocks: int) -> dict[str, list[float]]:
    """The times of each function, called in turn ``blocks`` times after one call to warm up."""
    found: dict[str, list[float]] = {name: [] for name in functions}
    for block in range(blocks + 1):
        for name, function in functions.items():
            start = perf_counter()
            function()
            if block:
                found[name].append(perf_counter() - start)
    return found


def ratio(numerator: list[float], denominator: list[float]) -> float:
    """The median over blocks of the ratio within a block."""
    return median(a / b for a, b in zip(numerator, denominator, strict=True))


class Draws:
    """Adds up the seconds spent in a scenario's ``draw``."""

    def __init__(self, scenario):
        self.seconds = 0.0
        self._draw = scenario.draw
        scenario.draw = self

    def __call__(self, *args):
        start = perf_counter()
        data = self._draw(*args)
        self.seconds += perf_counter() - start
        return data
