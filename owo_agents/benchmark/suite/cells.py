"""A cell: the configuration of one agent on one scenario with one seed."""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from owo_agents.benchmark.suite.digest import UNKNOWN

FORMAT = 1
"""Part of every cell's key: to be raised when the same configuration comes to mean another run."""

FORMATS = {"nash-mtl": 2}  # of agents whose defaults alone came to mean something else


@dataclass(frozen=True)
class Cell:
    """The configuration of one run; plain JSON values throughout.

    Attributes:
        scenario: A scenario's name.
        agent: Its registered name, or ``package.module:Class``.
        rounds: T.
        seed: Of the environment's stream; agents that draw take it as well.
        settings: Further arguments of ``gym.make``.
        arguments: Arguments of the agent.
        digest: Of the code and data that the configuration names (a plugged-in agent's or
            scenario's, a trace), so that changing them makes new cells; None where it names none.
    """

    scenario: str
    agent: str
    rounds: int
    seed: int
    settings: Mapping[str, Any] = field(default_factory=dict)
    arguments: Mapping[str, Any] = field(default_factory=dict)
    digest: str | None = None

    @property
    def key(self) -> str:
        """The name of this configuration: 20 hexadecimal digits of its SHA-256."""
        format_ = FORMATS.get(self.agent, FORMAT)
        text = json.dumps({"format": format_, **asdict(self)}, sort_keys=True, allow_nan=False)
        return hashlib.sha256(text.encode()).hexdigest()[:20]

    @property
    def reusable(self) -> bool:
        """Whether the key says all; a cell whose code cannot be told is played anew each time."""
        return UNKNOWN not in (self.digest or "") and not self.by_hand

    @property
    def by_hand(self) -> bool:
        """Whether it names code of one's own without a digest of it, as no suite does."""
        return self.digest is None and ":" in self.agent + self.scenario
