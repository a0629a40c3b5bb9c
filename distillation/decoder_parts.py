"""What an image decoder's latency and size add up from."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import torch
from diffusers.models.unets.unet_2d_blocks import AutoencoderTinyBlock
from torch import nn

from distillation.decoders import build_decoder
from distillation.efficient_autoencoder import SkippedMidResnet, TinyDecoder
from distillation.tiny_architecture import AnyDecoder, TinyDecoderArchitecture
from latency_tables import BlockSignature
from supernet.parts import Part
from supernet.tracing import trace


@lru_cache(maxsize=256)
def decoder_parts(
    architecture: AnyDecoder, batch: int, height: int, width: int
) -> tuple[Part, ...]:
    """All parts of a decoder in forward order, by a pass on meta.

    Args:
        architecture: of the decoder.
        batch: pictures per pass.
        height: of the latents.
        width: likewise.
    """
    with torch.device("meta"):
        whole = _Whole(architecture).eval()
        latents = torch.empty(batch, architecture.base.values["latent_channels"], height, width)
    shapes, flops = trace(whole, {"latents": latents})
    return tuple(
        Part(
            piece.name,
            piece.stage,
            BlockSignature(piece.kind, batch, *shapes[piece.name][2:], **piece.sizes),
            sum(weight.numel() for name in piece.modules for weight in _weights(whole, name)),
            sum(flops.get(name, 0) for name in piece.modules) // 2,
        )
        for piece in _pieces(whole)
    )


def latent_size(architecture: AnyDecoder) -> tuple[int, int]:
    """Height and width of the latents of a picture of the base's own ``sample_size``."""
    size = architecture.base.values["sample_size"]
    height, width = (size, size) if isinstance(size, int) else size
    scale = 2 ** (len(architecture.base.values["block_out_channels"]) - 1)
    return height // scale, width // scale


def parameters(architecture: AnyDecoder) -> int:
    """Weights of the decoder."""
    return sum(
        part.parameters for part in decoder_parts(architecture, 1, *latent_size(architecture))
    )


class _Whole(nn.Module):
    """All that lies between latents ``(batch, 4, h, w)`` and a picture."""

    def __init__(self, architecture: AnyDecoder) -> None:
        super().__init__()
        base, channels = architecture.base.values, architecture.base.values["latent_channels"]
        tiny = isinstance(architecture, TinyDecoderArchitecture)
        quant = base.get("use_post_quant_conv", True) and not tiny
        self.post_quant_conv = nn.Conv2d(channels, channels, 1) if quant else nn.Identity()
        self.decoder = build_decoder(architecture)

    def forward(self, latents: torch.Tensor) -> torch.Tensor:
        picture: torch.Tensor = self.decoder(self.post_quant_conv(latents))
        return picture


@dataclass(frozen=True)
class _Piece:
    """A part before it is measured: what it is, and the modules that it consists of."""

    name: str
    stage: str
    kind: str
    sizes: dict[str, int]
    more: tuple[str, ...] = ()

    @property
    def modules(self) -> tuple[str, ...]:
        return (self.name, *self.more)


def _pieces(whole: _Whole) -> Iterator[_Piece]:
    if isinstance(whole.decoder, TinyDecoder):
        yield from _tiny_pieces(whole.decoder)
        return
    decoder, first, last = whole.decoder, whole.post_quant_conv, whole.decoder.conv_out
    groups = {"norm_groups": decoder.conv_norm_out.num_groups}
    if isinstance(first, nn.Conv2d):
        yield _Piece("post_quant_conv", "", "shortcut", _channels(first))
    yield _Piece("decoder.conv_in", "", "conv_in", _channels(decoder.conv_in))
    attention, name = decoder.mid_block.attentions[0], "decoder.mid_block"
    for i, resnet in enumerate(decoder.mid_block.resnets):
        if i and attention is not None:
            width = attention.to_q.in_features
            sizes = {"in_channels": width, "out_channels": width, "heads": attention.heads}
            yield _Piece(f"{name}.attentions.0", "mid", "self_attention", sizes | groups)
        if not isinstance(resnet, SkippedMidResnet):
            yield _Piece(f"{name}.resnets.{i}", "mid", "resnet", _channels(resnet) | groups)
    for i, stage in enumerate(decoder.up_blocks):
        name = f"decoder.up_blocks.{i}"
        for j, resnet in enumerate(stage.resnets):
            yield _Piece(f"{name}.resnets.{j}", f"up.{i}", "resnet", _channels(resnet) | groups)
        if stage.upsamplers is not None:
            sizes = {"in_channels": stage.upsamplers[0].channels}
            sizes["out_channels"] = stage.upsamplers[0].out_channels
            yield _Piece(f"{name}.upsamplers.0", f"up.{i}", "upsample", sizes)
    norm = ("decoder.conv_norm_out",)
    yield _Piece("decoder.conv_out", "", "conv_out", _channels(last) | groups, norm)


def _tiny_pieces(decoder: TinyDecoder) -> Iterator[_Piece]:
    """Its activations and the squashing of latents stand alone, and take next to no time."""
    layers, stage = list(decoder.layers), 0
    for i, layer in enumerate(layers):
        name = f"decoder.layers.{i}"
        if isinstance(layer, AutoencoderTinyBlock):
            yield _Piece(name, f"up.{stage}", "tiny_block", _channels(layer.conv[0]))
        elif isinstance(layer, nn.Upsample):
            after = (f"decoder.layers.{i + 1}",)
            yield _Piece(name, f"up.{stage}", "upsample", _channels(layers[i + 1]), after)
            stage += 1
        elif isinstance(layer, nn.Conv2d) and i == 0:
            yield _Piece(name, "", "conv_in", _channels(layer))
        elif isinstance(layer, nn.Conv2d) and i == len(layers) - 1:
            yield _Piece(name, "", "conv_out", _channels(layer))


def _channels(module: Any) -> dict[str, int]:
    return {"in_channels": module.in_channels, "out_channels": module.out_channels}


def _weights(whole: nn.Module, name: str) -> Iterator[nn.Parameter]:
    return whole.get_submodule(name).parameters()
