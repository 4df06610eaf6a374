"""TorchJD's aggregators: one agent around any of them, from per-user gradients.

The env's gradients are of utility, hence the Jacobian of the losses is their negative and the
ascent direction is −A(−∇u). No method's mathematics is written here.
"""

from __future__ import annotations

import importlib
import warnings
from collections.abc import Callable, Mapping
from functools import partial
from typing import TYPE_CHECKING, Any, cast

import numpy as np
import torch
from numpy.typing import NDArray
from typing_extensions import Unpack

from owo_agents.agent import Info, Observation
from owo_agents.learner.learner import Learner
from owo_agents.learner.methods import Parts, compose
from owo_agents.rivals.per_user import Effective, PerUser
from owo_env.problem import Problem

if TYPE_CHECKING:
    from torchjd.aggregation import Aggregator

Floats = NDArray[np.floating]

TOLERANCE = 1e-6
_PROGRAMMING_ERRORS = (TypeError, AttributeError, ImportError, NameError)

# What TorchJD's constructors ask for, from the problem (CAGrad's c is its authors').
_OPTIONS: dict[str, Callable[[Problem], dict[str, Any]]] = {
    "owo_agents.rivals.fairgrad:FairGrad": lambda problem: {"alpha": problem.alpha},
    "NashMTL": lambda problem: {"n_tasks": problem.num_users},
    "CAGrad": lambda problem: {"c": 0.4},
}


class Solver:
    """One stream's aggregator: its direction, and the weights that made it.

    The weights are read from TorchJD's ``Weighting`` where the aggregator has one; else they are
    those whose combination of the gradients is nearest to the direction.
    """

    def __init__(self, aggregator: Aggregator) -> None:
        self.aggregator: Any = aggregator  # some have reset() or residual()
        self._weights: torch.Tensor | None = None
        weighting: Any = getattr(aggregator, "weighting", None)
        if hasattr(aggregator, "_combine"):  # a WeightedAggregator
            weighting.register_forward_hook(self._keep)

    def _keep(self, _module: Any, _inputs: Any, weights: torch.Tensor) -> None:
        self._weights = weights

    def __call__(self, gradients: Floats) -> tuple[Floats, Floats]:
        """(direction (d,), weights (K,)) from ∇u (K, d); may raise what the solver raises."""
        jacobian = -torch.from_numpy(gradients)
        with warnings.catch_warnings(), np.errstate(all="ignore"), torch.no_grad():
            warnings.simplefilter("ignore")  # solvers warn of what is checked and counted here
            direction = -self.aggregator(jacobian).numpy()
        if self._weights is not None:
            return direction, self._weights.numpy()
        return direction, np.linalg.lstsq(gradients @ gradients.T, gradients @ direction)[0]

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

    Args:
        parts: Those of :class:`owo_agents.learner.learner.Learner`.
        build: Makes a stream's own aggregator.
    """

    def __init__(self, *parts: Any, build: Callable[[], Aggregator]) -> None:
        super().__init__(*parts)
        first = build()  # raises here, not in the first slot, where an extra is missing
        self._counted = ("fallbacks", "unsolved") if hasattr(first, "residual") else ("fallbacks",)
        self._build = build
        self._solvers: dict[tuple[int, ...], Solver] = {}

    def begin_round(self, obs: Observation, info: Info) -> None:
        super().begin_round(obs, info)
        self._counts = {name: np.zeros(np.shape(obs["slot"]), int) for name in self._counted}

    def combine(self, gradients: Floats, utilities: Floats) -> tuple[Floats, Floats]:
        direction = np.empty(gradients.shape[:-2] + gradients.shape[-1:], gradients.dtype)
        weights = np.empty(gradients.shape[:-1])
        for n in np.ndindex(gradients.shape[:-2]):
            direction[n], weights[n] = self._aggregate(n, np.ascontiguousarray(gradients[n]))
        return direction, weights

    def _aggregate(self, n: tuple[int, ...], gradients: Floats) -> tuple[Floats, Floats]:
        solver = self._solvers.get(n)
        if solver is None:
            solver = self._solvers[n] = Solver(self._build())
        found = _attempt(solver, gradients)
        if found is None:
            self._counts["fallbacks"][n] += 1
            solver.reset()
            return mean_direction(gradients)
        if not solver.solved(gradients, found[1]):
            self._counts["unsolved"][n] += 1
        return found

    def report(self) -> Mapping[str, Any]:
        return self._counts

    def state_dict(self) -> dict[str, Any]:
        """As the learner's.

        Raises:
            TypeError: The aggregator carries a state of its own, which TorchJD does not expose.
        """
        aggregator = self._build()
        if hasattr(aggregator, "reset"):
            raise TypeError(f"an agent around {aggregator} cannot be checkpointed: it is stateful")
        return super().state_dict()


def _attempt(solver: Solver, gradients: Floats) -> tuple[Floats, Floats] | None:
    """The solver's answer, or None where there is no finite one."""
    if not np.isfinite(gradients).all():
        return None
    try:
        direction, weights = solver(gradients)
    except _PROGRAMMING_ERRORS:
        raise
    except Exception:  # each solver library has errors of its own
        return None
    return (direction, weights) if np.isfinite(direction).all() else None


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
    return _aggregated(aggregator, problem, options=options, **parts)


def _aggregated(
    aggregator: str,
    problem: Problem,
    *,
    options: Mapping[str, Any] | None = None,
    **parts: Unpack[Parts],
) -> Learner:
    """:func:`aggregated`; the aggregator comes first, so that a name binds it for good."""
    decided = _OPTIONS.get(aggregator, lambda problem: {})(problem)
    build = partial(find("aggregation", aggregator), **{**decided, **(options or {})})
    return compose(
        Effective(problem),
        learner=partial(Aggregated, build=build),
        **parts,
    )


def find(module: str, name: str) -> Callable[..., Any]:
    """A class by its name in ``torchjd.<module>`` or by its path ``"package.module:Class"``."""
    path, _, attribute = name.rpartition(":")
    path = path or f"torchjd.{module}"
    try:
        found = getattr(importlib.import_module(path), attribute, None)
    except ImportError as error:
        raise ImportError(
            f'{attribute} needs TorchJD ({error}): pip install "airan-fairmtl[mtl]"'
        ) from error
    if not callable(found):
        raise ValueError(f"{name!r}: {path!r} has no class {attribute!r}")
    return cast(Callable[..., Any], found)


fairgrad = partial(_aggregated, "owo_agents.rivals.fairgrad:FairGrad")
nash_mtl = partial(_aggregated, "NashMTL")
pcgrad = partial(_aggregated, "PCGrad")
cagrad = partial(_aggregated, "CAGrad")
mgda = partial(_aggregated, "MGDA")
imtl_g = partial(_aggregated, "IMTLG")
upgrad = partial(_aggregated, "UPGrad")
aligned_mtl = partial(_aggregated, "AlignedMTL")
config = partial(_aggregated, "ConFIG")
