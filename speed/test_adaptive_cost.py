"""What nobody has to tune costs: whole slots, environment and agent, beside OWO-FMTL's."""

import gymnasium as gym
import pytest
from interleaved import ratio, seconds

import owo_agents

pytestmark = pytest.mark.benchmark
STREAMS, ROUNDS = 1024, {"csi-prediction": 8, "sinusoid": 16}  # whole blocks of draws


def played(agent, gradients, **settings):
    """A function that plays some rounds of STREAMS streams."""
    envs = gym.make_vec(
        "AIRAN-FairMTL-v0",
        num_envs=STREAMS,
        autoreset_mode="Disabled",
        gradients=gradients,
        **settings,
    )
    made, seed = owo_agents.make(agent, envs), iter([0])

    def play():
        for _ in owo_agents.play(envs, made, ROUNDS[settings["scenario"]], seed=next(seed, None)):
            pass

    return play


@pytest.mark.parametrize(("scenario", "most"), [("csi-prediction", 1.6), ("sinusoid", 5.0)])
def test_a_slot_of_the_convex_form(scenario, most):
    times = seconds(
        {
            "owo-adaptive": played("owo-adaptive", "per_user", scenario=scenario),
            "owo-fmtl": played("owo-fmtl", "weighted", scenario=scenario),
        },
        blocks=3,
    )
    found = ratio(times["owo-adaptive"], times["owo-fmtl"])
    print(f"\n{scenario}: a slot of owo-adaptive {found:.2f} × OWO-FMTL's (at most {most})")
    assert found <= most
