"""Traces as ``.npz`` files whose arrays are mapped into memory, not read."""

from __future__ import annotations

import json
import struct
import zipfile
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.lib import format as npy
from numpy.typing import NDArray

from owo_env.scenarios.traces.trace import Arrays, Recordings, parse_settings

LOCAL_HEADER = 30  # bytes before the name in a zip file's member (APPNOTE.TXT 4.3.7)


def read(path: Path) -> Arrays:
    """The trace in an ``.npz`` file."""
    try:
        with zipfile.ZipFile(path) as archive:
            members = {info.filename.removesuffix(".npy"): info for info in archive.infolist()}
    except zipfile.BadZipFile as error:
        raise ValueError(f"{path}: is not an .npz file ({error})") from error
    missing = [name for name in ("features", "targets") if name not in members]
    if missing:
        raise ValueError(f"{path}: lacks {' and '.join(missing)}; it holds {sorted(members)}")
    arrays = {
        name: _mapped(path, members[name])
        for name in ("features", "targets", "user_class", "settings")
        if name in members
    }
    text = str(arrays["settings"][()]) if "settings" in arrays else "{}"
    return Arrays(
        str(path),
        arrays["features"],
        arrays["targets"],
        arrays.get("user_class"),
        parse_settings(str(path), text),
    )


def write(path: Path, recordings: Recordings, rounds: int, settings: Mapping[str, Any]) -> None:
    """Write a trace, a block of rounds in memory at a time.

    A zip file is written one member after the other, so the rounds are drawn once for each.
    """
    classes: list[NDArray[Any]] = []

    def features() -> Iterator[NDArray[Any]]:
        for recording in recordings():
            if "user_class" in recording.about:
                classes.append(recording.about["user_class"])
            yield recording.features

    with zipfile.ZipFile(path, "w", zipfile.ZIP_STORED, allowZip64=True) as archive:
        _append(archive, "features", rounds, features())
        _append(archive, "targets", rounds, (recording.targets for recording in recordings()))
        if classes:
            _append(archive, "user_class", rounds, classes)
        _append(archive, "settings", None, [np.array(json.dumps(settings))])


def _append(
    archive: zipfile.ZipFile, name: str, rounds: int | None, blocks: Iterable[NDArray[Any]]
) -> None:
    """One array as a member, from blocks along its first axis, or from one whole block."""
    member = zipfile.ZipInfo(f"{name}.npy")  # a name alone would write today's date
    with archive.open(member, "w", force_zip64=True) as file:
        for n, block in enumerate(blocks):
            if n == 0:
                header = npy.header_data_from_array_1_0(np.ascontiguousarray(block))
                header["shape"] = block.shape if rounds is None else (rounds, *block.shape[1:])
                npy.write_array_header_1_0(file, header)
            file.write(block.tobytes())


def _mapped(path: Path, info: zipfile.ZipInfo) -> NDArray[Any]:
    """A member of an uncompressed ``.npz`` as a read-only memory map."""
    name = info.filename.removesuffix(".npy")
    if info.compress_type != zipfile.ZIP_STORED:
        raise ValueError(
            f"{path}: {name} is compressed and cannot be mapped into memory: write it by "
            "numpy.savez, not numpy.savez_compressed"
        )
    with path.open("rb") as file:
        file.seek(info.header_offset)
        lengths = struct.unpack("<HH", file.read(LOCAL_HEADER)[26:])
        file.seek(sum(lengths), 1)
        try:
            version = npy.read_magic(file)
            header = npy.read_array_header_1_0 if version == (1, 0) else npy.read_array_header_2_0
            shape, fortran, dtype = header(file)
        except ValueError as error:
            raise ValueError(f"{path}: {name} is not a numpy array ({error})") from error
        if dtype.hasobject:
            raise ValueError(f"{path}: {name} holds Python objects: must be an array of numbers")
        start = file.tell()
    return np.memmap(path, dtype, "r", start, shape, "F" if fortran else "C")
