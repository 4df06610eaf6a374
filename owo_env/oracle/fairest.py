"""The fairest model in hindsight (paper eq. 2) for least squares, by what suits its notion."""

from dataclasses import replace

import numpy as np
from numpy.typing import ArrayLike, NDArray

from owo_env import checks
from owo_env.fairness import Ordered, Smooth
from owo_env.fairness.notion import as_number
from owo_env.oracle import newton, piecewise
from owo_env.oracle.newton import Fairest
from owo_env.oracle.piecewise import Certified
from owo_env.oracle.rounds import scaled

Floats = NDArray[np.floating]
Solvable = Smooth | Ordered  # the notions that have an exact oracle


def fairest_model(
    H: ArrayLike,
    b: ArrayLike,
    s: ArrayLike,
    *,
    fairness: Solvable,
    l_max: float | ArrayLike,
    bounds: tuple[float, float] | None,
    anchor: ArrayLike,
    shares: ArrayLike | None = None,
) -> Fairest | Certified:
    """Maximize F(ū(θ)) over Θ for B rounds, F continued below u_min as the notion does.

    Where θ* is not unique, one near ``anchor`` is taken: the nearest in Dθ, D² the diagonal of
    Σ_k H_k, so that no unit matters.

    Args:
        H: Mean xxᵀ of each user, positive semidefinite, shape (d, d, K, B).
        b: Mean xy, shape (d, K, B).
        s: Mean y², shape (K, B).
        fairness: What to maximize.
        l_max: The utility of a perfect prediction, one for all users or K.
        bounds: Θ as the cube [low, high]^d; None means unbounded.
        shares: c ≥ 0, by which each user's term of a smooth F is multiplied, (K, B); None: 1.
        anchor: The point that ties are broken towards, shape (d,); where the search starts.

    Raises:
        ValueError: An argument has a wrong shape, is not finite or outside its domain.
        UnsolvedError: A round could not be solved.
    """
    H, b, s, anchor = (np.ascontiguousarray(array, float) for array in (H, b, s, anchor))
    _check_arrays(H, b, s, anchor)
    if fairness.num_users != len(s):
        raise ValueError(f"fairness is of {fairness.num_users} users: b is of {len(s)}")
    low, high = -np.inf, np.inf
    if bounds is not None:
        low = checks.number("bounds[0]", bounds[0])
        high = checks.number("bounds[1]", bounds[1], low=low, open_low=True)
    best = as_number(checks.each("l_max", l_max, len(s)))
    about = H, b, s, anchor, (low, high), best
    # What overflows on the way is no good to a search, and in the end the residual or gap judges.
    with np.errstate(all="ignore"):
        if isinstance(fairness, Ordered):
            if shares is not None:
                raise ValueError(f"shares: {fairness} is no sum over users")
            return piecewise.solve(scaled(*about, fairness))
        rounds = scaled(*about, fairness)
        if shares is not None:
            rounds = replace(rounds, shares=_checked_shares(shares, s.shape))
        return newton.solve(rounds)


def _checked_shares(shares: ArrayLike, shape: tuple[int, ...]) -> Floats:
    c = np.ascontiguousarray(shares, float)
    if c.shape != shape or not (np.isfinite(c) & (c >= 0)).all():
        raise ValueError(f"shares have shape {c.shape}: must be {shape}, finite and ≥ 0")
    return np.where(c.sum(axis=0) > 0, c, 1.0)  # of a round without a job any will do


def _check_arrays(H: Floats, b: Floats, s: Floats, anchor: Floats) -> None:
    """Raise ValueError unless the arguments of :func:`fairest_model` are finite and fit ``b``."""
    if b.ndim != 3 or 0 in b.shape[:2]:
        raise ValueError(f"b has shape {b.shape}: must be (d, K, B)")
    dim, users, rounds = b.shape
    for name, array, shape in (
        ("H", H, (dim, dim, users, rounds)),
        ("b", b, b.shape),
        ("s", s, (users, rounds)),
        ("anchor", anchor, (dim,)),
    ):
        if array.shape != shape:
            raise ValueError(f"{name} has shape {array.shape}: must be {shape}, as b is {b.shape}")
        for at in np.argwhere(~np.isfinite(array))[:1].tolist():
            place = f"{name}[{', '.join(map(str, at))}]"
            raise ValueError(f"{place} is {array[tuple(at)]}: must be finite (a round is last)")
