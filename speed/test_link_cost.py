"""What a link costs: slots of the native vector environment with and without one, side by side."""

import gymnasium as gym
import numpy as np
import pytest
from interleaved import ratio, seconds

import owo_env  # noqa: F401  (registers the environment)

pytestmark = pytest.mark.benchmark

STREAMS = 256
LINKS = {
    "masks": ({"active": 0.7, "loss": 0.3}, 1.3),
    "delay": ({"delay": 4}, 2.0),
    "bits": ({"bits": 3}, 2.0),
    "all": ({"active": 0.7, "loss": 0.3, "delay": 4, "bits": 3}, 2.0),
}


def rounds_of(link, scenario, hindsight):
    """A function that plays a block of rounds of STREAMS streams with constant actions."""
    envs = gym.make_vec(
        "AIRAN-FairMTL-v0",
        num_envs=STREAMS,
        autoreset_mode="Disabled",
        scenario=scenario,
        link=link,
        hindsight=hindsight,
    )
    problem = envs.unwrapped.problem
    block = envs.unwrapped.scenario.rounds_per_block
    actions = {
        "model": np.zeros((STREAMS, problem.dim), order="F"),
        "weights": np.ones((STREAMS, problem.num_users), order="F"),
    }
    seed = iter([0])

    def play():
        for _ in range(block):
            envs.reset(seed=next(seed, None))
            for _ in range(problem.num_slots):
                envs.step(actions)

    return play


@pytest.mark.parametrize("hindsight", [False, True])
@pytest.mark.parametrize("scenario", ["csi-prediction", "sinusoid"])
def test_a_slot_over_a_link(scenario, hindsight):
    played = {"none": rounds_of(None, scenario, hindsight)}
    played |= {name: rounds_of(link, scenario, hindsight) for name, (link, _) in LINKS.items()}
    times = seconds(played, blocks=3)
    print(f"\n{scenario}, hindsight={hindsight}:")
    for name, (_, most) in LINKS.items():
        found = ratio(times[name], times["none"])
        print(f"  {name}: {found:.2f} × (at most {most} on csi-prediction)")
        if scenario == "csi-prediction":
            assert found <= most
