"""`owo-adaptive`: a learner that nobody has to tune."""

from owo_agents.learner.adaptive.convex import ConvexAdaptive
from owo_agents.learner.adaptive.network import NetworkAdaptive
from owo_agents.learner.adaptive.weighted import WeightedAdaptive

__all__ = ["ConvexAdaptive", "NetworkAdaptive", "WeightedAdaptive"]
