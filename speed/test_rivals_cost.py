"""What the rivals cost beside OWO-FMTL on the deep scenario: time and memory a slot.

Ratios of processor time within one run, one torch thread. The aggregator's own solve is timed
apart, by hooks around TorchJD's module. Memory is the growth of a fresh child's peak resident set
while it plays.
"""

import multiprocessing
import resource
from time import process_time

import gymnasium as gym
import numpy as np
import pytest

import owo_agents
import owo_env  # noqa: F401  (registers the environment)

pytest.importorskip("torchjd")
pytestmark = pytest.mark.benchmark

AGGREGATORS = [
    *("fairgrad", "nash-mtl", "pcgrad", "cagrad", "mgda", "imtl-g", "upgrad"),
    *("aligned-mtl", "config"),
]
OTHERS = ["owo-fmtl", "cws", "ftl", "hedge", "slot-fair", "famo", "dwa", "uw", "rlw"]
SLOTS = 60


class Player:
    """Plays slots of one long round, timing each and the aggregator's solve within it."""

    def __init__(self, name, users):
        gradients = "per_user" if name in AGGREGATORS or name == "slot-fair" else "weighted"
        self.env = gym.make(
            "AIRAN-FairMTL-v0",
            scenario="rainbow-mnist",
            num_users=users,
            num_slots=2 * SLOTS,
            gradients=gradients,
        )
        self.agent = owo_agents.make(name, self.env)
        self.obs, self.info = self.env.reset(seed=0)
        self.agent.begin_round(self.obs, self.info)
        self.slots, self.solves, self.hooked = [], [], False

    def play(self):
        start = process_time()
        action = self.agent.act(self.obs, self.info)
        self.obs, _, _, _, self.info = self.env.step(action)
        self.solve = 0.0
        self.agent.learn(self.obs, self.info)
        self.slots.append(process_time() - start)
        self.solves.append(self.solve)
        if not self.hooked and getattr(self.agent, "_solvers", None):
            self._hook(next(iter(self.agent._solvers.values())).aggregator)

    def _hook(self, aggregator):
        self.hooked = True
        aggregator.register_forward_pre_hook(lambda *_: setattr(self, "began", process_time()))

        def ended(*_):
            self.solve = process_time() - self.began

        aggregator.register_forward_hook(ended)


def test_per_user_methods_cost_little_before_their_solve():
    """At K = 8: (slot − solve) of every TorchJD aggregator ≤ 1.6 slots of OWO-FMTL."""
    players = {name: Player(name, 8) for name in ("owo-fmtl", *AGGREGATORS)}
    for _ in range(SLOTS):
        for player in players.values():
            player.play()
    slot = {name: np.array(player.slots)[5:] for name, player in players.items()}
    solve = {name: np.array(player.solves)[5:] for name, player in players.items()}
    own = np.median(slot["owo-fmtl"])
    print(f"\nowo-fmtl {1e3 * own:.2f} ms a slot at K=8")
    ratios = {}
    for name in AGGREGATORS:
        ratios[name] = np.median(slot[name] - solve[name]) / own
        print(
            f"{name:12} {ratios[name]:.2f} slots of OWO-FMTL, and its solve "
            f"{1e3 * np.median(solve[name]):.2f} ms"
        )
    assert max(ratios.values()) <= 1.6


def child(name, users, pipe):
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    player = Player(name, users)
    for _ in range(9):
        player.play()
    after = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    pipe.send((1e3 * np.median(player.slots[2:]), (after - before) / 1024))


@pytest.mark.parametrize("users", [2, 8, 32])
def test_time_and_memory_of_every_method(users):
    """Reported, not judged."""
    for name in ("mgda", "famo"):  # imports and data: no child counts them
        player = Player(name, 2)
        player.play(), player.play()
    fork = multiprocessing.get_context("fork")
    print(f"\nK={users}: ms a slot, peak MiB")
    for name in (*OTHERS, *AGGREGATORS):
        ours, theirs = fork.Pipe()
        process = fork.Process(target=child, args=(name, users, theirs))
        process.start()
        milliseconds, mebibytes = ours.recv()
        process.join()
        print(f"{name:12} {milliseconds:8.2f} {mebibytes:8.1f}")
