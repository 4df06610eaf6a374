"""A user's own modules: the files they are made of, and modules that hold what those hold now."""

from __future__ import annotations

import ast
import functools
import hashlib
import importlib
import importlib.util
import os
import site
import sys
import sysconfig
import time
from collections.abc import Iterator, Mapping
from importlib.machinery import ModuleSpec, SourceFileLoader
from pathlib import Path
from types import ModuleType
from typing import Any

OWN = ("owo_env", "owo_agents")
"""The packages that this one's version stands for."""

_BEGAN = time.time_ns()
_RACE = 2_000_000_000  # ns within which a file may change and keep its times
_PLACES = tuple(
    os.path.join(os.path.realpath(folder), "")
    for folder in {
        *(sysconfig.get_paths()[kind] for kind in ("stdlib", "platstdlib", "purelib", "platlib")),
        *site.getsitepackages(),
        site.getusersitepackages(),
    }
)


def digest_of(*parts: str | bytes) -> str:
    """20 hexadecimal digits of the SHA-256 of the parts, one after the other."""
    found = hashlib.sha256()
    for part in parts:
        found.update(part.encode() if isinstance(part, str) else part)
    return found.hexdigest()[:20]


def file_digest(path: str | os.PathLike[str]) -> str | None:
    """Digest of a file's content, or of all files in a folder; None where there is nothing."""
    path = Path(path)
    if path.is_dir():
        inside = sorted(one.relative_to(path).as_posix() for one in path.rglob("*"))
        return digest_of(*(f"{one}\0{file_digest(path / one)}\0" for one in inside))
    if not path.is_file():
        return None
    at = os.stat(path)
    unchanged = at.st_ino, at.st_size, at.st_mtime_ns, at.st_ctime_ns
    settled = time.time_ns() - max(unchanged[2:]) > _RACE
    read = _content_digest if settled else _content_digest.__wrapped__
    return read(os.path.abspath(path), *unchanged)


@functools.lru_cache(maxsize=1024)  # the trace of a grid is named by each of its points
def _content_digest(path: str, *_unchanged: int) -> str:
    digest = hashlib.sha256()
    with open(path, "rb") as file:
        while part := file.read(1 << 20):  # a trace may be larger than memory
            digest.update(part)
    return digest.hexdigest()[:20]


def foreign(module: str) -> bool:
    """Whether a module is the package's, Python's or installed: then its name says what it is."""
    top = module.partition(".")[0]
    if top in OWN:
        return True
    file = origin(module)
    if file is None:
        return module != "__main__" and top in sys.stdlib_module_names
    return os.path.realpath(file).startswith(_PLACES)


def origin(module: str) -> str | None:
    """A module's file; None where it has none. Nothing is imported."""
    loaded = sys.modules.get(module)
    if loaded is not None:
        return None if module == "__main__" else getattr(loaded, "__file__", None)
    path, spec, parts = None, None, module.split(".")
    for end in range(1, len(parts) + 1):
        spec = _spec(".".join(parts[:end]), path)
        if spec is None:
            return None
        path = spec.submodule_search_locations
    return spec.origin if spec is not None and spec.has_location else None


def _spec(module: str, path: Any) -> ModuleSpec | None:
    found = (finder.find_spec(module, path) for finder in sys.meta_path)
    return next((spec for spec in found if spec is not None), None)


def files_of(module: str) -> dict[str, str]:
    """The source files behind a module: its own, and those it imports that are the user's too.

    Returns:
        Module → file, in the order of their names.
    """
    importlib.invalidate_caches()  # a file may be younger than what Python remembers of its folder
    found: dict[str, str] = {}
    waiting = [module]
    installed = functools.cache(foreign)
    while waiting:
        name = waiting.pop()
        if name in found or (name != module and installed(name.partition(".")[0])):
            continue
        file = None if name != module and installed(name) else origin(name)
        if file is None or not file.endswith(".py"):
            continue
        found[name] = file
        if not installed(name):
            waiting += _imports(name, file, file_digest(file))
            waiting += [name.rpartition(".")[0]] if "." in name else []
    return dict(sorted(found.items()))


@functools.lru_cache(maxsize=1024)
def _imports(module: str, file: str, _digest: str | None) -> list[str]:
    """The names that a file's import statements may lead to."""
    try:
        tree = ast.parse(Path(file).read_bytes())
    except (SyntaxError, ValueError, OSError):
        return []  # whoever imports it hears of it
    package = module if os.path.basename(file) == "__init__.py" else module.rpartition(".")[0]
    return sorted({name for node in ast.walk(tree) for name in _imported_by(node, package)})


def _imported_by(node: ast.AST, package: str) -> Iterator[str]:
    if isinstance(node, ast.Import):
        yield from (alias.name for alias in node.names)
    elif isinstance(node, ast.ImportFrom):
        try:
            base = importlib.util.resolve_name("." * node.level + (node.module or ""), package)
        except ImportError:
            return
        yield from (base, *(f"{base}.{alias.name}" for alias in node.names))


def module_digest(module: str) -> str | None:
    """Digest of the files behind a module; None where it has none."""
    files = files_of(module)
    if len(files) > 1:
        return digest_of(*(f"{name}\0{file_digest(file)}\0" for name, file in files.items()))
    file = origin(module)
    return None if file is None else file_digest(file)


def imported(module: str) -> ModuleType:
    """A module that holds what its files hold now: if one was edited, all are imported anew.

    Raises:
        ImportError: There is no such module, or something that it needs is missing.
    """
    files = {} if module.partition(".")[0] in OWN or module == "__main__" else files_of(module)
    if not all(_current(name, file) for name, file in files.items() if name in sys.modules):
        for name in files:
            sys.modules.pop(name, None)
    finder: Any = _Finder(files)
    sys.meta_path.insert(0, finder)
    try:
        return importlib.import_module(module)
    finally:
        sys.meta_path.remove(finder)


def _current(module: str, file: str) -> bool:
    loader = getattr(sys.modules[module].__spec__, "loader", None)
    if isinstance(loader, _Loader):
        return loader.digest == file_digest(file)
    at = os.stat(file)  # somebody else imported it: before it was edited, or after?
    # An installed file's other times tell of no edit: installers share files between environments
    # by hard links, and what a library once set up can seldom be set up again.
    told = at.st_mtime_ns if foreign(module) else max(at.st_mtime_ns, at.st_ctime_ns)
    return told < _BEGAN


class _Loader(SourceFileLoader):
    """Runs what is in the file; a ``.pyc`` may be of another of the same second and length."""

    digest: str | None = None

    def get_code(self, fullname: str) -> Any:
        source = self.get_data(self.path)
        self.digest = digest_of(source)
        return self.source_to_code(source, self.path)


class _Finder:
    def __init__(self, files: Mapping[str, str]) -> None:
        self.files = files

    def find_spec(self, name: str, path: Any = None, target: Any = None) -> ModuleSpec | None:
        if name not in self.files:
            return None
        file = self.files[name]
        return importlib.util.spec_from_file_location(name, file, loader=_Loader(name, file))
