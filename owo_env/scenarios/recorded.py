"""Replay of a user's own least-squares data, from arrays in memory or a trace in a file."""

from __future__ import annotations

import copy
import math
import os
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, ClassVar

import numpy as np
from numpy.typing import ArrayLike, NDArray

from owo_env import checks
from owo_env.checks import Each
from owo_env.figure import Figure
from owo_env.problem import Problem
from owo_env.scenarios.base import Integers
from owo_env.scenarios.least_squares.base import SLOTS_PER_BLOCK
from owo_env.scenarios.least_squares.measured import Measured, Recording
from owo_env.scenarios.traces import Arrays, Trace, open_trace
from owo_env.scenarios.traces.trace import LOG, SETTINGS

RMSE = Figure(
    "rmse",
    "RMSE",
    "root mean squared error in the target's own unit",
    better=-1,
    digits=2,
    reads="loss",
    per_user=True,
    form="root",
)
ORDERS = ("replay", "window", "shuffled")


class Recorded(Measured):
    """Plays recorded rounds; a user's loss in a slot is mean |y − θᵀx|² over its samples.

    Every stream replays the same rounds, unless ``order`` lets its seed draw. The data are read
    through once when the scenario is made, to check them and to find ``smoothness`` where nobody
    gives it.

    Args:
        trace: A file, ``.npz`` or ``.parquet`` (docs/scenarios/recorded.md), or what
            :func:`owo_env.trace_from` made of a log; or else give ``features`` and ``targets``.
            What it says of the settings below holds unless given here.
        features: x, real or complex, shape (T, m, K, S, d), or (T, m, K, d) for one sample a slot.
        targets: y, likewise, shape (T, m, K, S) or (T, m, K).
        active: Who had a job in which slot, true or false, (T, m, K); they play over a link then.
        heard: Whose feedback arrived, likewise.
        snr_db: Mean SNRs in dB, (T, K), for links with an outage.
        num_slots: [slots] m, of a round; only to state what the data have.
        l_max: Utility is l_max − loss; a number, or K.
        utility_bounds: (u_min, u_max) of the dual space, each a number, or K.
        model_bounds: Θ as the cube [low, high]^d; None means unbounded.
        initial_model: x_1, shape (d,); default 0.
        smoothness: L; default 2·max mean ‖x‖² over all slots and users, or over each user's own
            where ``l_max`` or ``utility_bounds`` are the users' own.
        adversary: ``"none"``, or ``"blocks"``: the first user's target changes its sign every
            ⌊√m⌋ slots.
        repeat: Start again after the last round; otherwise opening another is an error (also
            where a vector environment's SAME_STEP does it unasked).
        order: ``"replay"``: the rounds as they were recorded, whatever the seed; ``"window"``:
            likewise from a round on that the seed draws, the first following the last;
            ``"shuffled"``: in an order that the seed draws.

    Attributes:
        rounds: T, how many rounds there are; None with ``repeat``.

    Raises:
        FileNotFoundError: No such file.
        ValueError: The data are not a trace, a figure is not finite, or a setting is missing or
            outside its domain.
    """

    name: ClassVar[str] = "recorded"
    figures = (RMSE,)

    def __init__(
        self,
        trace: str | os.PathLike[str] | Trace | None = None,
        features: ArrayLike | None = None,
        targets: ArrayLike | None = None,
        active: ArrayLike | None = None,
        heard: ArrayLike | None = None,
        snr_db: ArrayLike | None = None,
        num_slots: int | None = None,
        l_max: Each | None = None,
        utility_bounds: tuple[Each, Each] | None = None,
        model_bounds: Sequence[float] | None = None,
        initial_model: ArrayLike | None = None,
        smoothness: float | None = None,
        adversary: str = "none",
        repeat: bool = False,
        order: str = "replay",
    ) -> None:
        checks.one_of("order", order, ORDERS)
        self.order = order
        link = {"active": active, "heard": heard, "snr_db": snr_db}
        self.trace = _trace(trace, features, targets, link)
        self.air = tuple(self.trace.about)
        T, m, users, _, d = self.trace.shape
        if num_slots is not None and num_slots != m:
            raise ValueError(f"num_slots={num_slots!r}: {self.trace.source} has {m} slots a round")
        given = l_max, utility_bounds, model_bounds, initial_model, smoothness
        settings = _settings(self.trace, given)
        power, L, x_1 = self._largest_power(), settings["smoothness"], settings["initial_model"]
        unit, slot_ms = _units(self.trace)
        problem = Problem(
            num_users=users,
            dim=d,
            num_slots=m,
            utility_bounds=settings["utility_bounds"],
            l_max=settings["l_max"],
            initial_model=np.zeros(d) if x_1 is None else _array("initial_model", x_1, float),
            model_bounds=settings["model_bounds"],
            smoothness=2 * power.max() if L is None else L,
            error_unit=unit,
            slot_ms=slot_ms,
        )
        if L is None and any(map(np.ndim, (problem.l_max, *problem.utility_bounds))):
            own = 2 * np.where(power > 0, power, power.max())
            problem = replace(problem, smoothness=own, gradient_bound=None)
        super().__init__(problem, adversary)
        self.rounds = None if checks.flag("repeat", repeat) else T
        # No block may reach past the last round.
        self.rounds_per_block = max(n for n in range(1, self.rounds_per_block + 1) if T % n == 0)

    def measure(self, rng: np.random.Generator, first_round: int) -> Recording:
        T = self.trace.shape[0]
        if self.rounds is not None and first_round > T:
            raise ValueError(
                f"{self.trace.source}: has {T} rounds, round {first_round} was asked for "
                "(repeat=True starts again)"
            )
        first = (first_round - 1) % T
        rounds = self._ordered(rng, np.arange(first, first + self.rounds_per_block))
        runs = np.split(rounds, np.flatnonzero(np.diff(rounds) != 1) + 1)
        return _joined([self.trace.read(int(run[0]), int(run[-1]) + 1) for run in runs])

    def _ordered(self, rng: np.random.Generator, places: Integers) -> Integers:
        """Which of the trace's rounds stand at these places of a stream."""
        if self.order == "replay":
            return places
        T, own = self.trace.shape[0], copy.deepcopy(rng)  # every block finds the same order
        if self.order == "window":
            return (places + own.integers(T)) % T
        return own.permutation(T)[places]

    def _largest_power(self) -> NDArray[np.floating]:
        """max mean ‖x‖² of each user over slots; reads, and so checks, the whole trace."""
        T, m, *_ = self.trace.shape
        step = max(1, SLOTS_PER_BLOCK // m)
        power, names = np.zeros(self.trace.shape[2]), set()
        for first in range(0, T, step):
            part = self.trace.read(first, min(first + step, T))
            names |= set(part.about.get("user_class", np.array([])).ravel().tolist())
            x = part.features
            x = x.astype(np.result_type(x, np.float64), copy=False)
            with np.errstate(over="ignore"):
                mean = (x.real**2 + x.imag**2).sum(axis=-1).mean(axis=-1)
            power = np.maximum(power, mean.max(axis=(0, 1)))
        if not 0 < power.max() < math.inf:
            raise ValueError(
                f"{self.trace.source}: features are all 0, or so large or small that their squares "
                f"are beyond a float: the largest mean ‖x‖² of a slot is {power.max()}"
            )
        self._names = sorted(names)
        return power

    @property
    def class_names(self) -> Sequence[str]:
        return self._names


def _joined(parts: Sequence[Recording]) -> Recording:
    """Recordings one after the other."""
    if len(parts) == 1:
        return parts[0]
    about = {name: np.concatenate([p.about[name] for p in parts]) for name in parts[0].about}
    features, targets = [p.features for p in parts], [p.targets for p in parts]
    return Recording(np.concatenate(features), np.concatenate(targets), about)


def _trace(
    trace: str | os.PathLike[str] | Trace | None,
    features: ArrayLike | None,
    targets: ArrayLike | None,
    link: Mapping[str, ArrayLike | None],
) -> Trace:
    given = {name: _array(name, a) for name, a in link.items() if a is not None}
    if trace is not None:
        if features is not None or targets is not None or given:
            raise ValueError("trace: give either a file or features and targets, not both")
        return trace if isinstance(trace, Trace) else open_trace(trace)
    if features is None or targets is None:
        raise ValueError("recorded: needs trace=, or features= and targets=")
    x, y = (_array(name, a) for name, a in (("features", features), ("targets", targets)))
    return Arrays("recorded", x, y, given)


def _array(name: str, values: ArrayLike, least: Any = np.bool_) -> NDArray[Any]:
    """A copy of at least this type; it keeps mask and imaginary part, which others refuse."""
    try:
        found = np.asanyarray(values).copy()
    except ValueError:
        raise ValueError(f"{name}: lists of unequal length, must be an array") from None
    return found.astype(np.result_type(found, least), copy=False)


def _units(trace: Trace) -> tuple[tuple[str, float] | None, float | None]:
    """The target's unit and scale, and how long a slot is in ms, where it was made of a log."""
    if LOG not in trace.settings:
        return None, None
    try:
        target, period = trace.settings[LOG]["target"], trace.settings[LOG]["period_s"]
        scale = checks.number("scale", target["scale"], low=0.0, open_low=True)
        return (str(target["unit"]), scale), 1e3 * checks.number("period_s", period, low=0.0)
    except (TypeError, KeyError, ValueError) as error:
        raise ValueError(
            f"{trace.source}: settings say {LOG}={trace.settings[LOG]!r}: must have a target with "
            f"a unit and a scale, and period_s ({error!r})"
        ) from None


def _settings(trace: Trace, given: Sequence[Any]) -> dict[str, Any]:
    """Each of ``SETTINGS`` as given, else as the trace has it, else None."""
    both = zip(SETTINGS, given)
    settings = {name: trace.settings.get(name) if own is None else own for name, own in both}
    missing = [name for name in ("l_max", "utility_bounds") if settings[name] is None]
    if missing:
        raise ValueError(f"{trace.source}: does not say {' and '.join(missing)}: give it")
    return settings
