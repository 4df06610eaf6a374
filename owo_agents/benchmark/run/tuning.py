"""Fair tuning: every method's step size from the same grid, on seeds that no table shows.

Where a start is tuned, too, each outer loop has a grid of its own, and the best of all wins: else
a table of methods ranks outer loops unawares.

The rule, for every experiment and every point of its grid, every method, ours included:

1. Candidates are η_0·10^(j/2), j = −3 … 3: three decades around η_0, the step that Algorithm 1's
   rule gives the problem (0.1 where it knows no constants).
2. Each plays as many rounds as the table's runs, on seeds 10,000 onwards. The highest mean
   fairness wins (the lowest regret, since F_α at θ* is the same for all); a run that fails
   counts as −∞.
3. Where the best lies on the grid's edge, the grid grows by a decade on that side, at most three
   times.

The step size is the argument ``learning_rate``, by that name. A method that does not take it, or
is given it in the suite, is not tuned, and tables say so of it.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np

import owo_agents
from owo_agents.benchmark.run.execution import make_env
from owo_agents.benchmark.run.results import Result, Store
from owo_agents.benchmark.suite.cells import Cell
from owo_agents.benchmark.suite.plan import AgentSpec, Experiment, Suite
from owo_agents.learner.step import default_rate
from owo_env.problem import Problem, problem_of

SEEDS = (10_000, 10_001)
STARTS = ("running-mean", "reptile", "continue")
EXTENSIONS = 3


@dataclass
class Contest:
    """One method's candidates on one point of an experiment.

    Attributes:
        experiment: With this one variant alone.
        label: The method's.
        base: η_0.
        start: The outer loop, where that is tuned.
        steps: The j of the candidates, ascending.
    """

    experiment: Experiment
    label: str
    base: float
    start: str | None = None
    steps: list[int] = field(default_factory=lambda: list(range(-3, 4)))

    def rate(self, step: int) -> float:
        """η_0·10^(step/2), to three digits."""
        return float(f"{self.base * 10 ** (step / 2):.3g}")

    def spec(self, step: int) -> AgentSpec:
        """The method as a candidate."""
        spec = with_rate(self.experiment.agents[self.label], self.rate(step))
        return spec if self.start is None else with_start(spec, self.start)

    def cells(self, step: int) -> list[Cell]:
        """The tuning runs of a candidate."""
        spec = self.spec(step)
        return list(replace(self.experiment, seeds=SEEDS, agents={self.label: spec}).cells())

    def score(self, step: int, results: Mapping[str, Result]) -> float:
        """Mean fairness over the tuning seeds."""
        found = [results.get(cell.key) for cell in self.cells(step)]
        return float(np.mean([-np.inf if r is None else r.fairness.mean() for r in found]))

    def best(self, results: Mapping[str, Result]) -> int:
        """The winning candidate; of equals the nearest to η_0."""
        return max(self.steps, key=lambda step: (self.score(step, results), -abs(step)))

    def extended(self, results: Mapping[str, Result]) -> bool:
        """Grow the grid by a decade where the best lies on its edge; whether it did."""
        best = self.best(results)
        if best == self.steps[0]:
            self.steps = [best - 2, best - 1, *self.steps]
        elif best == self.steps[-1]:
            self.steps = [*self.steps, best + 1, best + 2]
        else:
            return False
        return True


def tune(
    suite: Suite, store: Store, run: Callable[[Sequence[Cell]], object], starts: bool = False
) -> Suite:
    """The suite, followed by itself with every method's step size tuned.

    Args:
        suite: Whose methods to tune.
        store: Where ``run`` keeps the tuning runs.
        run: Runs the cells that the store lacks.
        starts: Whether the outer loop is tuned as well, of the methods that have one.
    """
    points = [replace(e, variants=(v,)) for e in suite.experiments for v in e.variants]
    opened = [_contests(point, starts) for point in points]
    contests = list(itertools.chain.from_iterable(opened))
    for extension in range(EXTENSIONS + 1):
        cells = [cell for c in contests for step in c.steps for cell in c.cells(step)]
        run(cells)
        results = store.load(cell.key for cell in cells)
        growing = [contest.extended(results) for contest in contests if extension < EXTENSIONS]
        if not any(growing):
            break
    tuned = [_tuned(point, those, results) for point, those in zip(points, opened, strict=True)]
    return replace(suite, experiments=(*suite.experiments, *tuned))


def with_rate(spec: AgentSpec, rate: float) -> AgentSpec:
    """The agent with a step size."""
    return replace(spec, arguments={**spec.arguments, "learning_rate": rate})


def with_start(spec: AgentSpec, start: str) -> AgentSpec:
    """The agent with an outer loop."""
    return replace(spec, arguments={**spec.arguments, "initialization": start})


def _contests(point: Experiment, starts: bool) -> list[Contest]:
    """A contest for every method that takes a step size, on one point of a grid."""
    env = make_env(point.cell(point.variants[0], next(iter(point.agents)), SEEDS[0]))
    problem = problem_of(env)
    env.close()
    base = default_rate(problem)
    found = []
    for label, spec in point.agents.items():
        if _takes(with_rate(spec, base), "learning_rate", spec, problem):
            free = starts and _takes(with_start(spec, STARTS[0]), "initialization", spec, problem)
            found += [Contest(point, label, base, start) for start in (STARTS if free else [None])]
    return found


def _takes(tried: AgentSpec, argument: str, spec: AgentSpec, problem: Problem) -> bool:
    """Whether an agent takes an argument that the suite has not given it."""
    if argument in spec.arguments:
        return False
    try:
        owo_agents.make(tried.agent, problem, **tried.arguments)
    except (TypeError, ValueError):  # it has none, or learns its own
        return False
    return True


def _tuned(
    point: Experiment, contests: Sequence[Contest], results: Mapping[str, Result]
) -> Experiment:
    """The experiment at one point of its grid, with the step sizes that won."""
    agents = dict(point.agents)
    lines = []
    what = "step sizes and outer loops" if any(c.start for c in contests) else "step sizes"
    for label in dict.fromkeys(contest.label for contest in contests):
        own = [contest for contest in contests if contest.label == label]
        contest = max(own, key=lambda one: one.score(one.best(results), results))
        best = contest.best(results)
        agents[label] = contest.spec(best)
        edge = " (the edge of its grid)" if best in (contest.steps[0], contest.steps[-1]) else ""
        start = f", {contest.start}" if contest.start else ""
        lines.append(f"{label} {contest.rate(best):g}{start}{edge}")
    label, seeds = point.variants[0].label, " and ".join(map(str, SEEDS))
    return replace(
        point,
        name=" ".join(filter(None, [point.name, label, "tuned"])),
        title=", ".join(filter(None, [point.title, label, f"{what} tuned"])),
        notes=f"{what.capitalize()} chosen on seeds {seeds}: {'; '.join(lines)}.",
        agents=agents,
        untuned=tuple(label for label in agents if label not in {c.label for c in contests}),
    )
