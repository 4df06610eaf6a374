"""The file of a trace, which is to stay as it was when it was opened."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO


class TraceFile:
    """A file that is opened for every reading, never kept open or mapped into memory.

    So it can be copied and sent to other processes, and a file that is cut short while it is read
    costs an error and not the interpreter.

    Args:
        path: The file.

    Raises:
        OSError: There is no such file.
    """

    def __init__(self, path: Path) -> None:
        self.name = str(path)
        self._path = path.absolute()  # whatever the working directory is later on
        self._mark = _mark(path.stat())

    @contextlib.contextmanager
    def open(self) -> Iterator[BinaryIO]:
        """The file, to read from.

        Raises:
            ValueError: It is another file than it was, before or after what is done with it.
            OSError: It is not there any more.
        """
        with open(self._path, "rb") as file:
            self._compare(file)
            try:
                yield file
            finally:  # what was read of a changed file is worth nothing, nor is its error
                self._compare(file)

    def _compare(self, file: BinaryIO) -> None:
        if _mark(os.fstat(file.fileno())) != self._mark:
            raise ValueError(
                f"{self.name}: was written anew since it was opened, so that its settings and "
                "checks are those of other data: make the scenario anew"
            )


def _mark(status: os.stat_result) -> tuple[int, int, int]:
    """What tells a file from what is written in its place.

    Without the device, which another machine that shares the folder numbers otherwise.
    """
    return status.st_ino, status.st_size, status.st_mtime_ns
