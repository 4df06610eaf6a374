"""A server of a scenario: its seats behind a port, and the scenario as the environment plays it."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from owo_env import checks
from owo_env.remote.credentials import Credentials
from owo_env.remote.join import SHIPPED
from owo_env.remote.scenario import Remote, input_of, largest_message
from owo_env.remote.seats import Seats
from owo_env.scenarios.base import Scenario
from owo_env.scenarios.split_learning.scenario import SplitLearning


@contextmanager
def served(
    scenario: Scenario,
    credentials: Credentials,
    listen: str,
    *,
    run: str,
    deadline: float = 10.0,
    patience: float | None = None,
    settings: Mapping[str, Any] | None = None,
    tell: Callable[[str], None] = lambda text: None,
    greet: Callable[[str], None] = lambda address: None,
) -> Iterator[Remote]:
    """Within, users can join; the scenario that is given is played with them.

    Args:
        scenario: One of split learning.
        credentials: The server's, a token a user.
        listen: ``host:port``.
        run: The run's name, that users' private parts are said to be of.
        deadline: [s] That a user has for an answer.
        patience: [s] To wait for all users before the first round; None waits for ever.
        settings: The scenario's, for users of a shipped one.
        tell: Hears who comes and goes.
        greet: Hears at which address.

    Raises:
        TypeError: A scenario of another kind.
        ValueError: An argument is outside its domain.
        OSError: The address cannot be had.
    """
    if not isinstance(scenario, SplitLearning):
        raise TypeError(f"scenario {scenario.name!r} has no users of split learning to serve")
    checks.number("deadline", deadline, low=0.0, open_low=True)
    setup, each = scenario.setup, input_of(scenario)
    shipped = scenario.name in SHIPPED
    welcome = dict(
        users=scenario.problem.num_users,
        scenario=scenario.name if shipped else "",
        settings=json.dumps(dict(settings or {})) if shipped else "",
        slots=setup.num_slots,
        batch=setup.batch_size,
        feedback=setup.feedback,
        mode=setup.mode or "",
        wire=setup.wire or "",
        dtype=str(setup.dtype).removeprefix("torch."),
        front=setup.front is not None,
    )
    limit = largest_message(setup, each)
    seats = Seats(credentials, listen, welcome, run, limit, deadline, tell)
    remote = Remote(scenario, seats, each, patience)
    try:
        greet(seats.address)
        yield remote
    finally:
        seats.stop(remote.over)
