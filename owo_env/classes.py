"""Users' classes in ``info``: numbers there, names in the problem."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

USER_CLASS = "user_class"


def numbered(told: Mapping[str, Any], names: Sequence[str] | None) -> dict[str, Any]:
    """``told`` with each class as its place among the ``names``, where there are any."""
    if names is None or USER_CLASS not in told or not np.isin(told[USER_CLASS], names).all():
        return dict(told)
    order = np.argsort(names)
    places = np.searchsorted(np.asarray(names)[order], told[USER_CLASS])
    return {**told, USER_CLASS: order[places]}


def named(told: Mapping[str, Any], names: Sequence[str] | None) -> dict[str, Any]:
    """The way back, for whoever reads: each class by its name."""
    if names is None or np.asarray(told.get(USER_CLASS, "")).dtype.kind != "i":
        return dict(told)
    return {**told, USER_CLASS: np.asarray(names)[told[USER_CLASS]]}


def unknown(told: Mapping[str, Any]) -> dict[str, Any]:
    """What stands for ``told`` before it is known: zeros; but users' classes are known."""
    return {
        name: value * 0 if name != USER_CLASS and _is_number(value) else np.copy(value)
        for name, value in told.items()
    }


def _is_number(value: Any) -> bool:
    return np.asarray(value).dtype.kind in "iuf"
