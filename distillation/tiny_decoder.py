"""A tiny decoder: diffusers' own, for latents as an ``AutoencoderKL`` takes them."""

from __future__ import annotations

from diffusers.models.autoencoders.vae import DecoderTiny
from torch import Tensor

from distillation.tiny_architecture import TinyDecoderArchitecture


class TinyDecoder(DecoderTiny):
    """diffusers' ``DecoderTiny`` in these sizes, with random weights.

    It squashes latents to [-3, 3], which is made for those of a UNet; so they are brought back to
    that scale first.
    """

    def __init__(self, architecture: TinyDecoderArchitecture) -> None:
        base = architecture.base.values
        super().__init__(
            in_channels=base["latent_channels"],
            out_channels=base["out_channels"],
            num_blocks=architecture.blocks,
            block_out_channels=(architecture.width,) * len(architecture.blocks),
            upsampling_scaling_factor=2,
            act_fn="relu",
            upsample_fn="nearest",
        )
        self.scaling_factor = float(base["scaling_factor"])

    def forward(self, latents: Tensor) -> Tensor:
        """Pictures ``(n, 3, height, width)`` in about [-1, 1].

        Args:
            latents: ``(n, 4, h, w)``, as the base encodes them: divided by the scaling factor.
        """
        pictures: Tensor = super().forward(latents * self.scaling_factor)
        return pictures
