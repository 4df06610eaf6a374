"""Traces as ``.npz`` files, read a block of rounds at a time."""

from __future__ import annotations

import json
import math
import struct
import zipfile
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from numpy.lib import format as npy
from numpy.typing import NDArray

from owo_env.scenarios.least_squares.measured import LINK, Recording
from owo_env.scenarios.traces.file import TraceFile
from owo_env.scenarios.traces.trace import Recordings, Trace, parse_settings, shape_of

LOCAL_HEADER = 30  # bytes before the name in a zip file's member (APPNOTE.TXT 4.3.7)
HOLDS = {
    "features": "numbers",
    "targets": "numbers",
    "user_class": "text (names.astype(str))",
    **dict.fromkeys(LINK, "numbers, or true and false"),
    "settings": "text (json.dumps(settings))",
}


@dataclass
class Member:
    """An array in an uncompressed ``.npz``.

    Attributes:
        start: Where its data begin in the file.
        shape: Its shape.
        dtype: Its type.
        whole: The array itself where a round does not lie in one piece, else None.
    """

    start: int
    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    whole: NDArray[Any] | None = None

    def rows(self, file: BinaryIO, first: int, stop: int) -> NDArray[Any]:
        """The rows ``first`` … ``stop − 1``."""
        if self.whole is not None:
            return self.whole[first:stop].copy()
        return self._piece(file, first, (stop - first, *self.shape[1:]))

    def all(self, file: BinaryIO) -> NDArray[Any]:
        """The whole array, as if in C order."""
        return self._piece(file, 0, self.shape)

    def _piece(self, file: BinaryIO, first: int, shape: tuple[int, ...]) -> NDArray[Any]:
        piece = np.empty(shape, self.dtype)
        file.seek(self.start + first * math.prod(self.shape[1:]) * self.dtype.itemsize)
        if file.readinto(piece.reshape(-1).view(np.uint8)) < piece.nbytes:  # type: ignore[attr-defined]
            raise ValueError("the file ends within an array")
        return piece


class Npz(Trace):
    """A trace in an ``.npz`` file.

    Args:
        path: The file.

    Raises:
        ValueError: It is no such file, an array is missing, compressed or of another kind, or
            the shapes do not fit.
    """

    def __init__(self, path: Path) -> None:
        self.source = str(path)
        self._file = TraceFile(path)
        with self._file.open() as file:
            try:
                with zipfile.ZipFile(file) as archive:
                    infos = {i.filename.removesuffix(".npy"): i for i in archive.infolist()}
            except zipfile.BadZipFile as error:
                raise ValueError(f"{path}: is not an .npz file ({error})") from error
            missing = [name for name in ("features", "targets") if name not in infos]
            if missing:
                raise ValueError(f"{path}: lacks {' and '.join(missing)}; it holds {sorted(infos)}")
            members = {
                name: _member(f"{path}: {name}", file, infos[name], kind)
                for name, kind in HOLDS.items()
                if name in infos
            }
            settings = members.pop("settings", None)
            text = "{}" if settings is None else str(settings.all(file)[()])
        self._members, self.about = members, tuple(members.keys() - {"features", "targets"})
        self.settings = parse_settings(self.source, text)
        self.shape = shape_of(self.source, **{n: (m.shape, m.dtype) for n, m in members.items()})

    def _read(self, first: int, stop: int) -> Recording:
        with self._file.open() as file:
            rows = {name: member.rows(file, first, stop) for name, member in self._members.items()}
        names = rows.get("user_class")
        about = {} if names is None else {"user_class": names.astype(str)}
        about |= {f"_{name}": rows[name] for name in LINK if name in rows}
        return Recording(rows["features"], rows["targets"], about)


def _member(what: str, file: BinaryIO, info: zipfile.ZipInfo, kind: str) -> Member:
    if info.compress_type != zipfile.ZIP_STORED:
        raise ValueError(
            f"{what} is compressed and cannot be read in parts: write it by numpy.savez, not "
            "numpy.savez_compressed"
        )
    file.seek(info.header_offset)
    header = file.read(LOCAL_HEADER)
    if len(header) < LOCAL_HEADER:
        raise ValueError(f"{what} is not where the .npz file says")
    begin = file.seek(sum(struct.unpack("<HH", header[26:])), 1)
    try:
        version = npy.read_magic(file)
        read = npy.read_array_header_1_0 if version == (1, 0) else npy.read_array_header_2_0
        shape, fortran, dtype = read(file)
    except ValueError as error:
        raise ValueError(f"{what} is not a numpy array ({error})") from error
    if dtype.hasobject:
        raise ValueError(f"{what} holds Python objects: must be an array of {kind}")
    member = Member(file.tell(), shape, dtype)
    if member.start - begin + math.prod(shape) * dtype.itemsize != info.file_size:
        raise ValueError(f"{what} has shape {shape} and type {dtype}: its data are not as long")
    if fortran:  # a round's figures lie far apart
        member.whole = member.all(file).reshape(shape[::-1]).T
    return member


def write(path: Path, recordings: Recordings, rounds: int, settings: Mapping[str, Any]) -> None:
    """Write a trace, a block of rounds in memory at a time.

    A zip file is written one member after the other, so the rounds are drawn once for each.
    """
    about: dict[str, list[NDArray[Any]]] = {"user_class": [], **{f"_{n}": [] for n in LINK}}

    def features() -> Iterator[NDArray[Any]]:
        for recording in recordings():
            for name in recording.about.keys() & about.keys():
                about[name].append(recording.about[name])
            yield recording.features

    with zipfile.ZipFile(path, "w", zipfile.ZIP_STORED, allowZip64=True) as archive:
        _append(archive, "features", rounds, features())
        _append(archive, "targets", rounds, (recording.targets for recording in recordings()))
        for name, blocks in about.items():
            if blocks:  # names in one width
                _append(archive, name.removeprefix("_"), rounds, [np.concatenate(blocks)])
        _append(archive, "settings", None, [np.array(json.dumps(settings))])


def _append(
    archive: zipfile.ZipFile, name: str, rounds: int | None, blocks: Iterable[NDArray[Any]]
) -> None:
    """One array as a member, from blocks along its first axis, or from one whole block."""
    member = zipfile.ZipInfo(f"{name}.npy")  # a name alone would write today's date
    with archive.open(member, "w", force_zip64=True) as file:
        kind = None
        for block in blocks:
            if kind is None:
                kind = block.dtype, block.shape[1:]
                header = npy.header_data_from_array_1_0(np.ascontiguousarray(block))
                header["shape"] = block.shape if rounds is None else (rounds, *block.shape[1:])
                npy.write_array_header_1_0(file, header)
            if (block.dtype, block.shape[1:]) != kind:
                raise ValueError(f"{name}: change their type or shape from one round to another")
            file.write(block.tobytes())
