"""The convex form of `owo-adaptive`: experts on quadratic surrogates, mixed by AdaHedge."""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any, ClassVar

import numpy as np

from owo_agents.agent import Floats, Info, Observation
from owo_agents.carrying import Carries
from owo_agents.learner.adaptive.adahedge import AdaHedge, prior
from owo_agents.learner.adaptive.experts import Experts
from owo_agents.learner.adaptive.leader import dual_of, priorities_at
from owo_agents.learner.adaptive.starts import Starts
from owo_agents.learner.adaptive.streams import StreamsLast, streams_last, sum_over
from owo_agents.learner.participation import make_participation, weighed
from owo_agents.learner.weighting import Constant
from owo_env import checks
from owo_env.problem import Problem

LEADERS = (0.25, 1.0, 4.0, 16.0, 1e6)
SLOT_LEADERS = (0.25,)
TRACKERS = (0.25, 1.0, 4.0)
OUTER_RATES = (0.0, 1.0, 0.5, 0.25, 0.125, 0.0625)


class Pull(Carries):
    """λ_t = √(Σ_{s<t}G_s²/Σ_{s<t}D_s²): how strongly a round's experts are held at its start.

    ARUBA (Khodak, Balcan and Talwalkar, NeurIPS 2019): G_s² = Σ_i‖Σ_k p_k∇u_k‖², D_s² =
    ‖θ*_s − x_s‖². Nobody knows it in round 1.
    """

    carried = ("distances", "squares")
    distances: Any = None  # ΣD², (N,)
    squares: Any = None  # ΣG²

    def value(self) -> Floats | None:
        """λ_t (N,); None in round 1."""
        if self.distances is None:
            return None
        with np.errstate(divide="ignore", invalid="ignore"):
            ratio = np.sqrt(self.squares / self.distances)
        return np.nan_to_num(ratio, nan=0.0, posinf=1e75)  # no distance: held for good

    def end(self, distance: Floats, squares: Floats) -> None:
        """Learn a round's D² and G²."""
        self.distances = distance if self.distances is None else self.distances + distance
        self.squares = squares if self.squares is None else self.squares + squares


