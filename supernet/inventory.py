"""How it is found out what a UNet consists of, with signatures and costs.

The UNet is built on torch's meta device and run once there, so that any ``UNet2DConditionModel``
is analysed from its configuration alone, without weights and in little memory.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from typing import Any

from diffusers import UNet2DConditionModel

from supernet.architecture import ArchitectureError, Granularity, UNetConfig
from supernet.parts import Inventory
from supernet.parts_reader import PartsReader
from supernet.supported import check_supported
from supernet.tracing import example_inputs, meta_unet, refusing, trace
from supernet.unet_blocks import block_ids

GUIDED_BATCH = 2  # one picture under classifier-free guidance: with and without its prompt


def take_inventory(
    config: UNetConfig,
    *,
    granularity: Granularity = "block",
    batch: int = GUIDED_BATCH,
    height: int | None = None,
    width: int | None = None,
    context_length: int = 77,
) -> Inventory:
    """Analyse a base UNet from its configuration.

    Args:
        config: any configuration of ``UNet2DConditionModel``.
        granularity: what counts as a block: cross-attention blocks, or their transformer layers.
        batch: pictures per forward pass; 2 is one picture under guidance.
        height: of the latents; by default the configuration's ``sample_size``.
        width: likewise.
        context_length: tokens of ``encoder_hidden_states``.

    Raises:
        ArchitectureError: if diffusers cannot build this configuration, if it is none of those
            that are supported (naming the setting), or if it has no block that can be removed.
    """
    default_height, default_width = _sample_size(config)
    height, width = height or default_height, width or default_width
    return _take_inventory(config, granularity, batch, height, width, context_length)


def _sample_size(config: UNetConfig) -> tuple[int, int]:
    """Height and width that a configuration names, one number or two.

    Raises:
        ArchitectureError: if they are anything else.
    """
    match config.values.get("sample_size") or 64:
        case int(size) if size > 0 and not isinstance(size, bool):
            return size, size
        case [int(height), int(width)] if height > 0 and width > 0:
            return height, width
        case other:
            raise ArchitectureError(
                f"field 'sample_size' is {other!r}; give the height and width of the latents, as "
                "one number or two"
            )


@lru_cache(maxsize=32)
def _take_inventory(
    config: UNetConfig,
    granularity: Granularity,
    batch: int,
    height: int,
    width: int,
    context_length: int,
) -> Inventory:
    check_supported(config)
    unet = meta_unet(config)
    with refusing("a UNet of this configuration cannot run"):
        inputs = example_inputs(unet, batch, height, width, context_length)
        shapes, flops = trace(unet, inputs)
    reader = PartsReader(unet, shapes, flops, batch, context_length)
    ids = block_ids(unet, granularity)
    if not ids:
        raise ArchitectureError("this UNet has no ResNet or cross-attention block to remove")
    return Inventory(
        config,
        tuple(reader.block(block_id) for block_id in ids),
        tuple(reader.layered_attentions(ids)),
        tuple(reader.fixed_parts()),
    )


def unet_config(unet: UNet2DConditionModel | Mapping[str, Any]) -> UNetConfig:
    """The complete base configuration of a UNet, or of a mapping as diffusers stores it."""
    given = unet.config if isinstance(unet, UNet2DConditionModel) else unet
    return UNetConfig.complete(UNet2DConditionModel, given)
