"""Digests of the code and data behind a cell, so that other code or other data make another cell.

What a name leads to in a file is digested as that file with what it imports of the user's own;
what was registered as an object (a notebook's class) as it lies in memory: bytecode, defaults,
closures, the globals it reads, base classes, arrays by their bytes. Neither depends on the
process, the folder, hash seeds, or on whether an object was sent here from another process.
"""

from __future__ import annotations

import copyreg
import dis
import functools
import logging
import os
import re
import sys
import types
import uuid
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from owo_agents.rl.policy import locate, shipped
from owo_env import sources

if TYPE_CHECKING:
    from owo_agents.benchmark.suite.cells import Cell

UNKNOWN = "unknown"
"""What the digest of something that cannot be digested begins with; no two are alike."""

_log = logging.getLogger(__name__)
_PATH = re.compile(r"[A-Za-z_]\w*(\.[A-Za-z_]\w*)*:[A-Za-z_]\w*")  # package.module:name
_ATOMS = bool | int | float | complex | str | bytes | None | types.EllipsisType
_NAMED = (
    types.BuiltinFunctionType
    | types.WrapperDescriptorType
    | types.MethodDescriptorType
    | types.ClassMethodDescriptorType
    | types.GetSetDescriptorType
    | types.MemberDescriptorType
)
_PASSING = {  # of a class: what Python notes there by itself
    *("__dict__", "__weakref__", "__module__", "__qualname__", "__doc__", "__annotations__"),
    *("__firstlineno__", "__static_attributes__", "__slotnames__", "_abc_impl"),
    *("__annotate_func__", "__annotations_cache__", "__abstractmethods__"),
}


class Undigestible(Exception):
    """What a thing is made of cannot be told; the message says because of what."""


def join(*digests: str | None) -> str | None:
    """One digest of several, those that are there; None where none is."""
    return "-".join(filter(None, digests)) or None


def source_digest(name: str, registered: Mapping[str, Any]) -> str | None:
    """Digest of what is behind the name of an agent or a scenario; None of the package's own.

    Where it cannot be told, the log says why, and the digest begins with :data:`UNKNOWN`.

    Args:
        name: ``package.module:Class``, ``rl:POLICY``, or a registered name.
        registered: Name → entry, whose first part is a path or a thing.
    """
    try:
        return _named(name, registered)
    except Undigestible as error:
        _log.warning(
            "%s: its code cannot be told from an edited one's, since it holds %s: its runs are "
            "never taken from a results folder, but played anew each time",
            name,
            error,
        )
        return _token()


def _token() -> str:
    return f"{UNKNOWN}{uuid.uuid4().hex[:13]}"


def _named(name: str, registered: Mapping[str, Any]) -> str | None:
    if name in registered:
        target = registered[name][0]
        return _named(target, {}) if isinstance(target, str) else thing_digest(target)
    module, colon, attribute = name.partition(":")
    if not colon or module.partition(".")[0] in sources.OWN:
        return None
    try:
        if module == "rl":
            return sources.file_digest(locate(attribute))
        if sources.origin(module) is None and module in sys.modules:  # a notebook's, a script's
            return thing_digest(getattr(sys.modules[module], attribute, None))
        return sources.module_digest(module)
    except (ImportError, ValueError):
        return None  # whoever makes the agent or scenario says what is wrong


def data_digest(given: Mapping[str, Any], agent: str | None = None) -> str | None:
    """Digest of what a cell names in its settings, or as an ``agent``'s arguments, beside its code.

    That is a trace or a policy, and the user's own modules (of an ``aggregator``, say).
    """
    file = given.get("trace") if agent is None else given.get("path") if agent == "rl" else None
    content = sources.file_digest(file) if isinstance(file, str) and os.path.isabs(file) else None
    paths = sorted({text for text in _texts(given) if _PATH.fullmatch(text)})
    modules = dict.fromkeys(text.partition(":")[0] for text in paths)
    own = [name for name in modules if sources.origin(name) and not sources.foreign(name)]
    return join(content, *map(sources.module_digest, own))


def _texts(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, Mapping | list | tuple):
        for inner in value.values() if isinstance(value, Mapping) else value:
            yield from _texts(inner)


def check(
    cell: Cell, agents: Mapping[str, Any], scenarios: Mapping[str, Any], things: bool = True
) -> None:
    """Refuse a cell whose code and data are no longer those of its key.

    Args:
        cell: What is to be played, or was made just now.
        agents: What is registered, name → entry.
        scenarios: Likewise.
        things: Look at registered objects, too; agents that note something in a global of their
            own change those by playing.

    Raises:
        ValueError: They are others.
    """
    now = [data_digest(cell.settings), data_digest(cell.arguments, cell.agent)]
    seen = True
    for name, registered in ((cell.agent, agents), (cell.scenario, scenarios)):
        if not things and not isinstance(registered.get(name, ("",))[0], str):
            seen = False
            continue
        try:
            now.append(_named(name, registered))
        except Undigestible:
            now.append(UNKNOWN)
    found, wanted = _pieces(join(*now)), _pieces(cell.digest)
    if found != wanted if seen else not found <= wanted:
        raise ValueError(
            f"agent {cell.agent!r} on scenario {cell.scenario!r}: their code or data are not those "
            "of the suite as it was read: read it again"
        )


