"""Fair online multi-task learning for AI-RANs as a Gymnasium environment.

Importing this package registers ``AIRAN-FairMTL-v0``, and for RL ``AIRAN-FairMTL-Weights-v0``.
"""

from typing import TYPE_CHECKING, Any

import gymnasium as gym

from owo_env.env import AIRANEnv
from owo_env.flat_action import FlatAction
from owo_env.problem import Problem, problem_of
from owo_env.scenarios import Scenario, Stream, describe, make_scenario, registry
from owo_env.vector_env import AIRANVectorEnv

if TYPE_CHECKING:
    from owo_env.logs import trace_from

register_scenario = registry.register
scenario_names = registry.names

__version__ = "0.1.0"

gym.register(
    id="AIRAN-FairMTL-v0",
    entry_point="owo_env.env:AIRANEnv",
    vector_entry_point="owo_env.vector_env:AIRANVectorEnv",
)
# Of the learners' package, which is imported when it is made: whoever has one has the other.
gym.register(
    id="AIRAN-FairMTL-Weights-v0",
    entry_point="owo_agents.rl.control:weights_env",
    vector_entry_point="owo_agents.rl.control:weights_vector_env",
    kwargs={"hindsight": False},
)

__all__ = [
    "AIRANEnv",
    "AIRANVectorEnv",
    "FlatAction",
    "Problem",
    "Scenario",
    "Stream",
    "describe",
    "make_scenario",
    "problem_of",
    "register_scenario",
    "scenario_names",
    "trace_from",
]


def __getattr__(name: str) -> Any:
    """``trace_from``, which is loaded when it is first asked for."""
    if name != "trace_from":
        raise AttributeError(f"module 'owo_env' has no attribute {name!r}")
    from owo_env.logs import trace_from

    return trace_from
