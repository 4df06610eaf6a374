"""A scene of ``sionna-rt``: what stands where, and the paths from a transmitter to places.

Only the making of a site needs it; playing one needs numpy alone.
"""

from __future__ import annotations

import glob
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from owo_env import checks
from owo_env.extras import pip_line

Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]

LLVM = "DRJIT_LIBLLVM_PATH"
ABOVE_GROUND = 1.5  # m, where a user holds a phone
DEPTH = 4  # reflections and diffractions of a path
RAYS = 1_000_000  # that leave the transmitter
CANDIDATES = 125_000
"""Paths that are looked at for each place. ``sionna-rt``'s own limit of a million for all of them
loses paths without a word from some 50 places on (up to 4 dB in Munich)."""
CITIES = ("munich", "florence", "etoile", "san_francisco")
SCENES = (*CITIES, "simple_street_canyon")


def tracer() -> Any:
    """``sionna.rt``, on a processor.

    Raises:
        ImportError: It is missing, or the LLVM that compiles for this processor.
    """
    if LLVM not in os.environ:
        found = sorted(
            glob.glob("/usr/lib/*/libLLVM*1[89].so*") + glob.glob("/usr/lib/*/libLLVM*2?.*")
        )
        if found:  # older ones, which drjit would find first, fail on new processors
            os.environ[LLVM] = found[-1]
    try:
        import sionna.rt
    except ImportError as error:
        if "LLVM" in str(error):
            raise ImportError(_no_llvm()) from error
        needed = f"sionna-rt: {pip_line('site')}"
        if sys.version_info < (3, 11):
            needed = "sionna-rt, which needs Python 3.11 or later"
        raise ImportError(f"tracing a site needs {needed}") from error
    except (RuntimeError, OSError) as error:
        raise ImportError(f"{_no_llvm()} ({error})") from error
    import drjit

    drjit.set_thread_count(1)  # several race for paths: the same seed would be another file
    return sionna.rt


def _no_llvm() -> str:
    return (
        "sionna-rt needs LLVM 19 or later to trace on a processor: apt-get install libllvm19 "
        f"(Debian, Ubuntu), or set {LLVM} to a libLLVM.so"
    )