def _pieces(digest: str | None) -> set[str]:
    pieces = (digest or "").split("-")
    return {UNKNOWN if piece.startswith(UNKNOWN) else piece for piece in pieces} - {""}


def thing_digest(thing: Any) -> str | None:
    """Digest of a class, a function or any object by what it is made of; None of our own.

    Raises:
        Undigestible: It holds something that has no content to be told, such as a lock.
    """
    if isinstance(thing, type | types.FunctionType) and _of(thing) in sources.OWN:
        return None
    try:
        return _Walk().digest(thing)
    except RecursionError as error:
        raise Undigestible("something too deeply nested") from error


def digest_or_token(thing: Any) -> str | None:
    """:func:`thing_digest`, or what is like no other digest where it cannot be told."""
    try:
        return thing_digest(thing)
    except Undigestible:
        return _token()


def _of(thing: Any) -> str | None:
    """The top package of a class or function that its name leads to, and so says all of it."""
    spaces = getattr(thing, "__globals__", None)  # a wrapper may claim another's module
    module = thing.__module__ if spaces is None else spaces.get("__name__")
    found: Any = sys.modules.get(module or "")
    for part in thing.__qualname__.split("."):
        found = getattr(found, part, None)
    return str(module).partition(".")[0] if found is thing and sources.foreign(module) else None


