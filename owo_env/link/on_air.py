"""Any scenario on the air: its users come and go, and their feedback is lost, late or coarse."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np

from owo_env.fairness import Fairness
from owo_env.link.draws import Draws
from owo_env.link.settings import Link
from owo_env.link.streams import OnAirBatch, OnAirStream
from owo_env.scenarios.base import Generators, Scenario


def on_air(scenario: Scenario, link: Link | None) -> Scenario:
    """The scenario over a link; itself where the link is perfect.

    Raises:
        ValueError: The scenario cannot have such a link.
    """
    if isinstance(scenario, OnAir):
        if link is not None:
            raise ValueError(
                f"link={link!r}: the scenario is a ready object with a link of its own"
            )
        return scenario
    recorded = tuple(name for name in ("active", "heard") if name in scenario.air)
    link = replace(link or Link(), recorded=recorded)
    return scenario if link.perfect else OnAir(scenario, link)


class OnAir(Scenario):
    """A scenario whose users are heard over a link.

    Args:
        inner: The scenario.
        link: The link.

    Raises:
        ValueError: The scenario cannot have such a link.
    """

    proven = True  # the scenario itself was looked at

    def __init__(self, inner: Scenario, link: Link) -> None:
        self.inner, self.link = inner, link
        if link.late and not inner.takes_delay:
            name = "delay" if link.delay else "bits"
            raise ValueError(
                f"link: {name}={getattr(link, name)!r}: needs every user's own gradient of past "
                f"slots, which scenario {inner.name!r} does not keep; presence, outage and loss "
                "it can have"
            )
        if link.outage_db is not None and "snr_db" not in inner.air:
            raise ValueError(
                f"link: outage_db={link.outage_db:g}: needs SNRs of the users, which scenario "
                f"{inner.name!r} does not have; loss= is a probability"
            )
        self.problem = problem = replace(inner.problem, link=link)
        self.rounds_per_block = inner.rounds_per_block
        shape = self.rounds_per_block, problem.num_slots, problem.num_users, problem.dim
        try:
            self.draws = Draws(link, inner.class_names, shape)
        except ValueError as error:
            raise ValueError(f"link: {error}") from None
        # Whoever does not know who had a job cannot say what would have been fairest.
        self.has_oracle = inner.has_oracle and (  # type: ignore[misc]
            not link.idles or inner.takes_jobs
        )
        for name in ("name", "user_classes", "rounds", "reset_options", "figures", "air"):
            setattr(self, name, getattr(inner, name))

    def __getattr__(self, name: str) -> Any:
        if name == "inner":  # not yet there while it is unpickled
            raise AttributeError(name)
        return getattr(self.inner, name)

    def stream(self, rng: np.random.Generator, fairness: Fairness | None) -> OnAirStream:
        return OnAirStream(self.inner, self.draws, self.problem, rng, fairness)

    def batch(self, rngs: Generators, fairness: Fairness | None) -> OnAirBatch:
        return OnAirBatch(self.inner, self.draws, self.problem, rngs, fairness)
