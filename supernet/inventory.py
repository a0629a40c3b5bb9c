"""What a UNet consists of: its removable blocks and fixed parts, with signatures and costs.

The UNet is built on torch's meta device and run once there, so that any ``UNet2DConditionModel``
is analysed from its configuration alone, without weights and in little memory.
"""

from __future__ import annotations

import inspect
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from functools import cached_property, lru_cache
from typing import Any

import torch
from diffusers import UNet2DConditionModel
from torch import nn

from latency_tables import BlockSignature
from supernet.architecture import (
    CROSS_ATTENTION,
    Architecture,
    ArchitectureError,
    BlockId,
    UNetConfig,
)
from supernet.supported import check_supported
from supernet.tracing import meta_unet, trace
from supernet.unet_blocks import block_ids

GUIDED_BATCH = 2  # one picture under classifier-free guidance: with and without its prompt


@dataclass(frozen=True)
class Part:
    """A piece of a UNet and what it costs.

    Attributes:
        name: a block's text form or the path of a fixed part's module.
        stage: the stage it belongs to, ``""`` outside of all stages.
        signature: what its latency depends on.
        parameters: number of weights.
        macs: multiply-accumulates of one forward pass at the signature's batch and resolution.
    """

    name: str
    stage: str
    signature: BlockSignature
    parameters: int
    macs: int


@dataclass(frozen=True)
class Block:
    """A removable block, and the part that stays in its place when it is removed (if any)."""

    id: BlockId
    part: Part
    remainder: Part | None

    @property
    def changes_shape(self) -> bool:
        """Whether it ends in other channels than it begins with, so that no copy can follow it."""
        return self.remainder is not None


@dataclass(frozen=True)
class Inventory:
    """All parts of a base UNet at one batch size and resolution.

    Attributes:
        config: the base UNet's configuration.
        blocks: the removable blocks in forward order.
        fixed: everything else that takes time, in forward order.
    """

    config: UNetConfig
    blocks: tuple[Block, ...]
    fixed: tuple[Part, ...]

    @cached_property
    def by_id(self) -> Mapping[BlockId, Block]:
        return {block.id: block for block in self.blocks}

    @cached_property
    def overhead(self) -> BlockSignature:
        """The signature of what a whole pass takes beyond its parts; no table needs a row of it."""
        first = next(part.signature for part in self.fixed if part.signature.kind == "conv_in")
        rest = [block.part.signature for block in self.blocks]
        return replace(
            first,
            kind="overhead",
            temb_channels=max(each.temb_channels for each in rest),
            context_length=max(each.context_length for each in rest),
            context_width=max(each.context_width for each in rest),
        )

    def full(self) -> Architecture:
        """The base itself: every block once."""
        return Architecture(self.config, tuple((block.id, 1) for block in self.blocks))

    def smallest(self) -> Architecture:
        """Every block removed."""
        return self.full().without(block.id for block in self.blocks)

    def parts(self, architecture: Architecture) -> Iterator[Part]:
        """The parts that run under an architecture: fixed ones, blocks (copies too), remainders.

        Raises:
            ArchitectureError: if the architecture is of another base, lacks a block, or repeats
                one that changes its shape.
        """
        self.check(architecture)
        yield from self.fixed
        for block in self.blocks:
            count = architecture[block.id]
            if count == 0 and block.remainder is not None:
                yield block.remainder
            for _ in range(count):
                yield block.part

    def check(self, architecture: Architecture) -> None:
        """See that an architecture can run on this base.

        Raises:
            ArchitectureError: if it is of another base, lacks a block, has an unknown one, or
                repeats one that changes its shape.
        """
        if architecture.base != self.config:
            raise ArchitectureError(
                f"architecture {architecture.id} belongs to the base UNet "
                f"{architecture.base.digest}, not to {self.config.digest}"
            )
        for block in sorted(self.by_id.keys() ^ architecture.multiplicities.keys()):
            problem = "does not list" if block in self.by_id else "lists an unknown block,"
            raise ArchitectureError(f"architecture {architecture.id} {problem} '{block}'")
        for block in architecture.added:
            if self.by_id[block].changes_shape:
                raise ArchitectureError(
                    f"'{block}' changes its number of channels, so a copy cannot follow it; "
                    "use a multiplicity of 0 or 1"
                )

    def parameters(self, architecture: Architecture) -> int:
        return sum(part.parameters for part in self.parts(architecture))

    def macs(self, architecture: Architecture) -> int:
        return sum(part.macs for part in self.parts(architecture))

    def all_signatures(self) -> list[BlockSignature]:
        """Every signature that some architecture of this base needs, without repetition."""
        parts = [*self.fixed, *(block.part for block in self.blocks)]
        parts += [block.remainder for block in self.blocks if block.remainder is not None]
        return list(dict.fromkeys(part.signature for part in parts))


