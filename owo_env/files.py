"""Files that appear whole or not at all, whoever else writes them at the same time."""

from __future__ import annotations

import contextlib
import os
import socket
import tempfile
from collections.abc import Iterator
from pathlib import Path


@contextlib.contextmanager
def atomic(path: str | os.PathLike[str]) -> Iterator[Path]:
    """A file beside ``path`` to write to, which is moved there at the end.

    Its name says who writes it, ``.host.pid.….tmp``; an error removes it.
    """
    path = Path(path)
    prefix = f".{socket.gethostname()}.{os.getpid()}."
    handle, name = tempfile.mkstemp(".tmp", prefix, path.parent)
    os.close(handle)
    beside = Path(name)
    try:
        yield beside
        with open(beside, "rb") as file:
            os.fsync(file.fileno())
        os.chmod(beside, 0o644)
        os.replace(beside, path)
    finally:
        beside.unlink(missing_ok=True)


def write(path: str | os.PathLike[str], content: str | bytes) -> None:
    """Write a file whole or not at all, in a folder that is made where it is missing."""
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    with atomic(path) as beside:
        beside.write_bytes(content.encode() if isinstance(content, str) else content)