class ConvexAdaptive(StreamsLast):
    """Knows K, d, m, the notion of fairness, x_1 and the projection onto Θ, and tunes nothing.

    Args:
        problem: A convex problem that reveals θ*.
        leaders, slot_leaders, trackers: The c that hold them, in units of λ_t; a leader of 1 plays
            the first round alone, and has half of the prior.
        outer_rates: Of the outer loop; the first has half of the prior, 0 is the running mean.
        dual: ``"leader"``; or, to show what it earns, ``"equal"`` for constant priorities, which
            takes the slot leaders away, too.
        curvature: False takes it away.
        reweight: False lets a past slot count with the priorities of its time, as the proved
            guarantee wants it; slot leaders, which live on that, are then none.
        pull: λ for good, instead of what is learned.
        participation: Over a link that may leave users out, as of every learner.

    Raises:
        ValueError: A problem that reveals no θ*, or an argument outside its domain.
    """

    gradients: ClassVar[str | None] = "per_user"
    carried = ("dual", "pull", "mix", "starts")

    def __init__(
        self,
        problem: Problem,
        *,
        leaders: Sequence[float] = LEADERS,
        slot_leaders: Sequence[float] = SLOT_LEADERS,
        trackers: Sequence[float] = TRACKERS,
        outer_rates: Sequence[float] = OUTER_RATES,
        dual: str = "leader",
        curvature: bool = True,
        reweight: bool = True,
        pull: float | None = None,
        participation: str | None = None,
    ) -> None:
        super().__init__(problem)
        if not (problem.convex and problem.hindsight):
            raise ValueError("feedback='per_user': needs convex losses and a revealed θ*")
        for name, given, low, high in (
            ("leaders", leaders, 0.0, np.inf),
            ("slot_leaders", slot_leaders, 0.0, np.inf),
            ("trackers", trackers, 0.0, np.inf),
            ("outer_rates", outer_rates, 0.0, 1.0),
        ):
            for value in given:
                checks.number(name, value, low=low, high=high, open_low=name != "outer_rates")
        if 1.0 not in leaders:
            raise ValueError(f"leaders={leaders!r}: must have 1.0, which plays the first round")
        if not outer_rates:
            raise ValueError("outer_rates: must have at least one")
        checks.one_of("dual", dual, ("leader", "equal"))
        self._held = None if pull is None else checks.number("pull", pull, low=0.0, open_low=True)
        if dual == "equal" or not reweight:
            slot_leaders = ()
        grids = tuple(leaders), tuple(slot_leaders), tuple(trackers)
        self._experts = partial(Experts, problem, *grids, curvature, reweight)
        kinds = zip(("leader", "slot leader", "tracker"), grids)
        self._names = [f"{kind} {c:g}" for kind, grid in kinds for c in grid]
        self._leaders = np.array(leaders)[:, None]
        self._main = tuple(leaders).index(1.0)
        self.dual = Constant(problem) if dual == "equal" else dual_of(problem)
        self.pull = Pull()
        self.mix = AdaHedge(prior(len(self._names), self._main))
        self.starts = Starts(tuple(outer_rates))
        self.participation = make_participation(problem, participation)
        self._delay = 0 if problem.link is None else problem.link.delay

    def begin_round(self, obs: Observation, info: Info) -> None:
        problem, self._batch = self.problem, np.shape(obs["slot"])
        n = int(np.prod(self._batch))
        x_1 = np.repeat(problem.initial_model.astype(float)[:, None], n, 1)
        self._start = self.model = self.starts.begin(x_1)
        self.mix.begin(n)
        self.experts = self._experts(start=self._start)
        self.weights = self.dual.begin_round(self._batch)
        if self.participation is not None:
            self.participation.begin_round(self._batch)
        self._sent: deque[tuple[Floats, Floats]] = deque()  # models under way, and the experts'
        self._lambda = self.pull.value() if self._held is None else np.full(n, self._held)
        self._gap = np.asarray(self.mix.gap)
        self._squares, self._shares = np.zeros(n), np.zeros((len(self.mix.shares), n))
        self._slot = 0

    def learn(self, obs: Observation, info: Info) -> None:
        super().learn(obs, info)
        assert self._slot is not None
        self._sent.append((self.model, self.experts.models))
        arrived = self._slot - self._delay
        if arrived > 0:
            self._learn(obs, arrived, *self._sent.popleft())
        self._shares = self._shares + self.mix.shares

    def _learn(self, obs: Observation, slot: int, model: Floats, models: Floats) -> None:
        """Learn from the feedback of the slot in which these were played."""
        self.weights = self.dual.update(self.weights, obs["utilities"], slot)
        if self.participation is not None:
            self.participation.learn(obs)
        p = streams_last(weighed(self.participation, self.weights), 1)
        u, gradients = streams_last(obs["utilities"], 1), streams_last(obs["gradients"], 2)
        ascent = sum_over(p * gradients, -2)
        self._squares = self._squares + sum_over(ascent * ascent)
        by_slot = weighed(self.participation, priorities_at(self.problem, obs["utilities"]))
        curvature = self.experts.learn(model, u, gradients, p, streams_last(by_slot, 1))
        scale = _mean_diagonal(curvature) / slot
        if self._lambda is None:  # no other scale than the curvature, and one expert alone
            self.experts.move(scale)
            self.model = self.experts.models[:, self._main]
        else:
            away = models - model[:, None]
            self.mix.update(-sum_over(ascent[:, None] * away))
            # Never so weak that a quadratic is singular; a λ of 0 has seen no gradient yet.
            held = np.where(self._lambda > 0, np.maximum(self._lambda, 1e-12 * scale), scale)
            self.experts.move(held)
            self.model = self.mix.mean(self.experts.models.swapaxes(0, 1))

    def end_round(self, obs: Observation, info: Info) -> None:
        target = streams_last(info["fairest_model"], 1)
        distance = sum_over(np.square(target - self._start))
        self._shares = self._shares / self.problem.num_slots
        self._gap = np.asarray(self.mix.gap) - self._gap
        self._bound = np.full(distance.shape, np.nan)
        if self._lambda is not None:
            held = self._leaders * self._lambda
            with np.errstate(divide="ignore", invalid="ignore"):
                self._bound = (held / 2 * distance + self._squares / (2 * held)).min(axis=0)
        self.pull.end(distance, self._squares)
        self.starts.end(target)
        self.dual.end_round()

    def report(self) -> Mapping[str, Any]:
        """Shares of the experts, λ of the next round, the outer rate; terms of the guarantee.

        ``expert_bound`` is min_c ½cλ_tD_t² + G_t²/(2cλ_t) over the leaders (NaN in round 1), and
        ``mixing_gap`` the round's growth of AdaHedge's Σδ.
        """
        told: dict[str, Any] = {
            f"experts/{name}": share for name, share in zip(self._names, self._shares)
        }
        told |= {"λ/λ": np.asarray(self.pull.value()), "outer loop/rate": self.starts.rate()}
        told |= {"expert_bound": self._bound, "mixing_gap": self._gap}
        return {name: np.reshape(value, self._batch) for name, value in told.items()}


def _mean_diagonal(matrix: Floats) -> Floats:
    """tr/d of (d, d, N)."""
    return sum_over(np.stack([matrix[j, j] for j in range(len(matrix))])) / len(matrix)
