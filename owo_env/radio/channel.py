"""Fading channels of a batch of links, sampled once a slot on a comb of subcarriers.

Single precision throughout: an estimated channel carries no more digits, and drawing channels is
what a round of radio data costs.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from owo_env.radio import profiles

SPEED_OF_LIGHT = 299_792_458.0  # m/s, exact by definition of the metre (SI)
NUM_SINUSOIDS = 20
LOS_DOPPLER = 0.7  # the line of sight's Doppler shift over the largest: TR 38.901 §7.7.2

Complex = NDArray[np.complex64]


@dataclass(frozen=True)
class Grid:
    """Where a channel is observed.

    Attributes:
        carrier: Carrier frequency in Hz.
        slot: Time from one sample to the next in s.
        subcarriers: How many are observed.
        spacing: Distance between them in Hz.
    """

    carrier: float = 3.5e9
    slot: float = 0.5e-3
    subcarriers: int = 16
    spacing: float = 360e3

    def doppler(self, speed: ArrayLike) -> NDArray[np.float64]:
        """The largest Doppler shift f_d = f_c v/c in Hz at ``speed`` in m/s."""
        return self.carrier * np.asarray(speed, float) / SPEED_OF_LIGHT


def phasor(turns: NDArray[np.floating]) -> Complex:
    """exp(2πj·turns) in single precision."""
    angle = np.asarray(2 * np.pi * turns, np.float32)
    out = np.empty(angle.shape, np.complex64)
    np.cos(angle, out=out.real)
    np.sin(angle, out=out.imag)
    return out


def complex_normal(rng: np.random.Generator, shape: tuple[int, ...]) -> Complex:
    """Circular complex normals of variance 1: exponential power, uniform phase (Box–Muller)."""
    power, turns = rng.random((2, *shape), dtype=np.float32)
    return np.sqrt(-np.log1p(-power)) * phasor(turns)


def rayleigh(
    rng: np.random.Generator, doppler: NDArray[np.float64], taps: int, samples: int
) -> Complex:
    """Rayleigh fading of unit power with autocorrelation J0(2π f_d τ): a sum of 20 sinusoids.

    Xiao, Zheng and Beaulieu, "Novel sum-of-sinusoids simulation models for Rayleigh and Rician
    fading channels", IEEE Trans. Wireless Commun. 5(12), 2006, eq. 6: arrival angles
    (2πn + U[−π, π])/20 and phases U[−π, π], independent for every tap. The autocorrelation over
    the ensemble is exact for any number of sinusoids.

    Args:
        rng: Where the draws come from.
        doppler: Largest Doppler shift in cycles per sample, shape (B,).
        taps: L, how many independent taps each link has.
        samples: T.

    Returns:
        Shape (T, B, L).
    """
    jitter, phase = rng.random((2, NUM_SINUSOIDS, len(doppler), taps), dtype=np.float32)
    arrival = (np.arange(NUM_SINUSOIDS)[:, None, None] + jitter) / np.float32(NUM_SINUSOIDS)
    step = phasor(doppler[:, None] * np.cos(np.float32(2 * np.pi) * arrival))
    wave = phasor(phase) / np.float32(np.sqrt(NUM_SINUSOIDS))
    fading = np.empty((samples, *wave.shape[1:]), np.complex64)
    for sample in fading:  # turning the sinusoids on costs a third of evaluating them anew
        np.add.reduce(wave, axis=0, out=sample)
        wave *= step
    return fading


def taps(
    rng: np.random.Generator,
    profile: NDArray[np.integer],
    doppler: NDArray[np.float64],
    samples: int,
) -> Complex:
    """The tap coefficients of B links over time, total mean power 1, shape (T, B, L).

    Args:
        rng: Where the draws come from.
        profile: Which of ``profiles.NAMES`` each link has, shape (B,).
        doppler: Largest Doppler shift in cycles per sample, shape (B,).
        samples: T.
    """
    amplitudes = np.sqrt(profiles.POWERS[profile]).astype(np.float32)
    coefficients = rayleigh(rng, doppler, amplitudes.shape[1], samples)
    coefficients *= amplitudes
    turns = rng.random(len(doppler)) + LOS_DOPPLER * doppler * np.arange(samples)[:, None]
    los = np.sqrt(profiles.LOS_POWERS[profile]).astype(np.float32)
    coefficients[:, :, 0] += los * phasor(turns)
    return coefficients


def channels(
    rng: np.random.Generator,
    grid: Grid,
    profile: NDArray[np.integer],
    delay_spread: NDArray[np.float64],
    speed: NDArray[np.float64],
    samples: int,
) -> Complex:
    """The channels of B independent links on every subcarrier and slot, mean power 1.

    H(f, t) = Σ_l a_l(t) exp(−2πj f τ_l) with τ_l the profile's delay times the delay spread
    (TR 38.901 §7.7.3).

    Args:
        rng: Where the draws come from.
        grid: Carrier, slot and subcarriers.
        profile: Which of ``profiles.NAMES`` each link has, shape (B,).
        delay_spread: r.m.s. delay spread in s, shape (B,).
        speed: In m/s, shape (B,).
        samples: T, how many slots.

    Returns:
        Shape (B, T, subcarriers).
    """
    coefficients = taps(rng, profile, grid.doppler(speed) * grid.slot, samples)
    frequencies = grid.spacing * np.arange(grid.subcarriers)
    delays = profiles.DELAYS[profile] * delay_spread[:, None]
    response = phasor(-delays[:, :, None] * frequencies)
    return coefficients.swapaxes(0, 1) @ response
