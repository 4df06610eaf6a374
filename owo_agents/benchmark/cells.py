"""A cell: the configuration of one agent on one scenario with one seed."""

import hashlib
import importlib.util
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from owo_agents.rl.policy import locate

FORMAT = 1
"""Part of every cell's key: to be raised when the same configuration comes to mean another run."""


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
        digest: Of the file that defines a plugged-in agent, so that editing the agent
            makes new cells; None for a built-in one.
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
        text = json.dumps({"format": FORMAT, **asdict(self)}, sort_keys=True, allow_nan=False)
        return hashlib.sha256(text.encode()).hexdigest()[:20]

    @property
    def slots(self) -> int:
        """The work in it, for progress bars: rounds × slots where the settings say them."""
        return self.rounds * int(self.settings.get("num_slots", 1))


def source_digest(agent: str) -> str | None:
    """Digest of the file behind ``package.module:Class`` or ``rl:POLICY``; None if registered."""
    if ":" not in agent:
        return None
    try:
        if agent.startswith("rl:"):
            file = locate(agent.removeprefix("rl:"))
        else:
            spec = importlib.util.find_spec(agent.split(":")[0])
            file = Path("" if spec is None or spec.origin is None else spec.origin)
    except (ImportError, ValueError):
        return None  # whoever makes the agent says what is wrong
    return hashlib.sha256(file.read_bytes()).hexdigest()[:20] if file.is_file() else None
