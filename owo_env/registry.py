"""What is known by its name, or by a path ``"package.module:name"``: scenarios and agents alike.

A path may come from a stranger's file. So what it leads to is judged before it is called: a class
must be of the right kind, a function must say that it makes such a thing or be the user's own.
What installed packages offer by name (entry points) was put there by whoever installed them.
"""

from __future__ import annotations

import functools
import sys
import typing
from collections.abc import Callable, Mapping
from importlib import metadata
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


def load(kind: str, path: str, makes: type[Any] | None) -> Any:
    """What a path ``"package.module:name"`` leads to.

    Args:
        kind: What is being looked for, for the message.
        path: The path.
        makes: What a function there must make; None where the path is known to be meant.

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
    function = callable(found) and not isinstance(found, type)
    if makes is not None and function and not _trusted(found, makes):
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


Entry = tuple[T | str, str]  # the thing or its path, and a line about it


class Registry(Generic[T]):
    """Names of one kind of thing.

    Args:
        kind: ``"scenario"`` or ``"agent"``, for messages.
        objection: What speaks against a thing found at a path, in words; None where nothing does.
        makes: What a function found at a path must make.
        group: The group of entry points by which installed packages offer such things; "" of none.

    Attributes:
        entries: Name → the thing or its path, and a line about it.
        packages: Names that installed packages offer → the package and its version.
        skipped: What they offer in vain, and why.
    """

    def __init__(
        self,
        kind: str,
        objection: Callable[[Any], str | None],
        makes: type[Any],
        group: str = "",
    ) -> None:
        self.kind, self.objection, self._makes, self.group = kind, objection, makes, group
        self.entries: dict[str, Entry[T]] = {}
        self.packages: dict[str, str] = {}
        self.skipped: list[str] = []

    def register(self, name: str, target: T | str, summary: str = "") -> None:
        """Make a name mean a thing, or the path where it is found once it is asked for.

        It holds for this process, and for the workers that a benchmark sends it to. For every
        process there are entry points, which a package brings along when it is installed.
        """
        if isinstance(target, str) and ":" not in target:
            raise ValueError(f"path={target!r}: must be 'package.module:name'")
        self.packages.pop(name, None)
        self.entries[name] = target, summary

    def names(self) -> dict[str, str]:
        """Name → the line about it, sorted; nothing is imported."""
        self.look()
        return {name: summary for name, (_, summary) in sorted(self.entries.items())}

    def add(self, entries: Mapping[str, Entry[T]]) -> None:
        """Register what another process has in its ``entries``."""
        self.entries.update(entries)

    def known(self, name: str) -> dict[str, Entry[T]]:
        """The entry of a name alone; none where it is unknown, or a path."""
        if name not in self.entries and ":" not in name:
            self.look()
        return {name: self.entries[name]} if name in self.entries else {}

    def look(self) -> None:
        """Take in what installed packages offer; nothing is imported.

        A name that is there already keeps its meaning, and of two packages that offer the same
        the first by the alphabet has it: the others are among :attr:`skipped`.
        """
        for name in self.packages:  # may have been uninstalled meanwhile
            self.entries.pop(name, None)
        self.packages, self.skipped = {}, []
        for package, name, path in sorted(_offered(self.group)):
            if name in self.entries:
                other = self.packages.get(name, "this package, or registered here")
                self.skipped.append(
                    f"{self.kind} {name!r} of {package}: the name is taken ({other})"
                )
            elif ":" in name or path.count(":") != 1:
                self.skipped.append(
                    f"{self.kind} {name!r} of {package}: {path!r} is no entry point"
                )
            else:
                self.entries[name], self.packages[name] = (path, f"of {package}"), package

    def find(self, name: str) -> T:
        """The thing behind a name, or at a path.

        Raises:
            ValueError: The name is unknown (the message has the nearest names), or the path leads
                to nothing, or to another kind of thing; or a package that offers it fails.
            ImportError: What it needs is not installed.
        """
        entry = self.known(name)
        if not entry and ":" not in name:
            raise checks.unknown(self.kind, name, self.entries)
        target: Any = entry[name][0] if entry else name
        package = self.packages.get(name)
        try:
            found: Any = target
            if isinstance(target, str):
                found = load(self.kind, target, None if entry else self._makes)
        except Exception as error:
            if package is None:
                raise
            kind = ImportError if isinstance(error, ImportError) else ValueError
            why = f"{type(error).__name__}: {error}"
            raise kind(f"{self.kind} {name!r} of {package} cannot be loaded ({why})") from error
        if objection := self.objection(found):
            of = f" of {package}" if package else ""
            raise ValueError(f"{self.kind} {name!r}{of}: {objection}")
        return found


def _offered(group: str) -> list[tuple[str, str, str]]:
    """Package and version, name and path of every entry point of a group."""
    if not group:
        return []
    return [
        (f"{one.dist.name} {one.dist.version}" if one.dist else "a package", one.name, one.value)
        for one in metadata.entry_points(group=group)
    ]
