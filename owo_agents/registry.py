"""Agents by name: ``make``, ``register``, and classes plugged in by path."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping
from typing import Any

from typing_extensions import Unpack

from owo_agents.agent import Agent
from owo_agents.learner.methods import Parts
from owo_env import checks
from owo_env.problem import Problem
from owo_env.spaces import GRADIENTS

Factory = Callable[..., Agent]


# Name → factory, and a line about it; a path "package.module:name" is imported when first used.
_AGENTS: dict[str, tuple[Factory | str, str]] = {}


def register(name: str, factory: Factory | str, summary: str = "") -> None:
    """Make ``factory(problem, **kwargs)`` available as ``make(name, …)``.

    Args:
        name: The agent's name; registering it again replaces it.
        factory: A class or function, or its path ``"package.module:name"``.
        summary: One line for ``owo list``.
    """
    _AGENTS[name] = factory, summary


def names() -> dict[str, str]:
    """Name → one line about it, of every registered agent."""
    return {name: _AGENTS[name][1] for name in sorted(_AGENTS)}


def entries() -> dict[str, tuple[Factory | str, str]]:
    """Name → factory or path, and the line about it; for :func:`add` in another process."""
    return dict(_AGENTS)


def add(registered: Mapping[str, tuple[Factory | str, str]]) -> None:
    """Register what :func:`entries` gave in another process."""
    _AGENTS.update(registered)


def resolve(name: str) -> Factory:
    """The factory behind a registered name, a path ``package.module:Class`` or ``rl:POLICY``.

    Raises:
        ValueError: An unknown name, or a path that leads to nothing or to no agent.
    """
    if name in _AGENTS:
        factory, _ = _AGENTS[name]
        return _import(factory) if isinstance(factory, str) else factory
    if name.startswith("rl:"):
        return _policy(name.removeprefix("rl:"))
    if ":" in name:
        factory = _import(name)
        if isinstance(factory, type) and not callable(getattr(factory, "act", None)):
            raise ValueError(f"agent {name!r}: {factory.__name__} has no method act(obs, info)")
        return factory
    raise checks.unknown("agent", name, _AGENTS)


def _policy(path: str) -> Factory:
    """The factory of a trained policy's agent; ``path`` is bound for good."""

    def learned(problem: Problem, **parts: Unpack[Parts]) -> Agent:
        agent: Agent = resolve("rl")(problem, path=path, **parts)
        return agent

    return learned


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
    factory = resolve(name)
    checks.keywords(f"agent {name!r}", factory, kwargs, first=1)
    agent = factory(problem_of(env), **kwargs)
    if not isinstance(agent, Agent):
        raise ValueError(f"agent {name!r}: {type(agent).__name__} is no owo_agents.Agent")
    if not agent.name:
        agent.name = name if name.startswith("rl:") else name.rpartition(":")[2]
    if not isinstance(env, Problem):
        check_gradients(agent, env)
    return agent


def problem_of(env: Any) -> Problem:
    """The problem of an environment, scalar or vector, wrapped or not, or the problem itself."""
    if isinstance(env, Problem):
        return env
    problem = attribute(env, "problem")
    if not isinstance(problem, Problem):
        raise TypeError(f"env={env!r}: must be an AIRAN environment or a Problem")
    return problem


def check_gradients(agent: Agent, env: Any) -> None:
    """Raise ValueError if ``env`` does not give the gradients that ``agent`` reads."""
    needed, given = agent.gradients, attribute(env, "gradients")
    if needed is not None:
        checks.one_of(f"gradients of agent {name_of(agent)}", needed, GRADIENTS)
    if needed not in (None, given):
        raise ValueError(
            f"agent {name_of(agent)} needs gradients={needed!r}, the environment gives "
            f"{given!r}: pass gradients={needed!r} to gym.make"
        )


def attribute(env: Any, name: str) -> Any:
    """A constant of the unwrapped environment; of the first one under Sync- and AsyncVectorEnv."""
    inner = getattr(env, "unwrapped", env)
    if not hasattr(inner, name) and hasattr(inner, "get_attr"):
        return inner.get_attr(name)[0]
    return getattr(inner, name, None)


def name_of(agent: Agent) -> str:
    """What messages call an agent."""
    return agent.name or type(agent).__name__


def _import(path: str) -> Factory:
    module, _, attribute = path.partition(":")
    try:
        found = getattr(importlib.import_module(module), attribute)
    except ImportError as error:
        raise ValueError(f"agent {path!r}: cannot import {module!r} ({error})") from error
    except AttributeError as error:
        raise ValueError(f"agent {path!r}: module {module!r} has no {attribute!r}") from error
    if not callable(found):
        raise ValueError(f"agent {path!r}: is not a class or function")
    factory: Factory = found
    return factory
