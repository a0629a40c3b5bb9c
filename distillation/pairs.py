"""What a decoder is trained on: latents, and the pictures that its teacher makes of them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import torch
from diffusers import AutoencoderKL
from torch import Tensor


@dataclass(frozen=True)
class Pairs:
    """Some latents with their pictures.

    Attributes:
        latents: ``(n, 4, h, w)``, as a UNet draws them: times the autoencoder's scaling factor.
        pictures: ``(n, 3, height, width)``, as the teacher decodes them: about [-1, 1], not
            clamped.
    """

    latents: Tensor
    pictures: Tensor

    def __len__(self) -> int:
        return len(self.latents)

    def __getitem__(self, rows: slice) -> Pairs:
        return Pairs(self.latents[rows], self.pictures[rows])

    def to(self, device: torch.device) -> Pairs:
        """The same on another device, in fp32."""
        return Pairs(self.latents.float().to(device), self.pictures.float().to(device))

    @classmethod
    def joined(cls, parts: list[Pairs]) -> Pairs:
        """All of some parts, in their order."""
        return cls(
            torch.cat([part.latents for part in parts]),
            torch.cat([part.pictures for part in parts]),
        )


class PairBatches(Protocol):
    """The data of a decoder's training: the batch of a step is a function of the step alone."""

    def __call__(self, step: int, rows: range) -> Pairs:
        """Rows ``rows`` of the batch of ``step``, of all ``batch_size`` that it has."""
        ...


def decode(vae: AutoencoderKL, latents: Tensor) -> Tensor:
    """The decoder's picture of latents as a UNet draws them; both as in :class:`Pairs`."""
    picture: Tensor = vae.decode(latents / vae.config.scaling_factor).sample
    return picture
