"""Least squares on samples as they are measured: real or complex, one or many a slot."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from owo_env.scenarios.adversary import label_signs
from owo_env.scenarios.base import Integers
from owo_env.scenarios.least_squares.base import LeastSquares, in_turn
from owo_env.scenarios.least_squares.slots import Quadratics, Samples, SlotData
from owo_env.scenarios.least_squares.source import Source

Array = NDArray[Any]
LINK = {"active": "by slot", "heard": "by slot", "snr_db": "by round"}
"""What a recording may hold for links: masks (rounds, m, K), and SNRs in dB (rounds, K)."""
STREAMS_AT_ONCE = 8  # laid out together: a cache line of doubles


@dataclass(frozen=True)
class Recording:
    """Rounds of one stream; a user's loss in a slot is the mean of |y − θᵀx|² over S samples.

    Attributes:
        features: x, real or complex, shape (rounds, m, K, S, d), or (rounds, m, K, d) if S = 1.
        targets: y, likewise, shape (rounds, m, K, S), or (rounds, m, K) if S = 1.
        about: What else is known of each round, for ``info`` at its end; arrays (rounds, …). Names
            that begin with an underscore are for a link alone (``LINK``).

    Raises:
        ValueError: The shapes do not fit each other, or a mask marks a figure as missing.
    """

    features: Array
    targets: Array
    about: dict[str, Array] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for name in ("features", "targets"):
            values = getattr(self, name)
            if np.ma.is_masked(values):
                where = place(np.ma.getmaskarray(values))
                raise ValueError(f"{name} are masked (missing) in {where}: must be numbers")
        x, y = np.asarray(self.features), np.asarray(self.targets)
        if x.ndim == 4 and y.ndim == 3:
            x, y = x[:, :, :, None], y[..., None]
        if x.ndim != 5 or y.shape != x.shape[:-1] or 0 in x.shape:
            raise ValueError(
                f"features have shape {x.shape} and targets {y.shape}: must be (rounds, slots, "
                "users, samples, d) and (rounds, slots, users, samples), or both without samples"
            )
        object.__setattr__(self, "features", x)
        object.__setattr__(self, "targets", y)
        for name, what in LINK.items():
            if f"_{name}" in self.about:
                check_link_array(name, what, self.about[f"_{name}"], y.shape)

    def __getitem__(self, rounds: slice) -> Recording:
        """Some of the rounds."""
        about = {name: values[rounds] for name, values in self.about.items()}
        return Recording(self.features[rounds], self.targets[rounds], about)

    def reduced(self) -> Array:
        """z = (x, y) where there is one real sample, else the means of Re z* zᵀ over samples.

        For a real θ the mean of |y − θᵀx|² is the quadratic of those means. Products are taken
        in double precision.

        Returns:
            Shape (rounds, m, K, d+1) or (rounds, m, K, d+1, d+1).
        """
        *lead, samples, d = self.features.shape
        x, y = self.features.swapaxes(-1, -2), self.targets
        parts = ("real", "imag") if np.result_type(x, y).kind == "c" else ("real",)
        z = np.empty((*lead, d + 1, len(parts), samples))
        for i, part in enumerate(parts):
            z[..., :d, i, :], z[..., d, i, :] = getattr(x, part), getattr(y, part)
        z = z.reshape(*lead, d + 1, -1)
        return z[..., 0] if z.shape[-1] == 1 else z @ z.swapaxes(-1, -2) / samples


def check_link_array(name: str, what: str, values: Array, shape: tuple[int, ...]) -> None:
    """Raise ValueError unless an array of ``LINK`` fits targets of ``shape`` (rounds, m, K, S)."""
    rounds, m, users, _ = shape
    wanted = (rounds, m, users) if what == "by slot" else (rounds, users)
    kinds, noun = ("b", "true or false") if what == "by slot" else ("iuf", "numbers")
    if values.shape != wanted or values.dtype.kind not in kinds:
        raise ValueError(
            f"{name} has shape {values.shape} and type {values.dtype}: must be {wanted}, {noun}"
        )
    if name == "snr_db" and not np.isfinite(values).all():
        raise ValueError("snr_db: must be finite")


def place(bad: Array, first: int = 0) -> str:
    """Where the first of some figures lies, (rounds, m, K, …), in words.

    Args:
        bad: True where a figure is one of them.
        first: How many rounds lie before them.
    """
    where = np.argwhere(bad)[0] + 1
    where[0] += first
    return ", ".join(f"{axis} {n}" for axis, n in zip(("round", "slot", "user"), where))


class Measured(LeastSquares):
    """A least-squares scenario that says what each stream measures (:meth:`measure`)."""

    @abstractmethod
    def measure(self, rng: Source, first_round: int) -> Recording:
        """``rounds_per_block`` rounds of one stream, from round ``first_round`` on.

        All draws come from ``rng``; what a later block needs of this one lies in ``rng.carried``.
        """

    def record(self, rng: Source, first_round: int) -> Recording:
        """:meth:`measure`, with targets as the adversary leaves them."""
        recording = self.measure(rng, first_round)
        if self.adversary == "none":
            return recording
        kind = np.result_type(recording.targets, np.float32)  # whole numbers may have no sign
        targets = recording.targets.astype(kind)
        rounds, m = targets.shape[:2]
        signs = label_signs(self.adversary, m, np.array([first_round]), rounds)
        targets[:, :, 0] *= signs.astype(targets.real.dtype)
        return replace(recording, targets=targets)

    @in_turn
    def draw(self, rngs: Sequence[Source], first_round: Integers) -> SlotData:
        abouts: list[dict[str, Array]] = []
        z = np.empty(0)  # (rounds, m, …, K, N)
        for i in range(0, len(rngs), STREAMS_AT_ONCE):
            few, blocks = slice(i, i + STREAMS_AT_ONCE), []
            for rng, first in zip(rngs[few], first_round[few].tolist()):
                recording = self.record(rng, first)
                blocks.append(recording.reduced())
                abouts.append(recording.about)
            part = np.moveaxis(np.stack(blocks, -1), 2, -2)
            if i == 0:
                z = np.empty((*part.shape[:-1], len(rngs)))
            z[..., few] = part
        about = {name: np.stack([a[name] for a in abouts], -1) for name in abouts[0]}
        if z.ndim == 5:
            return Samples(z[:, :, :-1], z[:, :, -1], about)
        return Quadratics(z[:, :, :-1, :-1], z[:, :, :-1, -1], z[:, :, -1, -1], about)