class Scene:
    """A scene, with a transmitter in it.

    Args:
        scene: One of ``sionna-rt``'s own scenes (``SCENES`` and its toys), or the path of a
            Mitsuba file (``….xml``).
        transmitter: Where it stands, (x, y, z) in m.
        look_at: Where its antenna looks, (x, y, z) in m.
        carrier_ghz: Carrier frequency in GHz.

    Raises:
        ImportError: ``sionna-rt`` or LLVM is missing.
        ValueError: No such scene, or a transmitter outside it, underground or inside a building.
    """

    def __init__(
        self,
        scene: str,
        transmitter: Sequence[float],
        look_at: Sequence[float],
        carrier_ghz: float = 3.5,
    ) -> None:
        self.rt = tracer()
        self.name = scene
        self.world = self.rt.load_scene(_file(self.rt, scene))
        self.world.frequency = 1e9 * checks.number(
            "carrier_ghz", carrier_ghz, low=0.0, open_low=True, high=100.0
        )
        box = self.world.mi_scene.bbox()
        self.low, self.high = np.array(box.min).ravel(), np.array(box.max).ravel()
        self.transmitter = np.array(transmitter, float)
        self.look_at = np.array(look_at, float)
        self._check_transmitter()
        for array, pattern in (("tx_array", "tr38901"), ("rx_array", "iso")):
            antenna = self.rt.PlanarArray(
                num_rows=1, num_cols=1, pattern=pattern, polarization="V",
                vertical_spacing=0.5, horizontal_spacing=0.5,
            )  # fmt: skip
            setattr(self.world, array, antenna)
        sender = self.rt.Transmitter("transmitter", position=self.transmitter.tolist())
        self.world.add(sender)
        sender.look_at(self.look_at.tolist())

    def ground(self, at: Floats) -> Floats:
        """Height of the ground at places (x, y), (N, 2) → (N,) in m; NaN where there is none."""
        return self._hit(at, np.full(len(at), self.low[2] - 1.0))

    def built(self, at: Floats, above: float = ABOVE_GROUND) -> Bools:
        """Whether something is over places (x, y), (N, 2), seen from ``above`` the ground, in m."""
        return ~np.isnan(self._hit(at, self.ground(at) + above))

    def sees(self, at: Floats) -> Bools:
        """Whether places (x, y) at street level have the transmitter in sight, (N, 2) → (N,)."""
        here = np.column_stack([at, self.ground(at) + ABOVE_GROUND])
        ray = self.transmitter - here
        far = np.linalg.norm(ray, axis=1)
        return ~(self._distance(here, ray / far[:, None]) < far - 0.5)

    def outside(self, at: Floats) -> Bools:
        """Whether places (x, y) are beyond the scene, (N, 2) → (N,)."""
        return ~np.all((at >= self.low[:2]) & (at <= self.high[:2]), axis=1)

    def paths(self, at: Floats, ahead: Floats, seed: int) -> dict[str, NDArray[Any]]:
        """All paths to users at places (x, y), (N, 2), who look along ``ahead``, (N, 2).

        Returns:
            ``gain`` (complex baseband, 0 where there is no path), ``delay`` in s, ``cosine``
            towards ``ahead``, ``zenith`` and ``azimuth`` at the transmitter; all (N, paths).
        """
        paths = self._solved(at, ahead, seed)
        gain, delay = paths.cir(normalize_delays=False, out_type="numpy")
        gain, delay = gain[:, 0, 0, 0, :, 0], delay.reshape(len(at), -1)
        valid = (delay >= 0) & np.isfinite(gain)
        zenith, azimuth = (
            np.array(angle, float).reshape(delay.shape) for angle in (paths.theta_r, paths.phi_r)
        )
        # Where a path comes from, seen from the user, along the user's way.
        cosine = np.sin(zenith) * (ahead[:, :1] * np.cos(azimuth) + ahead[:, 1:] * np.sin(azimuth))
        return {
            "gain": np.where(valid, gain, 0),
            "delay": np.where(valid, delay, 0.0),
            "cosine": np.where(valid, cosine, 0.0),
            "zenith": np.where(valid, np.array(paths.theta_t).reshape(delay.shape), 0.0),
            "azimuth": np.where(valid, np.array(paths.phi_t).reshape(delay.shape), 0.0),
        }

    def response(
        self, at: Floats, velocity: Floats, frequencies: Floats, slot: float, slots: int, seed: int
    ) -> NDArray[np.complex64]:
        """``sionna-rt``'s own channel, for comparison: users at ``at`` (N, 2) with ``velocity``.

        Returns:
            (N, slots, frequencies).
        """
        response = self._solved(at, velocity, seed).cfr(
            frequencies=frequencies, sampling_frequency=1 / slot, num_time_steps=slots,
            normalize_delays=False, out_type="numpy",
        )  # fmt: skip
        return response[:, 0, 0, 0]

    def _solved(self, at: Floats, velocity: Floats, seed: int) -> Any:
        for name in list(self.world.receivers):
            self.world.remove(name)
        heights = self.ground(at) + ABOVE_GROUND
        for n, (place, height, v) in enumerate(zip(at, heights, velocity)):
            position = [*map(float, place), float(height)]
            self.world.add(
                self.rt.Receiver(f"user {n}", position=position, velocity=[*map(float, v), 0.0])
            )
        return self.rt.PathSolver()(
            self.world, max_depth=DEPTH, los=True, specular_reflection=True,
            diffuse_reflection=False, refraction=False, diffraction=True, seed=seed + 1,
            samples_per_src=RAYS, max_num_paths_per_src=CANDIDATES * len(at),
        )  # fmt: skip

    def _hit(self, at: Floats, height: Floats) -> Floats:
        """Height of the first thing above (x, y, height); NaN where there is nothing."""
        below = np.column_stack([at, height])
        return height + self._distance(below, np.tile([0.0, 0.0, 1.0], (len(at), 1)))

    def _distance(self, origin: Floats, ray: Floats) -> Floats:
        import mitsuba as mi

        ends = (mi.Point3f(*origin.T.astype(np.float32)), mi.Vector3f(*ray.T.astype(np.float32)))
        hit = self.world.mi_scene.ray_intersect(mi.Ray3f(*ends))
        return np.where(np.array(hit.is_valid()), np.array(hit.t, float), np.nan)

    def _check_transmitter(self) -> None:
        place, at = self.transmitter, self.transmitter[None, :2]
        name = f"transmitter={','.join(f'{c:g}' for c in place)}"
        if self.outside(at)[0]:
            box = f"x {self.low[0]:g} … {self.high[0]:g}, y {self.low[1]:g} … {self.high[1]:g}"
            raise ValueError(f"{name}: is outside the scene, {box} m")
        ground = self.ground(at)[0]
        if not place[2] > ground:
            raise ValueError(f"{name}: is underground; the ground is at z = {ground:g} m there")
        if self.built(at, place[2] - ground)[0]:
            raise ValueError(f"{name}: is inside a building, or under its roof")


def _file(rt: Any, scene: str) -> str:
    if not isinstance(scene, str) or not scene:
        raise ValueError(f"scene={scene!r}: must be a scene's name or the path of an XML file")
    shipped = getattr(rt.scene, scene, None) if scene.isidentifier() else None
    if isinstance(shipped, str):
        return shipped
    if not Path(scene).is_file():
        known = checks.unknown("scene", scene, SCENES)
        raise ValueError(f"{known}; or the path of a Mitsuba file (….xml)")
    return scene
