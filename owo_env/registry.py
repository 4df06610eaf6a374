"""What is known by its name, or by a path ``"package.module:name"``: scenarios and agents alike.

A path may come from a stranger's file. So what it leads to is judged before it is called: a class
must be of the right kind, a function must say that it makes such a thing or be the user's own.
"""

from __future__ import annotations

import functools
import sys
import typing
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Generic, TypeVar

from owo_env import checks, sources

T = TypeVar("T")

_OURS = ("owo_env", "owo_agents")
_LIBRARIES = {"site-packages", "dist-packages"}


def split(kind: str, path: str) -> tuple[str, str]:
    """Module and name of a path ``"package.module:name"``; nothing is imported.

    Args:
        kind: What is being looked for, for the message.
        path: The path.

    Raises:
        ValueError: It is none, or the module is of Python's own library or a program.
    """
    module, _, name = path.partition(":")
    package, *inner = module.split(".")
    if not package or not name:
        raise ValueError(f"{kind} {path!r}: must be 'package.module:name'")
    if package in sys.stdlib_module_names or "__main__" in inner:
        raise ValueError(f"{kind} {path!r}: module {module!r} has no {kind}, and is not imported")
    return module, name


def load(kind: str, path: str, makes: type[Any]) -> Any:
    """What a path ``"package.module:name"`` leads to.

    Args:
        kind: What is being looked for, for the message.
        path: The path.
        makes: What a function there must make.

    Raises:
        ValueError: It leads to nothing, or to a function that may be anything.
        ImportError: The module is there, but something that it needs is not.
    """
    module, name = split(kind, path)
    try:
        found = getattr(sources.imported(module), name, None)
    except ModuleNotFoundError as error:
        if error.name is None or not f"{module}.".startswith(f"{error.name}."):
            raise
        raise ValueError(f"{kind} {path!r}: there is no module {module!r}") from error
    if found is None:
        raise ValueError(f"{kind} {path!r}: module {module!r} has no {name!r}")
    if callable(found) and not isinstance(found, type) and not _trusted(found, makes):
        raise ValueError(
            f"{kind} {path!r}: is a function of a library that does not say that it makes "
            f"{makes.__name__} (annotate it with '-> {makes.__name__}')"
        )
    return found


def _trusted(function: Any, makes: type[Any]) -> bool:
    """Whether a function says that it makes such a thing, or lies in a module of the user's own."""
    while isinstance(function, functools.partial):
        function = function.func
    try:
        returns = typing.get_type_hints(function).get("return")
    except Exception:  # no annotations, or such as only a type checker can read
        returns = None
    if isinstance(returns, type) and issubclass(returns, makes):
        return True
    home = getattr(function, "__module__", None) or "builtins"
    package, file = home.partition(".")[0], getattr(sys.modules.get(home), "__file__", None)
    foreign = package in _OURS or package in sys.stdlib_module_names
    return not foreign and not (file and _LIBRARIES & set(Path(file).parts))


class Registry(Generic[T]):
    """Names of one kind of thing.

    Args:
        kind: ``"scenario"`` or ``"agent"``, for messages.
        objection: What speaks against a thing found at a path, in words; None where nothing does.
        makes: What a function found at a path must make.
    """

    def __init__(self, kind: str, objection: Callable[[Any], str | None], makes: type[Any]) -> None:
        self.kind, self.objection, self._makes = kind, objection, makes
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
        found: Any = target
        if isinstance(target, str):
            found = load(self.kind, target, self._makes)
        if objection := self.objection(found):
            raise ValueError(f"{self.kind} {name!r}: {objection}")
        return found
