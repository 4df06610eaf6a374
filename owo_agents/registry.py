"""Agents by name: ``make``, ``register``, and classes plugged in by path."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

from owo_agents.agent import Agent
from owo_env import checks
from owo_env.problem import Problem

Factory = Callable[..., Agent]


@dataclass(frozen=True)
class _Entry:
    factory: Factory | str  # a string is a path "package.module:name", imported when first used
    summary: str


_AGENTS: dict[str, _Entry] = {}


def register(name: str, factory: Factory | str, summary: str = "") -> None:
    """Make ``factory(problem, **kwargs)`` available as ``make(name, …)``.

    Args:
        name: The agent's name; registering it again replaces it.
        factory: A class or function, or its path ``"package.module:name"``.
        summary: One line for ``owo list``.
    """
    _AGENTS[name] = _Entry(factory, summary)


def names() -> dict[str, str]:
    """Name → one line about it, of every registered agent."""
    return {name: entry.summary for name, entry in sorted(_AGENTS.items())}


def resolve(name: str) -> Factory:
    """The factory behind a registered name, a path ``package.module:Class`` or ``rl:POLICY``.

    Raises:
        ValueError: An unknown name, or a path that leads to nothing or to no agent.
    """
    if name in _AGENTS:
        factory = _AGENTS[name].factory
        return _import(factory) if isinstance(factory, str) else factory
    if name.startswith("rl:"):
        return partial(resolve("rl"), path=name.removeprefix("rl:"))
    if ":" in name:
        factory = _import(name)
        if isinstance(factory, type) and not callable(getattr(factory, "act", None)):
            raise ValueError(f"agent {name!r}: {factory.__name__} has no method act(obs, info)")
        return factory
    raise checks.unknown("agent", name, _AGENTS)


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
    checks.keywords(f"agent {name!r}", factory, kwargs)
    agent = factory(problem_of(env), **kwargs)
    if not callable(getattr(agent, "act", None)):
        raise ValueError(f"agent {name!r}: {type(agent).__name__} has no method act(obs, info)")
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
    needed, given = getattr(agent, "gradients", None), attribute(env, "gradients")
    if needed is not None and needed != given:
        raise ValueError(
            f"agent {type(agent).__name__} needs gradients={needed!r}, the environment gives "
            f"{given!r}: pass gradients={needed!r} to gym.make"
        )


def attribute(env: Any, name: str) -> Any:
    """An attribute of the unwrapped environment; of the first one under SyncVectorEnv."""
    inner = getattr(env, "unwrapped", env)
    if not hasattr(inner, name) and hasattr(inner, "get_attr"):
        return inner.get_attr(name)[0]
    return getattr(inner, name, None)


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