class _Walk:
    """Digests of things by their content; what is met again within itself is named."""

    def __init__(self) -> None:
        self._known: dict[int, tuple[Any, str]] = {}  # holds the thing, so that its id stays its

    def digest(self, thing: Any) -> str:
        if id(thing) not in self._known:
            self._known[id(thing)] = thing, f"again {getattr(thing, '__name__', '')}"
            self._known[id(thing)] = thing, sources.digest_of(repr(self._parts(thing)))
        return self._known[id(thing)][1]

    def _each(self, things: Any) -> list[str]:
        return [self.digest(thing) for thing in things]

    def _items(self, mapping: Mapping[Any, Any]) -> list[tuple[str, str]]:
        return [(self.digest(key), self.digest(value)) for key, value in mapping.items()]

    def _parts(self, thing: Any) -> Any:
        """What a thing is made of, as something whose ``repr`` says all of it."""
        kind = type(thing)
        name = kind.__name__
        if isinstance(thing, type):
            return self._class(thing)
        if kind.__module__ == "builtins" and isinstance(thing, _ATOMS):
            return name, repr(thing)
        if kind in (list, tuple):
            return name, self._each(thing)
        if kind in (set, frozenset):
            return name, sorted(self._each(thing))
        if kind in (dict, types.MappingProxyType):
            return "dict", self._items(thing)
        if kind is np.ndarray and not thing.dtype.hasobject:
            return name, str(thing.dtype.descr), thing.shape, sources.digest_of(thing.tobytes())
        if kind is np.ma.MaskedArray:  # whose pickle settles what was open, as its fill value
            return name, self._each((thing.data, np.ma.getmaskarray(thing), thing.fill_value))
        if kind is types.FunctionType:
            return self._function(thing)
        if kind is types.CodeType:
            return self._code(thing)
        if kind is types.ModuleType:
            return self._module(thing, set())
        if isinstance(thing, _NAMED):
            owner = getattr(thing, "__objclass__", getattr(thing, "__self__", None))
            of = None if isinstance(owner, types.ModuleType) else self.digest(owner)
            return name, getattr(thing, "__module__", None), thing.__qualname__, of
        if kind is types.MethodType:
            return name, self.digest(thing.__func__), self.digest(thing.__self__)
        if kind in (staticmethod, classmethod):
            return name, self.digest(thing.__func__)
        if kind is property:
            return name, self._each((thing.fget, thing.fset, thing.fdel))
        if kind is functools.cached_property:
            return name, self.digest(thing.func)
        if kind is functools._lru_cache_wrapper:
            return name, self.digest(thing.__wrapped__)
        torch = sys.modules.get("torch")
        if torch is not None and isinstance(thing, torch.Tensor):
            return self._tensor(thing, torch)
        return self._object(thing)

    def _class(self, cls: type) -> Any:
        if sources.foreign(cls.__module__):
            return "class", cls.__module__, cls.__qualname__
        own = {key: value for key, value in vars(cls).items() if key not in _PASSING}
        names = sorted(own)
        parts = type(cls), *cls.__bases__, *(own[key] for key in names)
        return "class", cls.__name__, names, self._each(parts)

    def _function(self, function: types.FunctionType) -> Any:
        if _of(function) is not None:
            return "function", function.__module__, function.__qualname__
        parts = function.__code__, function.__defaults__, function.__kwdefaults__, vars(function)
        read, attributes = _names(function.__code__)
        cells = [self._cell(cell, attributes) for cell in function.__closure__ or ()]
        spaces = function.__globals__
        names = sorted(name for name in read if name in spaces)
        values = [self._value(spaces[name], attributes) for name in names]
        return "function", self._each(parts), cells, names, values

    def _cell(self, cell: types.CellType, attributes: set[str]) -> Any:
        try:
            held = cell.cell_contents
        except ValueError:
            return "empty"
        return self._value(held, attributes)

    def _value(self, value: Any, attributes: set[str]) -> Any:
        """Of a module that code reads, what the code may read in it."""
        if isinstance(value, types.ModuleType):
            return self._module(value, attributes)
        return self.digest(value)

    def _module(self, module: types.ModuleType, attributes: set[str]) -> Any:
        if sources.foreign(module.__name__):
            return "module", module.__name__
        if not attributes:
            raise Undigestible(f"module {module.__name__!r}")
        names = sorted(attributes & vars(module).keys())
        inner = [self._value(vars(module)[name], attributes - {name}) for name in names]
        return "module", module.__name__, names, inner

    def _code(self, code: types.CodeType) -> Any:
        counts = code.co_argcount, code.co_posonlyargcount, code.co_kwonlyargcount, code.co_flags
        names = code.co_names, code.co_varnames, code.co_freevars, code.co_cellvars
        table = getattr(code, "co_exceptiontable", b"")
        return "code", code.co_code, table, counts, names, self._each(code.co_consts)

    def _tensor(self, tensor: Any, torch: Any) -> Any:
        try:
            flat = tensor.detach().cpu().resolve_conj().resolve_neg().contiguous().reshape(-1)
            content = sources.digest_of(flat.view(torch.uint8).numpy().tobytes())
        except (RuntimeError, TypeError, NotImplementedError) as error:
            raise Undigestible(f"a tensor of layout {tensor.layout}") from error
        kind = type(tensor).__name__, str(tensor.dtype), tuple(tensor.shape), tensor.requires_grad
        return *kind, content

    def _object(self, thing: Any) -> Any:
        """Any other object by what pickle would keep of it."""
        try:
            reduce = copyreg.dispatch_table.get(type(thing))
            made = thing.__reduce_ex__(4) if reduce is None else reduce(thing)
        except Exception as error:
            raise Undigestible(f"an object of type {type(thing).__qualname__}") from error
        if isinstance(made, str):
            return "named", type(thing).__module__, type(thing).__name__, made
        return "object", [
            self._each(part) if isinstance(part, Iterator) else self.digest(part) for part in made
        ]


def _users(module: str) -> bool:
    """Whether an import leads to a module of the user's; a relative one does."""
    there = not module or module in sys.modules or sources.origin(module) is not None
    return there and not (module and sources.foreign(module))


def _names(code: types.CodeType) -> tuple[set[str], set[str]]:
    """The globals that code reads, and the attributes, in functions and classes within as well.

    Raises:
        Undigestible: It imports a module of the user's, whose content then is not here to be told.
    """
    read, attributes = set(), set()
    for step in dis.get_instructions(code):
        if step.opname in ("LOAD_GLOBAL", "LOAD_NAME"):
            read.add(step.argval)
        elif step.opname in ("LOAD_ATTR", "LOAD_METHOD", "IMPORT_FROM"):
            attributes.add(step.argval)
        elif step.opname == "IMPORT_NAME" and _users(step.argval):
            raise Undigestible(f"an import of {step.argval!r} within a function")
    for const in code.co_consts:
        if isinstance(const, types.CodeType):
            inner = _names(const)
            read, attributes = read | inner[0], attributes | inner[1]
    return read, attributes


def rooted(agent: str, arguments: Mapping[str, Any]) -> tuple[str, dict[str, Any]]:
    """The agent's name and arguments with the file of a policy as a path that any folder knows."""
    given = dict(arguments)
    if agent.startswith("rl:") and (path := agent.removeprefix("rl:")) not in shipped():
        agent = f"rl:{absolute(path)}"
    file = given.get("path")
    if agent == "rl" and isinstance(file, str) and file not in shipped():
        given["path"] = absolute(file)
    return agent, given


def absolute(path: str) -> str:
    """A path that means the same in any folder."""
    return os.path.abspath(os.path.expanduser(path))
