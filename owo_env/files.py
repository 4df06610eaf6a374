"""Files that appear whole or not at all, whoever else writes them at the same time."""

from __future__ import annotations

import contextlib
import os
import re
import secrets
import socket
from collections.abc import Iterator
from pathlib import Path

_TEMPORARY = re.compile(r"\.(.*)\.(\d+)\.[^.]*\.tmp")  # .host.pid.random.tmp


@contextlib.contextmanager
def atomic(path: str | os.PathLike[str], durable: bool = True) -> Iterator[Path]:
    """A file beside ``path`` to write to, which is moved there at the end.

    Its name says who writes it, ``.host.pid.….tmp``; an error removes it.

    Args:
        path: Where.
        durable: Whether it has to outlive a loss of power too, and not only this process.

    Raises:
        OSError: The folder is not there, or the disk refuses.
    """
    path = Path(path)
    writer = f".{socket.gethostname()}.{os.getpid()}.{secrets.token_hex(8)}.tmp"
    beside = path.with_name(writer)
    beside.touch(exist_ok=False)  # tempfile would not keep to the umask
    try:
        yield beside
        if durable:
            with open(beside, "rb") as file:
                os.fsync(file.fileno())
        os.replace(beside, path)
    finally:
        beside.unlink(missing_ok=True)


def write(path: str | os.PathLike[str], content: str | bytes) -> None:
    """Write a file whole or not at all, in a folder that is there; texts are UTF-8.

    Raises:
        OSError: The folder is not there (any more), or the disk refuses.
    """
    if isinstance(content, str):  # names may hold half a character: file systems and YAML allow it
        content = content.encode("utf-8", "backslashreplace")
    with atomic(path) as beside:
        beside.write_bytes(content)


def writer_lives(path: Path) -> bool:
    """Whether the process that named a temporary file may still be writing it."""
    writer = _TEMPORARY.fullmatch(path.name)
    if writer is None or writer[1] != socket.gethostname():
        return writer is not None  # on another machine that shares the folder; not ours to judge
    try:
        os.kill(int(writer[2]), 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        pass
    return True


def inside(folder: Path, name: str) -> Path:
    """What a folder has under a name, links followed to where they lead.

    Raises:
        ValueError: It leads out of the folder.
    """
    path = folder / name
    if not Path(os.path.realpath(path)).is_relative_to(os.path.realpath(folder)):
        raise ValueError(f"{path}: leads out of the folder; remove the link")
    return path
