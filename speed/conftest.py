"""Every benchmark runs in one thread, and no garbage of others is looked for in its time."""

import gc

import pytest

from owo_agents.playing import threads


@pytest.fixture(autouse=True)
def one_thread():
    with threads.one_thread():
        gc.collect()
        gc.freeze()  # a search through what PyTorch brings takes 0.1 s, longer than some figures do
        yield
