"""What a report says in words: how long things last, where theory is silent, and RAN terms."""

from __future__ import annotations

from owo_agents.benchmark.figures.leaderboard import Board
from owo_env.figure import spoken

SELDOM = 0.01  # of users' rounds below u_min that are not worth a word

GLOSSARY = (
    ("slot", "one transmission or reporting interval of all UEs", "the step of an episode"),
    ("job", "what one UE does in a slot: predict, classify, estimate", "its loss"),
    ("round", "a task of m slots with the same UEs; then tasks, or UEs, change", "the x axis"),
    ("utility", "how well a UE was served: l_max − loss, for example 1.25 − NMSE", "by class"),
    ("priority p", "how much a UE's gradient counts: a scheduler's weight", "weights, Σp"),
    ("fairness F", "what is maximized of the UEs' mean utilities; α = 1: proportional", "fairness"),
    ("fairest model θ*", "the one model best for F, had the round been known: hindsight", "oracle"),
    ("regret", "F of θ* less F reached; 0 is perfect, below 0 is possible", "regret"),
    ("certificate", "a bound on a round's regret by what was observed", "“Certificate”"),
    ("u_min", "the least utility that is reckoned with; below it theory is silent", "below u_min"),
)
"""A word, what it is in a RAN, and where a report shows it; docs/guide/ran.md says more."""


def below(board: Board) -> str | None:
    """Which agents leave users below u_min, and what that means; None where hardly any does."""
    shares = {
        board.name_of(row.label): row.figures["below_u_min"].value
        for row in board.rows
        if "below_u_min" in row.figures
    }
    found = [f"{name} {share:.0%}" for name, share in shares.items() if share >= SELDOM]
    if not found:
        return None
    u_min = board.results[0].problem["utility_bounds"][0]
    return (
        f"Mean utilities lie below u_min = {u_min:g} in a share of users' rounds: "
        f"{', '.join(found)}. There F goes on along its tangent and theory says nothing: "
        "an agent neglects users, its step is too long, or l_max or u_min do not suit the losses."
    )


def lasting(board: Board) -> str:
    """How long a round is, in slots and where they have a length in time."""
    problem = board.results[0].problem
    slots = f"{problem['num_slots']} slots"
    if "slot_ms" not in problem:
        return slots
    slot = 1e-3 * problem["slot_ms"]
    return f"{slots} of {spoken(slot)}, {spoken(slot * problem['num_slots'])} in all"
