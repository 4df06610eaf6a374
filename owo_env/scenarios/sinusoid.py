"""The paper's convex experiment: two users fit sinusoids by one cubic polynomial (§IV)."""

from __future__ import annotations

from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from owo_env.checks import Each
from owo_env.problem import Problem
from owo_env.scenarios.adversary import label_signs
from owo_env.scenarios.base import Generators, Integers
from owo_env.scenarios.least_squares.base import LeastSquares, in_turn
from owo_env.scenarios.least_squares.slots import Samples

# Means and standard deviations of A_1, A_2, ω_1, ω_2, φ_1, φ_2 (redrawn each round) and of ε.
_MEAN = np.array([1.0, 0.6, 1.0, 0.75, np.pi / 3, np.pi / 4])
_STD = np.array([0.2, 0.5, 1.0, 1.0, 0.01, 0.01])
_NOISE_MEAN, _NOISE_STD = 0.05, 0.1


class Sinusoid(LeastSquares):
    """Kernel sinusoidal regression: K = 2, features [1, τ, τ², τ³], Θ = [−1, 1]⁴, x_1 = 0.

    User 1 sees A_1 sin(ω_1 τ + φ_1) + ε, user 2 A_2 cos(ω_2 τ + φ_2) + ε with τ ~ U[0, 1] and
    ε ~ N(0.05, 0.1) per user and slot; amplitudes, frequencies and phases are redrawn each round.

    Args:
        num_slots: [slots] m, of a round.
        adversary: ``"none"`` or ``"blocks"`` (user 1's label flips its sign every ⌊√m⌋ slots).
        l_max: The loss of a user without the system; utility = l_max − loss. A number, or K.
        utility_bounds: (u_min, u_max) of the dual space, each a number, or K.

    Raises:
        ValueError: A setting is outside its domain.
    """

    name: ClassVar[str] = "sinusoid"

    def __init__(
        self,
        num_slots: int = 32,
        adversary: str = "none",
        l_max: Each = 6.0,
        utility_bounds: tuple[Each, Each] = (2.0, 6.0),
    ) -> None:
        problem = Problem(
            num_users=2,
            dim=4,
            num_slots=num_slots,
            utility_bounds=utility_bounds,
            l_max=l_max,
            initial_model=np.zeros(4),
            model_bounds=(-1.0, 1.0),
            smoothness=8.0,  # 2‖μ‖² with ‖μ‖ ≤ 2
        )
        super().__init__(problem, adversary)

    @in_turn
    def draw(self, rngs: Generators, first_round: Integers) -> Samples:
        rounds, m, n = self.rounds_per_block, self.problem.num_slots, len(rngs)
        normal = np.empty((n, rounds, 6 + 2 * m))
        tau = np.empty((n, rounds, 2 * m))
        for i, rng in enumerate(rngs):
            rng.standard_normal(out=normal[i])
            rng.random(out=tau[i])
        parameters = np.moveaxis(_MEAN + _STD * normal[..., :6], 0, -1)  # (rounds, 6, N)
        noise = _slots_first(normal[..., 6:], m)
        t = _slots_first(tau, m)  # (rounds, m, 2, N)

        x = np.empty((rounds, m, 4, 2, n))
        x[:, :, 0] = 1.0
        x[:, :, 1] = t
        np.multiply(t, t, out=x[:, :, 2])
        np.multiply(x[:, :, 2], t, out=x[:, :, 3])

        amplitude, omega, phase = (parameters[:, None, j : j + 2] for j in (0, 2, 4))
        y = omega * t
        y += phase
        np.sin(y[:, :, 0], out=y[:, :, 0])
        np.cos(y[:, :, 1], out=y[:, :, 1])
        y *= amplitude
        y += _NOISE_MEAN + _NOISE_STD * noise
        if self.adversary != "none":
            y[:, :, 0] *= label_signs(self.adversary, m, first_round, rounds)
        return Samples(x, y)


def _slots_first(block: NDArray[np.floating], m: int) -> NDArray[np.floating]:
    """(N, rounds, 2m) → contiguous (rounds, m, 2, N)."""
    n, rounds, _ = block.shape
    return np.ascontiguousarray(np.moveaxis(block.reshape(n, rounds, m, 2), 0, -1))
