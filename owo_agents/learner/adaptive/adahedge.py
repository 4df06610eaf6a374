"""AdaHedge: a mixture of experts whose own step size is learned from its losses.

De Rooij, van Erven, Grünwald and Koolen, *Follow the Leader If You Can, Hedge If You Must* (JMLR
2014), with a prior π. The shares of losses ℓ after losses L are ω ∝ π exp(−ηL); the mixability gap
is δ = ωᵀℓ + ln(ωᵀe^{−ηℓ})/η ≥ 0, and η = ln E/Σδ. Against expert e the regret is at most
Σδ·(1 + ln(1/π_e)/ln E), and Σδ ≤ √(ln E·Σs²/4) + (2/3 ln E + 1) max s, s = max ℓ − min ℓ.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from owo_agents.agent import Floats
from owo_agents.carrying import Carries
from owo_agents.learner.adaptive.streams import sum_over


def prior(experts: int, main: int = 0, share: float = 0.5) -> Floats:
    """A ``share`` on the expert ``main``, the rest equal; (E,)."""
    shares = np.full(experts, (1 - share) / max(experts - 1, 1))
    shares[main] = share if experts > 1 else 1.0
    return shares


class AdaHedge(Carries):
    """Shares of E experts in each of N streams, streams last.

    Args:
        prior: π of the experts, (E,), positive, of sum 1.

    Attributes:
        shares: ω of the next loss, (E, N).
        losses: L less that of the best expert, (E, N); None before the first round.
        gap: Σδ, (N,).
    """

    carried = ("losses", "gap")
    losses: Floats | None = None
    gap: Floats | None = None

    def __init__(self, prior: Floats) -> None:
        self._prior = np.asarray(prior, float)[:, None]
        self._log = np.log(max(len(prior), 2))

    def begin(self, streams: int) -> None:
        """Make ready for N streams; changes nothing that was learned."""
        if self.losses is None or self.gap is None:
            self.losses, self.gap = np.zeros((len(self._prior), streams)), np.zeros(streams)
        self._share()

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        super().load_state_dict(state)
        if self.losses is not None:
            self._share()

    def update(self, losses: Floats) -> None:
        """Learn the losses (E, N) of what the shares were put on."""
        assert self.losses is not None and self.gap is not None
        least = losses.min(axis=0)
        above = losses - least
        played = sum_over(self.shares * above)
        with np.errstate(divide="ignore", invalid="ignore", under="ignore"):
            mixed = -np.log(sum_over(self.shares * np.exp(-self._rate * above))) / self._rate
        # A rate of ∞ puts everything on the leaders; their best is the mix.
        leading = np.where(self.shares > 0, above, np.inf).min(axis=0)
        mixed = np.where(np.isfinite(self._rate), mixed, leading)
        self.gap = self.gap + np.maximum(played - mixed, 0.0)
        total = self.losses + losses
        self.losses = total - total.min(axis=0)
        self._share()

    def mean(self, values: Floats) -> Floats:
        """Σ_e ω_e of values (E, …, N), shape (…, N)."""
        shares = self.shares.reshape(len(self.shares), *[1] * (values.ndim - 2), -1)
        return sum_over(shares * values)

    def _share(self) -> None:
        with np.errstate(divide="ignore", over="ignore", under="ignore", invalid="ignore"):
            self._rate = self._log / self.gap  # type: ignore[operator]  # ∞ while nothing is lost
            exponent = np.where(self.losses > 0, self._rate * self.losses, 0.0)  # type: ignore
            raised = self._prior * np.exp(-exponent)
        self.shares: Floats = raised / sum_over(raised)
