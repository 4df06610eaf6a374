"""A site: streets of a ray-traced city, and the radio paths that reach each place of them."""

from __future__ import annotations

import io
import json
import zipfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from owo_env import checks, files

KNOWN = Path(__file__).parent / "known"
FORMAT = 1
MOST_PATHS = 24
KINDS = ("open", "canyon", "square", "behind a block", "indoor")
ABOUT = (
    "transmitter", "look_at", "carrier_hz", "scene", "tool", "seed", "licence", "attribution",
    "streets", "built_from", "built_step", "built_shape",
)  # fmt: skip


@dataclass(frozen=True)
class Street:
    """A straight segment of a street, at ground level.

    Attributes:
        name: For reports.
        kind: One of ``KINDS``.
        start: Where it begins, (x, y) in m.
        end: Where it ends, (x, y) in m.
        loss_db: What walls cost beside the traced paths, in dB; already in the gains of a site.

    Raises:
        ValueError: An unknown kind, an end that is the start, or a figure that is not finite.
    """

    name: str
    kind: str
    start: tuple[float, float]
    end: tuple[float, float]
    loss_db: float = 0.0

    def __post_init__(self) -> None:
        checks.one_of("kind", self.kind, KINDS)
        checks.number("loss_db", self.loss_db, low=0.0)
        for name in ("start", "end"):
            point = getattr(self, name)
            if isinstance(point, str) or not isinstance(point, Sequence) or len(point) != 2:
                raise ValueError(f"street {self.name!r}: {name}={point!r}: must be x, y in m")
            object.__setattr__(self, name, tuple(checks.number(name, float(c)) for c in point))
        if self.start == self.end:
            raise ValueError(f"street {self.name!r}: ends where it starts, at {self.start}")


@dataclass(frozen=True)
class Site:
    """Places along streets and their strongest paths; a path of no gain is none.

    Attributes:
        about: Where it comes from (``ABOUT``): the transmitter's place and where it looks (m),
            ``carrier_hz``, scene, tool and version, seed, licence, attribution, ``streets``, and
            how the map of what is built lies (first corner, step in m, shape).
        street: Which street each place is on, (N,).
        along: How far from its start, in m, (N,); ascending within a street.
        gain: Complex baseband gains of the paths, strongest first, losses of walls included,
            (N, P), P ≤ 24.
        delay: Their delays in s, (N, P).
        cosine: Cosine of the angle between a path's arrival and the street, (N, P): a user who
            walks s m on towards the street's end sees it turn by ``cosine``·s/λ.
        zenith: At the transmitter, in radians, (N, P).
        azimuth: Likewise.
        kept: The share of the received power that these paths have, (N,).
        built: Whether something stands there, (rows of y, columns of x).
    """

    about: Mapping[str, Any]
    street: NDArray[np.integer]
    along: NDArray[np.float32]
    gain: NDArray[np.complex64]
    delay: NDArray[np.float32]
    cosine: NDArray[np.float32]
    zenith: NDArray[np.float32]
    azimuth: NDArray[np.float32]
    kept: NDArray[np.float32]
    built: NDArray[np.bool_]

    @cached_property
    def streets(self) -> tuple[Street, ...]:
        return tuple(Street(**street) for street in self.about["streets"])

    @cached_property
    def position(self) -> NDArray[np.float64]:
        """Where the places are, (x, y) in m, (N, 2)."""
        start, end = (np.array([getattr(s, at) for s in self.streets]) for at in ("start", "end"))
        ahead = (end - start) / np.linalg.norm(end - start, axis=1, keepdims=True)
        return start[self.street] + self.along[:, None] * ahead[self.street]

    @cached_property
    def gain_db(self) -> NDArray[np.float64]:
        """What arrives of what is sent, in dB, all paths together, (N,)."""
        power = (np.abs(self.gain.astype(complex)) ** 2).sum(axis=1)
        return 10 * np.log10(power / self.kept)

    @cached_property
    def delay_spread(self) -> NDArray[np.float64]:
        """R.m.s. delay spread of each place in s, (N,): of the paths' delays, by their power."""
        share = np.abs(self.gain.astype(complex)) ** 2
        share /= share.sum(axis=1, keepdims=True)
        delay = self.delay.astype(float)
        mean = (share * delay).sum(axis=1, keepdims=True)
        return np.sqrt((share * (delay - mean) ** 2).sum(axis=1))

    @cached_property
    def k_factor_db(self) -> NDArray[np.float64]:
        """The strongest path over all others together, in dB, (N,); ∞ where it is alone."""
        power = np.abs(self.gain.astype(complex)) ** 2
        rest = power.sum(axis=1) / self.kept - power.max(axis=1)
        alone = rest <= 1e-6 * power.max(axis=1)  # what single precision leaves
        return np.where(
            alone, np.inf, 10 * np.log10(power.max(axis=1) / np.where(alone, 1.0, rest))
        )

    @property
    def carrier(self) -> float:
        """Carrier frequency in Hz."""
        return float(self.about["carrier_hz"])

    def save(self, path: str | Path) -> None:
        """Write the file, all of it or nothing; the same site is the same bytes."""
        arrays = {name: getattr(self, name) for name in ARRAYS}
        arrays["street"] = self.street.astype(np.uint8)
        arrays["built"] = np.packbits(self.built)
        arrays["about"] = np.array(json.dumps({"format": FORMAT, **self.about}, sort_keys=True))
        whole = io.BytesIO()
        with zipfile.ZipFile(whole, "w", compresslevel=9) as packed:
            for name, array in arrays.items():
                entry = zipfile.ZipInfo(f"{name}.npy")  # whose date is always the same
                part = io.BytesIO()
                np.lib.format.write_array(part, np.asarray(array), allow_pickle=False)
                packed.writestr(entry, part.getvalue(), zipfile.ZIP_DEFLATED)
        files.write(path, whole.getvalue())


