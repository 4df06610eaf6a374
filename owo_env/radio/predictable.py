"""How well a channel can be predicted at all: theory, for whoever wonders at a figure."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from owo_env.radio import profiles
from owo_env.radio.channel import LOS_DOPPLER

Floats = NDArray[np.float64]
MOST_TURNS = 1000.0  # of Doppler over a lag; beyond it there is no correlation to speak of


def bessel_j0(x: ArrayLike) -> Floats:
    """J₀(x), the mean of cos(x cos φ) over a turn of φ, exact in double precision for |x| ≤ 6500.

    The trapezoid rule on a period converges faster than any power once it has more points than x.
    """
    angles = np.pi * (np.arange(4096) + 0.5) / 4096
    return np.cos(np.multiply.outer(np.asarray(x, float), np.cos(angles))).mean(axis=-1)


def autocorrelation(profile: str, turns: ArrayLike) -> Floats:
    """The real part of E[h(t + τ) h*(t)] of a channel of unit power.

    A real filter sees no more of it. The diffuse part is Jakes', J₀(2π f_d τ); a line of sight
    turns at 0.7 f_d.

    Args:
        profile: One of ``profiles.NAMES``.
        turns: f_d τ, the largest Doppler shift times the lag; any shape.
    """
    los = profiles.LOS_POWERS[profiles.NAMES.index(profile)]
    turns = np.asarray(turns, float)
    diffuse = bessel_j0(2 * np.pi * np.clip(turns, -MOST_TURNS, MOST_TURNS))
    return (1 - los) * diffuse + los * np.cos(2 * np.pi * LOS_DOPPLER * turns)


def best_nmse(
    profile: str, doppler: float, snr_db: float = 20.0, past: int = 4, horizon: int = 1
) -> float:
    """The least NMSE of any real filter made for this user alone (Wiener's).

    1 − rᵀ(R + 10^(−SNR/10) I)⁻¹r with R_ij = ρ(|i − j|) and r_i = ρ(horizon + i), ρ the channel's
    :func:`autocorrelation`. Predicting zero has 1.

    Args:
        profile: One of ``profiles.NAMES``.
        doppler: f_d in cycles a slot.
        snr_db: SNR of the estimates in dB.
        past: How many of the latest estimates the filter sees.
        horizon: How many slots ahead it predicts.
    """
    lags = np.arange(past)
    known = autocorrelation(profile, doppler * np.abs(lags[:, None] - lags))
    known = known + 10 ** (-snr_db / 10) * np.eye(past)
    ahead = autocorrelation(profile, doppler * (horizon + lags))
    return float(1 - ahead @ np.linalg.solve(known, ahead))
