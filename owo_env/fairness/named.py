"""Notions of fairness by name, as ``fairness=`` takes them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from owo_env import checks
from owo_env.fairness.alpha import AlphaFair
from owo_env.fairness.contract import Contract, Each
from owo_env.fairness.notion import Fairness
from owo_env.fairness.ordered import cvar, gini, max_min
from owo_env.fairness.proof import prove
from owo_env.registry import Registry

Bounds = tuple[Any, Any]
Factory = Callable[..., Fairness]


def alpha_fair(
    num_users: int, utility_bounds: Bounds, alpha: float = 1.0, **contract: Any
) -> AlphaFair:
    """α-fairness; with ``weights``, ``disagreement``, ``floor`` or ``penalty`` a contract's."""
    if not contract:
        return AlphaFair(num_users, utility_bounds, alpha)
    return Contract(num_users, utility_bounds, alpha, **contract)


def nash(
    num_users: int, utility_bounds: Bounds, disagreement: Each, weights: Each = 1.0
) -> Contract:
    """Nash's bargaining solution, Π_k (u_k − d_k)^{c_k}, against what users have without it."""
    return Contract(num_users, utility_bounds, weights=weights, disagreement=disagreement)


def min_rate(
    num_users: int,
    utility_bounds: Bounds,
    floor: Each,
    penalty: float = 10.0,
    alpha: float = 1.0,
    weights: Each = 1.0,
) -> Contract:
    """α-fairness above a guaranteed mean utility, which costs ``penalty`` to miss."""
    u_min = np.broadcast_to(checks.utility_bounds(utility_bounds, num_users)[0], num_users)
    for r, least in zip(checks.one_each("floor", floor, num_users), u_min):
        if r <= least:
            raise ValueError(f"floor={floor!r}: must be above u_min={least:g}, or binds nobody")
    checks.number("penalty", penalty, low=0.0, open_low=True)
    return Contract(num_users, utility_bounds, alpha, weights=weights, floor=floor, penalty=penalty)


def _objection(found: Any) -> str | None:
    return None if callable(found) else f"{found!r} makes no notion of fairness"


registry: Registry[Factory] = Registry("fairness", _objection, Fairness)

for _name, _make, _summary in (
    ("alpha", alpha_fair, "α-fairness; weights=: weighted proportional fairness, by contract"),
    ("nash", nash, "bargaining against what users have without the system, disagreement="),
    ("min-rate", min_rate, "α-fair above a guaranteed floor=, a steep penalty= below it"),
    ("max-min", max_min, "the worst user's utility"),
    ("cvar", cvar, "the mean of the worst share= of the users"),
    ("gini", gini, "generalized Gini welfare: weights= by rank, or their ratio="),
):
    registry.register(_name, _make, _summary)


def make_fairness(
    fairness: str | Mapping[str, Any] | Fairness,
    num_users: int,
    utility_bounds: Bounds,
    classes: Sequence[str] | None = None,
) -> Fairness:
    """A notion from a name, a mapping ``{"name": …, **arguments}`` or a ready object.

    Args:
        fairness: Which; a name, or the path of a class or function of one's own,
            ``"package.module:Name"``, which is called with K, the utility bounds and the arguments.
        num_users: K.
        utility_bounds: (u_min, u_max), each a number, or K.
        classes: The class of each user, for arguments that are mappings by class; None where
            users change places.

    Raises:
        ValueError: An unknown name, an argument outside its domain, or a notion of somebody's own
            that contradicts itself.
        TypeError: An argument that the notion does not have.
    """
    if isinstance(fairness, Fairness):
        prove(fairness)
        return fairness
    given = {"name": fairness} if isinstance(fairness, str) else fairness
    if not isinstance(given, Mapping) or not isinstance(given.get("name"), str):
        raise TypeError(
            f"fairness={fairness!r}: must be a name, a mapping with the key 'name', or an "
            "owo_env.fairness.Fairness"
        )
    arguments = {key: value for key, value in given.items() if key != "name"}
    factory = registry.find(given["name"])
    what = Contract if factory is alpha_fair else factory
    checks.keywords(f"fairness {given['name']!r}", what, arguments, first=2)
    by_user = {key: _by_user(key, value, classes) for key, value in arguments.items()}
    made = factory(num_users, utility_bounds, **by_user)
    if not isinstance(made, Fairness):
        raise TypeError(f"fairness {given['name']!r}: gives {made!r}, which is no Fairness")
    prove(made)
    return made


def _by_user(argument: str, value: Any, classes: Sequence[str] | None) -> Any:
    """A mapping by class as a list by user."""
    if not isinstance(value, Mapping):
        return value
    if classes is None:
        raise ValueError(
            f"{argument}={dict(value)!r}: is by class of user, but the scenario has none, or its "
            "users change places from round to round (in csi-prediction: shuffle=False, drift=0)"
        )
    for name in value:
        checks.one_of(f"class in {argument}", name, classes)
    if missing := [name for name in dict.fromkeys(classes) if name not in value]:
        raise ValueError(f"{argument}={dict(value)!r}: has nothing for {', '.join(missing)}")
    return [value[name] for name in classes]
