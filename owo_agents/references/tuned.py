"""Constant weights tuned on other seeds of the same scenario: the strongest fixed rival."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from gymnasium.vector import AutoresetMode
from typing_extensions import Unpack

from owo_agents.agent import Floats, Info, Observation
from owo_agents.learner.learner import Learner
from owo_agents.learner.methods import Parts, compose
from owo_agents.learner.weighting import Constant
from owo_agents.playing.loop import play
from owo_env import checks
from owo_env.problem import Problem, attribute
from owo_env.scenarios import Scenario
from owo_env.vector_env import AIRANVectorEnv

FIRST_SEED = 1_000_000  # far from the seeds that anybody plays
EXPONENTS = (0.0, 0.5, 1.0, 2.0, 4.0)
TOTALS = (0.125, 0.25, 0.5, 1.0, 2.0)


class TunedConstant(Learner):
    """CWS with the constant priorities that did best on other seeds.

    The grid is p_k = c ū_k^−β/Σ_j ū_j^−β, with ū_k the mean utility of user k under equal
    weights: β leans towards the worse off, c is the total. The best has the highest mean F_α over
    some rounds of streams seeded 1,000,000 onwards. Where every seed replays the same data
    (``recorded``) that is tuning on what is judged, and flatters it. Tuning happens when
    :func:`owo_agents.play` shows the agent its environment.

    Args:
        problem: The problem.
        exponents: The β to try.
        totals: [OWO-FMTL's first total] The c to try.
        rounds: [rounds] Of each tuning stream; fewer where the scenario has no more.
        seeds: Tuning streams for each point of the grid.
        options: ``learning_rate`` and the other :class:`owo_agents.learner.methods.Parts`.
    """

    carried = Learner.carried

    def __init__(
        self,
        problem: Problem,
        *,
        exponents: Sequence[float] = EXPONENTS,
        totals: Sequence[float] = TOTALS,
        rounds: int = 48,
        seeds: int = 2,
        **options: Unpack[Parts],
    ) -> None:
        plain = compose(Constant(problem), **options)
        parts = plain.weighting, plain.step, plain.initialization, plain.target
        super().__init__(*parts, participation=options.get("participation"))
        self._exponents = [checks.number("exponents", beta) for beta in exponents]
        self._totals = [checks.number("totals", c, low=0.0, open_low=True) for c in totals]
        self._rounds = checks.whole("rounds", rounds, low=1)
        self._seeds = checks.whole("seeds", seeds, low=1)
        self._options = options
        self._is_tuned = False

    def environment(self, env: Any) -> Any:
        super().environment(env)
        p = self._tuned(attribute(env, "scenario"))
        self.weighting = Constant(self.problem, p.tolist(), float(p.sum()))
        self._is_tuned = True
        return env

    def begin_round(self, obs: Observation, info: Info) -> None:
        if not self._is_tuned:
            raise self.unshown()
        super().begin_round(obs, info)

    def _tuned(self, scenario: Scenario) -> Floats:
        """The best priorities of the grid, (K,)."""
        even = self.problem.fairness.start
        (utilities,), _ = self._tried(scenario, even[None])
        utilities = np.maximum(utilities, self.problem.fairness.bounds[0])
        leaning = [utilities**-beta for beta in self._exponents]
        grid = [c * even.sum() * lean / lean.sum() for lean in leaning for c in self._totals]
        _, fairness = self._tried(scenario, np.array(grid))
        return grid[int(np.argmax(fairness))]

    def _tried(self, scenario: Scenario, p: Floats) -> tuple[Floats, Floats]:
        """Mean utilities (n, K) and fairness (n,) of n constant priorities (n, K)."""
        n = len(p)
        env = AIRANVectorEnv(
            n * self._seeds,
            scenario,
            fairness=self.problem.fairness,
            hindsight=self.problem.hindsight,
            autoreset_mode=AutoresetMode.DISABLED,
        )
        weighting = Constant(env.problem)
        weighting.start = np.repeat(p, self._seeds, axis=0)  # each stream its own
        agent = compose(weighting, **self._options)
        rounds = min(self._rounds, scenario.rounds or self._rounds)
        seeds = FIRST_SEED + np.tile(np.arange(self._seeds), n)
        records = list(play(env, agent, rounds, seed=seeds.tolist()))
        utilities = np.mean([r.utilities for r in records], axis=0)
        fairness = np.mean([r.fairness for r in records], axis=0)
        by_point = utilities.reshape(n, self._seeds, -1).mean(axis=1)
        return by_point, fairness.reshape(n, self._seeds).mean(axis=1)
