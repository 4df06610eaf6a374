"""Speed of the convex core as ratios within one run, one thread; see docs/results/speed.md."""

import math
from itertools import product
from statistics import median
from time import perf_counter

import gymnasium as gym
import numpy as np
import pytest
from gymnasium.vector import AutoresetMode
from interleaved import ratio, seconds
from scipy.optimize import minimize

import owo_agents
from owo_agents.playing import side_by_side
from owo_env.oracle import fairest_model
from owo_env.scenarios import make_scenario

pytestmark = pytest.mark.benchmark
ID = "AIRAN-FairMTL-v0"
M = 32
BLOCK = 16  # rounds drawn (and solved) ahead at m = 32


def player(env):
    """A function that plays a block of rounds with OWO-FMTL, going on where it stopped."""
    agent = owo_agents.make("owo-fmtl", env)
    next(owo_agents.play(env, agent, 1, seed=0))

    def play():
        for _ in owo_agents.play(env, agent, BLOCK):
            pass

    return play


def native(num_envs, hindsight):
    return gym.make_vec(
        ID, num_envs=num_envs, num_slots=M, hindsight=hindsight, autoreset_mode="Disabled"
    )


def sync(num_envs, hindsight):
    return gym.make_vec(
        ID,
        num_envs=num_envs,
        num_slots=M,
        hindsight=hindsight,
        vectorization_mode="sync",
        vector_kwargs={"autoreset_mode": AutoresetMode.DISABLED},
    )


@pytest.mark.parametrize(("hindsight", "least"), [(False, 40), (True, 25)])
def test_native_vector_against_sync_vector(hindsight, least):
    """Per stream and slot, OWO-FMTL acting in both; SyncVectorEnv's cost is flat from 64 on."""
    times = seconds(
        {"native": player(native(1024, hindsight)), "sync": player(sync(64, hindsight))}, blocks=7
    )
    found = ratio([t / 64 for t in times["sync"]], [t / 1024 for t in times["native"]])
    rate = 1024 * BLOCK * M / median(times["native"])
    print(f"\nhindsight={hindsight}: native {rate:,.0f} slots/s, {found:.0f} × SyncVectorEnv")
    assert found >= least


def test_native_vector_against_drawing_alone():
    env = native(1024, hindsight=False)
    rngs = [np.random.default_rng(n) for n in range(1024)]
    batch = env.unwrapped.scenario.batch(rngs, None)
    everyone = np.arange(1024)

    def draw():
        for _ in range(BLOCK):
            batch.open_rounds(everyone, {})

    times = seconds({"played": player(env), "drawn": draw}, blocks=9)
    found = ratio(times["drawn"], times["played"])
    rate = 1024 * BLOCK * M / median(times["drawn"])
    print(f"\ndrawing alone {rate:,.0f} slots/s; with the rounds played {found:.2f} of that speed")
    assert found >= 0.5


def test_cost_of_a_slot_does_not_grow_with_the_number_of_streams():
    sizes = (64, 1024, 4096)
    times = seconds({str(n): player(native(n, hindsight=False)) for n in sizes}, blocks=5)
    per_slot = {n: [t / (n * BLOCK * M) for t in times[str(n)]] for n in sizes}
    rates = ", ".join(f"N={n} {1 / median(per_slot[n]):,.0f}" for n in sizes)
    print(f"\nslots/s: {rates}")
    assert ratio(per_slot[1024], per_slot[64]) < 1
    assert ratio(per_slot[4096], per_slot[1024]) < 1.15  # flat, up to the noise of the machine


def raw_step(theta, users, p, sums, slot, before):
    """A slot's mathematics in generic Python loops on floats: utilities, gradient and reward."""
    utilities, gradient, fairness = [], [0.0] * len(theta), 0.0
    for k in range(len(users)):
        x, y = users[k]
        residual = y
        for j in range(len(theta)):
            residual -= theta[j] * x[j]
        utilities.append(6.0 - residual * residual)
        slope = 2.0 * p[k] * residual
        for j in range(len(theta)):
            gradient[j] += slope * x[j]
        sums[k] += utilities[k]
        mean = sums[k] / slot
        inside = max(mean, 2.0)
        fairness += math.log(inside) + (mean - inside) / 2.0
    return utilities, gradient, fairness - before, fairness


