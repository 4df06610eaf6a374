"""Agents by name: ``make``, ``register``, and classes plugged in by path."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from owo_agents.agent import Agent
from owo_agents.learner.methods import around, bound
from owo_agents.learner.weighting import Weighting
from owo_env import checks
from owo_env.describing import Description, described
from owo_env.problem import Problem, attribute, problem_of
from owo_env.registry import Registry
from owo_env.spaces import GRADIENTS

Factory = Callable[..., Agent]

POLICY = "rl:"  # what the name of a trained policy's agent begins with


def _objection(found: Any) -> str | None:
    if not callable(found):
        return "is not a class or function"
    if not isinstance(found, type) or issubclass(found, Agent | Weighting):
        return None
    if hasattr(found, "act"):
        return f"{found.__name__} is no owo_agents.Agent"
    return f"{found.__name__} has no method act(obs, info), and is no Weighting"


registry: Registry[Factory] = Registry("agent", _objection, Agent, "owo_agents.agents")
names = registry.names


_plays_on: dict[str, str] = {}
"""Agent → the only kind of gradients that it plays on, for what ``make`` offers."""


def register(
    name: str, factory: Factory | str, summary: str = "", gradients: str | None = None
) -> None:
    """Make ``factory(problem, **kwargs)`` available as ``make(name, …)`` in this process.

    A benchmark sends it to its workers. A package of one's own offers agents to every process by
    entry points of the group ``"owo_agents.agents"``.

    Args:
        name: The agent's name; registering it again replaces it.
        factory: A class or function, or its path ``"package.module:name"``, which is imported
            when it is first used. Of a :class:`owo_agents.learner.Weighting`, OWO-FMTL's other
            parts make an agent.
        summary: One line for ``owo list``.
        gradients: ``"weighted"`` or ``"per_user"`` where it can play on those alone: ``make`` then
            offers it to nobody else who misspells a name.
    """
    registry.register(name, factory, summary)
    _plays_on.pop(name, None)
    if gradients is not None:
        checks.one_of("gradients", gradients, GRADIENTS)
        _plays_on[name] = gradients


def resolve(name: str) -> Factory:
    """The factory behind a registered name, a path ``package.module:Class`` or ``rl:POLICY``.

    Raises:
        ValueError: An unknown name, or a path that leads to nothing or to no agent.
    """
    if name.startswith(POLICY) and name not in registry.entries:
        return bound(registry.find("rl"), path=name.removeprefix(POLICY))
    found: Any = registry.find(name)
    if isinstance(found, type) and issubclass(found, Weighting):
        return around(found)
    return found


def describe(name: str) -> Description:
    """What an agent is and every argument that it takes; printed, it reads well.

    Args:
        name: A registered name, ``"package.module:Class"``, or ``"rl:PATH"``.

    Raises:
        ValueError: An unknown name, or a path that leads to nothing or to no agent.
    """
    factory, summary = resolve(name), registry.known(name).get(name, (None, ""))[1]
    package = registry.packages.get(name, "")
    return described(name, "" if package else summary, package, factory, first=1)


def make(name: str, env: Any, **kwargs: Any) -> Agent:
    """An agent for an environment (scalar, vector or wrapped) or for a problem.

    Args:
        name: A registered name, ``"package.module:Class"``, or ``"rl:PATH"`` of a trained policy.
        env: The environment, or a :class:`owo_env.Problem`.
        kwargs: The agent's own arguments.

    Raises:
        ValueError: Unknown name, an argument outside its domain, or an environment that does
            not give the gradients that the agent needs.
        TypeError: An argument that the agent does not have; the message has the nearest names.
    """
    if ":" not in name and not registry.known(name) and not isinstance(env, Problem):
        given = attribute(env, "gradients")
        fit = [one for one in registry.entries if given in (None, _plays_on.get(one, given))]
        raise checks.unknown("agent", name, fit, elsewhere=registry.entries)
    factory = resolve(name)
    checks.keywords(f"agent {name!r}", factory, kwargs, first=1)
    agent = factory(problem_of(env), **kwargs)
    if not isinstance(agent, Agent):
        raise ValueError(f"agent {name!r}: {type(agent).__name__} is no owo_agents.Agent")
    if not agent.name:
        agent.name = name if name.startswith(POLICY) else name.rpartition(":")[2]
    if not isinstance(env, Problem):
        agent.check(env)
    return agent
