"""What was trained, as ordinary modules and as one safetensors file."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors.torch import save_file
from torch import nn

from owo_env import files

FORMAT = "airan-fairmtl export 1"


@dataclass(frozen=True, eq=False)
class Exported:
    """Modules of their own, in ``eval`` mode: nothing that is done to them is heard of here.

    Attributes:
        encoders: The shared encoder as each user meets it, K: they differ in running statistics
            alone, and only with ``mode="train"``.
        heads: K.
        fronts: The users' first layers, K; none where inputs go to the server.
    """

    encoders: list[nn.Module]
    heads: list[nn.Module]
    fronts: list[nn.Module]

    @property
    def encoder(self) -> nn.Module:
        """That of the first user."""
        return self.encoders[0]

    def network(self, user: int) -> nn.Sequential:
        """All that a user's inputs go through, front layers (if any), encoder and head."""
        return nn.Sequential(*self.fronts[user : user + 1], self.encoders[user], self.heads[user])

    def state_dict(self) -> dict[str, torch.Tensor]:
        """Copies by name: ``encoder.…``, ``heads.0.…``, ``fronts.0.…``.

        Where users have statistics of their own also ``encoders.0.…``, with these alone.
        """
        parts = {"encoder": self.encoder}
        parts |= {f"heads.{k}": head for k, head in enumerate(self.heads)}
        parts |= {f"fronts.{k}": front for k, front in enumerate(self.fronts)}
        found = {
            f"{name}.{key}": value
            for name, part in parts.items()
            for key, value in part.state_dict().items()
        }
        if self.encoders[0] is not self.encoders[-1]:
            for k, one in enumerate(self.encoders):
                learned = dict(one.named_parameters())
                own = {key: v for key, v in one.state_dict().items() if key not in learned}
                found |= {f"encoders.{k}.{key}": value for key, value in own.items()}
        return {name: value.detach().cpu().contiguous().clone() for name, value in found.items()}

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write :meth:`state_dict` as one safetensors file, which ``safetensors`` reads anywhere.

        Raises:
            OSError: It cannot be written; what was there is kept.
        """
        about = {"format": FORMAT, "num_users": str(len(self.heads))}
        with files.atomic(Path(path)) as beside:
            save_file(self.state_dict(), beside, about)
