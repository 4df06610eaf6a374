"""The learner of Algorithm 1 and its parts: weighting, model step and initialization."""

from owo_agents.learner.initialization import Initialization
from owo_agents.learner.learner import Learner
from owo_agents.learner.methods import compose
from owo_agents.learner.step import ModelStep
from owo_agents.learner.weighting import Weighting

__all__ = ["Initialization", "Learner", "ModelStep", "Weighting", "compose"]
