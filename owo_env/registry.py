"""What is known by its name, or by a path ``"package.module:name"``: scenarios and agents alike."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Generic, TypeVar

from owo_env import checks, sources

T = TypeVar("T")


def load(kind: str, path: str) -> Any:
    """What a path ``"package.module:name"`` leads to, as its file says it now.

    Args:
        kind: What is being looked for, for the message.
        path: The path.

    Raises:
        ValueError: It leads to nothing.
        ImportError: The module is there, but something that it needs is not.
    """
    module, _, name = path.partition(":")
    try:
        found = getattr(sources.imported(module), name, None)
    except ModuleNotFoundError as error:
        if error.name is None or not f"{module}.".startswith(f"{error.name}."):
            raise
        raise ValueError(f"{kind} {path!r}: there is no module {module!r}") from error
    if found is None:
        raise ValueError(f"{kind} {path!r}: module {module!r} has no {name!r}")
    return found


class Registry(Generic[T]):
    """Names of one kind of thing.

    Args:
        kind: ``"scenario"`` or ``"agent"``, for messages.
        objection: What speaks against a thing found at a path, in words; None where nothing does.
    """

    def __init__(self, kind: str, objection: Callable[[Any], str | None]) -> None:
        self.kind, self._objection = kind, objection
        self.entries: dict[str, tuple[T | str, str]] = {}
        """Name → the thing or its path, and a line about it."""

    def register(self, name: str, target: T | str, summary: str = "") -> None:
        """Make a name mean a thing, or the path where it is found once it is asked for."""
        if isinstance(target, str) and ":" not in target:
            raise ValueError(f"path={target!r}: must be 'package.module:name'")
        self.entries[name] = target, summary

    def names(self) -> dict[str, str]:
        """Name → the line about it, sorted; nothing is imported."""
        return {name: summary for name, (_, summary) in sorted(self.entries.items())}

    def add(self, entries: Mapping[str, tuple[T | str, str]]) -> None:
        """Register what another process has in its ``entries``."""
        self.entries.update(entries)

    def find(self, name: str) -> T:
        """The thing behind a name, or at a path.

        Raises:
            ValueError: The name is unknown (the message has the nearest names), or the path leads
                to nothing, or to another kind of thing.
            ImportError: What it needs is not installed.
        """
        if name not in self.entries and ":" not in name:
            raise checks.unknown(self.kind, name, self.entries)
        target, _ = self.entries.get(name, (name, ""))
        found: Any = load(self.kind, target) if isinstance(target, str) else target
        if objection := self._objection(found):
            raise ValueError(f"{self.kind} {name!r}: {objection}")
        return found
