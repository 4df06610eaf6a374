"""A suite's file as somebody unknown may have written it: what is known before it means anything.

It is read by its events, one after the other, so that nothing is built and no alias is expanded.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path

import yaml

MOST_BYTES = 1 << 20
MOST_VALUES = 100_000  # with every alias written out
DEEPEST = 32


def read_limited(path: Path) -> str:
    """The text of a suite's file, if it is of a size that a suite may have.

    Raises:
        ValueError: It is too large, too deep or no UTF-8 text.
        OSError: It cannot be read.
    """
    with open(path, "rb") as file:
        content = file.read(MOST_BYTES + 1)
    if len(content) > MOST_BYTES:
        raise ValueError(f"{path}: is larger than a suite may be, {MOST_BYTES} bytes")
    try:
        text = content.decode()
    except UnicodeDecodeError as error:
        place = f"byte {error.start + 1}: {error.reason}"
        raise ValueError(f"suite {str(path)!r}: must be UTF-8 ({place})") from error
    with contextlib.suppress(yaml.YAMLError):  # whoever parses it says where it is wrong
        _measure(str(path), text)
    return text


def texts(text: str) -> Iterator[str]:
    """Every key and value of a YAML document, as far as it can be read."""
    try:
        for event in yaml.parse(text, yaml.SafeLoader):
            if isinstance(event, yaml.ScalarEvent):
                yield event.value
    except yaml.YAMLError:
        return


def _measure(source: str, text: str) -> None:
    """Raise ValueError where a document is deeper or, with its aliases, larger than allowed."""
    sizes: dict[str, int] = {}  # of what an anchor names, once it is over
    opened: list[tuple[str | None, int]] = []  # anchor, and how many values there were before
    values = 0
    for event in yaml.parse(text, yaml.SafeLoader):
        line = f"{source}:{event.start_mark.line + 1 if event.start_mark else 1}"
        if isinstance(event, yaml.CollectionEndEvent):
            anchor, before = opened.pop()
        elif isinstance(event, yaml.NodeEvent):
            anchor, before = event.anchor, values
            if isinstance(event, yaml.AliasEvent):
                if anchor not in sizes:
                    raise ValueError(f"{line}: alias {anchor!r} stands for nothing, or for itself")
                values += sizes[anchor]
            else:
                values += 1
        else:
            continue
        if isinstance(event, yaml.CollectionStartEvent):
            opened.append((anchor, before))
        elif anchor is not None and not isinstance(event, yaml.AliasEvent):
            sizes[anchor] = values - before
        if len(opened) > DEEPEST or values > MOST_VALUES:
            raise ValueError(
                f"{line}: is deeper than {DEEPEST} levels or has more than {MOST_VALUES} values, "
                "aliases written out: no suite is"
            )