def take_inventory(
    config: UNetConfig,
    *,
    batch: int = GUIDED_BATCH,
    height: int | None = None,
    width: int | None = None,
    context_length: int = 77,
) -> Inventory:
    """Analyse a base UNet from its configuration.

    Args:
        config: any configuration of ``UNet2DConditionModel``.
        batch: pictures per forward pass; 2 is one picture under guidance.
        height: of the latents; by default the configuration's ``sample_size``.
        width: likewise.
        context_length: tokens of ``encoder_hidden_states``.

    Raises:
        ArchitectureError: if diffusers cannot build this configuration, if it is none of those
            that are supported (naming the setting), or if it has no block that can be removed.
    """
    size = config.values.get("sample_size") or 64
    default_height, default_width = (size, size) if isinstance(size, int) else size
    return _take_inventory(
        config, batch, height or default_height, width or default_width, context_length
    )


@lru_cache(maxsize=32)
def _take_inventory(
    config: UNetConfig, batch: int, height: int, width: int, context_length: int
) -> Inventory:
    check_supported(config)
    unet = meta_unet(config)
    shapes, flops = trace(unet, batch, height, width, context_length)
    reader = _Reader(unet, shapes, flops, batch, context_length)
    blocks = tuple(reader.block(block_id) for block_id in block_ids(unet))
    if not blocks:
        raise ArchitectureError("this UNet has no ResNet or cross-attention block to remove")
    return Inventory(config, blocks, tuple(reader.fixed_parts()))


