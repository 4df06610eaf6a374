"""The fairest model of a round and its mean utilities, whoever found it.

Regret is F at that model minus F reached, so both must be measured alike: unless a stream is
``exact``, the utilities are those that ``evaluate`` gives for the model.
"""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from owo_env.scenarios.base import Batch, Scenario, Stream

Floats = NDArray[np.floating]
Best = tuple[Floats, Floats] | None


def fairest_of_stream(scenario: Scenario, stream: Stream) -> Best:
    """θ* (d,) of the present round and its mean utilities (K,); None without an oracle.

    Raises:
        ValueError: ``fairest`` gives something else, or a model outside Θ.
        FloatingPointError: A utility of the model is not finite.
    """
    best = stream.fairest()
    if best is None or stream.exact:
        return best
    model = _model(scenario, best)
    return model, _means(scenario, stream.evaluate(model))


def fairest_of_batch(scenario: Scenario, batch: Batch, which: NDArray[np.integer]) -> Best:
    """:func:`fairest_of_stream` of the n streams ``which``: θ* (n, d) and utilities (n, K)."""
    best = batch.fairest(which)
    if best is None or batch.exact:
        return best
    model = _model(scenario, best, len(which))
    all_models = np.tile(scenario.problem.initial_model, (len(batch.round), 1))
    all_models[which] = model
    return model, _means(scenario, batch.evaluate(all_models)[which])


def _model(scenario: Scenario, best: Any, *batch: int) -> Floats:
    """The model of what an oracle of somebody's own gives, looked at."""
    problem, what = scenario.problem, f"scenario {scenario.name!r}: fairest() gives"
    if not isinstance(best, tuple) or len(best) != 2:
        raise ValueError(f"{what} {best!r}: must be a pair (model, its mean utilities)")
    model, utilities = np.asarray(best[0], problem.initial_model.dtype), best[1]
    shape = *batch, problem.num_users
    if np.shape(utilities) != shape:
        raise ValueError(
            f"{what} {utilities!r} beside the model: must be its mean utilities, shape {shape}"
        )
    shape = *batch, problem.dim
    if model.shape != shape or not np.isfinite(model).all():
        raise ValueError(f"{what} the model {model!r}: must be finite, of shape {shape}")
    if (problem.project(model) != model).any():
        raise ValueError(f"{what} {model!r}, outside Θ: problem.project() gives the nearest model")
    return model


def _means(scenario: Scenario, utilities: Any) -> Floats:
    """Means (..., K) over the slots of utilities (..., m, K), in explicit order."""
    problem, what = scenario.problem, f"scenario {scenario.name!r}: evaluate() gives"
    shape = problem.num_slots, problem.num_users
    if np.shape(utilities)[-2:] != shape:
        raise ValueError(f"{what} utilities of shape {np.shape(utilities)}: must be {shape}")
    if not np.isfinite(utilities).all():
        raise FloatingPointError(f"{what} a utility of the fairest model that is not finite")
    total: Floats = functools.reduce(np.add, np.moveaxis(utilities, -2, 0))
    return total / problem.num_slots
