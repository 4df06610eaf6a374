"""Values as people write them, in YAML or in Python, as the plain values that JSON has."""

from __future__ import annotations

import math
import numbers
import os
import re
from collections.abc import Mapping, Sequence
from typing import Any

import yaml

from owo_env import checks
from owo_env.fairness.alpha import checked


class Loader(yaml.SafeLoader):
    """Safe YAML that refuses a key given twice and reads numbers as YAML 1.2 does, 1e-3 too."""

    def compose_mapping_node(self, anchor: Any) -> yaml.MappingNode:
        # Here, before merge keys (<<) are put in place of what they stand for.
        node = super().compose_mapping_node(anchor)
        seen = set()
        for key, _ in node.value:
            if not isinstance(key, yaml.ScalarNode) or key.tag == "tag:yaml.org,2002:merge":
                continue
            if (key.tag, key.value) in seen:
                raise yaml.MarkedYAMLError(
                    problem=f"key {key.value!r} is given twice", problem_mark=key.start_mark
                )
            seen.add((key.tag, key.value))
        return node


Loader.add_implicit_resolver(
    "tag:yaml.org,2002:float",
    re.compile(r"^[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)[eE][-+]?[0-9]+$"),
    list("-+.0123456789"),
)


def read(text: str) -> Any:
    """What a YAML text says.

    Raises:
        ValueError: It is no YAML; the message says why.
    """
    try:
        return yaml.load(text, Loader)
    except yaml.YAMLError as error:
        raise ValueError(getattr(error, "problem", None) or str(error)) from error


def plain(argument: str, value: Any) -> Any:
    """A number, text, list or mapping as JSON has it, also where it is NumPy's or OmegaConf's.

    Args:
        argument: What it is given as, for the message.
        value: What is given.

    Raises:
        ValueError: It, or something in it, is none of these, or not finite.
    """
    if value is None or isinstance(value, bool):
        return value
    if isinstance(value, str):
        return str(value)
    if isinstance(value, os.PathLike):
        return os.fspath(value)
    if hasattr(value, "tolist"):  # NumPy's scalars and arrays, and who behaves as they do
        return plain(argument, value.tolist())
    if isinstance(value, numbers.Integral):
        return int(value)
    if isinstance(value, numbers.Real):
        if argument == "alpha" and value == math.inf:
            checked(value)  # knows what ∞ is called
        return checks.number(argument, value)
    if isinstance(value, Mapping):
        return {key: plain(argument, inner) for key, inner in value.items()}
    if isinstance(value, Sequence) and not isinstance(value, bytes | bytearray):
        return [plain(argument, inner) for inner in value]
    raise ValueError(f"{argument}={value!r}: must be made of numbers, texts, lists and mappings")


def words(value: Any) -> str:
    """A setting for people: a mapping as its name, if it has one, and what it is given."""
    if isinstance(value, Mapping):
        given = [f"{key}={words(v)}" for key, v in value.items() if key != "name"]
        if "name" not in value:
            return " ".join(given)
        return " ".join(given if value["name"] in value else [str(value["name"]), *given])
    return str(value)
