"""An autoencoder with a smaller decoder, in place of the one that a pipeline came with.

Pipelines carry this file as it is: it needs torch and diffusers alone.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch

# ModelMixin is not used here: a pipeline that was stored with this class is loaded again only if
# diffusers finds that name beside the class.
from diffusers import AutoencoderKL, ModelMixin  # noqa: F401
from diffusers.models.autoencoders.vae import Decoder, DecoderTiny
from diffusers.models.resnet import ResnetBlock2D
from torch import Tensor, nn

_TINY = "tiny"  # kind of a decoder that has other layers than the base's
_SIZES = {"channels", "resnets", "mid_resnets", "attention"}
_TINY_SIZES = {"kind", "width", "blocks"}


class EfficientAutoencoderKL(AutoencoderKL):
    """An ``AutoencoderKL`` whose decoder has sizes of its own, or is a tiny one.

    Its encoder is the base's. It is called like its base, saves and loads with
    ``save_pretrained`` / ``from_pretrained``, and is the ``vae`` of any pipeline that its base is.
    Its configuration is the base's and ``decoder_sizes``.

    Args:
        decoder_sizes: of the decoder: ``channels`` and ``resnets`` of its stages in forward order,
            ``mid_resnets``, ``attention``; what is left out is as in the base. Or those of a tiny
            one: ``kind`` ("tiny"), ``width``, ``blocks`` of its stages.
        base: the arguments of ``AutoencoderKL``.

    Raises:
        ValueError: if the sizes have another name.
    """

    def __init__(self, decoder_sizes: Mapping[str, Any] | None = None, **base: Any) -> None:
        super().__init__(**base)
        sizes = dict(decoder_sizes or {})
        self.register_to_config(decoder_sizes=sizes)
        self.decoder = sized_decoder(self.config, sizes)
        tiny = isinstance(self.decoder, TinyDecoder)
        if tiny:
            self.post_quant_conv = nn.Identity()  # a tiny decoder begins with the latents
        self._channels_last = not tiny and self.decoder.mid_block.attentions[0] is None

    def _decode(self, z: Tensor, return_dict: bool = True) -> Any:
        if self._channels_last:
            # The attention's output has its channels last, and all that follows it goes on so,
            # which is quicker: on a CPU by half. Without attention, latents begin so.
            z = z.contiguous(memory_format=torch.channels_last)
        return super()._decode(z, return_dict)

    @staticmethod
    def _get_init_keys(input_class: type) -> set[str]:
        # diffusers reads a class' settings from the signature of its __init__; this one's are
        # the base's and one more.
        return set(AutoencoderKL._get_init_keys(AutoencoderKL)) | {"decoder_sizes"}


class TinyDecoder(DecoderTiny):
    """diffusers' ``DecoderTiny`` in these sizes, with random weights.

    It squashes latents to [-3, 3], which is made for those of a UNet; so they are brought back to
    that scale first.

    Args:
        base: configuration of the autoencoder whose decoder it stands in for.
        width: channels of all stages.
        blocks: residual blocks of every stage, in forward order.
    """

    def __init__(self, base: Mapping[str, Any], width: int, blocks: tuple[int, ...]) -> None:
        super().__init__(
            in_channels=base["latent_channels"],
            out_channels=base["out_channels"],
            num_blocks=blocks,
            block_out_channels=(width,) * len(blocks),
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


class SkippedMidResnet(nn.Module):
    """What is left of a ResNet of the middle part when it is removed: it keeps its channels."""

    def forward(self, hidden_states: Tensor, *_: Any) -> Tensor:
        return hidden_states


def sized_decoder(base: Mapping[str, Any], sizes: Mapping[str, Any]) -> Decoder | TinyDecoder:
    """diffusers' decoder in these sizes, with random weights.

    Its weights bear the names that they have in the base; those of a tiny one names of their own.

    Args:
        base: an autoencoder's configuration, complete.
        sizes: see :class:`EfficientAutoencoderKL`.

    Raises:
        ValueError: likewise.
    """
    known = _TINY_SIZES if "kind" in sizes else _SIZES
    if sizes.keys() - known or sizes.get("kind", _TINY) != _TINY:
        raise ValueError(f"decoder_sizes {dict(sizes)}: give {', '.join(sorted(known))}")
    if "kind" in sizes:
        return TinyDecoder(base, sizes["width"], tuple(sizes["blocks"]))
    widths = tuple(reversed(base["block_out_channels"]))
    channels = tuple(sizes.get("channels", widths))
    decoder = Decoder(
        in_channels=base["latent_channels"],
        out_channels=base["out_channels"],
        up_block_types=tuple(base["up_block_types"]),
        block_out_channels=channels[::-1],
        layers_per_block=base["layers_per_block"],
        norm_num_groups=base["norm_num_groups"],
        act_fn=base["act_fn"],
        mid_block_add_attention=sizes.get("attention", base.get("mid_block_add_attention", True)),
    )
    mid = decoder.mid_block.resnets
    for i in range(sizes.get("mid_resnets", len(mid)), len(mid)):
        mid[i] = SkippedMidResnet()
    most = [len(stage.resnets) for stage in decoder.up_blocks]
    counts = sizes.get("resnets", most)
    for i, (stage, count) in enumerate(zip(decoder.up_blocks, counts, strict=True)):
        del stage.resnets[count:]
        first = stage.resnets[0]
        if i and widths[i] != widths[i - 1] and first.conv_shortcut is None:
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
