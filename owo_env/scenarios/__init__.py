"""Scenarios: what the users of the RAN learn. Each is imported when it is first asked for."""

from __future__ import annotations

import inspect
from collections.abc import Iterable, Mapping
from typing import Any

from owo_env import checks
from owo_env.describing import Description, described
from owo_env.fairness import AlphaFair, Fairness, make_fairness
from owo_env.problem import Problem
from owo_env.registry import Registry
from owo_env.scenarios.base import Batch, Scenario, Stream
from owo_env.scenarios.proof import prove

# What a scenario is sometimes given, but gym.make or gym.make_vec takes.
_ELSEWHERE = {
    **dict.fromkeys(("alpha", "fairness", "gradients", "hindsight"), "gym.make"),
    **dict.fromkeys(("link", "render_mode"), "gym.make"),
    "autoreset_mode": "gym.make_vec",
}


def _objection(found: Any) -> str | None:
    if isinstance(found, type) and issubclass(found, Scenario):
        lacks = ", ".join(sorted(found.__abstractmethods__))
        return f"{found.__name__!r} is abstract: it lacks {lacks}" if lacks else None
    return f"{getattr(found, '__name__', found)!r} is not a class derived from Scenario"


registry: Registry[type[Scenario]] = Registry("scenario", _objection, Scenario, "owo_env.scenarios")

for _name, _summary in {
    "sinusoid": "§IV convex: two users' sinusoids by a shared cubic",
    "csi-prediction": "radio users predict their channels by a shared filter",
    "recorded": "replays your own least-squares data: arrays or a trace file",
    "rainbow-mnist": "§IV deep: 56 Rainbow MNIST tasks, shared LeNet, one head a user",
    "csi-feedback": "radio users feed compressed channels back; streets of a ray-traced city",
    "split-learning": "your own PyTorch encoder, heads, losses and per-user tasks (from Python)",
}.items():
    # A scenario's module and its class bear the name that one types.
    _module, _class = _name.replace("-", "_"), _name.title().replace("-", "")
    registry.register(_name, f"owo_env.scenarios.{_module}:{_class}", _summary)


def make_scenario(scenario: str | Mapping[str, Any] | Scenario, **settings: Any) -> Scenario:
    """A scenario from a name, a mapping ``{"name": …, **settings}`` or a ready object.

    Args:
        scenario: Which; a name, or the path of a class, ``"package.module:Class"``.
        settings: The scenario's own arguments; None leaves its default in place. ``alpha`` is
            what its problem is judged by where nobody says otherwise.

    Raises:
        ValueError: An unknown name, a setting outside its domain, or a scenario of somebody's
            own whose streams depend on more than their generators.
        TypeError: A setting that the scenario does not have, or settings for a ready object.
    """
    return _made(scenario, settings, ["alpha"])


def scenario_for(
    env: object, scenario: str | Mapping[str, Any] | Scenario, **settings: Any
) -> Scenario:
    """The same for an environment, one of whose own arguments may have been misspelt."""
    own = set(inspect.signature(type(env)).parameters) - {"scenario", "settings"}
    if not getattr(env, "metadata", {}).get("render_modes"):
        own.discard("render_mode")
    return _made(scenario, settings, own)


def _made(
    scenario: str | Mapping[str, Any] | Scenario, settings: dict[str, Any], also: Iterable[str]
) -> Scenario:
    settings = {key: value for key, value in settings.items() if value is not None}
    if isinstance(scenario, Scenario):
        for key, value in settings.items():
            if getattr(scenario.problem, key, None) != value:
                raise TypeError(
                    f"{key}={value!r}: the scenario is a ready object; set it when it is built"
                )
        return _looked_at(scenario)
    if isinstance(scenario, Mapping):
        given = dict(scenario)
        if "name" not in given:
            raise ValueError(f"scenario={given!r}: a mapping needs the key 'name'")
        scenario, settings = given.pop("name"), {**given, **settings}
    if not isinstance(scenario, str):
        raise TypeError(f"scenario={scenario!r}: must be a name, a mapping or a Scenario")
    cls, alpha = registry.find(scenario), settings.pop("alpha", None)
    checks.keywords(f"scenario {scenario!r}", cls, settings, also=also, elsewhere=_ELSEWHERE)
    made = _looked_at(cls(**settings))
    made.problem = judged(made, alpha)
    return made


def describe(name: str) -> Description:
    """What a scenario is and every argument of its own; printed, it reads well.

    ``gym.make`` takes them beside the environment's own (:class:`owo_env.AIRANEnv`).

    Args:
        name: A scenario's name, or the path of a class, ``"package.module:Class"``.

    Raises:
        ValueError: An unknown name, or a path that leads to nothing or to no scenario.
    """
    made_by, summary = registry.find(name), registry.known(name).get(name, (None, ""))[1]
    package = registry.packages.get(name, "")
    return described(name, "" if package else summary, package, made_by)


def _looked_at(scenario: Scenario) -> Scenario:
    if not isinstance(getattr(scenario, "problem", None), Problem):
        raise TypeError(f"scenario {scenario!r}: its __init__ must set problem, an owo_env.Problem")
    prove(scenario)
    return scenario


def judged(
    scenario: Scenario,
    alpha: float | None,
    fairness: str | Mapping[str, Any] | Fairness | None = None,
) -> Problem:
    """A scenario's problem under the notion of fairness that somebody asks for, if anybody does.

    Args:
        scenario: Its problem is judged.
        alpha: Short for α-fairness.
        fairness: Any notion, as :func:`owo_env.fairness.make_fairness` takes it.

    Raises:
        ValueError: Both are given, or one does not fit the problem.
        TypeError: An argument that the notion does not have.
    """
    problem = scenario.problem
    if alpha is not None and fairness is not None:
        raise ValueError(
            f"alpha={alpha!r}: is short for a fairness, beside fairness={fairness!r}; give one of "
            "the two (notions with an α take it as their own argument)"
        )
    if alpha is not None:
        return problem.judged_by(AlphaFair(problem.num_users, problem.utility_bounds, alpha))
    if fairness is None:
        return problem
    known = problem.num_users, problem.utility_bounds
    return problem.judged_by(make_fairness(fairness, *known, scenario.user_classes))


def reset_options(
    scenario: Scenario, options: Mapping[str, Any] | None, *also: str
) -> dict[str, Any]:
    """The options of ``reset`` that are the scenario's; ValueError for one that nobody has."""
    known = {"reset_heads", *scenario.reset_options}
    given = dict(options or {})
    for name in given:
        if name not in known and name not in also:
            raise checks.unknown("reset option", name, known.union(also))
    if "reset_heads" in given:
        checks.flag("reset_heads", given["reset_heads"])
    return {name: value for name, value in given.items() if name in known}


__all__ = [
    "Batch",
    "Scenario",
    "Stream",
    "describe",
    "judged",
    "make_scenario",
    "registry",
    "reset_options",
    "scenario_for",
]
