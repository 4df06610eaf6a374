"""Users whose losses are squared errors of one linear model: data, physics and oracle."""

from owo_env.scenarios.least_squares.base import LeastSquares
from owo_env.scenarios.least_squares.measured import Measured, Recording
from owo_env.scenarios.least_squares.slots import Quadratics, Samples
from owo_env.scenarios.least_squares.source import Source

__all__ = ["LeastSquares", "Measured", "Quadratics", "Recording", "Samples", "Source"]
