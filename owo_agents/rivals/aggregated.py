"""TorchJD's aggregators: one agent around any of them, from per-user gradients.

The env's gradients are of utility, hence the Jacobian of the losses is their negative and the
ascent direction is −A(−∇u). No method's mathematics is written here.
"""

from __future__ import annotations

import importlib
import warnings
from collections.abc import Callable, Mapping
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from typing_extensions import Unpack

from owo_agents.agent import Floats, Info, Observation
from owo_agents.learner import told
from owo_agents.learner.learner import Learner
from owo_agents.learner.methods import Parts, bound, compose
from owo_agents.rivals.per_user import FALLBACKS, Effective, PerUser
from owo_env.extras import pip_line
from owo_env.fairness import AlphaFair
from owo_env.figure import Figure
from owo_env.problem import Problem
from owo_env.registry import load

if TYPE_CHECKING:
    from torchjd.aggregation import Aggregator

TOLERANCE = 1e-6
UNSOLVED = Figure(
    "unsolved",
    "unsolved",
    "share of slots in which FairGrad's weights miss its own equation by more than 1e-6",
    better=-1,
    reads="unsolved",
    form="share",
)
FAIRGRAD = "owo_agents.rivals.fairgrad:FairGrad"
CAGRAD = "owo_agents.rivals.cagrad:CAGrad"
_KINDS = {"aggregation": "Aggregator", "scalarization": "Scalarizer"}
# A warning that a filter of the user's makes an error is no failure of the solver either.
_NOT_THE_SOLVERS = (TypeError, AttributeError, ImportError, NameError, Warning)


class Solver:
    """One stream's aggregator: its direction, and the weights that made it.

    The weights are read from TorchJD's ``Weighting`` where the aggregator has one; else they are
    those whose combination of the gradients is nearest to the direction.
    """

    def __init__(self, aggregator: Any) -> None:
        self.aggregator = aggregator  # some have reset() or residual()
        self._weights: torch.Tensor | None = None
        if hasattr(aggregator, "_combine"):  # a WeightedAggregator
            aggregator.weighting.register_forward_hook(self._keep)

    def _keep(self, _module: Any, _inputs: Any, weights: torch.Tensor) -> None:
        self._weights = weights

    def __call__(self, gradients: Floats) -> tuple[Floats, Floats] | None:
        """(direction (d,), weights (K,)) from ∇u (K, d); None where there is no finite answer."""
        if not np.isfinite(gradients).all():
            return None
        with warnings.catch_warnings(), np.errstate(all="ignore"), torch.no_grad():
            warnings.simplefilter("ignore")  # solvers warn of what is checked and counted here
            try:
                direction = -self.aggregator(-torch.from_numpy(gradients)).numpy()
                if self._weights is not None:
                    weights = self._weights.numpy()
                else:
                    weights = np.linalg.lstsq(
                        gradients @ gradients.T, gradients @ direction, rcond=None
                    )[0]
            except _NOT_THE_SOLVERS:
                raise
            except Exception:  # each solver library has errors of its own
                return None
        return (direction, weights) if np.isfinite(direction).all() else None

    def solved(self, gradients: Floats, weights: Floats) -> bool:
        """Whether the weights satisfy the aggregator's own equation, if it can tell."""
        residual = getattr(self.aggregator, "residual", None)
        if residual is None:
            return True
        return bool(residual(torch.from_numpy(gradients), torch.from_numpy(weights)) <= TOLERANCE)

    def reset(self) -> None:
        """Forget a state that may have gone bad."""
        if hasattr(self.aggregator, "reset"):
            self.aggregator.reset()


class Aggregated(PerUser):
    """A learner whose direction is a TorchJD aggregation of the users' gradients.

    A slot whose gradients are not finite, whose solver fails or whose direction is not finite
    falls back to the mean of the finite gradients, and a stateful aggregator starts anew.
    ``extras["fallbacks"]`` counts such slots of a round. ``extras["unsolved"]``, of FairGrad,
    counts those in which the weights miss its equation by more than 1e-6: it has no solution
    where gradients oppose each other or one vanishes.

    Over a link it is given the gradients of those who are heard alone, and no direction comes of
    none; an aggregator made for a number of users has one of its own for each number.

    Args:
        parts: Those of :class:`owo_agents.learner.learner.Learner`.
        build: Makes an aggregator for a number of users.
    """

    carried = PerUser.carried
    figures = (FALLBACKS, UNSOLVED)

    def __init__(self, *parts: Any, build: Callable[[int], Aggregator]) -> None:
        super().__init__(*parts)
        first = build(self.problem.num_users)  # raises here where an extra is missing
        self._counted = ("fallbacks", "unsolved") if hasattr(first, "residual") else ("fallbacks",)
        self._is_stateful = hasattr(first, "reset")
        self._build = build
        self._solvers: dict[tuple[int, ...], Solver] = {}  # by stream and number of users

    def begin_round(self, obs: Observation, info: Info) -> None:
        super().begin_round(obs, info)
        self._counts = {name: np.zeros(np.shape(obs["slot"]), int) for name in self._counted}

    def hear(self, obs: Observation) -> None:
        told.check(self, obs, finite_gradients=False)

    def combine(self, gradients: Floats, utilities: Floats) -> tuple[Floats, Floats]:
        direction = np.zeros(gradients.shape[:-2] + gradients.shape[-1:], gradients.dtype)
        weights = np.zeros(gradients.shape[:-1])
        for n in np.ndindex(gradients.shape[:-2]):
            rows = slice(None) if self.heard is None else np.flatnonzero(self.heard[n])
            own = np.ascontiguousarray(gradients[n][rows])
            if len(own):
                direction[n], weights[n][rows] = self._aggregate(n, own)
        return direction, weights

    def _aggregate(self, n: tuple[int, ...], gradients: Floats) -> tuple[Floats, Floats]:
        key = (*n, len(gradients))
        if key not in self._solvers:
            self._solvers[key] = Solver(self._build(len(gradients)))
        solver = self._solvers[key]
        found = solver(gradients)
        if found is None:
            self._counts["fallbacks"][n] += 1
            solver.reset()
            return mean_direction(gradients)
        if not solver.solved(gradients, found[1]):
            self._counts["unsolved"][n] += 1
        return found

    def report(self) -> Mapping[str, Any]:
        return self._counts

    def savable(self) -> bool:
        """Not where the aggregator carries a state of its own, which TorchJD does not expose."""
        return super().savable() and not self._is_stateful


