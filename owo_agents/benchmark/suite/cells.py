"""A cell: the configuration of one agent on one scenario with one seed."""

import functools
import hashlib
import importlib.util
import inspect
import json
import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from owo_agents.rl.policy import locate
from owo_env.registry import split

FORMAT = 1
"""Part of every cell's key: to be raised when the same configuration comes to mean another run."""

_OWN = ("owo_env.", "owo_agents.")  # what the package's version stands for


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
        digest: Of the files that the configuration names (a plugged-in agent's or scenario's, a
            trace), so that changing them makes new cells; None where it names none.
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


def source_digest(name: str, registered: Mapping[str, Any]) -> str | None:
    """Digest of what is behind the name of an agent or a scenario; None of the package's own.

    Args:
        name: ``package.module:Class``, ``rl:POLICY``, or a registered name.
        registered: Name → entry, whose first part is a path or a factory.
    """
    if name in registered:
        origin = registered[name][0]
        return source_digest(origin, {}) if isinstance(origin, str) else _code_digest(origin)
    if ":" not in name or name.startswith(_OWN):
        return None
    try:
        if name.startswith("rl:"):
            return file_digest(locate(name.removeprefix("rl:")))
        spec = importlib.util.find_spec(split("module", name)[0])
    except (ImportError, ValueError):
        return None  # whoever makes the agent or scenario says what is wrong
    return file_digest("" if spec is None or spec.origin is None else spec.origin)


def _code_digest(factory: Any) -> str | None:
    """Digest of the source of a class or function, and of what a partial binds.

    None of the package's own, and where the source cannot be found.
    """
    bound = ""
    while isinstance(factory, functools.partial):
        bound += repr((factory.args, sorted(factory.keywords.items())))
        factory = factory.func
    own = getattr(factory, "__module__", "").startswith(_OWN)
    try:
        text = bound if own else inspect.getsource(factory) + bound
    except (OSError, TypeError):
        return None
    return hashlib.sha256(text.encode()).hexdigest()[:20] if text else None


def file_digest(path: str | Path) -> str | None:
    """Digest of a file's content; None where there is no such file."""
    if not Path(path).is_file():
        return None
    at = os.stat(path)
    return _content_digest(
        os.path.abspath(path), at.st_ino, at.st_size, at.st_mtime_ns, at.st_ctime_ns
    )


@functools.lru_cache(maxsize=64)  # the trace of a grid is named by each of its points
def _content_digest(path: str, *_unchanged: int) -> str:
    digest = hashlib.sha256()
    with open(path, "rb") as file:
        while part := file.read(1 << 20):  # a trace may be larger than memory
            digest.update(part)
    return digest.hexdigest()[:20]
