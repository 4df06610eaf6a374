"""Scenarios: what the users of the RAN learn. Each is imported when it is first asked for."""

import importlib
from collections.abc import Mapping
from typing import Any

from owo_env import checks
from owo_env.scenarios.base import Scenario, Stream

# What gym.make and gym.make_vec take themselves; here for whoever misspells it.
_OF_THE_ENVIRONMENT = ("autoreset_mode", "gradients", "hindsight", "render_mode")

_SCENARIOS: dict[str, tuple[str, str]] = {}  # name → path of the class, and a line about it


def names() -> dict[str, str]:
    """Name → one line about it, of every registered scenario; none of them is imported."""
    return {name: summary for name, (_, summary) in sorted(_SCENARIOS.items())}


def register_scenario(name: str, path: str, summary: str = "") -> None:
    """Make ``scenario=name`` mean a class.

    Args:
        name: The scenario's name; registering it again replaces it.
        path: ``"package.module:Class"``, imported when it is first asked for.
        summary: One line for ``owo list``.
    """
    if ":" not in path:
        raise ValueError(f"path={path!r}: must be 'package.module:Class'")
    _SCENARIOS[name] = path, summary


def entries() -> dict[str, tuple[str, str]]:
    """Name → path, and the line about it; for :func:`add` in another process."""
    return dict(_SCENARIOS)


def add(registered: Mapping[str, tuple[str, str]]) -> None:
    """Register what :func:`entries` gave in another process."""
    _SCENARIOS.update(registered)


def scenario_class(name: str) -> type[Scenario]:
    """The class behind a scenario's name, or at a path ``"package.module:Class"``.

    Raises:
        ValueError: The name is unknown (the message has the nearest names), or the path leads
            to no scenario.
    """
    if ":" not in name and name not in _SCENARIOS:
        raise checks.unknown("scenario", name, _SCENARIOS)
    path, _ = _SCENARIOS.get(name, (name, ""))
    module, _, attribute = path.partition(":")
    try:
        found = getattr(importlib.import_module(module), attribute, None)
    except ModuleNotFoundError as error:
        if error.name is None or not f"{module}.".startswith(f"{error.name}."):
            raise  # the module is there, but not what it needs
        raise ValueError(f"scenario {name!r}: there is no module {module!r}") from error
    if found is None:
        raise ValueError(f"scenario {name!r}: {module!r} has no {attribute!r}")
    if not (isinstance(found, type) and issubclass(found, Scenario)):
        raise ValueError(f"scenario {name!r}: {attribute!r} is not a class derived from Scenario")
    return found


def make_scenario(scenario: str | Mapping[str, Any] | Scenario, **settings: Any) -> Scenario:
    """A scenario from a name, a mapping ``{"name": …, **settings}`` or a ready object.

    Args:
        scenario: Which; a name, or the path of a class, ``"package.module:Class"``.
        settings: The scenario's own arguments; None leaves its default in place.

    Raises:
        ValueError: An unknown name, or a setting outside its domain.
        TypeError: A setting that the scenario does not have, or settings for a ready object.
    """
    settings = {key: value for key, value in settings.items() if value is not None}
    if isinstance(scenario, Scenario):
        for key, value in settings.items():
            if getattr(scenario.problem, key, None) != value:
                raise TypeError(
                    f"{key}={value!r}: the scenario is a ready object; set it when it is built"
                )
        return scenario
    if isinstance(scenario, Mapping):
        settings = {**{k: v for k, v in scenario.items() if k != "name"}, **settings}
        if "name" not in scenario:
            raise ValueError(f"scenario={dict(scenario)!r}: a mapping needs the key 'name'")
        scenario = scenario["name"]
    if not isinstance(scenario, str):
        raise TypeError(f"scenario={scenario!r}: must be a name, a mapping or a Scenario")
    cls = scenario_class(scenario)
    checks.keywords(f"scenario {scenario!r}", cls, settings, also=_OF_THE_ENVIRONMENT)
    return cls(**settings)


for _name, _path, _summary in (
    ("sinusoid", "sinusoid:Sinusoid", "§IV convex: two users' sinusoids by a shared cubic"),
    (
        "csi-prediction",
        "csi_prediction:CsiPrediction",
        "radio users predict their channels by a shared filter",
    ),
    (
        "recorded",
        "recorded:Recorded",
        "replays your own least-squares data: arrays or a trace file",
    ),
    (
        "rainbow-mnist",
        "rainbow_mnist:RainbowMnist",
        "§IV deep: 56 Rainbow MNIST tasks, shared LeNet, one head a user",
    ),
    (
        "split-learning",
        "split_learning:SplitLearning",
        "your own PyTorch encoder, heads, losses and per-user tasks (from Python)",
    ),
):
    register_scenario(_name, f"owo_env.scenarios.{_path}", _summary)

__all__ = ["Scenario", "Stream", "make_scenario", "names", "register_scenario", "scenario_class"]