def mean_direction(gradients: Floats) -> tuple[Floats, Floats]:
    """The mean of the finite gradients and its weights; 0 if none is finite."""
    finite = np.asarray(np.isfinite(gradients).all(axis=-1))
    weights = finite / max(finite.sum(), 1)
    return weights.astype(gradients.dtype) @ np.where(finite[:, None], gradients, 0), weights


def aggregated(
    problem: Problem,
    *,
    aggregator: str,
    options: Mapping[str, Any] | None = None,
    **parts: Unpack[Parts],
) -> Learner:
    """An agent around a TorchJD aggregator.

    Args:
        problem: The problem.
        aggregator: A class of ``torchjd.aggregation``, or ``"package.module:Class"``.
        options: Arguments of that class, beside those that the problem decides.
        parts: As for :func:`owo_agents.learner.methods.compose`.

    Raises:
        ImportError: TorchJD, or what the aggregator needs, is not installed.
        ValueError: No such aggregator.
    """
    build = torchjd_class("aggregation", aggregator, options, problem)
    return compose(Effective(problem), learner=partial(Aggregated, build=build), **parts)


aggregated.figures = Aggregated.figures  # type: ignore[attr-defined]


def torchjd_class(
    module: str, name: str, options: Mapping[str, Any] | None, problem: Problem
) -> Callable[[int], Any]:
    """What makes objects of a class of ``torchjd.<module>``, or of one at a path, for K users.

    Args:
        module: ``"aggregation"`` or ``"scalarization"``.
        name: Of the class, or ``"package.module:Class"``.
        options: Arguments of the class.
        problem: It decides those that a class of TorchJD's asks for.

    Raises:
        ImportError: TorchJD, or what the class needs, is not installed.
        ValueError: The path leads to nothing, or to what is no aggregator or scalarizer.
    """
    path = name if ":" in name else f"torchjd.{module}:{name}"
    try:
        base = getattr(importlib.import_module(f"torchjd.{module}"), _KINDS[module])
        found = load(_KINDS[module].lower(), path, base)
    except ImportError as error:
        raise ImportError(
            f"{name.rpartition(':')[2]} needs TorchJD ({error}): {pip_line('mtl')}"
        ) from error
    if not callable(found) or (isinstance(found, type) and not issubclass(found, base)):
        raise ValueError(f"{base.__name__.lower()} {path!r}: is no {base.__name__} of TorchJD")
    if name == FAIRGRAD and type(problem.fairness) is not AlphaFair:
        raise ValueError(
            f"FairGrad: is for α-fairness alone, and users are judged by {problem.fairness}"
        )

    def build(users: int) -> Any:
        decided: dict[str, dict[str, Any]] = {
            FAIRGRAD: {"alpha": problem.alpha},
            "NashMTL": {"n_tasks": users},
            "CAGrad": {"c": 0.4},  # its authors'
            **{scalarizer: {"shape": users} for scalarizer in ("FAMO", "UW", "IMTLL")},
        }
        return found(**{**decided.get(name, {}), **(options or {})})

    return build


fairgrad = bound(aggregated, aggregator=FAIRGRAD)
pcgrad = bound(aggregated, aggregator="PCGrad")
cagrad = bound(aggregated, aggregator=CAGRAD)
mgda = bound(aggregated, aggregator="MGDA")
imtl_g = bound(aggregated, aggregator="IMTLG")
upgrad = bound(aggregated, aggregator="UPGrad")
aligned_mtl = bound(aggregated, aggregator="AlignedMTL")
config = bound(aggregated, aggregator="ConFIG")


def nash_mtl(
    problem: Problem, *, options: Mapping[str, Any] | None = None, **parts: Unpack[Parts]
) -> Learner:
    """Nash-MTL, whose weights are found anew in every 8th slot, unless ``options`` say otherwise.

    Finding them is a convex program, which takes far longer than the rest of a slot.

    Args:
        problem: The problem.
        options: Arguments of TorchJD's ``NashMTL``, beside those that the problem decides.
        parts: As for :func:`owo_agents.learner.methods.compose`.
    """
    options = {"update_weights_every": 8, **(options or {})}
    try:
        return aggregated(problem, aggregator="NashMTL", options=options, **parts)
    except ImportError as error:
        raise ImportError(
            f"{error} (its solver, ecos, has no wheels for Python 3.13 and later: there pip needs "
            "a C compiler; --skip nash-mtl leaves it out of a suite)"
        ) from error


nash_mtl.figures = Aggregated.figures  # type: ignore[attr-defined]
