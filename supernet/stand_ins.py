"""What runs in the place of a block that is removed or repeated.

Every block of a diffusers UNet is residual or keeps its shape, so removing one leaves a path: a
cross-attention block or one of its transformer layers becomes the identity, a ResNet its shortcut
(the identity where channels agree, the 1x1 convolution where they do not). This file needs torch
and diffusers alone.
"""

from __future__ import annotations

from typing import Any

from diffusers.models.resnet import ResnetBlock2D
from diffusers.models.transformers.transformer_2d import Transformer2DModel
from torch import Tensor, nn


class SkippedCrossAttention(nn.Module):
    """The identity, called and answering as ``Transformer2DModel`` does in a UNet."""

    def forward(self, hidden_states: Tensor, *_: Any, **__: Any) -> tuple[Tensor]:
        return (hidden_states,)


class SkippedTransformerLayer(nn.Module):
    """The identity, called as the layers of a ``Transformer2DModel`` are."""

    def forward(self, hidden_states: Tensor, *_: Any, **__: Any) -> Tensor:
        return hidden_states


class SkippedResnet(nn.Module):
    """The shortcut of a ResNet block: its own 1x1 convolution, or nothing at all.

    The convolution keeps its name, so a standalone UNet's keys are a subset of its base's.
    """

    def __init__(self, resnet: ResnetBlock2D) -> None:
        super().__init__()
        self.conv_shortcut = resnet.conv_shortcut

    def forward(self, hidden_states: Tensor, *_: Any, **__: Any) -> Tensor:
        if self.conv_shortcut is None:
            return hidden_states
        shortcut: Tensor = self.conv_shortcut(hidden_states)
        return shortcut


class BlockChain(nn.ModuleList):
    """A block followed by its copies, called as the block itself is."""

    def forward(self, hidden_states: Tensor, *args: Any, **kwargs: Any) -> Any:
        first, *copies = self
        output = first(hidden_states, *args, **kwargs)
        for copy in copies:
            unpacked = output[0] if isinstance(output, tuple) else output
            output = copy(unpacked, *args, **kwargs)
        return output


def skipped(block: nn.Module) -> nn.Module:
    """What is left of a block when it is removed."""
    if isinstance(block, ResnetBlock2D):
        return SkippedResnet(block)
    if isinstance(block, Transformer2DModel):
        return SkippedCrossAttention()
    return SkippedTransformerLayer()


def changes_shape(block: nn.Module) -> bool:
    """Whether the block's output has other channels than its input."""
    return isinstance(block, ResnetBlock2D) and block.in_channels != block.out_channels
