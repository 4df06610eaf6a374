"""What an optional extra of this package needs, and the line that installs it."""

from __future__ import annotations

import importlib.metadata

DISTRIBUTION = "airan-fairmtl"


def pip_line(extra: str) -> str:
    """``pip install "…"`` with all that an extra needs here, as the package's metadata has it.

    By its own requirements, not by the extra's name, which a registry may not know.

    Args:
        extra: Its name, for example ``"mtl"``.

    Returns:
        The line; where the package itself is not installed, what to do in a clone of it.
    """
    from packaging.requirements import Requirement

    try:
        stated = importlib.metadata.requires(DISTRIBUTION) or []
    except importlib.metadata.PackageNotFoundError:  # its folder merely lies on the path
        stated = []
    needed = []
    for requirement in map(Requirement, stated):
        marker, requirement.marker = requirement.marker, None
        if marker is None or requirement.name == DISTRIBUTION:
            continue
        if marker.evaluate({"extra": extra}) and not marker.evaluate({"extra": ""}):
            needed.append(f'"{requirement}"')
    line = " ".join(needed) or f'-e ".[{extra}]", in a clone of {DISTRIBUTION}'
    return f"pip install {line}"
