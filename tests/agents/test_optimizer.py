"""The optimizer against the agent whose steps it takes."""

import io

import numpy as np
import pytest
import torch

import owo_env
from owo_agents.learner.adaptive.network import NetworkAdaptive
from owo_agents.optimizer import Adaptive

SLOTS, ROUNDS = 5, 4


def net(seed=0):
    torch.manual_seed(seed)
    return torch.nn.Sequential(torch.nn.Linear(3, 4), torch.nn.Tanh(), torch.nn.Linear(4, 1))


def batches(seed=1):
    rng = np.random.default_rng(seed)
    shape = (ROUNDS, SLOTS, 2, 6)
    x = torch.tensor(rng.normal(size=(*shape, 3)), dtype=torch.float32)
    return x, torch.tensor(rng.normal(size=(*shape, 1)), dtype=torch.float32)


def losses(model, x, y):
    """Of two users, (2,)."""
    return torch.stack([((model(a) - b) ** 2).mean() for a, b in zip(x, y)])


def test_its_steps_are_the_agents():
    model, own, (x, y) = net(), net(), batches()
    optimizer = Adaptive(own.parameters())
    start = torch.nn.utils.parameters_to_vector(model.parameters()).detach().numpy()
    problem = owo_env.Problem(
        num_users=2, dim=len(start), num_slots=SLOTS, utility_bounds=(1.0, 9.0), initial_model=start
    )
    agent = NetworkAdaptive(problem)
    for t in range(ROUNDS):
        agent.begin_round({"slot": 0}, {})
        for i in range(SLOTS):
            action = agent.act({}, {})
            p = torch.tensor(action["weights"], dtype=torch.float32)
            played = torch.from_numpy(action["model"].copy())
            torch.nn.utils.vector_to_parameters(played, model.parameters())
            model.zero_grad()
            found = losses(model, x[t, i], y[t, i])
            (p @ found).backward()
            gradient = torch.cat([q.grad.ravel() for q in model.parameters()]).numpy()
            utilities = 9.0 - found.detach().numpy().astype(float)
            agent.learn({"utilities": utilities, "gradient": -gradient, "slot": i + 1}, {})
            optimizer.zero_grad()
            (p @ losses(own, x[t, i], y[t, i])).backward()
            optimizer.step()
            theirs = torch.nn.utils.parameters_to_vector(own.parameters()).detach().numpy()
            assert np.array_equal(theirs, agent.model)
        agent.end_round({}, {})
        optimizer.end_round()


def train(model, optimizer, rounds, x, y):
    for t in rounds:
        for i in range(SLOTS):
            optimizer.zero_grad()
            losses(model, x[t, i], y[t, i]).sum().backward()
            optimizer.step()
        optimizer.end_round()


def test_a_saved_state_goes_on_bit_for_bit():
    (x, y), whole = batches(), net()
    train(whole, Adaptive(whole.parameters()), range(ROUNDS), x, y)
    first = net()
    optimizer = Adaptive(first.parameters())
    train(first, optimizer, range(2), x, y)
    file = io.BytesIO()
    torch.save({"model": first.state_dict(), "optimizer": optimizer.state_dict()}, file)
    file.seek(0)
    state = torch.load(file, weights_only=True)
    again = net()
    optimizer = Adaptive(again.parameters())
    again.load_state_dict(state["model"])
    optimizer.load_state_dict(state["optimizer"])
    train(again, optimizer, range(2, ROUNDS), x, y)
    for one, other in zip(whole.parameters(), again.parameters()):
        assert torch.equal(one, other)


def test_a_gradient_that_is_not_finite_moves_nothing():
    model = net()
    optimizer = Adaptive(model.parameters())
    before = [p.clone() for p in model.parameters()]
    (model(torch.full((1, 3), float("nan"))).sum()).backward()
    with pytest.raises(FloatingPointError, match="not finite"):
        optimizer.step()
    for one, other in zip(before, model.parameters()):
        assert torch.equal(one, other)


def test_bad_arguments_are_named():
    model = net()
    with pytest.raises(ValueError, match="unknown starts 'last'"):
        Adaptive(model.parameters(), starts=("last",))
    groups = [{"params": layer.parameters()} for layer in (model[0], model[2])]
    with pytest.raises(ValueError, match="one group"):
        Adaptive(groups)
