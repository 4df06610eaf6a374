"""Scenarios: what the users of the RAN learn. Each is imported when it is first asked for."""

import importlib
from collections.abc import Mapping
from typing import Any

from owo_env import checks
from owo_env.scenarios.base import Scenario, Stream

_CLASSES: dict[str, str] = {
    "sinusoid": "owo_env.scenarios.sinusoid:Sinusoid",
    "csi-prediction": "owo_env.scenarios.csi_prediction:CsiPrediction",
    "recorded": "owo_env.scenarios.recorded:Recorded",
    "rainbow-mnist": "owo_env.scenarios.rainbow_mnist:RainbowMnist",
    "split-learning": "owo_env.scenarios.split_learning:SplitLearning",
}


def names() -> list[str]:
    """The names that ``scenario=`` takes."""
    return sorted(_CLASSES)


def register_scenario(name: str, path: str) -> None:
    """Make ``scenario=name`` mean the class at ``path``, ``"package.module:Class"``."""
    if ":" not in path:
        raise ValueError(f"path={path!r}: must be 'package.module:Class'")
    _CLASSES[name] = path


def scenario_class(name: str) -> type[Scenario]:
    """The class behind a scenario's name.

    Raises:
        ValueError: The name is unknown; the message has the nearest names.
    """
    if name not in _CLASSES:
        raise checks.unknown("scenario", name, _CLASSES)
    module, attribute = _CLASSES[name].split(":")
    found: type[Scenario] = getattr(importlib.import_module(module), attribute)
    return found


def make_scenario(scenario: str | Mapping[str, Any] | Scenario, **settings: Any) -> Scenario:
    """A scenario from a name, a mapping ``{"name": …, **settings}`` or a ready object.

    Args:
        scenario: Which.
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
    checks.keywords(f"scenario {scenario!r}", cls, settings)
    return cls(**settings)


__all__ = ["Scenario", "Stream", "make_scenario", "names", "register_scenario", "scenario_class"]