class _Reader:
    """Turns modules of a traced UNet into parts."""

    def __init__(
        self,
        unet: UNet2DConditionModel,
        shapes: dict[str, torch.Size],
        flops: dict[str, int],
        batch: int,
        context_length: int,
    ) -> None:
        self.unet = unet
        self.shapes = shapes
        self.flops = flops
        self.batch = batch
        self.context_length = context_length

    def block(self, block_id: BlockId) -> Block:
        path, index = block_id.module_path
        name = f"{path}.{index}"
        module = self.unet.get_submodule(name)
        if block_id.kind == CROSS_ATTENTION:
            signature = self._signature(
                name,
                "cross_attention",
                module.in_channels,
                module.in_channels,
                heads=module.config.num_attention_heads,
                transformer_layers=len(module.transformer_blocks),
                context_length=self.context_length,
                context_width=module.config.cross_attention_dim,
                linear_projection=int(module.use_linear_projection),
                norm_groups=module.norm.num_groups,
            )
            return Block(block_id, self._part(block_id, name, signature), None)
        signature = self._signature(
            name,
            "resnet",
            module.in_channels,
            module.out_channels,
            temb_channels=module.time_emb_proj.in_features,
            norm_groups=module.norm1.num_groups,
        )
        remainder = None
        if module.conv_shortcut is not None:
            shortcut = f"{name}.conv_shortcut"
            remainder = self._part(
                block_id,
                shortcut,
                self._signature(shortcut, "shortcut", module.in_channels, module.out_channels),
            )
        return Block(block_id, self._part(block_id, name, signature), remainder)

    def fixed_parts(self) -> Iterator[Part]:
        unet = self.unet
        first = unet.conv_in
        yield self._fixed(
            "time_embedding",
            "time_embedding",
            unet.time_proj.num_channels,
            unet.time_embedding.linear_2.out_features,
            temb_channels=unet.time_embedding.linear_2.out_features,
        )
        if unet.config.addition_embed_type == "text_time":
            embedding = unet.add_embedding
            channels = embedding.linear_1.in_features, embedding.linear_2.out_features
            yield self._fixed(
                "add_embedding", "text_time_embedding", *channels, temb_channels=channels[1]
            )
        yield self._fixed("conv_in", "conv_in", first.in_channels, first.out_channels)
        for i, stage in enumerate(unet.down_blocks):
            if stage.downsamplers is not None:
                name = f"down_blocks.{i}.downsamplers.0"
                module = stage.downsamplers[0]
                yield self._fixed(name, "downsample", module.channels, module.out_channels)
        for i, stage in enumerate(unet.up_blocks):
            yield from self._up_stage_parts(i, stage)
        groups = unet.conv_norm_out.num_groups if unet.conv_norm_out is not None else 0
        last = unet.conv_out
        yield self._fixed(
            "conv_out", "conv_out", last.in_channels, last.out_channels, norm_groups=groups
        )

    def _up_stage_parts(self, i: int, stage: Any) -> Iterator[Part]:
        hidden = self._channels_before_up_stage(i)
        for j, resnet in enumerate(stage.resnets):
            name = f"up_blocks.{i}.resnets.{j}"
            signature = self._signature(name, "skip_concat", hidden, resnet.in_channels)
            yield Part(f"{name}.concat", f"up.{i}", signature, 0, 0)
            hidden = resnet.out_channels
        if stage.upsamplers is not None:
            name = f"up_blocks.{i}.upsamplers.0"
            module = self.unet.get_submodule(name)
            yield self._fixed(name, "upsample", module.channels, module.out_channels)

    def _channels_before_up_stage(self, i: int) -> int:
        previous = self.unet.up_blocks[i - 1] if i else self.unet.down_blocks[-1]
        return int(previous.resnets[-1].out_channels)

    def _fixed(
        self, name: str, kind: str, in_channels: int, out_channels: int, **details: int
    ) -> Part:
        signature = self._signature(name, kind, in_channels, out_channels, **details)
        side, _, rest = name.partition("_blocks.")  # "down_blocks.0.downsamplers.0"
        stage = f"{side}.{rest.partition('.')[0]}" if rest else ""
        module = self.unet.get_submodule(name)
        parameters = _parameters(module)
        if name == "conv_out" and self.unet.conv_norm_out is not None:
            parameters += _parameters(self.unet.conv_norm_out)
        return Part(name, stage, signature, parameters, self._macs(name))

    def _part(self, block_id: BlockId, name: str, signature: BlockSignature) -> Part:
        parameters = _parameters(self.unet.get_submodule(name))
        return Part(str(block_id), block_id.stage, signature, parameters, self._macs(name))

    def _macs(self, name: str) -> int:
        return self.flops.get(name, 0) // 2

    def _signature(
        self, name: str, kind: str, in_channels: int, out_channels: int, **details: int
    ) -> BlockSignature:
        shape = self.shapes[name]
        height, width = (shape[2], shape[3]) if len(shape) == 4 else (1, 1)
        return BlockSignature(
            kind=kind,
            batch=self.batch,
            height=height,
            width=width,
            in_channels=in_channels,
            out_channels=out_channels,
            **details,
        )


def _parameters(module: nn.Module) -> int:
    return sum(weight.numel() for weight in module.parameters())


def unet_config(unet: UNet2DConditionModel | Mapping[str, Any]) -> UNetConfig:
    """The base configuration of a UNet, or of a mapping as diffusers stores it.

    Defaults are filled in, so that a short and a long form of one configuration are equal;
    entries that are no settings of ``UNet2DConditionModel`` are left out.
    """
    given = unet.config if isinstance(unet, UNet2DConditionModel) else unet
    settings = list(inspect.signature(UNet2DConditionModel.__init__).parameters.values())[1:]
    return UNetConfig.of({s.name: given.get(s.name, s.default) for s in settings})
