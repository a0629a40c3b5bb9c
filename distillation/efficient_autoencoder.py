"""An autoencoder with a smaller decoder, in place of the one that a pipeline came with.

This file needs torch and diffusers alone, besides the values and stand-ins it is made of.
"""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from typing import Any

import torch

# ModelMixin is not used here: a pipeline that was stored with this class is loaded again only if
# diffusers finds that name beside the class.
from diffusers import AutoencoderKL, ModelMixin  # noqa: F401
from diffusers.models.autoencoders.vae import Decoder
from diffusers.models.resnet import ResnetBlock2D
from torch import Tensor, nn

from distillation.decoder_architecture import AutoencoderConfig, DecoderArchitecture
from distillation.tiny_architecture import AnyDecoder, TinyDecoderArchitecture, decoder_of_sizes
from distillation.tiny_decoder import TinyDecoder
from supernet.standalone_unet import skipped


class EfficientAutoencoderKL(AutoencoderKL):
    """An ``AutoencoderKL`` whose decoder has sizes of its own, or is a tiny one.

    Its encoder is the base's. It is called like its base, saves and loads with
    ``save_pretrained`` / ``from_pretrained``, and is the ``vae`` of any pipeline that its base is.
    Its configuration is the base's and ``decoder_sizes``.

    Attributes:
        architecture: of its decoder.

    Args:
        decoder_sizes: of the decoder (``DecoderArchitecture.sizes``); what is left out is as in
            the base. Or those of a tiny one (``TinyDecoderArchitecture.sizes``).
        base: the arguments of ``AutoencoderKL``.

    Raises:
        DecoderError: if there can be no such decoder.
    """

    def __init__(self, decoder_sizes: Mapping[str, Any] | None = None, **base: Any) -> None:
        super().__init__(**base)
        sizes = dict(decoder_sizes or {})
        self.register_to_config(decoder_sizes=sizes)
        self.architecture = decoder_of_sizes(autoencoder_config(self), sizes)
        self.decoder = build_decoder(self.architecture)
        if isinstance(self.architecture, TinyDecoderArchitecture):
            self.post_quant_conv = nn.Identity()  # a tiny decoder begins with the latents

    def _decode(self, z: Tensor, return_dict: bool = True) -> Any:
        if self.architecture.channels_last:
            # The attention's output has its channels last, and all that follows it goes on so,
            # which is quicker: on a CPU by half. Without attention, latents begin so.
            z = z.contiguous(memory_format=torch.channels_last)
        return super()._decode(z, return_dict)

    @staticmethod
    def _get_init_keys(input_class: type) -> set[str]:
        # diffusers reads a class' settings from the signature of its __init__; this one's are
        # the base's and one more.
        return set(AutoencoderKL._get_init_keys(AutoencoderKL)) | {"decoder_sizes"}


def build_decoder(architecture: AnyDecoder) -> Decoder | TinyDecoder:
    """diffusers' decoder in these sizes, with random weights.

    Its weights bear the names that they have in the base; those of a tiny one names of their own.
    """
    if isinstance(architecture, TinyDecoderArchitecture):
        return TinyDecoder(architecture)
    base = architecture.base.values
    decoder = Decoder(
        in_channels=base["latent_channels"],
        out_channels=base["out_channels"],
        up_block_types=tuple(base["up_block_types"]),
        block_out_channels=architecture.channels[::-1],
        layers_per_block=base["layers_per_block"],
        norm_num_groups=base["norm_num_groups"],
        act_fn=base["act_fn"],
        mid_block_add_attention=architecture.attention,
    )
    resnets = decoder.mid_block.resnets
    for i in range(architecture.mid_resnets, len(resnets)):
        resnets[i] = skipped(resnets[i])
    full = DecoderArchitecture.full(architecture.base)
    for i, (stage, count) in enumerate(zip(decoder.up_blocks, architecture.resnets, strict=True)):
        del stage.resnets[count:]
        first = stage.resnets[0]
        if i and full.channels[i] != full.channels[i - 1] and first.conv_shortcut is None:
            # The base has a shortcut here, whose weights could not be inherited otherwise.
            stage.resnets[0] = _with_shortcut(first)
    return decoder


def _with_shortcut(resnet: ResnetBlock2D) -> ResnetBlock2D:
    return ResnetBlock2D(
        in_channels=resnet.in_channels,
        out_channels=resnet.out_channels,
        temb_channels=None,
        groups=resnet.norm1.num_groups,
        eps=resnet.norm1.eps,
        use_in_shortcut=True,
    )


def autoencoder_config(vae: AutoencoderKL | Mapping[str, Any]) -> AutoencoderConfig:
    """The base configuration of an autoencoder, or of a mapping as diffusers stores it.

    Defaults are filled in, so that a short and a long form of one configuration are equal;
    entries that are no settings of ``AutoencoderKL`` are left out.
    """
    given = vae.config if isinstance(vae, AutoencoderKL) else vae
    settings = list(inspect.signature(AutoencoderKL.__init__).parameters.values())[1:]
    return AutoencoderConfig.of({s.name: given.get(s.name, s.default) for s in settings})
