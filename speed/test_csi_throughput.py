"""Slots per second of csi-prediction, and what share of the time goes into drawing channels.

Figures of one run in one thread, OWO-FMTL acting; the docs state the last ones measured.
"""

from time import perf_counter

import gymnasium as gym
import pytest
from interleaved import Draws

import owo_agents
import owo_env  # noqa: F401  (registers the environment)

pytestmark = pytest.mark.benchmark
STREAMS, BLOCKS = 256, 3


def timed(env, rounds):
    """(seconds, of these in draw) of OWO-FMTL's rounds after a block that warms up."""
    scenario = env.unwrapped.scenario
    agent = owo_agents.make("owo-fmtl", env)
    for _ in owo_agents.play(env, agent, scenario.rounds_per_block, seed=0):
        pass
    draws = Draws(scenario)
    start = perf_counter()
    for _ in owo_agents.play(env, agent, rounds):
        pass
    return perf_counter() - start, draws.seconds


@pytest.mark.parametrize("hindsight", [False, True])
def test_native_against_scalar(hindsight):
    settings = {"scenario": "csi-prediction", "hindsight": hindsight}
    one = gym.make("AIRAN-FairMTL-v0", **settings)
    many = gym.make_vec("AIRAN-FairMTL-v0", num_envs=STREAMS, autoreset_mode="Disabled", **settings)
    rounds = BLOCKS * one.unwrapped.scenario.rounds_per_block
    (scalar, scalar_draw), (native, native_draw) = timed(one, rounds), timed(many, rounds)
    slots = 64 * rounds
    print(
        f"\nhindsight={hindsight}: scalar {slots / scalar:,.0f} slots/s, "
        f"{scalar_draw / scalar:.0%} of it drawing; N={STREAMS} "
        f"{STREAMS * slots / native:,.0f} slots/s, {native_draw / native:.0%} of it drawing"
    )
    # The native environment is bound by the drawing of channels, not by the playing of slots.
    assert native_draw / native > 0.5
    assert STREAMS * scalar / native > 4
