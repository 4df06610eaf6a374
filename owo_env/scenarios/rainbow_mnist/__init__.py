"""The paper's deep experiment (§IV): 56 tasks of coloured, scaled and rotated digits."""

from owo_env.scenarios.rainbow_mnist.digits import Digits, load_digits
from owo_env.scenarios.rainbow_mnist.scenario import RainbowMnist
from owo_env.scenarios.rainbow_mnist.tasks import render

__all__ = ["Digits", "RainbowMnist", "load_digits", "render"]
