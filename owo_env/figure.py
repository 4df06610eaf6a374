"""A figure of a run, as scenarios and agents declare theirs for tables and claims."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Figure:
    """What is read from the rounds of a run, and how.

    Attributes:
        key: For files and claims.
        title: For people.
        meaning: One line for the report.
        better: +1 higher is better, −1 lower is better, 0 neither.
        digits: Decimals shown.
        reads: The entry of a round's ``info`` or of the agent's report that is averaged over
            rounds; ``"loss"`` is l_max less a user's mean utility.
        per_user: Whether there is one for each user, or class of users where the scenario has
            classes; the name then follows ``key``.
        last: Over how many of the last rounds the mean is taken; 0: over all.
        form: ``"mean"``, ``"dB"`` (10 log10 of it), ``"share"`` (of the slots of a round) or
            ``"root"`` (of a squared error, in the problem's ``error_unit``; nothing without one).
    """

    key: str
    title: str
    meaning: str
    better: int = 0
    digits: int = 3
    reads: str = ""
    per_user: bool = False
    last: int = 0
    form: str = "mean"


def spoken(seconds: float) -> str:
    """A length of time for people: ``10 ms``."""
    units = (("s", 1.0), ("ms", 1e-3), ("µs", 1e-6), ("ns", 1e-9))
    unit, length = next((u for u in units if seconds >= u[1]), units[-1])
    return f"{seconds / length:.6g} {unit}"
