"""What a link is: probabilities of presence, activity and loss, delay and bits of the feedback."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any

import numpy as np
from numpy.typing import NDArray

from owo_env import checks

Floats = NDArray[np.floating]
Each = float | Sequence[float] | Mapping[str, float]
"""One for all users, one a user, or one for each class of users that is named."""

COUNTS = ("users", "jobs")
MOST_BITS = 32


@dataclass(frozen=True)
class Link:
    """How users come and go, and what of their feedback reaches the server.

    A user that is present in a round has a job in slot i or is idle; of its job the feedback is
    heard or lost, arrives ``delay`` slots later, and is coarse. What users feel does not depend on
    what is heard: utility, reward and oracle take every job.

    Probabilities are one number for all users, K, or a mapping from classes of users, of which
    those not named keep the default.

    Args:
        present: Probability that a user takes part in a round.
        active: Probability that a user who is present has a job in a slot.
        burst: Mean length of a spell of jobs in slots, of a two-state Markov chain with the same
            ``active``; 0 draws slots independently.
        outage_db: SNR in dB below which feedback is lost, on a Rayleigh-fading uplink with the
            user's own mean SNR of the round: it is heard with probability
            exp(−10^((outage_db − snr_db)/10)). Needs a scenario that tells SNRs.
        loss: Probability that feedback is lost on top of that.
        delay: D < m, slots until feedback arrives; the action's weights scale what arrives in its
            slot. What is under way at a round's end never arrives.
        bits: b ≥ 1 of each entry of a user's gradient, rounded at random to 2^b − 1 steps between
            plus and minus its largest entry, so that the mean is exact; None does not round.
        count: Who counts in fairness: ``"users"``, each once, however few its jobs; or ``"jobs"``,
            F = Σ_k (m_k/m) f_k(ū_k) with m_k the jobs of user k in the round.
        recorded: Masks that the scenario's own data hold, ``"active"`` or ``"heard"``; the
            environment fills it in.

    Raises:
        ValueError: An argument is outside its domain.
    """

    present: Each = 1.0
    active: Each = 1.0
    burst: float = 0.0
    outage_db: float | None = None
    loss: Each = 0.0
    delay: int = 0
    bits: int | None = None
    count: str = "users"
    recorded: Sequence[str] = ()

    def __post_init__(self) -> None:
        for name in ("present", "active", "loss"):
            object.__setattr__(self, name, _probabilities(name, getattr(self, name)))
        for name in ("present", "active"):
            if max(_numbers(getattr(self, name)), default=1.0) == 0:
                raise ValueError(f"{name}={getattr(self, name)!r}: nobody would ever be there")
        if min(_numbers(self.loss), default=0.0) == 1 and not isinstance(self.loss, Mapping):
            raise ValueError(f"loss={self.loss!r}: nobody would ever be heard")
        object.__setattr__(self, "burst", checks.number("burst", self.burst, low=0.0))
        if 0 < self.burst < 1:
            raise ValueError(f"burst={self.burst:g}: must be 0, or a length of at least one slot")
        for a in _numbers(self.active):
            if self.burst and 0 < a < 1 and self.burst < a / (1 - a):
                raise ValueError(
                    f"burst={self.burst:g}: must be at least {a / (1 - a):.4g} where active={a:g}: "
                    "pauses last a slot or more"
                )
        if self.outage_db is not None:
            object.__setattr__(self, "outage_db", checks.number("outage_db", self.outage_db))
        checks.whole("delay", self.delay, low=0)
        if self.bits is not None:
            checks.whole("bits", self.bits, low=1, high=MOST_BITS)
        checks.one_of("count", self.count, COUNTS)

    @property
    def perfect(self) -> bool:
        """Whether it is as good as none."""
        return not (self.masked or self.late)

    @property
    def idles(self) -> bool:
        """Whether a user may be without a job in a slot."""
        chances = [*_numbers(self.present), *_numbers(self.active)]
        return "active" in self.recorded or min(chances, default=1.0) < 1

    @property
    def masked(self) -> bool:
        """Whether a user's feedback may be missing in a slot."""
        return self.idles or self.loses

    @property
    def uneven(self) -> bool:
        """Whether users who are present may be heard in some slots more often than in others."""
        active = "active" in self.recorded or min(_numbers(self.active), default=1.0) < 1
        return active or self.loses

    @property
    def loses(self) -> bool:
        """Whether the feedback of a job may be lost."""
        lost = self.outage_db is not None or any(_numbers(self.loss))
        return lost or "heard" in self.recorded

    @property
    def late(self) -> bool:
        """Whether gradients of past slots are needed, user by user."""
        return self.delay > 0 or self.bits is not None

    def described(self) -> dict[str, Any]:
        """What ``link=`` takes to make it again, in plain JSON: what is not the default."""
        return {
            f.name: _plain(getattr(self, f.name))
            for f in fields(self)
            if getattr(self, f.name) != f.default
        }

    def chances(self, name: str, classes: Sequence[str], users: int) -> Floats:
        """A probability for each class, (C,), or, where it is not by class, for each user, (K,).

        Args:
            name: ``"present"``, ``"active"`` or ``"loss"``.
            classes: The names of the classes, C.
            users: K.

        Raises:
            ValueError: Another number of users, or an unknown class.
        """
        each, default = getattr(self, name), 0.0 if name == "loss" else 1.0
        if isinstance(each, Mapping):
            for one in each:
                if one not in classes:
                    if not classes:
                        raise ValueError(f"{name}={dict(each)!r}: this scenario has no classes")
                    raise checks.unknown(f"class of users in {name}", one, classes)
            return np.array([each.get(one, default) for one in classes])
        return np.array(checks.one_each(name, each, users))


def make_link(link: Mapping[str, Any] | Link | None) -> Link | None:
    """A link from ``link=`` of ``gym.make``.

    Raises:
        ValueError: A setting is outside its domain.
        TypeError: A setting that a link does not have, or something else than a mapping.
    """
    if link is None:
        return None
    if isinstance(link, Mapping):
        checks.keywords("a link", Link, link)
        link = Link(**link)
    if not isinstance(link, Link):
        raise TypeError(f"link={link!r}: must be a mapping such as {{'loss': 0.1}}, or a Link")
    return link


def _numbers(each: Each) -> list[float]:
    if isinstance(each, Mapping):
        return list(each.values())
    return list(each) if isinstance(each, Sequence) else [each]


def _plain(value: Any) -> Any:
    return list(value) if isinstance(value, tuple) else value


def _probabilities(name: str, each: Any) -> Any:
    """Checked: a float, a tuple or a dict of floats in [0, 1]."""
    limits: dict[str, Any] = {"low": 0.0, "high": 1.0}
    if isinstance(each, Mapping):
        return {str(one): checks.number(f"{name}[{one!r}]", x, **limits) for one, x in each.items()}
    if isinstance(each, str) or not hasattr(each, "__len__"):
        return checks.number(name, each, **limits)
    return tuple(checks.number(f"{name}[{k}]", x, **limits) for k, x in enumerate(each))
