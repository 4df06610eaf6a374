"""Checkpoints at round ends: a long run goes on after a kill to bit-identical results.

A checkpoint is one safetensors file: arrays as tensors, everything else as JSON in its header.
Nothing in it is ever executed. It is written beside its place and moved there, so a kill at any
moment leaves a whole checkpoint, the old one or the new.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save_file

from owo_agents.agent import Agent
from owo_agents.playing.loop import RoundRecord, play
from owo_env import checks, files

FORMAT = 2
_MARKS = _ARRAY, _TEXT, _TENSOR, _PAIRS = "array", "text", "tensor", "pairs"
"""What stands in the JSON tree for what JSON has not: the one key of a mapping."""


def resume(
    path: str | Path,
    config: Mapping[str, Any],
    env: gym.Env[Any, Any],
    agent: Agent,
    rounds: int,
    seed: int | None,
    every: int = 1,
) -> Iterator[RoundRecord]:
    """:func:`owo_agents.play` with a checkpoint: rounds already played are not played again.

    Args:
        path: The checkpoint's file; it need not exist yet, and stays when the run ends.
        config: All that decides the run, in plain JSON values.
        env: A scalar environment whose scenario can be saved.
        agent: A fresh agent.
        rounds: How many in all.
        seed: Of the stream.
        every: Rounds between checkpoints.

    Yields:
        The records of all rounds; those of restored rounds come without their ``model``.

    Raises:
        ValueError: The checkpoint is of another configuration, or damaged.
        TypeError: The environment or the agent cannot be saved.
    """
    checks.whole("rounds", rounds, low=1)
    checks.whole("every", every, low=1)
    records = load(path, config, env, agent) if Path(path).exists() else []
    yield from records[:rounds]
    if len(records) >= rounds:
        return
    for record in play(env, agent, rounds - len(records), None if records else seed):
        records.append(record)
        if len(records) % every == 0:
            save(path, config, env, agent, records)
        yield record


def save(
    path: str | Path,
    config: Mapping[str, Any],
    env: gym.Env[Any, Any],
    agent: Agent,
    records: Sequence[RoundRecord],
) -> None:
    """Write a checkpoint at the end of a round.

    Args:
        path: Its file.
        config: All that decides the run, in plain JSON values.
        env: The environment: its stream, with the users' heads and random state.
        agent: The agent: model, weights, and what else it carries.
        records: Those of all rounds so far; the models in them are not kept.

    Raises:
        TypeError: The environment, the agent or ``config`` cannot be saved.
    """
    if not agent.savable():
        raise TypeError(f"agent {agent} cannot be checkpointed: it does not say what it carries")
    arrays: dict[str, np.ndarray[Any, Any]] = {}
    tree = {
        "format": FORMAT,
        "config": config,
        "env": _unwrapped(env).state_dict(),
        "agent": agent.state_dict(),
        "torch": torch.get_rng_state().numpy(),  # some agents draw from the global generator
        "records": [{k: v for k, v in vars(r).items() if k != "model"} for r in records],
    }
    text = json.dumps(_lift(tree, arrays), default=_unsavable)
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    with files.atomic(path) as beside:
        save_file(arrays, beside, {"checkpoint": text})


def load(
    path: str | Path, config: Mapping[str, Any], env: gym.Env[Any, Any], agent: Agent
) -> list[RoundRecord]:
    """Put ``env`` and ``agent`` where the checkpoint left them; the rounds' records so far.

    Raises:
        FileNotFoundError: There is no such file.
        ValueError: It is damaged, no checkpoint, or one of another configuration.
    """
    tree = _read(Path(path))
    differing = _differences(tree["config"], json.loads(json.dumps(config)))
    if differing:
        raise ValueError(f"{path} is a checkpoint of another configuration: {differing}")
    _unwrapped(env).load_state_dict(tree["env"])
    agent.load_state_dict(tree["agent"])
    torch.set_rng_state(torch.from_numpy(tree["torch"]))
    return [RoundRecord(**fields, model=np.empty(0)) for fields in tree["records"]]


def _read(path: Path) -> dict[str, Any]:
    if not path.is_file():
        raise FileNotFoundError(f"there is no checkpoint {path}")
    try:
        with safe_open(path, framework="numpy") as file:
            text = (file.metadata() or {}).get("checkpoint", "{}")
            arrays = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        tree: dict[str, Any] = json.loads(text, object_hook=lambda node: _lower(node, arrays))
    except (SafetensorError, ValueError, KeyError) as error:
        raise ValueError(f"{path} is damaged or no checkpoint ({error})") from error
    if tree.get("format") != FORMAT:
        raise ValueError(
            f"{path} has checkpoint format {tree.get('format')}: this version reads {FORMAT}"
        )
    return tree


def _lift(tree: Any, arrays: dict[str, np.ndarray[Any, Any]]) -> Any:
    """The tree as plain JSON, its arrays moved to ``arrays`` under numbers."""
    if isinstance(tree, torch.Tensor):  # by its bytes, since NumPy has not all of torch's types
        flat = tree.detach().cpu().contiguous().reshape(-1)
        raw = _lift(flat.view(torch.uint8).numpy(), arrays)
        return {_TENSOR: [raw, str(tree.dtype).removeprefix("torch."), list(tree.shape)]}
    if isinstance(tree, np.ndarray):
        if tree.dtype.kind == "U":
            return {_TEXT: tree.tolist()}
        name = str(len(arrays))
        arrays[name] = np.ascontiguousarray(tree).reshape(tree.shape)
        return {_ARRAY: name}
    if isinstance(tree, Mapping):
        if any(not isinstance(key, str) for key in tree) or _mark(tree):
            return {_PAIRS: [[_key(key), _lift(value, arrays)] for key, value in tree.items()]}
        return {key: _lift(value, arrays) for key, value in tree.items()}
    if isinstance(tree, list | tuple):
        return [_lift(value, arrays) for value in tree]
    return tree.item() if isinstance(tree, np.generic) else tree


def _lower(node: dict[str, Any], arrays: Mapping[str, Any]) -> Any:
    """The inverse of :func:`_lift` at one mapping; tuples come back as lists."""
    mark = _mark(node)
    if mark == _ARRAY:
        return arrays[node[_ARRAY]]
    if mark == _TEXT:
        return np.array(node[_TEXT])
    if mark == _TENSOR:
        raw, kind, shape = node[_TENSOR]
        tensor = torch.empty(shape, dtype=getattr(torch, kind))
        tensor.view(-1).view(torch.uint8).copy_(torch.tensor(raw))
        return tensor
    return dict(node[_PAIRS]) if mark == _PAIRS else node


def _mark(node: Mapping[Any, Any]) -> str | None:
    """The mark of a mapping that stands for something else; None of any other."""
    return next((key for key in node if key in _MARKS), None) if len(node) == 1 else None


def _key(key: Any) -> Any:
    return key if isinstance(key, str | int | float) else _unsavable(key)


def _unsavable(value: Any) -> Any:
    raise TypeError(
        "a checkpoint holds numbers, texts, arrays and tensors, lists and mappings of them: "
        f"{value!r} is none of these"
    )


def _differences(there: Any, here: Any, place: str = "") -> str:
    """Where two plain values differ, in words; empty where they don't."""
    if isinstance(there, dict) and isinstance(here, dict):
        found = [
            _differences(there.get(key), here.get(key), f"{place}.{key}" if place else key)
            for key in sorted({*there, *here})
        ]
        return "; ".join(filter(None, found))
    return "" if there == here else f"{place} is {there!r} there and {here!r} here"


def _unwrapped(env: gym.Env[Any, Any]) -> Any:
    inner = env.unwrapped
    if not hasattr(inner, "state_dict"):
        raise TypeError(f"{type(inner).__name__} cannot be checkpointed")
    return inner
