"""A user's private parts on its own disk: as they are, and as they were when the round began.

A file is written whole or not at all when a round begins. What was learned since stands in one of
two beside it, which are written over in turn, before the server hears of a step: whenever the
process is killed, one of them is whole, and what is on the disk has every step that the server has
heard of. All are safetensors.
"""

from __future__ import annotations

import errno
import json
import os
import secrets
import zlib
from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save

from owo_env import files

FORMAT = "airan-fairmtl user 2"
Parts = Mapping[str, NDArray[Any]]
"""Tensors of head and front layers by name."""


@dataclass
class Kept:
    """What a user keeps.

    Attributes:
        run: The run that it belongs to; empty before the first.
        incarnation: The server's process in which the round was opened.
        round: The last one that something was learned in.
        slot: How many of its slots the parts have learned from.
        opened: The round of whose beginning there is a copy.
        pending: Whether front layers have yet to learn from the last slot.
        copied: ``[round, slot]`` of the copy.
        base: Random, of the whole file that a step goes on from.
        step: How many times it was kept since.
        answer: What was said of the last slot, to be said again.
        parts: As they are.
        copy: As they were; not in a step.
    """

    run: str = ""
    incarnation: str = ""
    round: int = 0
    slot: int = 0
    opened: int = 0
    pending: bool = False
    copied: list[int] = field(default_factory=lambda: [0, 0])
    base: str = ""
    step: int = 0
    answer: bytes = b""
    parts: Parts = field(default_factory=dict)
    copy: Parts = field(default_factory=dict)

    def packed(self, *what: str) -> bytes:
        """A safetensors file of ``answer`` and the arrays in ``what``."""
        about = {f.name: getattr(self, f.name) for f in fields(self) if f.name not in _ARRAYS}
        arrays = {f"{name}.{k}": v for name in what for k, v in getattr(self, name).items()}
        arrays["answer"] = np.frombuffer(self.answer, np.uint8)
        said = json.dumps(about)
        return save(arrays, {"format": FORMAT, "about": said, "sum": _sum(said, arrays)})

    @classmethod
    def unpacked(cls, path: Path) -> Kept:
        """What a file has.

        Raises:
            ValueError: It is damaged, or no such file.
        """
        try:
            with safe_open(path, framework="numpy") as file:
                about = file.metadata() or {}
                arrays = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
            if about.get("format") != FORMAT:
                raise ValueError(f"its format is {about.get('format')!r}, not {FORMAT!r}")
            if about["sum"] != _sum(about["about"], arrays):
                raise ValueError("its check sum is another")
            found = cls(**json.loads(about["about"]), answer=arrays.pop("answer").tobytes())
        except (SafetensorError, ValueError, KeyError, TypeError, OSError) as error:
            raise ValueError(f"{path} is damaged or no user's state ({error})") from error
        for name in _ARRAYS[:2]:
            mine = {k.partition(".")[2]: v for k, v in arrays.items() if k.startswith(f"{name}.")}
            setattr(found, name, mine)
        return found


class Disk:
    """Where a user keeps what it has.

    Args:
        path: Of the whole file; steps are hidden beside it.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._steps = [path.with_name(f".{path.name}.step-{n}") for n in range(2)]
        self._open: list[BinaryIO] = []
        self._ours = False  # files that another process may be writing are left alone

    def read(self) -> Kept:
        """What is kept; nothing where there is no file.

        Raises:
            ValueError: It is damaged, or no such file.
        """
        for half in self.path.absolute().parent.glob(".*.tmp"):  # of a process that was killed
            if not files.writer_lives(half):
                half.unlink(missing_ok=True)
        if not self.path.exists():
            return Kept()
        found = whole = Kept.unpacked(self.path)
        for path in filter(Path.exists, self._steps):
            try:
                step = Kept.unpacked(path)
            except ValueError:  # half-written: nobody has heard of it
                continue
            if step.base == whole.base and step.step > found.step:
                found = replace(step, copy=whole.copy)
        return found

    def write(self, kept: Kept) -> None:
        """Keep all, also if the machine should lose its power now.

        Raises:
            OSError: It cannot be written; what was there is kept.
        """
        kept.base, kept.step = secrets.token_hex(8), 0
        with files.atomic(self.path) as beside:
            beside.chmod(0o600)
            beside.write_bytes(kept.packed("parts", "copy"))
        self._ours = True

    def write_step(self, kept: Kept) -> None:
        """Keep what was learned since :meth:`write`, also if this process should be killed now.

        Raises:
            OSError: It cannot be written; what was there is kept.
        """
        if not self._open:
            self._open = [_opened(path) for path in self._steps]
        kept.step += 1
        file, content = self._open[kept.step % 2], kept.packed("parts")
        file.seek(0)
        if file.write(content) != len(content):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(self.path))
        file.truncate()

    def close(self) -> None:
        """Make it one whole file again, if anything was kept here.

        Raises:
            OSError: It cannot be written; what was there is kept.
        """
        if not self._ours:
            return
        kept = self.read()
        if kept.step:
            self.write(kept)
        for file in self._open:
            file.close()
        self._open = []
        for path in self._steps:
            path.unlink(missing_ok=True)


_ARRAYS = ("parts", "copy", "answer")


def _sum(about: str, arrays: Parts) -> str:
    """CRC-32 of all that is kept."""
    found = zlib.crc32(about.encode())
    for name in sorted(arrays):
        found = zlib.crc32(arrays[name].tobytes(), found)
    return f"{found:08x}"


def _opened(path: Path) -> BinaryIO:
    """A file to write over, which only its owner can read."""
    path.touch(mode=0o600)
    return open(path, "r+b", buffering=0)
