"""The paper's methods and their controls, each a composition of the three parts."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Sequence
from typing import Any, TypedDict, TypeVar

from typing_extensions import Unpack

from owo_agents.learner.initialization import make_initialization
from owo_agents.learner.learner import Learner
from owo_agents.learner.step import default_rate, make_step
from owo_agents.learner.weighting import DUALS, Constant, Dual, Normalized, Weighting
from owo_env import checks
from owo_env.problem import Problem

A = TypeVar("A")


class Parts(TypedDict, total=False):
    """Those arguments of :func:`compose` that every composed agent takes."""

    learning_rate: float | None
    initialization: str | None
    rate: float | None
    target: str | None
    step: str
    participation: str | None


def compose(
    weighting: Weighting,
    *,
    learning_rate: float | None = None,
    initialization: str | None = None,
    rate: float | None = None,
    target: str | None = None,
    reset_heads: bool = False,
    step: str = "fixed",
    participation: str | None = None,
    learner: Callable[..., Learner] = Learner,
) -> Learner:
    """A learner around ``weighting`` with the default model step and outer loop.

    Args:
        weighting: The weighting.
        learning_rate: η; default by the rule of :func:`owo_agents.learner.step.default_rate`.
        initialization: ``"running-mean"``, ``"reptile"``, ``"continue"`` or ``"reset"``; default
            the running mean of Algorithm 1 where losses are convex, else §IV's reptile.
        rate: Reptile's, in (0, 1].
        target: ``"exact"``, ``"last"`` or ``"avg"``; default exact where θ* is revealed, else
            last.
        reset_heads: Users start each round with fresh heads.
        step: ``"fixed"`` η, ``"guess-free"`` or ``"adagrad-norm"``
            (:func:`owo_agents.learner.step.make_step`).
        participation: Over a link that may leave users out, ``"inverse"`` (default) takes back
            that who is heard less counts less, at half the default η, or ``"as-heard"`` does not.
        learner: Another composition of the same parts.
    """
    problem, link = weighting.problem, weighting.problem.link
    corrects = link is not None and link.uneven and participation != "as-heard"
    kind: Any = getattr(learner, "func", learner)
    if corrects and kind.gradients == "weighted" and step == "fixed" and learning_rate is None:
        learning_rate = default_rate(problem) / 2  # the factors are noise
    if initialization is None:
        initialization = "running-mean" if problem.convex else "reptile"
    return learner(
        weighting,
        make_step(problem, step, learning_rate),
        make_initialization(problem, initialization, rate),
        target,
        reset_heads,
        participation,
    )


def around(weighting: type[Weighting]) -> Callable[..., Learner]:
    """The factory of agents around a weighting: it takes its arguments, and ``Parts``."""
    first, *own = inspect.signature(weighting).parameters.values()

    def agent(problem: Problem, **parts: Unpack[Parts]) -> Learner:
        given: dict[str, Any] = {**parts}
        mine = {p.name: given.pop(p.name) for p in own if p.name in given}
        return compose(weighting(problem, **mine), **given)

    others = inspect.Parameter("parts", inspect.Parameter.VAR_KEYWORD)
    named = [first, *(p.replace(kind=p.KEYWORD_ONLY) for p in own), others]
    agent.__signature__ = inspect.Signature(named)  # type: ignore[attr-defined]
    agent.__doc__ = inspect.getdoc(weighting)
    return agent


def bound(factory: Callable[..., A], **fixed: Any) -> Callable[..., A]:
    """``factory`` with some arguments fixed for good: what comes back does not take them."""

    @functools.wraps(factory)
    def agent(problem: Problem, **given: Any) -> A:
        return factory(problem, **fixed, **given)

    signature = inspect.signature(factory)
    left = [p for p in signature.parameters.values() if p.name not in fixed]
    agent.__signature__ = signature.replace(parameters=left)  # type: ignore[attr-defined]
    return agent


def owo_fmtl(
    problem: Problem,
    *,
    initial_weights: Sequence[float] | None = None,
    step_index: str = "slot",
    constants: str = "corrected",
    **parts: Unpack[Parts],
) -> Learner:
    """OWO-FMTL, Algorithm 1: dual weights within the round, a learned start between rounds.

    Args:
        problem: The problem.
        initial_weights: The priorities of a round's first slot, K; default the centre utility's.
        step_index: What the dual step's size falls with: the ``"slot"`` of the round, which keeps
            bound (10), or the ``"round"``, as Algorithm 1 prints it.
        constants: ``"corrected"``, or of α-fairness ``"paper"`` for the printed strong convexity.
        parts: As for :func:`compose`.
    """
    checks.one_of("step_index", step_index, DUALS)
    return compose(DUALS[step_index](problem, initial_weights, constants), **parts)


def cws(
    problem: Problem,
    *,
    shares: Sequence[float] | None = None,
    weights: Sequence[float] | None = None,
    total: float | None = None,
    **parts: Unpack[Parts],
) -> Learner:
    """Constant weights with OWO-FMTL's own model step and outer loop.

    Args:
        problem: The problem.
        shares: K shares ≥ 0, of any sum; default those of the notion's centre priorities.
        weights: What ``shares`` were once called.
        total: Σp, to which they are scaled; default that from which OWO-FMTL starts.
        parts: As for :func:`compose`.
    """
    if shares is not None and weights is not None:
        raise ValueError(f"weights={weights!r}: is another name of shares; give one of the two")
    return compose(Constant(problem, weights if shares is None else shares, total), **parts)


def srl(
    problem: Problem,
    *,
    learning_rate: float | None = None,
    target: str | None = None,
    participation: str | None = None,
) -> Learner:
    """Single-round learning: OWO-FMTL whose model and heads start each round from scratch.

    Args:
        problem: The problem.
        learning_rate: η; default by the rule of :func:`owo_agents.learner.step.default_rate`.
        target: ``"exact"``, ``"last"`` or ``"avg"``; what would be learned from, for reports.
        participation: As of :func:`compose`.
    """
    return compose(
        Dual(problem),
        learning_rate=learning_rate,
        initialization="reset",
        target=target,
        reset_heads=True,
        participation=participation,
    )


def frozen(problem: Problem, *, target: str | None = None) -> Learner:
    """A control that learns only between rounds: η = 0, started at the running mean of θ*.

    Without an oracle its own last model never moves: it stays at x_1.

    Args:
        problem: The problem.
        target: ``"exact"``, ``"last"`` or ``"avg"``; default exact where θ* is revealed.
    """
    return compose(Dual(problem), learning_rate=0.0, initialization="running-mean", target=target)


def owo_normalized(
    problem: Problem, *, total: float | None = None, **parts: Unpack[Parts]
) -> Learner:
    """A control: OWO-FMTL's dual shares at a constant total, so that η·Σp never adapts.

    Args:
        problem: The problem.
        total: Σp; default that from which OWO-FMTL starts.
        parts: As for :func:`compose`.
    """
    return compose(Normalized(Dual(problem), total), **parts)
