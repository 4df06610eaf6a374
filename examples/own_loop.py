"""A scheduler's own loop: an agent without an environment, fed by the messages of its users.

Three UEs predict their SNR by one shared filter. In each slot the server plays a filter and
priorities; the UEs answer with a line of JSON, their utility and its gradient, some of which come
a slot late or never. Run it twice: the second run goes on where the first one ended.
"""

import json
from pathlib import Path

import numpy as np

import owo_agents
import owo_env
from owo_agents.playing import checkpoint

L_MAX, SLOTS, TAPS = 3.0, 20, 3
problem = owo_env.Problem(
    num_users=3,
    dim=TAPS,
    num_slots=SLOTS,
    utility_bounds=(1.0, 3.0),  # utility is L_MAX − loss
    l_max=L_MAX,
    initial_model=np.zeros(TAPS),
    model_bounds=(-2.0, 2.0),
    smoothness=2.0 * 4 * TAPS,  # 2‖x‖² of the largest features, here of two deviations: the step
    convex=True,
)


class Ue:
    """A user: its channel, and what it sends."""

    def __init__(self, name, lasting, seed):
        self.name, self.lasting, self.rng = name, lasting, np.random.default_rng(seed)
        self.snr = np.zeros(TAPS)

    def report(self, slot, model):
        """The slot's job: predict the next SNR with the server's model."""
        x = self.snr.copy()
        noise = np.sqrt(1 - self.lasting**2) * self.rng.normal()
        self.snr = np.r_[self.lasting * x[0] + noise, x[:-1]]
        error = self.snr[0] - model @ x
        found = {"utility": L_MAX - error**2, "gradient": list(2 * error * x)}
        return json.dumps({"ue": self.name, "slot": slot, **found})


class Desk:
    """Makes a slot's observation of the messages that came in time."""

    def __init__(self, names):
        self.names = list(names)
        self.sums, self.counts = np.zeros((2, len(self.names)))

    def observation(self, slot, weights, messages):
        """What the agent is told, or None where nobody was heard.

        The gradient sums those who were heard. Whoever was not keeps, as its utility, the mean of
        what it reported in this round, at first the middle of the bounds: then its priority stays.
        """
        gradient, heard = np.zeros(TAPS), {}
        for message in sorted(map(json.loads, messages), key=lambda m: m["slot"]):
            heard[self.names.index(message["ue"])] = message  # of two the newer counts
        for k, message in heard.items():
            self.sums[k] += message["utility"]
            self.counts[k] += 1
            gradient += weights[k] * np.array(message["gradient"])
        means = self.sums / np.maximum(self.counts, 1)
        utilities = np.where(self.counts > 0, means, np.mean(problem.utility_bounds))
        for k, message in heard.items():
            utilities[k] = message["utility"]
        return {"utilities": utilities, "gradient": gradient, "slot": slot} if heard else None


def serve(agent, users, network, rounds):
    """Play some rounds; yields the mean utility that each user reported."""
    for _ in range(rounds):
        desk, obs, late = Desk(ue.name for ue in users), {"slot": 0}, []
        agent.begin_round(obs, {})
        for slot in range(1, SLOTS + 1):
            action = agent.act(obs, {})
            sent = [ue.report(slot, action["model"]) for ue in users]
            fate = network.random(len(sent))  # a tenth is late, a tenth is lost
            messages = late + [m for m, f in zip(sent, fate) if f > 0.2]
            late = [m for m, f in zip(sent, fate) if 0.1 < f <= 0.2]
            told = desk.observation(slot, action["weights"], messages)
            if told is not None:  # else model and priorities stay as they are
                obs = told
                agent.learn(obs, {})
        agent.end_round(obs, {})  # θ*_t is never known: the last model stands for it
        yield desk.sums / np.maximum(desk.counts, 1)


def main(path="scheduler.safetensors", rounds=12):
    """Serve, and keep what was learned after every round."""
    users = [Ue("0x46A1", 0.95, 1), Ue("0x46A8", 0.7, 2), Ue("0x46AF", 0.3, 3)]
    agent = owo_agents.make("owo-fmtl", problem)
    config = {"users": [ue.name for ue in users], "taps": TAPS}
    if Path(path).exists():
        checkpoint.load(path, config, None, agent)
    for utilities in serve(agent, users, np.random.default_rng(0), rounds):
        checkpoint.save(path, config, None, agent, [])
        print(utilities.round(2), "model", agent.model.round(2))


if __name__ == "__main__":
    main()
