"""Where the removable blocks sit in a diffusers UNet."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from typing import Any

from diffusers import UNet2DConditionModel
from torch import nn

from supernet.architecture import (
    CROSS_ATTENTION,
    RESNET,
    TRANSFORMER_LAYER,
    BlockId,
    Granularity,
)


def block_ids(unet: UNet2DConditionModel, granularity: Granularity = "block") -> list[BlockId]:
    """The removable blocks of a UNet in forward order."""
    stages = [(f"down.{i}", stage) for i, stage in enumerate(unet.down_blocks)]
    if unet.mid_block is not None:
        stages.append(("mid", unet.mid_block))
    stages += [(f"up.{i}", stage) for i, stage in enumerate(unet.up_blocks)]
    ids: list[BlockId] = []
    for name, stage in stages:
        ids += [BlockId(RESNET, name, index) for index in range(len(stage.resnets))]
        for index, attention in enumerate(getattr(stage, "attentions", ())):
            ids += _attention_ids(BlockId(CROSS_ATTENTION, name, index), attention, granularity)
    return sorted(ids)


def _attention_ids(block: BlockId, attention: Any, granularity: Granularity) -> Iterable[BlockId]:
    depth = len(attention.transformer_blocks)
    if granularity == "block" or depth < 2:
        return [block]
    return [replace(block, kind=TRANSFORMER_LAYER, layer=layer) for layer in range(depth)]


def find_block(unet: UNet2DConditionModel, block: BlockId) -> nn.Module:
    modules, index = block_slot(unet, block)
    return modules[index]


def replace_block(unet: UNet2DConditionModel, block: BlockId, module: nn.Module) -> None:
    modules, index = block_slot(unet, block)
    modules[index] = module


def block_slot(unet: UNet2DConditionModel, block: BlockId) -> tuple[nn.ModuleList, int]:
    """The list that holds a block, and its place in there."""
    path, index = block.module_path
    modules = unet.get_submodule(path)
    assert isinstance(modules, nn.ModuleList)
    return modules, index