ARRAYS = {
    "street": ("iu", 1), "along": ("f", 1), "gain": ("c", 2), "delay": ("f", 2), "cosine": ("f", 2),
    "zenith": ("f", 2), "azimuth": ("f", 2), "kept": ("f", 1), "built": ("u", 1),
}  # fmt: skip
"""The arrays of a file: what kind of numbers they hold, and how many axes they have."""


def names() -> list[str]:
    """The sites that come with the package."""
    return sorted(path.stem for path in KNOWN.glob("*.npz"))


def load(site: str | Path) -> Site:
    """A site that comes with the package, by its name, or one of a file (``….npz``).

    Raises:
        ValueError: No such site, or a file that is none, or of another version of the format.
    """
    if not isinstance(site, str | Path) or not str(site):
        raise ValueError(f"site={site!r}: must be one of {names()}, or the path of a site's file")
    if str(site) in names():
        return _read(KNOWN / f"{site}.npz", 0)
    path = Path(site).expanduser()
    if path.suffix != ".npz" and not path.exists():
        known = checks.unknown("site", str(site), names())
        raise ValueError(f"{known}; or the path of a site's file (….npz)")
    if not path.is_file():
        raise ValueError(f"site={str(site)!r}: no such file")
    return _read(path.resolve(), path.stat().st_mtime_ns)


@lru_cache(maxsize=8)
def _read(path: Path, _written: int) -> Site:
    """The file as it was written then."""
    try:
        with np.load(path, allow_pickle=False) as file:
            arrays = {name: file[name] for name in file.files}
        about = json.loads(str(arrays.pop("about")))
        version = about.pop("format")
    except (OSError, ValueError, KeyError, TypeError, AttributeError, zipfile.BadZipFile) as error:
        raise ValueError(f"site {path}: is not a site's file ({error})") from None
    if version != FORMAT:
        raise ValueError(f"site {path}: has format {version}, and format {FORMAT} is known")
    lacks = sorted({*ARRAYS, *ABOUT} - {*arrays, *about})
    if lacks:
        raise ValueError(f"site {path}: lacks {', '.join(lacks)}")
    try:
        return _checked(about, arrays)
    except (ValueError, TypeError) as error:
        raise ValueError(f"site {path}: {error}") from None


def _told(about: dict[str, Any]) -> None:
    """Refuse what is told of a site in another form than a file of this package has it."""
    for name in ("scene", "tool", "licence", "attribution"):
        if not isinstance(about[name], str):
            raise ValueError(f"{name}={about[name]!r}: must be a text")
    for name, length in (("transmitter", 3), ("look_at", 3), ("built_from", 2), ("built_shape", 2)):
        if not isinstance(about[name], list) or len(about[name]) != length:
            raise ValueError(f"{name}={about[name]!r}: must be {length} numbers")
        for number in about[name]:
            checks.number(name, number)
    for name in ("carrier_hz", "built_step"):
        checks.number(name, about[name], low=0.0, open_low=True)


def _checked(about: dict[str, Any], arrays: dict[str, NDArray[Any]]) -> Site:
    _told(about)
    places, paths = (*arrays["gain"].shape, 0, 0)[:2]
    for name, (kinds, axes) in ARRAYS.items():
        array = arrays[name]
        shape = array.shape if name == "built" else (places, paths)[:axes]
        if array.dtype.kind not in kinds or array.shape != shape or array.ndim != axes:
            raise ValueError(f"{name} has shape {array.shape} and type {array.dtype}")
        if array.size == 0 or not np.isfinite(array).all():
            raise ValueError(f"{name} is empty, or not finite")
        array.setflags(write=False)
    rows, columns = (checks.whole("built_shape", n, low=1) for n in about["built_shape"])
    if not 0 <= 8 * arrays["built"].size - rows * columns < 8:
        raise ValueError(f"built_shape is {rows} × {columns}, built has other bits")
    built = np.unpackbits(arrays.pop("built"), count=rows * columns).reshape(rows, columns)
    site = Site(about, built=built.astype(bool), **{n: arrays[n] for n in ARRAYS if n != "built"})
    if paths > MOST_PATHS:
        raise ValueError(f"{paths} paths: at most {MOST_PATHS} are kept")
    if site.street.max() >= len(site.streets):
        raise ValueError(f"a place on street {site.street.max()} of {len(site.streets)}")
    if (np.abs(site.gain).max(axis=1) == 0).any() or not ((site.kept > 0) & (site.kept <= 1)).all():
        raise ValueError("a place without any path")
    if (np.abs(site.cosine) > 1.001).any() or (site.delay < 0).any():
        raise ValueError("cosine must be in [−1, 1], and delay at least 0")
    return site
