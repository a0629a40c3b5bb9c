"""Reads the parts of a UNet off its modules and one traced pass."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import replace
from itertools import groupby
from typing import Any

import torch
from diffusers import UNet2DConditionModel
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from latency_tables import BlockSignature
from supernet.architecture import RESNET, TRANSFORMER_LAYER, BlockId
from supernet.growth import new_copy
from supernet.parts import Block, LayeredAttention, Part


class PartsReader:
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
        if block_id.kind == RESNET:
            return self._resnet(block_id)
        part = self._attention(block_id.site)
        if block_id.kind == TRANSFORMER_LAYER:
            layer = self._layered(part, (block_id,))
            part = Part(
                str(block_id),
                block_id.stage,
                replace(part.signature, transformer_layers=1),
                layer.layer_parameters,
                layer.layer_macs,
            )
        return Block(block_id, part, remainder=None, follower=part)

    def layered_attentions(self, blocks: Iterable[BlockId]) -> Iterator[LayeredAttention]:
        """Every cross-attention block of whose transformer layers some are among the blocks."""
        layers = [block for block in blocks if block.kind == TRANSFORMER_LAYER]
        for site, group in groupby(layers, lambda block: block.site):
            yield self._layered(self._attention(site), tuple(group))

    def _resnet(self, block_id: BlockId) -> Block:
        name = ".".join(map(str, block_id.module_path))
        module = self.unet.get_submodule(name)
        signature = self._signature(
            name,
            "resnet",
            module.in_channels,
            module.out_channels,
            temb_channels=module.time_emb_proj.in_features,
            norm_groups=module.norm1.num_groups,
        )
        part = self._part(block_id, name, signature)
        if module.conv_shortcut is None:
            return Block(block_id, part, remainder=None, follower=part)
        shortcut = f"{name}.conv_shortcut"
        remainder = self._part(
            block_id,
            shortcut,
            self._signature(shortcut, "shortcut", module.in_channels, module.out_channels),
        )
        return Block(block_id, part, remainder, self._follower(part, new_copy(module)))

    def _follower(self, part: Part, module: Any) -> Part:
        """What follows a ResNet that changes its channels."""
        signature = replace(
            part.signature, in_channels=module.in_channels, norm_groups=module.norm1.num_groups
        )
        shape = self.batch, module.in_channels, signature.height, signature.width
        hidden_states = torch.empty(shape, device="meta")
        temb = torch.empty(self.batch, signature.temb_channels, device="meta")
        with torch.no_grad(), FlopCounterMode(display=False) as counter:
            module(hidden_states, temb)
        macs = counter.get_total_flops() // 2
        return replace(part, signature=signature, parameters=_parameters(module), macs=macs)

    def _attention(self, block_id: BlockId) -> Part:
        name = ".".join(map(str, block_id.module_path))
        module = self.unet.get_submodule(name)
        signature = self._signature(
            name,
            "cross_attention",
            module.in_channels,
            module.in_channels,
            heads=module.config.num_attention_heads,
            transformer_layers=len(module.transformer_blocks),
            context_length=self.context_length,
            context_width=module.config.cross_attention_dim,
            linear_projection=int(bool(module.use_linear_projection)),
            norm_groups=module.norm.num_groups,
        )
        return self._part(block_id, name, signature)

    def _layered(self, part: Part, layers: tuple[BlockId, ...]) -> LayeredAttention:
        name = ".".join(map(str, layers[0].module_path))
        parameters = _parameters(self.unet.get_submodule(name))
        return LayeredAttention(part, layers, parameters, self._macs(name))

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
