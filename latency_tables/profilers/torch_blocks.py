"""The torch module and example inputs of a signature, for every profiler that runs torch.

Importing this imports torch and diffusers; the rest of the package does without.
"""

from __future__ import annotations

import torch
from diffusers.models.attention_processor import Attention
from diffusers.models.downsampling import Downsample2D
from diffusers.models.embeddings import TimestepEmbedding, Timesteps
from diffusers.models.resnet import ResnetBlock2D
from diffusers.models.transformers.transformer_2d import Transformer2DModel
from diffusers.models.unets.unet_2d_blocks import AutoencoderTinyBlock
from diffusers.models.upsampling import Upsample2D
from torch import Tensor, nn

from latency_tables.signature import BlockSignature
from latency_tables.table import MemoryFormat

_SEED = 0


def build_block(signature: BlockSignature) -> tuple[nn.Module, tuple[Tensor, ...]]:
    """The block of a signature with random weights, and inputs for it, the same at every call.

    Args:
        signature: of any kind that is a module's.

    Returns:
        A module in evaluation mode on the CPU, in fp32, and the positional arguments to call it
        with. Feature maps are [batch, channels, height, width], the time embedding [batch,
        temb_channels], the context [batch, context_length, context_width], timesteps [batch].
        The module returns a feature map or, for the embeddings, [batch, temb_channels].
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(_SEED)
        return _module(signature).eval().requires_grad_(False), _inputs(signature)


def converted(
    module: nn.Module,
    inputs: tuple[Tensor, ...],
    dtype: torch.dtype,
    memory_format: MemoryFormat = "contiguous",
) -> tuple[nn.Module, tuple[Tensor, ...]]:
    """A module and its inputs in a precision and, where they have four dimensions, a layout."""
    layout = {
        "contiguous": torch.contiguous_format,
        "channels_last": torch.channels_last,
    }[memory_format]
    # Module's own cast: that of diffusers' models warns.
    module = nn.Module.to(module, dtype).to(memory_format=layout)
    return module, tuple(
        x.to(dtype).to(memory_format=layout) if x.ndim == 4 else x.to(dtype) for x in inputs
    )


def _module(s: BlockSignature) -> nn.Module:
    match s.kind:
        case "resnet":
            return _resnet(s) if s.temb_channels else _WithoutTime(_resnet(s))
        case "cross_attention":
            return _CrossAttention(s)
        case "self_attention":
            return _self_attention(s)
        case "shortcut":
            return nn.Conv2d(s.in_channels, s.out_channels, kernel_size=1)
        case "downsample":
            return Downsample2D(s.in_channels, use_conv=True, out_channels=s.out_channels)
        case "upsample":
            return Upsample2D(s.in_channels, use_conv=True, out_channels=s.out_channels)
        case "conv_in":
            return nn.Conv2d(s.in_channels, s.out_channels, kernel_size=3, padding=1)
        case "conv_out":
            conv = nn.Conv2d(s.in_channels, s.out_channels, kernel_size=3, padding=1)
            if s.norm_groups == 0:
                return conv
            return nn.Sequential(nn.GroupNorm(s.norm_groups, s.in_channels), nn.SiLU(), conv)
        case "time_embedding":
            return _TimeEmbedding(s)
        case "text_time_embedding":
            return TimestepEmbedding(s.in_channels, s.temb_channels)
        case "skip_concat":
            return _SkipConcat()
        case "tiny_block":
            return AutoencoderTinyBlock(s.in_channels, s.out_channels, "relu")
        case _:
            raise AssertionError(s.kind)


def _inputs(s: BlockSignature) -> tuple[Tensor, ...]:
    if s.kind == "time_embedding":
        return (torch.full((s.batch,), 500.0),)
    if s.kind == "text_time_embedding":
        return (torch.randn(s.batch, s.in_channels),)
    features = torch.randn(s.batch, s.in_channels, s.height, s.width)
    match s.kind:
        case "resnet" if s.temb_channels:
            return features, torch.randn(s.batch, s.temb_channels)
        case "cross_attention":
            return features, torch.randn(s.batch, s.context_length, s.context_width)
        case "skip_concat":
            skip_channels = s.out_channels - s.in_channels
            return features, torch.randn(s.batch, skip_channels, s.height, s.width)
        case _:
            return (features,)


def _resnet(s: BlockSignature) -> ResnetBlock2D:
    return ResnetBlock2D(
        in_channels=s.in_channels,
        out_channels=s.out_channels,
        temb_channels=s.temb_channels or None,
        groups=s.norm_groups,
    )


def _self_attention(s: BlockSignature) -> Attention:
    """As ``UNetMidBlock2D`` makes it."""
    return Attention(
        s.in_channels,
        heads=s.heads,
        dim_head=s.in_channels // s.heads,
        eps=1e-6,
        norm_num_groups=s.norm_groups,
        residual_connection=True,
        bias=True,
        upcast_softmax=True,
        _from_deprecated_attn_block=True,
    )


class _WithoutTime(nn.Module):
    """A ResNet as an image decoder calls it."""

    def __init__(self, resnet: ResnetBlock2D) -> None:
        super().__init__()
        self.resnet = resnet

    def forward(self, features: Tensor) -> Tensor:
        output: Tensor = self.resnet(features, None)
        return output


class _CrossAttention(nn.Module):
    def __init__(self, s: BlockSignature) -> None:
        super().__init__()
        self.transformer = Transformer2DModel(
            num_attention_heads=s.heads,
            attention_head_dim=s.in_channels // s.heads,
            in_channels=s.in_channels,
            num_layers=s.transformer_layers,
            cross_attention_dim=s.context_width,
            use_linear_projection=bool(s.linear_projection),
            norm_num_groups=s.norm_groups,
        )

    def forward(self, features: Tensor, context: Tensor) -> Tensor:
        output: Tensor = self.transformer(features, context, return_dict=False)[0]
        return output


class _TimeEmbedding(nn.Module):
    def __init__(self, s: BlockSignature) -> None:
        super().__init__()
        self.sinusoids = Timesteps(s.in_channels, flip_sin_to_cos=True, downscale_freq_shift=0)
        self.embedding = TimestepEmbedding(s.in_channels, s.temb_channels)

    def forward(self, timesteps: Tensor) -> Tensor:
        # The sinusoids are fp32 whatever comes in; the UNet casts them to its weights' dtype too.
        sinusoids = self.sinusoids(timesteps).to(timesteps.dtype)  # [batch, in_channels]
        embedding: Tensor = self.embedding(sinusoids)  # [batch, temb_channels]
        return embedding


class _SkipConcat(nn.Module):
    def forward(self, features: Tensor, skip: Tensor) -> Tensor:
        return torch.cat([features, skip], dim=1)
