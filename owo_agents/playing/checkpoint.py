"""Checkpoints at round ends: a long run goes on after a kill to bit-identical results.

A checkpoint is two files. The state is one safetensors file: arrays as tensors, everything else as
JSON in its header; it is written beside its place and moved there. The records of the rounds are
appended to the file beside it, ``.records``, and synced first: the state says how many of its
bytes count. So a save costs the same at any round, and a kill at any moment leaves a whole
checkpoint, the old one or the new. Sums tell a damaged one. Nothing in them is ever executed.
"""

from __future__ import annotations

import contextlib
import json
import logging
import os
import zlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import groupby
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from safetensors.numpy import load as tensors_of
from safetensors.numpy import save as bytes_of
from safetensors.numpy import save_file

from owo_agents.agent import Agent
from owo_agents.playing.loop import RoundRecord, play
from owo_env import checks, files

FORMAT = 3
RECORDS = ".records"  # the suffix of the records' file
_MARKS = _ARRAY, _TEXT, _TENSOR, _PAIRS = "array", "text", "tensor", "pairs"
"""What stands in the JSON tree for what JSON has not: the one key of a mapping."""
_TREES = "trees"
_BLOCK = 1024  # rounds at most whose records are stacked together
_NO_MODEL = np.empty(0)


class Damaged(ValueError):
    """A file is no checkpoint, or not all of one."""


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
        path: The checkpoint's file; it need not exist yet, and stays when the run ends. A damaged
            one is renamed, which is said in the log, and the run starts anew.
        config: All that decides the run, in plain JSON values.
        env: A scalar environment whose scenario can be saved.
        agent: A fresh agent.
        rounds: How many in all.
        seed: Of the stream.
        every: Rounds between checkpoints.

    Yields:
        The records of all rounds; those of restored rounds come without their ``model``.

    Raises:
        ValueError: The checkpoint is of another configuration or format.
        TypeError: The environment or the agent cannot be saved; known before the first round,
            unless the agent's state comes to hold something else later.
        OSError: The checkpoint cannot be written; the one before it is kept.
    """
    checks.whole("rounds", rounds, low=1)
    checks.whole("every", every, low=1)
    path = Path(path)
    _check_savable(env, agent)
    records: list[RoundRecord] = []
    try:
        records = load(path, config, env, agent)
    except FileNotFoundError:
        pass
    except Damaged as error:
        aside = path.with_name(f"{path.name}.damaged")
        with contextlib.suppress(FileNotFoundError):  # another run has just ended with it
            path.replace(aside)
        said = "%s: set aside as %s, and the run starts anew"
        logging.getLogger(__name__).warning(said, error, aside.name)
    yield from records[:rounds]
    if len(records) >= rounds:
        return
    for record in play(env, agent, rounds - len(records), None if records else seed):
        records.append(replace(record, model=_NO_MODEL))
        if len(records) % every == 0:
            try:
                save(path, config, env, agent, records)
            except OSError as error:
                said = f"checkpoint {path}: cannot be written ({error.strerror or error})"
                raise OSError(f"{said}; the one before it is kept") from error
        yield record


def save(
    path: str | Path,
    config: Mapping[str, Any],
    env: gym.Env[Any, Any] | None,
    agent: Agent,
    records: Sequence[RoundRecord],
) -> None:
    """Write a checkpoint at the end of a round; nothing where one of as many rounds is there.

    Args:
        path: Its file.
        config: All that decides the run, in plain JSON values.
        env: The environment: its stream, with the users' heads and random state; None where an
            agent learns without one.
        agent: The agent: model, weights, and what else it carries.
        records: Those of all rounds so far; the models in them are not kept. What a checkpoint
            of this configuration has already is not written again.

    Raises:
        TypeError: The environment, the agent or ``config`` cannot be saved.
        OSError: The files cannot be written; the checkpoint that was there is kept.
    """
    _check_savable(env, agent)
    path = Path(path)
    written = _written(path, config)
    if records and written["rounds"] >= len(records):
        return
    new = b"".join(_blocks(records[written["rounds"] :]))
    state = {
        "format": FORMAT,
        "config": config,
        "env": {} if env is None else _unwrapped(env).state_dict(),
        "agent": agent.state_dict(),
        "torch": torch.get_rng_state().numpy(),  # some agents draw from the global generator
        "records": {
            "rounds": len(records),
            "bytes": written["bytes"] + len(new),
            "sum": zlib.crc32(new, written["sum"]),
        },
    }
    arrays: dict[str, np.ndarray[Any, Any]] = {}
    text = json.dumps(_lift(state, arrays), default=_unsavable)
    path.parent.mkdir(parents=True, exist_ok=True)
    _append(path.with_suffix(RECORDS), written["bytes"], new)
    with files.atomic(path) as beside:
        save_file(arrays, beside, {"checkpoint": text, "sum": _sum(text, arrays)})


def _check_savable(env: gym.Env[Any, Any] | None, agent: Agent) -> None:
    """Raise TypeError for what cannot be saved, as far as is known now."""
    if env is not None:
        _unwrapped(env)
    if not agent.savable():
        raise TypeError(
            f"agent {agent} cannot be checkpointed: it does not say what it carries from round to "
            "round: name its attributes in `carried`, or write state_dict() and load_state_dict()"
        )
    try:
        state = agent.state_dict()
    except AttributeError:  # what it carries is made in its first round
        return
    try:
        json.dumps(_lift(state, {}), default=_unsavable)
    except TypeError as error:
        raise TypeError(f"agent {agent} cannot be checkpointed: {error}") from error


def load(
    path: str | Path, config: Mapping[str, Any], env: gym.Env[Any, Any] | None, agent: Agent
) -> list[RoundRecord]:
    """Put ``env`` and ``agent`` where the checkpoint left them; the rounds' records so far.

    Raises:
        FileNotFoundError: There is no such file.
        Damaged: It is damaged, or no checkpoint; a ValueError.
        ValueError: It is one of another configuration or format.
    """
    path = Path(path)
    state = _read(path)
    differing = _differences(state["config"], json.loads(json.dumps(config)))
    if differing:
        raise ValueError(f"{path} is a checkpoint of another configuration: {differing}")
    records = _recorded(path.with_suffix(RECORDS), state["records"])
    if env is not None:
        _unwrapped(env).load_state_dict(state["env"])
    agent.load_state_dict(state["agent"])
    torch.set_rng_state(torch.from_numpy(state["torch"]))
    return records


def _read(path: Path) -> dict[str, Any]:
    """The state."""
    if path.is_symlink():
        raise Damaged(f"{path} is a link, as no checkpoint is")
    if not path.is_file():
        raise FileNotFoundError(f"there is no checkpoint {path}")
    try:
        with safe_open(path, framework="numpy") as file:
            about = file.metadata() or {}
            arrays = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        text = about.get("checkpoint", "{}")
        state = _parsed(text, arrays)
        found = state.get("format")
        if found == FORMAT and about.get("sum") != _sum(text, arrays):
            raise ValueError("its sum is another")
    except (SafetensorError, ValueError, KeyError) as error:
        raise Damaged(f"{path} is damaged or no checkpoint ({error})") from error
    if found != FORMAT:
        raise ValueError(f"{path} has checkpoint format {found}: this version reads {FORMAT}")
    return state


def _sum(text: str, arrays: Mapping[str, np.ndarray[Any, Any]]) -> str:
    """A sum over all of a state, in whatever order its arrays come."""
    found = zlib.crc32(text.encode())
    for name in sorted(arrays, key=int):
        found = zlib.crc32(arrays[name].tobytes(), found)
    return str(found)


def _written(path: Path, config: Mapping[str, Any]) -> dict[str, int]:
    """How many rounds and bytes of records a checkpoint of this configuration has, and their sum.

    Only the header is read. All are 0 of what is no such checkpoint.
    """
    try:
        with safe_open(path, framework="numpy") as file:
            state = json.loads(file.metadata()["checkpoint"])
        there = (state["format"], state["config"]) == (FORMAT, json.loads(json.dumps(config)))
        records: dict[str, int] = state["records"]
        if there and path.with_suffix(RECORDS).stat().st_size >= records["bytes"]:
            return records
    except (OSError, SafetensorError, ValueError, KeyError, TypeError):
        pass  # there is none, or it is damaged
    return {"rounds": 0, "bytes": 0, "sum": 0}


def _append(path: Path, start: int, new: bytes) -> None:
    """Write at a place of a file; what may lie behind counts for nothing."""
    path.touch()
    with open(path, "r+b") as file:
        file.seek(start)
        file.write(new)
        file.flush()
        os.fsync(file.fileno())


def _blocks(records: Sequence[RoundRecord]) -> Iterator[bytes]:
    """The records as bytes: each block its length, then one tensor for each array of a round."""
    lifted = []
    for record in records:
        arrays: dict[str, np.ndarray[Any, Any]] = {}
        fields = {name: value for name, value in vars(record).items() if name != "model"}
        lifted.append((json.dumps(_lift(fields, arrays), default=_unsavable), arrays))
    for _, alike in groupby(lifted, lambda one: [(a.dtype, a.shape) for a in one[1].values()]):
        together = list(alike)
        for first in range(0, len(together), _BLOCK):
            trees, stacks = zip(*together[first : first + _BLOCK], strict=True)
            tensors = {name: np.stack([each[name] for each in stacks]) for name in stacks[0]}
            tensors[_TREES] = np.frombuffer(json.dumps(trees).encode(), np.uint8)
            block = bytes_of(tensors)
            yield len(block).to_bytes(8, "little") + block


def _recorded(path: Path, written: Mapping[str, int]) -> list[RoundRecord]:
    """The records that count."""
    try:
        with open(path, "rb") as file:
            content = memoryview(file.read(written["bytes"]))
    except FileNotFoundError:
        content = memoryview(b"")
    if len(content) != written["bytes"] or zlib.crc32(content) != written["sum"]:
        raise Damaged(f"{path} is damaged or not all there")
    records: list[RoundRecord] = []
    while content:
        size = 8 + int.from_bytes(content[:8], "little")
        records += _unstacked(tensors_of(bytes(content[8:size])))
        content = content[size:]
    return records


def _unstacked(tensors: dict[str, np.ndarray[Any, Any]]) -> Iterator[RoundRecord]:
    """The inverse of :func:`_blocks` at one block."""
    for i, tree in enumerate(json.loads(tensors.pop(_TREES).tobytes())):
        arrays = {name: stack[i, ...] for name, stack in tensors.items()}
        fields = _parsed(tree, arrays)
        yield RoundRecord(**fields, model=_NO_MODEL)


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


def _parsed(text: str, arrays: Mapping[str, Any]) -> dict[str, Any]:
    """The inverse of :func:`_lift`; tuples come back as lists."""
    found: dict[str, Any] = json.loads(text, object_hook=lambda node: _lower(node, arrays))
    return found


def _lower(node: dict[str, Any], arrays: Mapping[str, Any]) -> Any:
    """The inverse of :func:`_lift` at one mapping."""
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
