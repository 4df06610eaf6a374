"""TorchJD's scalarizers: one agent around any of them; loss weighting without a Jacobian."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from typing_extensions import Unpack

from owo_agents.agent import Floats
from owo_agents.learner.learner import Learner
from owo_agents.learner.methods import Parts, bound, compose
from owo_agents.learner.step import default_rate
from owo_agents.learner.weighting import Weighting
from owo_agents.rivals.aggregated import torchjd_class
from owo_agents.rivals.per_user import FALLBACKS
from owo_env import checks
from owo_env.problem import Problem

if TYPE_CHECKING:
    from torchjd.scalarization import Scalarizer


class _Stream:
    """One stream's scalarizer S; priorities are ∂S/∂ℓ at the losses just seen."""

    def __init__(self, scalarizer: Scalarizer, weight_rate: float) -> None:
        self.scalarizer: Any = scalarizer.double()  # some have update(), step() or reset()
        self.weight_rate = weight_rate
        self._asked = False

    def priorities(self, losses: Floats) -> Floats:
        """Take in a slot's losses ℓ (K,) and give the next slot's p = ∂S/∂ℓ."""
        seen = torch.tensor(losses, dtype=torch.float64, requires_grad=True)
        if self._asked and hasattr(self.scalarizer, "update"):  # FAMO: how the losses changed
            self.scalarizer.update(seen.detach())
        self._asked = True
        self.scalarizer(seen).backward()
        with torch.no_grad():
            for parameter in self.scalarizer.parameters():  # UW learns jointly with the model
                if parameter.grad is not None:
                    parameter.sub_(self.weight_rate * parameter.grad)
                    parameter.grad = None
        assert seen.grad is not None
        return seen.grad.numpy()

    def restart(self) -> None:
        self._asked = False
        if hasattr(self.scalarizer, "reset"):
            self.scalarizer.reset()


class Scalarized(Weighting):
    """Priorities p_i = ∂S/∂ℓ of a TorchJD scalarizer S at the losses ℓ = u_max − u of slot i − 1.

    Priorities are played before a slot's losses are seen, so they lag a slot; the very first are
    those at the centre utility. State is carried over rounds, as these methods mean it. FAMO is
    updated with the next slot's losses, which are those of other data than it means; DWA's epoch
    is a round; UW's log-variances take gradient steps of ``weight_rate``.

    Priorities that are not finite are not played: the slot before's are, the scalarizer starts
    anew, and ``fallbacks`` counts it. Negative ones are played as 0.

    Args:
        problem: The problem.
        build: Makes a stream's own scalarizer for K users.
        weight_rate: Step of the scalarizer's own parameters, those with a gradient.
    """

    def __init__(
        self, problem: Problem, build: Callable[[int], Scalarizer], weight_rate: float
    ) -> None:
        super().__init__(problem)
        build(users := problem.num_users)  # raises here, not in the first slot
        self.weight_rate = rate = checks.number("weight_rate", weight_rate, low=0.0)
        self._streams = defaultdict[tuple[int, ...], _Stream](lambda: _Stream(build(users), rate))
        self._p: Floats | None = None

    def begin_round(self, batch: tuple[int, ...]) -> Floats:
        self.fallbacks = np.zeros(batch, int)
        if self._p is None:
            u_min, u_max = self.problem.fairness.bounds
            centre = np.full((*batch, self.problem.num_users), (u_min + u_max) / 2)
            self._p = self.update(np.zeros_like(centre), centre, 0)
            for stream in self._streams.values():
                stream.restart()
        else:
            for stream in self._streams.values():
                if hasattr(stream.scalarizer, "step"):  # DWA: an epoch is over
                    stream.scalarizer.step()
        return self._p

    def update(self, p: Floats, utilities: Floats, slot: int) -> Floats:
        losses = self.problem.fairness.bounds[1] - utilities
        new = np.empty_like(p)
        for n in np.ndindex(p.shape[:-1]):
            new[n] = self._priorities(n, losses[n], p[n])
        self._p = new
        return new

    def _priorities(self, n: tuple[int, ...], losses: Floats, before: Floats) -> Floats:
        p = self._streams[n].priorities(losses)
        if np.isfinite(p).all():
            return np.maximum(p, 0.0)
        self.fallbacks[n] += 1
        self._streams[n].restart()
        return before

    def report(self) -> Mapping[str, Any]:
        return {"fallbacks": self.fallbacks}


def scalarized(
    problem: Problem,
    *,
    scalarizer: str,
    options: Mapping[str, Any] | None = None,
    weight_rate: float | None = None,
    **parts: Unpack[Parts],
) -> Learner:
    """An agent around a TorchJD scalarizer.

    Args:
        problem: The problem.
        scalarizer: A class of ``torchjd.scalarization``, or ``"package.module:Class"``.
        options: Arguments of that class, beside those that the problem decides.
        weight_rate: Step of the scalarizer's own parameters; default the model's, as in one
            optimizer for both.
        parts: As for :func:`owo_agents.learner.methods.compose`.

    Raises:
        ImportError: TorchJD is not installed.
        ValueError: No such scalarizer, or an argument outside its domain.
    """
    if weight_rate is None:
        rate = parts.get("learning_rate")
        weight_rate = default_rate(problem) if rate is None else rate
    build = torchjd_class("scalarization", scalarizer, options, problem)
    return compose(Scalarized(problem, build, weight_rate), **parts)


scalarized.figures = (FALLBACKS,)  # type: ignore[attr-defined]


famo = bound(scalarized, scalarizer="FAMO")
dwa = bound(scalarized, scalarizer="DWA")
uw = bound(scalarized, scalarizer="UW")
rlw = bound(scalarized, scalarizer="Random")
