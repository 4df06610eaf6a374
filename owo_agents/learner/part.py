"""What the parts of a learner have in common: one life cycle.

``begin_round`` opens a round and ``update`` follows each slot; ``end_round`` closes it and
``report`` tells of it. ``carried`` names what outlives the round.
"""

from __future__ import annotations

from abc import ABC
from collections.abc import Mapping
from typing import Any

from owo_agents.carrying import Carries
from owo_env.problem import Problem


class Part(Carries, ABC):
    """A weighting, a model step or an initialization."""

    def __init__(self, problem: Problem) -> None:
        self.problem = problem

    def report(self) -> Mapping[str, Any]:
        """What it tells of the round just ended; part of the record's ``extras``."""
        return {}
