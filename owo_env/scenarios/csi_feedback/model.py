"""The autoencoder of a channel, and how well a channel is reconstructed."""

from __future__ import annotations

import torch
from torch import nn

from owo_env.figure import Figure
from owo_env.scenarios.split_learning.surroundings import quiet

Tensor = torch.Tensor

HIDDEN = 32
FIGURES = (
    Figure(
        "nmse_db",
        "NMSE dB",
        "mean NMSE in dB of the reconstructed channel, relative to its power,",
        better=-1,
        digits=2,
        reads="loss",
        per_user=True,
        form="dB",
    ),
    Figure(
        "sgcs",
        "SGCS",
        "squared cosine similarity of reconstructed and measured channels held out",
        better=+1,
        reads="validation_sgcs",
        per_user=True,
    ),
)


class Quantized(nn.Module):
    """Codes cut to (−1, 1) by tanh and rounded to 2^bits levels, through which gradients pass.

    Args:
        bits: Of each real.
    """

    draws = False  # from no generator

    def __init__(self, bits: int) -> None:
        super().__init__()
        self.scale = (2**bits - 1) / 2

    def forward(self, code: Tensor) -> Tensor:
        soft = torch.tanh(code)
        levels = ((soft + 1) * self.scale).round() / self.scale - 1
        return soft + (levels - soft).detach()


def encoder(reals: int, code: int, bits: int | None) -> nn.Module:
    """A user's side: (B, reals) → (B, code)."""
    return nn.Sequential(nn.Linear(reals, code), *([] if bits is None else [Quantized(bits)]))


def decoder(code: int, reals: int) -> nn.Module:
    """The server's side: (B, code) → (B, reals)."""
    return nn.Sequential(nn.Linear(code, HIDDEN), nn.ReLU(), nn.Linear(HIDDEN, reals))


@quiet
def nmse(outputs: Tensor, labels: Tensor) -> Tensor:
    """Σ|error|² over Σ|channel|² of a batch."""
    return (outputs - labels).square().sum() / labels.square().sum()


def sgcs(antennas: int, outputs: Tensor, labels: Tensor) -> Tensor:
    """|⟨ĥ, h⟩|²/(‖ĥ‖²‖h‖²) over the antennas of a subcarrier, its mean over these and places.

    3GPP's figure for feedback (TR 38.843): what a precoder of the reconstruction keeps of the
    gain of one of the channel itself. Outputs and labels are by angle and delay, (B, reals).
    """
    found, true = (_by_subcarrier(antennas, x) for x in (outputs, labels))
    kept = (found.conj() * true).sum(1).abs().square()
    power = found.abs().square().sum(1) * true.abs().square().sum(1)
    return (kept / power.clamp_min(torch.finfo(power.dtype).tiny)).mean()


def _by_subcarrier(antennas: int, x: Tensor) -> Tensor:
    """(B, antennas, subcarriers): angles are as good as antennas, since their DFT is unitary."""
    real, imag = x.double().chunk(2, dim=1)
    return torch.fft.fft(torch.complex(real, imag).unflatten(1, (antennas, -1)), dim=2)
