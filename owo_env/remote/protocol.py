"""The messages of ``protocol.proto``, which is read as it stands: there is no generated code.

Of the language it needs messages of scalars and messages, ``repeated`` and ``oneof``.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from google.protobuf import descriptor_pb2, descriptor_pool, message_factory
from google.protobuf.message import DecodeError

VERSION = 2
METHOD = "/owo.remote.Link/Join"
TOKEN = "owo-token"  # the key of the call's metadata that holds the token
EVALUATED = -1  # in place of a round: what an evaluation's messages are of

Key = tuple[int, int]
"""A round and a slot, from 0; or ``EVALUATED`` and an evaluation's number."""

_FIELD = descriptor_pb2.FieldDescriptorProto
_SCALARS = {
    "double": _FIELD.TYPE_DOUBLE,
    "int64": _FIELD.TYPE_INT64,
    "uint32": _FIELD.TYPE_UINT32,
    "bool": _FIELD.TYPE_BOOL,
    "string": _FIELD.TYPE_STRING,
    "bytes": _FIELD.TYPE_BYTES,
}
_TOKENS = re.compile(r"//.*|[\w.]+|\"[^\"]*\"|[{}=;]")


def parsed(text: str) -> descriptor_pb2.FileDescriptorProto:
    """The descriptor of a .proto file.

    Raises:
        ValueError: It uses more of the language.
    """
    words = [word for word in _TOKENS.findall(text) if not word.startswith("//")]
    file = descriptor_pb2.FileDescriptorProto(name="owo/remote/protocol.proto", syntax="proto3")
    while words:
        match words:
            case ["syntax", "=", '"proto3"', ";", *words]:
                pass
            case ["package", package, ";", *words]:
                file.package = package
            case ["message", name, "{", *words]:
                words = _message(file.message_type.add(name=name), words, file.package)
            case _:
                raise ValueError(f"protocol.proto: cannot be read from {' '.join(words[:6])!r}")
    return file


def _message(message: Any, words: list[str], package: str) -> list[str]:
    """Read a message up to its closing brace; what comes behind."""
    inside: dict[str, int] = {}  # the oneof that fields belong to
    while True:
        match words:
            case ["}", *words] if inside:
                inside = {}
            case ["}", *words]:
                return words
            case ["oneof", name, "{", *words]:
                inside = {"oneof_index": len(message.oneof_decl)}
                message.oneof_decl.add(name=name)
            case ["repeated", kind, name, "=", number, ";", *words]:
                _field(message, kind, name, number, package, _FIELD.LABEL_REPEATED)
            case [kind, name, "=", number, ";", *words]:
                _field(message, kind, name, number, package, _FIELD.LABEL_OPTIONAL, **inside)
            case _:
                raise ValueError(f"protocol.proto: cannot be read from {' '.join(words[:6])!r}")


def _field(
    message: Any, kind: str, name: str, number: str, package: str, label: Any, **more: int
) -> None:
    field = message.field.add(name=name, number=int(number), label=label, **more)
    if kind in _SCALARS:
        field.type = _SCALARS[kind]
    else:
        field.type, field.type_name = _FIELD.TYPE_MESSAGE, f".{package}.{kind}"


def _made() -> dict[str, Any]:
    file = parsed(Path(__file__).with_name("protocol.proto").read_text(encoding="utf-8"))
    pool = descriptor_pool.DescriptorPool()
    pool.AddSerializedFile(file.SerializeToString())
    names = [message.name for message in file.message_type]
    find = pool.FindMessageTypeByName
    return {n: message_factory.GetMessageClass(find(f"{file.package}.{n}")) for n in names}


_messages = _made()
Up, Down, Join, State = (_messages[name] for name in ("Up", "Down", "Join", "State"))


@dataclass(frozen=True)
class Message:
    """What somebody said.

    Attributes:
        kind: What it is.
        content: Its fields.
        size: Of all of it, in bytes.
    """

    kind: str
    content: Any
    size: int


def read(kind: Any, content: bytes) -> Message:
    """The message that bytes are.

    Args:
        kind: ``Up`` or ``Down``.
        content: The bytes.

    Raises:
        ValueError: They are no such message.
    """
    try:
        whole = kind.FromString(content)
    except DecodeError as error:
        raise ValueError(f"{len(content)} bytes that are no message") from error
    what = whole.WhichOneof("what")
    if what is None:
        raise ValueError("a message without content, or of a kind that is not known")
    return Message(what, getattr(whole, what), len(content))


def key_of(content: Any) -> Key:
    """What a message of a slot or an evaluation is of."""
    if hasattr(content, "number"):
        return EVALUATED, content.number
    return content.round, content.slot
