"""Errors that name the argument, its value and what is allowed."""

import difflib
import functools
import inspect
import math
import operator
import re
import typing
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import typing_extensions


def unknown(
    kind: str, name: object, known: Iterable[str], elsewhere: Iterable[str] = ()
) -> ValueError:
    """The error for a name that is not registered, with the nearest names first.

    Args:
        kind: What is being named, for example ``"scenario"``.
        name: What was given.
        known: The names that exist and would do here.
        elsewhere: Those that exist and might have been meant, but will not do here.
    """
    known = sorted(known)
    near = nearest(str(name), sorted({*known, *elsewhere}))
    hint = f"did you mean {' or '.join(map(repr, near))}? " if near else ""
    return ValueError(f"unknown {kind} {name!r}: {hint}known are {', '.join(known)}")


def nearest(name: str, known: Iterable[str]) -> list[str]:
    """At most three names that may have been meant.

    First those of which it is the initials (``lr``), a word or the beginning (``csi``), then
    those that are spelled alike.
    """
    known, short = list(known), name.lower()
    words = {one: re.split(r"[-_ ]", one.lower()) for one in known}
    meant = [
        one
        for one, parts in words.items()
        if len(short) > 1
        and (short == "".join(p[:1] for p in parts) or short in parts or one.startswith(short))
    ]
    alike = difflib.get_close_matches(name, known, n=3, cutoff=0.5)
    return list(dict.fromkeys(meant + alike))[:3]


def one_of(argument: str, value: object, allowed: Iterable[str]) -> None:
    """Raise ValueError unless ``value`` is one of the ``allowed`` names."""
    allowed = list(allowed)
    if value not in allowed:
        raise unknown(argument, value, allowed)


def number(
    argument: str,
    value: object,
    *,
    low: float = -math.inf,
    high: float = math.inf,
    open_low: bool = False,
    open_high: bool = False,
) -> float:
    """``value`` as a finite float within [low, high] (open where told), or ValueError."""
    # A text, or one with an imaginary part, is no number though NumPy's can be made into floats.
    good = not isinstance(value, bool | np.bool_ | str | np.complexfloating)
    good = good and not (isinstance(value, np.ndarray) and value.ndim)  # NumPy 1 takes [x] for x
    try:
        number_ = float(value) if good and hasattr(value, "__float__") else math.nan  # type: ignore[arg-type]
    except TypeError:  # arrays have __float__, whatever they hold
        number_ = math.nan
    below = number_ <= low if open_low else number_ < low
    above = number_ >= high if open_high else number_ > high
    if not math.isfinite(number_) or below or above:
        left, right = "(" if open_low else "[", ")" if open_high else "]"
        raise ValueError(
            f"{argument}={value!r}: must be a finite number in {left}{low:g}, {high:g}{right}"
        )
    return number_


Each = float | Sequence[float]
"""One number for all users, or K, one a user."""


def one_each(argument: str, value: object, users: int, **limits: Any) -> tuple[float, ...]:
    """One number a user, given as K or as one for all, each as :func:`number` wants it.

    Limits may be K themselves.
    """
    among = [{n: _of(limit, k) for n, limit in limits.items()} for k in range(users)]
    if isinstance(value, str) or np.ndim(value) == 0:  # type: ignore[arg-type]
        return tuple(number(argument, value, **own) for own in among)
    given = list(value)  # type: ignore[call-overload]
    if len(given) != users:
        raise ValueError(f"{argument}={value!r}: must have {users} numbers, one a user")
    return tuple(
        number(f"{argument}[{k}]", one, **own) for k, (one, own) in enumerate(zip(given, among))
    )


def each(argument: str, value: object, users: int, **limits: Any) -> float | tuple[float, ...]:
    """:func:`one_each`, where all are alike as one number."""
    found = one_each(argument, value, users, **limits)
    return found[0] if len(set(found)) == 1 else found


def _of(limit: Any, user: int) -> Any:
    return limit if np.ndim(limit) == 0 else limit[user]


