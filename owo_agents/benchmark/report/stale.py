"""Pictures of before: what was drawn is kept in a list, and what is drawn no more is removed."""

from __future__ import annotations

import hashlib
import json
import os
import stat
from collections.abc import Mapping
from pathlib import Path

from owo_env import files

LIST = "figures.json"
"""In the results folder: the name of each picture and the SHA-256 of what was written."""

_MOST_BYTES = 1 << 22  # of the list: more is malice


def digest(content: bytes) -> str:
    """What the list says of a picture."""
    return hashlib.sha256(content).hexdigest()


def clear(folder: Path, written: Mapping[str, str], names: set[str]) -> None:
    """Remove the pictures that nothing draws any more, and keep the list of those that are there.

    Only what the list knows is removed, and only if it is still what was written: a plain file in
    ``figures`` with the same bytes. No link is followed.

    Args:
        folder: The results folder; its ``figures`` is no link that leads out of it.
        written: File name → digest of the pictures that were drawn now.
        names: File names, less their suffixes, of what is drawn: a picture stays in a format
            that was not asked for now.

    Raises:
        ValueError: The list is a link that leads out of the folder.
    """
    listed = files.inside(folder, LIST)
    kept = dict(written)
    for name, known in _read(listed).items():
        if name in written or name != os.path.basename(name):
            continue
        path = folder / "figures" / name
        if not _is_file(path) or digest(path.read_bytes()) != known:
            continue  # gone, or somebody else's by now
        if Path(name).stem in names:
            kept[name] = known
        else:
            path.unlink()
    files.write(listed, json.dumps(kept, indent=0, sort_keys=True) + "\n")


def _is_file(path: Path) -> bool:
    try:
        return stat.S_ISREG(path.lstat().st_mode)
    except (OSError, ValueError):
        return False


def _read(path: Path) -> dict[str, str]:
    """The list as it was; empty where there is none, or it is damaged."""
    try:
        if not path.is_file() or path.stat().st_size > _MOST_BYTES:
            return {}
        found = json.loads(path.read_text(encoding="utf-8"))
        return {name: known for name, known in found.items() if isinstance(known, str)}
    except (OSError, ValueError, AttributeError, RecursionError):
        return {}
