"""Split learning with a user's own PyTorch encoder, heads, losses and tasks (Fig. 1)."""

from owo_env.scenarios.split_learning.scenario import SplitLearning
from owo_env.scenarios.split_learning.tasks import Task

__all__ = ["SplitLearning", "Task"]
