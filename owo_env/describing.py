"""What a scenario or an agent can be told, read from its signature and its docstring.

An argument's line is that of the docstring's ``Args``; a unit stands first there, in brackets:
``speed: [km/h] How fast users move.``
"""

from __future__ import annotations

import inspect
import pydoc
import re
import sys
import textwrap
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import typing_extensions

from owo_env import checks

_NAMED = re.compile(r":(?:class|func):`~?([\w.]+)`")
_UNIT = re.compile(r"\[([^\]]+)\] ")
_ENTRY = re.compile(r"(\*{0,2}\w+(?:, \*{0,2}\w+)*): (.*)")


@dataclass(frozen=True)
class Argument:
    """One argument of a scenario or an agent.

    Attributes:
        name: Its name.
        type: Its annotation; "" of none.
        default: As Python writes it; None where it must be given.
        unit: Its unit; "" of none.
        line: What it is.
    """

    name: str
    type: str
    default: str | None
    unit: str
    line: str

    def __str__(self) -> str:
        default = "must be given" if self.default is None else f"default {self.default}"
        told = ", ".join(filter(None, [self.type, default, self.unit and f"in {self.unit}"]))
        line = textwrap.fill(self.line, 78, initial_indent=" " * 6, subsequent_indent=" " * 6)
        return f"  {self.name} ({told})\n{line}"


@dataclass(frozen=True)
class Description:
    """What a name means and what it can be told; its text is made to be printed.

    Attributes:
        name: What was asked for.
        summary: One line.
        package: The installed package that offers it; "" of what is this package's own.
        arguments: All that it takes.
    """

    name: str
    summary: str
    package: str
    arguments: tuple[Argument, ...]

    def __str__(self) -> str:
        head = f"{self.name}: {self.summary}" if self.summary else self.name
        if self.package:
            head += f" (of {self.package})"
        return "\n".join([head, *map(str, self.arguments or ("  no arguments",))])

    __repr__ = __str__  # what a notebook shows


def described(
    name: str, summary: str, package: str, made_by: Callable[..., Any], first: int = 0
) -> Description:
    """The description of what a class or function makes.

    Args:
        name: What it is called.
        summary: One line; "" for the docstring's first.
        package: Where it comes from.
        made_by: The class or function.
        first: How many arguments it is given by position.
    """
    text = inspect.getdoc(made_by) or ""
    line = summary or " ".join(text.partition("\n\n")[0].split())
    found = {one.name: one for one in _arguments(made_by, first)}
    return Description(name, _plain(line), package, tuple(found.values()))


def _arguments(made_by: Callable[..., Any], first: int) -> Iterator[Argument]:
    """In order; those behind ``**name`` by what its line, or its type, refers to."""
    lines = _lines(made_by)
    for p in list(inspect.signature(made_by).parameters.values())[first:]:
        if p.kind is p.VAR_KEYWORD:
            yield from _behind(made_by, p, lines.get(p.name, ""))
        elif p.kind is not p.VAR_POSITIONAL:
            line = lines.get(p.name, "")
            unit = _UNIT.match(line)
            yield Argument(
                name=p.name,
                type="" if p.annotation is p.empty else _written(p.annotation),
                default=None if p.default is p.empty else repr(p.default),
                unit=unit[1] if unit else "",
                line=_plain(line[unit.end() :] if unit else line),
            )


def _behind(
    made_by: Callable[..., Any], parameter: inspect.Parameter, line: str
) -> Iterator[Argument]:
    known = checks.unpacked(made_by, parameter.name)
    told = f"{line} {inspect.getdoc(known) or ''}" if known else line
    names = set(typing_extensions.get_type_hints(known)) if known else None
    homes = [made_by, known] if known else [made_by]
    for path in dict.fromkeys(_NAMED.findall(told)):
        found = next(filter(None, (_at(home, path) for home in homes)), None)
        if callable(found) and found is not known:
            first = 1 if names is None else 0  # beside what it is made for
            own = _arguments(found, first)
            yield from (one for one in own if names is None or one.name in names)


def _at(home: Any, path: str) -> Any:
    """What a docstring's reference means in the module of a thing, or anywhere."""
    module = sys.modules.get(getattr(inspect.unwrap(home), "__module__", ""))
    return getattr(module, path, None) or pydoc.locate(path)


def _lines(made_by: Any) -> dict[str, str]:
    """Of a class also what the classes that it is derived from say of theirs."""
    known = reversed(made_by.__mro__) if isinstance(made_by, type) else [made_by]
    found: dict[str, str] = {}
    for one in known:
        found |= argument_lines(inspect.cleandoc(getattr(one, "__doc__", None) or ""))
    return found


def argument_lines(docstring: str) -> dict[str, str]:
    """Name → what a Google-style docstring says of it among its ``Args``, on one line."""
    found: dict[str, str] = {}
    inside, names = False, list[str]()
    for row in docstring.splitlines():
        if row and not row[0].isspace():
            inside = row == "Args:"
        elif inside and (entry := _ENTRY.match(row.strip())) and _indent(row) == 4:
            names = [name.lstrip("*") for name in entry[1].split(", ")]
            found |= dict.fromkeys(names, entry[2])
        elif inside and row.strip():
            found |= {name: f"{found[name]} {row.strip()}" for name in names}
    return found


def _plain(line: str) -> str:
    """Without the markup of references and code."""
    return re.sub(r":\w+:`~?([^`]*)`", r"\1", line).replace("``", "")


def _indent(row: str) -> int:
    return len(row) - len(row.lstrip())


def _written(annotation: Any) -> str:
    return annotation if isinstance(annotation, str) else inspect.formatannotation(annotation)
