"""A Stable Diffusion UNet of which blocks were removed or repeated, for diffusers.

Exports carry this file as it is: it needs torch and diffusers alone.

Every block of a diffusers UNet is residual or keeps its shape, so removing one leaves a path: a
cross-attention block or one of its transformer layers becomes the identity, a ResNet its shortcut
(the identity where channels agree, the 1x1 convolution where they do not).
"""

from __future__ import annotations

import copy
import re
from collections.abc import Mapping
from typing import Any

# ModelMixin is not used here: a pipeline that was stored with this class is loaded again only if
# diffusers finds that name beside the class.
from diffusers import ModelMixin, UNet2DConditionModel  # noqa: F401
from diffusers.models.resnet import ResnetBlock2D
from diffusers.models.transformers.transformer_2d import Transformer2DModel
from torch import Tensor, nn

_BLOCK = re.compile(
    r"(?P<kind>resnet|cross_attention|transformer_layer) "
    r"((?P<side>down|up)\.(?P<stage>\d+)|mid)/(?P<index>\d+)(\.(?P<layer>\d+))?"
)


class StandaloneUNet(UNet2DConditionModel):
    """A ``UNet2DConditionModel`` with blocks removed or repeated, as diffusers would load it.

    It is called like its base, saves and loads with ``save_pretrained`` / ``from_pretrained`` and
    works in stock pipelines. Its configuration is the base's and ``multiplicities``.

    Args:
        multiplicities: text form of a block to how often it runs: 0 removed, 2 or more with
            copies behind it; blocks that are not named run once. ``resnet down.0/1`` is
            ``down_blocks.0.resnets.1`` of diffusers, ``transformer_layer mid/0.3`` is
            ``mid_block.attentions.0.transformer_blocks.3``.
        base: the arguments of ``UNet2DConditionModel``.

    Raises:
        ValueError: if the base has no such block, or a multiplicity is no whole number of 0 or
            more.
    """

    def __init__(self, multiplicities: Mapping[str, int] | None = None, **base: Any) -> None:
        super().__init__(**base)
        self.register_to_config(multiplicities=dict(multiplicities or {}))
        for block, count in (multiplicities or {}).items():
            if type(count) is not int or count < 0:
                raise ValueError(f"multiplicity of {block} is {count!r}: use 0, 1, 2 ...")
            modules, index = self._slot(block)
            source = modules[index]
            copies = [follower(source) for _ in range(count - 1)]
            modules[index] = BlockChain([source, *copies]) if count > 1 else source
            if count == 0:
                modules[index] = skipped(source)
        self._skip_empty_attentions()

    def _slot(self, block: str) -> tuple[nn.ModuleList, int]:
        """The list that holds a block, and its place in there."""
        match = _BLOCK.fullmatch(block)
        if match is None or (match["layer"] is None) == (match["kind"] == "transformer_layer"):
            raise ValueError(f"not a block: {block!r}; write it like 'cross_attention down.0/1'")
        stage = f"{match['side']}_blocks.{match['stage']}" if match["side"] else "mid_block"
        kind, index = "resnets" if match["kind"] == "resnet" else "attentions", int(match["index"])
        path = f"{stage}.{kind}"
        if match["layer"] is not None:
            path, index = f"{path}.{index}.transformer_blocks", int(match["layer"])
        try:
            modules: Any = self.get_submodule(path)
            modules[index]
        except (AttributeError, IndexError):
            raise ValueError(f"this UNet has no block '{block}'") from None
        return modules, index

    def _skip_empty_attentions(self) -> None:
        """Of a cross-attention block without a layer the projections would only cost time."""
        for stage in [*self.down_blocks, self.mid_block, *self.up_blocks]:
            attentions: Any = getattr(stage, "attentions", ())
            for i, attention in enumerate(attentions):
                layers = getattr(attention, "transformer_blocks", ())
                if layers and all(isinstance(each, SkippedTransformerLayer) for each in layers):
                    attentions[i] = SkippedCrossAttention()

    @staticmethod
    def _get_init_keys(input_class: type) -> set[str]:
        # diffusers reads a class' settings from the signature of its __init__; this one's are
        # the base's and one more.
        return set(UNet2DConditionModel._get_init_keys(UNet2DConditionModel)) | {"multiplicities"}


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
        for each in copies:
            unpacked = output[0] if isinstance(output, tuple) else output
            output = each(unpacked, *args, **kwargs)
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


def follower(block: nn.Module) -> nn.Module:
    """A block of equal channels that can stand behind another: a copy of it.

    A ResNet that changes its number of channels is followed by one that keeps them, of which two
    layers have weights that are not the block's.
    """
    made = copy.deepcopy(block)
    if isinstance(made, ResnetBlock2D) and changes_shape(made):
        channels, norm = made.out_channels, made.norm2
        made.norm1 = nn.GroupNorm(norm.num_groups, channels, norm.eps)
        made.conv1 = nn.Conv2d(channels, channels, kernel_size=3, padding=1)
        made.in_channels, made.use_in_shortcut, made.conv_shortcut = channels, False, None
    return made
