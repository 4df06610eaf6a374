"""A user's private parts on its own disk: as they are, and as they were when the round began.

One safetensors file, written whole or not at all before the server hears of a step: whenever the
process is killed, what is on the disk has every step that the server has heard of.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save

from owo_env import files

FORMAT = "airan-fairmtl user 1"
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
        answer: What was said of the last slot, to be said again.
        parts: As they are.
        copy: As they were.
    """

    run: str = ""
    incarnation: str = ""
    round: int = 0
    slot: int = 0
    opened: int = 0
    pending: bool = False
    copied: list[int] = field(default_factory=lambda: [0, 0])
    answer: bytes = b""
    parts: Parts = field(default_factory=dict)
    copy: Parts = field(default_factory=dict)

    def write(self, path: Path, durable: bool) -> None:
        """Write it; ``durable`` also if the machine should lose its power now.

        Raises:
            OSError: It cannot be written; what was there is kept.
        """
        about = {f.name: getattr(self, f.name) for f in fields(self) if f.name not in _ARRAYS}
        arrays = {f"{name}.{k}": v for name in _ARRAYS[:2] for k, v in getattr(self, name).items()}
        arrays["answer"] = np.frombuffer(self.answer, np.uint8)
        content = save(arrays, {"format": FORMAT, "about": json.dumps(about)})
        with files.atomic(path, durable) as beside:
            beside.chmod(0o600)
            beside.write_bytes(content)

    @classmethod
    def read(cls, path: Path) -> Kept:
        """What a file has; nothing where there is none.

        Raises:
            ValueError: It is damaged, or no such file.
        """
        for half in path.absolute().parent.glob(".*.tmp"):  # of a process that was killed
            if not files.writer_lives(half):
                half.unlink(missing_ok=True)
        if not path.exists():
            return cls()
        try:
            with safe_open(path, framework="numpy") as file:
                about = file.metadata() or {}
                arrays = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
            if about.get("format") != FORMAT:
                raise ValueError(f"its format is {about.get('format')!r}, not {FORMAT!r}")
            found = cls(**json.loads(about["about"]), answer=arrays.pop("answer").tobytes())
        except (SafetensorError, ValueError, KeyError, TypeError, OSError) as error:
            raise ValueError(f"{path} is damaged or no user's state ({error})") from error
        for name in _ARRAYS[:2]:
            mine = {k.partition(".")[2]: v for k, v in arrays.items() if k.startswith(f"{name}.")}
            setattr(found, name, mine)
        return found


_ARRAYS = ("parts", "copy", "answer")
