"""Digests of the code and data behind a cell, so that other code or other data make another cell.

What a name leads to in a file is digested as that file with what it imports of the user's own;
what was registered as an object (a notebook's class) as it lies in memory.
"""

from __future__ import annotations

import logging
import os
import re
import sys
import uuid
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from owo_agents.benchmark.suite.things import Undigestible, thing_digest
from owo_agents.rl.policy import locate, shipped
from owo_env import sources
from owo_env.radio.site import names as sites
from owo_env.registry import split

if TYPE_CHECKING:
    from owo_agents.benchmark.suite.cells import Cell

UNKNOWN = "unknown"
"""What the digest of something that cannot be digested begins with; no two are alike."""

_log = logging.getLogger(__name__)
_PATH = re.compile(r"[A-Za-z_]\w*(\.[A-Za-z_]\w*)*:[A-Za-z_]\w*")  # package.module:name


def join(*digests: str | None) -> str | None:
    """One digest of several, those that are there; None where none is."""
    return "-".join(filter(None, digests)) or None


def source_digest(name: str, registered: Mapping[str, Any]) -> str | None:
    """Digest of what is behind the name of an agent or a scenario; None of the package's own.

    Where it cannot be told, the log says why, and the digest begins with :data:`UNKNOWN`.

    Args:
        name: ``package.module:Class``, ``rl:POLICY``, or a registered name.
        registered: Name → entry, whose first part is a path or a thing.
    """
    try:
        return _named(name, registered)
    except Undigestible as error:
        _log.warning(
            "%s: its code cannot be told from an edited one's, since it holds %s: its runs are "
            "never taken from a results folder, but played anew each time",
            name,
            error,
        )
        return _token()


def _token() -> str:
    return f"{UNKNOWN}{uuid.uuid4().hex[:13]}"


def digest_or_token(thing: Any) -> str | None:
    """:func:`thing_digest`, or what is like no other digest where it cannot be told."""
    try:
        return thing_digest(thing)
    except Undigestible:
        return _token()


def _named(name: str, registered: Mapping[str, Any]) -> str | None:
    if name in registered:
        target = registered[name][0]
        return _named(target, {}) if isinstance(target, str) else thing_digest(target)
    module, colon, attribute = name.partition(":")
    if not colon or module.partition(".")[0] in sources.OWN:
        return None
    try:
        if module != "rl":
            split("module", name)  # what is not imported is not looked for either
        if module == "rl":
            return sources.file_digest(locate(attribute))
        if sources.origin(module) is None and module in sys.modules:  # a notebook's, a script's
            return thing_digest(getattr(sys.modules[module], attribute, None))
        return sources.module_digest(module)
    except (ImportError, ValueError):
        return None  # whoever makes the agent or scenario says what is wrong


def data_digest(given: Mapping[str, Any], agent: str | None = None) -> str | None:
    """Digest of what a cell names in its settings, or as an ``agent``'s arguments, beside its code.

    That is a trace, a site of one's own or a policy, and the user's own modules (of an
    ``aggregator``, say).
    """
    policy = {"path": given.get("path")} if agent == "rl" else {}
    named = files_of(given) if agent is None else policy
    content = [
        sources.file_digest(file)
        for file in named.values()
        if isinstance(file, str) and os.path.isabs(file)
    ]
    paths = sorted({text for text in _texts(given) if _PATH.fullmatch(text)})
    modules = dict.fromkeys(text.partition(":")[0] for text in paths)
    own = [name for name in modules if sources.origin(name) and not sources.foreign(name)]
    return join(*content, *map(sources.module_digest, own))


def files_of(settings: Mapping[str, Any]) -> dict[str, str]:
    """The user's own files that settings of a scenario name."""
    named = {name: settings[name] for name in ("trace", "site") if name in settings}
    texts = {name: path for name, path in named.items() if isinstance(path, str)}
    return {name: path for name, path in texts.items() if name == "trace" or _is_file(path)}


def _texts(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, Mapping | list | tuple):
        for inner in value.values() if isinstance(value, Mapping) else value:
            yield from _texts(inner)


def _is_file(site: str) -> bool:
    return site not in sites() and (site.endswith(".npz") or os.path.exists(site))


def check(
    cell: Cell, agents: Mapping[str, Any], scenarios: Mapping[str, Any], things: bool = True
) -> None:
    """Refuse a cell whose code and data are no longer those of its key.

    Args:
        cell: What is to be played, or was made just now.
        agents: What is registered, name → entry.
        scenarios: Likewise.
        things: Look at registered objects, too; agents that note something in a global of their
            own change those by playing.

    Raises:
        ValueError: They are others.
    """
    if cell.by_hand:  # it promises nothing
        return
    now = [data_digest(cell.settings), data_digest(cell.arguments, cell.agent)]
    seen = True
    for name, registered in ((cell.agent, agents), (cell.scenario, scenarios)):
        if not things and not isinstance(registered.get(name, ("",))[0], str):
            seen = False
            continue
        try:
            now.append(_named(name, registered))
        except Undigestible:
            now.append(UNKNOWN)
    found, wanted = _pieces(join(*now)), _pieces(cell.digest)
    if found != wanted if seen else not found <= wanted:
        raise ValueError(
            f"agent {cell.agent!r} on scenario {cell.scenario!r}: their code or data are not those "
            "of the suite as it was read: read it again"
        )


def _pieces(digest: str | None) -> set[str]:
    pieces = (digest or "").split("-")
    return {UNKNOWN if piece.startswith(UNKNOWN) else piece for piece in pieces} - {""}


def rooted(agent: str, arguments: Mapping[str, Any]) -> tuple[str, dict[str, Any]]:
    """The agent's name and arguments with the file of a policy as a path that any folder knows."""
    given = dict(arguments)
    if agent.startswith("rl:") and (path := agent.removeprefix("rl:")) not in shipped():
        agent = f"rl:{absolute(path)}"
    file = given.get("path")
    if agent == "rl" and isinstance(file, str) and file not in shipped():
        given["path"] = absolute(file)
    return agent, given


def absolute(path: str) -> str:
    """A path that means the same in any folder."""
    return os.path.abspath(os.path.expanduser(path))
