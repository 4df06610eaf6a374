"""Digests of things in memory, by what they are made of.

Of code that is bytecode, defaults, closures, base classes and the globals that it reads; of arrays
their bytes. They depend neither on the process, the folder or hash seeds, nor on whether a thing
was sent here from another process.
"""

from __future__ import annotations

import copyreg
import dis
import functools
import sys
import types
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from owo_env import sources

_ATOMS = bool | int | float | complex | str | bytes | None | types.EllipsisType
_NAMED = (
    types.BuiltinFunctionType
    | types.WrapperDescriptorType
    | types.MethodDescriptorType
    | types.ClassMethodDescriptorType
    | types.GetSetDescriptorType
    | types.MemberDescriptorType
)
_INNER: dict[type, Callable[[Any], Sequence[Any]]] = {  # what a thing is made of, in order
    list: list,
    tuple: list,
    types.MethodType: lambda method: (method.__func__, method.__self__),
    staticmethod: lambda method: (method.__func__,),
    classmethod: lambda method: (method.__func__,),
    property: lambda one: (one.fget, one.fset, one.fdel),
    functools.cached_property: lambda one: (one.func,),
    functools._lru_cache_wrapper: lambda one: (one.__wrapped__,),
    # Its pickle settles what was open, as the fill value.
    np.ma.MaskedArray: lambda one: (one.data, np.ma.getmaskarray(one), one.fill_value),
}
_PASSING = {  # of a class: what Python notes there by itself
    *("__dict__", "__weakref__", "__module__", "__qualname__", "__doc__", "__annotations__"),
    *("__firstlineno__", "__static_attributes__", "__slotnames__", "_abc_impl"),
    *("__annotate_func__", "__annotations_cache__", "__abstractmethods__"),
}


class Undigestible(Exception):
    """What a thing is made of cannot be told; the message says because of what."""


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
        if kind in _INNER:
            return name, self._each(_INNER[kind](thing))
        if kind in (set, frozenset):
            return name, sorted(self._each(thing))
        if kind in (dict, types.MappingProxyType):
            return "dict", self._items(thing)
        if kind is np.ndarray and not thing.dtype.hasobject:
            return name, str(thing.dtype.descr), thing.shape, sources.digest_of(thing.tobytes())
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