def flag(argument: str, value: object) -> bool:
    """``value`` as a bool, or ValueError: a text like "no" would count as true."""
    if not isinstance(value, bool | np.bool_):
        raise ValueError(f"{argument}={value!r}: must be true or false")
    return bool(value)


def utility_bounds(value: Sequence[Any], users: int) -> tuple[Any, Any]:
    """``value`` as (u_min, u_max) with 0 < u_min < u_max, or ValueError.

    Either is a number where it is the same for all users, else K of them.
    """
    try:
        u_min, u_max = value
    except (TypeError, ValueError):
        text = f"utility_bounds={value!r}: must be a pair (u_min, u_max), each one number or K"
        raise ValueError(text) from None
    u_min = each("utility_bounds[0] (u_min)", u_min, users, low=0.0, open_low=True)
    return u_min, each("utility_bounds[1] (u_max)", u_max, users, low=u_min, open_low=True)


def whole(argument: str, value: object, *, low: int, high: int | None = None) -> int:
    """``value`` as an int within [low, high], or ValueError."""
    try:
        index = low - 1 if isinstance(value, bool) else operator.index(value)  # type: ignore[arg-type]
    except TypeError:  # arrays have __index__, whatever they hold
        index = low - 1
    if index < low or (high is not None and index > high):
        upper = "" if high is None else f" and at most {high}"
        raise ValueError(f"{argument}={value!r}: must be a whole number, at least {low}{upper}")
    return index


def seed(argument: str, value: object) -> int | None:
    """``value`` as Gymnasium takes a seed, an int ≥ 0 or None; ValueError for anything else."""
    return None if value is None else whole(argument, value, low=0)


def keywords(
    what: str,
    callable_: Callable[..., Any],
    given: Mapping[str, Any],
    *,
    first: int = 0,
    also: Iterable[str] = (),
    elsewhere: Mapping[str, str] = {},
) -> None:
    """Raise TypeError if ``callable_`` does not take a keyword, or needs one that is not given.

    Args:
        what: What is being called, for example ``"agent 'cws'"``.
        callable_: What is to be called.
        given: The keywords.
        first: How many arguments it is given by position.
        also: What whoever calls it takes itself, and might have been meant.
        elsewhere: An argument of something else → of what.
    """
    parameters = list(inspect.signature(callable_).parameters.values())[first:]
    named = [p for p in parameters if p.kind in (p.KEYWORD_ONLY, p.POSITIONAL_OR_KEYWORD)]
    known = {p.name for p in named}
    for p in parameters:
        if p.kind is p.VAR_KEYWORD:
            typed = unpacked(callable_, p.name)
            known |= set(given) if typed is None else set(typing_extensions.get_type_hints(typed))
    for name in given:
        if name not in known and name in elsewhere:
            raise TypeError(f"{name} is no argument of {what}, but of {elsewhere[name]}")
        if name not in known:  # Python's own phrase first: libraries know it, and try without
            known = known.union(also)
            raise TypeError(
                f"got an unexpected keyword argument {name!r}: "
                f"{unknown(f'argument of {what}', name, known)}"
            )
    missing = [p.name for p in named if p.default is p.empty and p.name not in given]
    if missing:
        raise TypeError(f"{what} needs {', '.join(missing)}")


def unpacked(callable_: Any, name: str) -> Any:
    """The TypedDict behind ``**name: Unpack[…]`` of a class or function; None without one."""
    while isinstance(callable_, functools.partial):
        callable_ = callable_.func
    if isinstance(callable_, type):
        callable_ = vars(callable_).get("__init__", callable_)
    try:
        hint = typing_extensions.get_type_hints(callable_).get(name)
    except Exception:  # no annotations, or such as only a type checker can read
        hint = None
    if typing_extensions.get_origin(hint) not in _UNPACK:
        return None
    return typing_extensions.get_args(hint)[0]


_UNPACK = {typing_extensions.Unpack, getattr(typing, "Unpack", typing_extensions.Unpack)}