def test_scalar_step_against_raw_mathematics():
    action = {"model": np.array([0.1, 0.2, -0.1, 0.3]), "weights": np.array([0.25, 0.25])}
    envs = {on: gym.make(ID, num_slots=M, hindsight=on) for on in (False, True)}
    spent = {"reset": [], "reset, hindsight": [], "raw": [], "step": [], "loop": []}
    agent = owo_agents.make("owo-fmtl", envs[True])
    for env in envs.values():
        env.reset(seed=0)
    theta, p = action["model"].tolist(), action["weights"].tolist()

    def steps():
        for _ in range(M):
            envs[False].step(action)

    def raw():
        sums, fairness = [0.0, 0.0], 0.0
        for i, users in enumerate(envs[False].unwrapped._stream._slots):
            utilities, gradient, reward, fairness = raw_step(theta, users, p, sums, i + 1, fairness)
        return utilities, gradient, reward

    def same():
        """Both do the same work."""
        obs, reward, *_ = [envs[False].step(action) for _ in range(M)][-1]
        for a, b in zip((obs["utilities"], obs["gradient"], reward), raw()):
            np.testing.assert_allclose(a, b, rtol=1e-9, atol=1e-13)

    same()

    def loop():
        obs, info = opened
        agent.begin_round(obs, info)
        for _ in range(M):
            obs, *_, info = envs[True].step(agent.act(obs, info))
            agent.learn(obs, info)
        agent.end_round(obs, info)

    def timed(name, function):
        start = perf_counter()
        result = function()
        spent[name].append(perf_counter() - start)
        return result

    for _ in range(20):  # a block of each in turn
        for _ in range(BLOCK):
            timed("reset", envs[False].reset)
            timed("step", steps)
            timed("raw", raw)
        for _ in range(BLOCK):
            opened = timed("reset, hindsight", envs[True].reset)
            timed("loop", loop)
    per_slot = {name: median(times) / M for name, times in spent.items()}
    found = ratio(spent["step"], spent["raw"])
    resets = {name: np.mean(spent[name]) / M for name in ("reset", "reset, hindsight")}
    print(
        f"\nraw {per_slot['raw'] * 1e6:.1f} µs a slot; step {found:.2f} × that; "
        f"reset {resets['reset'] * 1e6:.1f} µs a slot, with hindsight "
        f"{resets['reset, hindsight'] * 1e6:.1f}; step and agent {per_slot['loop'] * 1e6:.1f}"
    )
    assert found <= 3


def slsqp(H, b, s, alpha):
    def objective(theta):
        u = 6 - (np.einsum("i,kij,j->k", theta, H, theta) - 2 * b @ theta + s)
        terms = np.log(u) if alpha == 1 else (u ** (1 - alpha) - 1) / (1 - alpha)
        return -terms.sum(), -2 * u**-alpha @ (b - H @ theta)

    options = {"ftol": 1e-14, "maxiter": 1000}
    bounds = [(-1, 1)] * 4
    return -minimize(
        objective, np.zeros(4), jac=True, method="SLSQP", bounds=bounds, options=options
    ).fun


@pytest.mark.parametrize("alpha", [1.0, 2.0, 5.0])
def test_oracle_against_slsqp(alpha):
    scenario = make_scenario("sinusoid", num_slots=M, alpha=alpha)
    data = scenario.draw([np.random.default_rng(n) for n in range(32)], np.ones(32, int))
    H, b, s = (np.moveaxis(a, 0, -2).reshape(*a.shape[1:-1], 512) for a in data.moments())
    few, fairness = 32, scenario.problem.fairness

    def oracle():
        return fairest_model(
            H, b, s, fairness=fairness, l_max=6.0, bounds=(-1, 1), anchor=np.zeros(4)
        )

    def reference():
        return [slsqp(H[..., i].T, b[..., i].T, s[..., i], alpha) for i in range(few)]

    shortfall = np.array(reference()) - oracle().fairness[:few]
    assert shortfall.max() <= 1e-9
    times = seconds({"oracle": oracle, "slsqp": reference}, blocks=15)
    found = ratio([t / few for t in times["slsqp"]], [t / 512 for t in times["oracle"]])
    rate = 512 / median(times["oracle"])
    print(f"\nα={alpha}: {rate:,.0f} rounds/s at batch 512, {found:.0f} × SLSQP")
    assert found >= 30


def test_rounds_side_by_side_against_rounds_in_turn():
    """One seed of fig2's 24 settings, OWO-FMTL alone; in turn a few rounds of each."""
    settings = [
        gym.make(ID, alpha=alpha, num_slots=m, adversary=adversary)
        for alpha, adversary, m in product((1.0, 2.0), ("none", "blocks"), (4, 8, 16, 32, 64, 128))
    ]
    few = 32

    def played(play, rounds):
        for env in settings:
            for _ in play(env, owo_agents.make("owo-fmtl", env), rounds, seed=0):
                pass

    times = seconds(
        {
            "side by side": lambda: played(side_by_side.play, 512),
            "in turn": lambda: played(owo_agents.play, few),
        },
        blocks=5,
    )
    found = ratio([t / few for t in times["in turn"]], [t / 512 for t in times["side by side"]])
    print(f"\n{median(times['side by side']):.2f} s; a round in turn takes {found:.1f} × as long")
    assert found >= 5
