"""An agent and a scenario of one's own, as a package: copy the folder, rename, pip install."""

import numpy as np

from owo_agents.learner import Weighting
from owo_env import Problem
from owo_env.scenarios.least_squares import Measured, Recording


class Proportional(Weighting):
    """Priorities 1/u of the slot before; OWO-FMTL's other parts make it an agent."""

    carried = ()

    def update(self, p, utilities, slot):
        return 1 / utilities.clip(*self.problem.utility_bounds)


class Lines(Measured):
    """Every user fits a line.

    Args:
        num_slots: [slots] m, of a round.
    """

    name = "lines"

    def __init__(self, num_slots: int = 16) -> None:
        super().__init__(
            Problem(
                num_users=2, dim=2, num_slots=num_slots, l_max=6.0, utility_bounds=(2.0, 6.0),
                initial_model=np.zeros(2), model_bounds=(-1.0, 1.0),
            )
        )  # fmt: skip

    def measure(self, rng, first_round):
        x = rng.uniform(size=(self.rounds_per_block, self.problem.num_slots, 2, 2))
        return Recording(x, x.sum(axis=-1))
