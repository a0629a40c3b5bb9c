"""Which found UNets stock diffusers can say, and their weights under its names.

A configuration of ``UNet2DConditionModel`` says for a stage whether it has cross-attention, for
each of these blocks how many transformer layers it has, and of the middle whether it is there as
a whole or as one ResNet. It cannot say that a ResNet is gone: a layer taken out of a stage takes
its skip connection along, which the found UNet keeps, and on the way up a removed ResNet leaves
its shortcut.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from diffusers import UNet2DConditionModel
from torch import nn

from supernet.inventory import unet_config
from supernet.standalone_unet import (
    BlockChain,
    SkippedCrossAttention,
    SkippedResnet,
    SkippedTransformerLayer,
)

_SKIPPED = (SkippedCrossAttention, SkippedResnet, SkippedTransformerLayer)


class _Unsayable(Exception):
    """What no stock configuration says."""


def as_stock(unet: UNet2DConditionModel) -> UNet2DConditionModel | None:
    """A found UNet as a stock one that computes the same; None where there can be none.

    Its weights are those of ``unet``, not copied.
    """
    try:
        config = _stock_config(unet)
    except _Unsayable:
        return None
    with torch.device("meta"):
        stock = UNet2DConditionModel.from_config(config)
    own = unet.state_dict(keep_vars=True)
    renamed = dict(_renamed(unet, stock))
    weights = {}
    for name in stock.state_dict():
        prefix = next((p for p in sorted(renamed, reverse=True) if name.startswith(f"{p}.")), "")
        weights[name] = own[renamed[prefix] + name[len(prefix) :] if prefix else name]
    stock.load_state_dict(weights, assign=True)
    return stock.train(unet.training)


def _stock_config(unet: UNet2DConditionModel) -> dict[str, Any]:
    """The configuration that says what is left of the blocks.

    Raises:
        _Unsayable: if there is none.
    """
    config = unet_config(unet).values
    down = [_attention_depths(stage) for stage in unet.down_blocks]
    up = [_attention_depths(stage) for stage in unet.up_blocks]
    for stage in (*unet.down_blocks, *unet.up_blocks):
        if any(isinstance(resnet, BlockChain | SkippedResnet) for resnet in stage.resnets):
            raise _Unsayable
    config["down_block_types"] = [_with_or_without("DownBlock2D", depths) for depths in down]
    config["up_block_types"] = [_with_or_without("UpBlock2D", depths) for depths in up]
    config["mid_block_type"], middle = _middle(unet.mid_block)
    if middle and not down[-1]:
        down[-1] = middle  # the middle has as many layers as the last stage's first attention
    if middle and down[-1][0] != middle[0]:
        raise _Unsayable
    layers, layers_up = [[_shortest(depths) for depths in side] for side in (down, up)]
    config["transformer_layers_per_block"] = layers
    # Most programs do not know this setting, so it is made only where it is needed.
    config["reverse_transformer_layers_per_block"] = None
    if layers_up != layers[::-1] or any(isinstance(each, list) for each in layers):
        config["reverse_transformer_layers_per_block"] = layers_up
    return config


def _attention_depths(stage: nn.Module) -> list[int]:
    """How many transformer layers each cross-attention block has; empty if there is none."""
    attentions: Any = getattr(stage, "attentions", ())
    if any(isinstance(each, BlockChain) for each in attentions):
        raise _Unsayable
    left = [each for each in attentions if not isinstance(each, SkippedCrossAttention)]
    if left and len(left) < len(attentions):
        raise _Unsayable
    return [len(list(_running("", each.transformer_blocks))) for each in left]


def _middle(mid: nn.Module | None) -> tuple[str | None, list[int]]:
    """Type of the middle, and how many transformer layers its attention has, if any."""
    if mid is None:
        return None, []
    resnets: Any = mid.resnets
    running, depths = len(list(_running("", resnets))), _attention_depths(mid)
    if any(isinstance(each, BlockChain) for each in resnets):
        raise _Unsayable
    kinds = {(2, 1): "UNetMidBlock2DCrossAttn", (1, 0): "UNetMidBlock2D", (0, 0): None}
    if (running, len(depths)) not in kinds:
        raise _Unsayable
    return kinds[running, len(depths)], depths


def _with_or_without(kind: str, depths: list[int]) -> str:
    return f"CrossAttn{kind}" if depths else kind


def _shortest(depths: list[int]) -> int | list[int]:
    """One number where all are equal, as configurations are mostly written."""
    different = set(depths) or {1}
    return depths if len(different) > 1 else different.pop()


def _running(path: str, blocks: Any) -> Iterator[str]:
    """The paths of the blocks of a list that are left, and of their copies behind them."""
    for i, block in enumerate(blocks):
        if isinstance(block, BlockChain):
            yield from (f"{path}.{i}.{place}" for place in range(len(block)))
        elif not isinstance(block, _SKIPPED):
            yield f"{path}.{i}"


def _renamed(unet: UNet2DConditionModel, stock: UNet2DConditionModel) -> Iterator[tuple[str, str]]:
    """Paths of the stock UNet's blocks, and where the found one has these."""
    for path, blocks in stock.named_modules():
        if not isinstance(blocks, nn.ModuleList) or path.count(".") > 2:
            continue
        if path.endswith((".resnets", ".attentions")):
            own: Any = unet.get_submodule(path)
            for i, running in enumerate(_running(path, own)):
                yield f"{path}.{i}", running
                layers = getattr(unet.get_submodule(running), "transformer_blocks", ())
                for k, layer in enumerate(_running(f"{running}.transformer_blocks", layers)):
                    yield f"{path}.{i}.transformer_blocks.{k}", layer
