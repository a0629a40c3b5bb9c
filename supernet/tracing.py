"""One forward pass of a UNet on torch's meta device: shapes and operations without weights."""

from __future__ import annotations

from functools import partial
from typing import Any

import torch
from diffusers import UNet2DConditionModel
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from supernet.architecture import ArchitectureError, UNetConfig


def meta_unet(config: UNetConfig) -> UNet2DConditionModel:
    """The UNet of a configuration with weights that have shapes but no memory."""
    try:
        with torch.device("meta"):
            return UNet2DConditionModel.from_config(config.values).eval()
    except (TypeError, ValueError, LookupError, AttributeError, ArithmeticError, RuntimeError) as e:
        raise ArchitectureError(f"diffusers cannot build this UNet configuration: {e}") from e


def trace(
    unet: UNet2DConditionModel, batch: int, height: int, width: int, context_length: int
) -> tuple[dict[str, torch.Size], dict[str, int]]:
    """Input shape and floating-point operations of every module, from one pass on meta.

    Args:
        unet: on the meta device.
        batch: pictures per forward pass.
        height: of the latents.
        width: likewise.
        context_length: tokens of ``encoder_hidden_states``.
    """
    shapes: dict[str, torch.Size] = {}
    hooks = [
        module.register_forward_pre_hook(partial(_note_shape, shapes, name), with_kwargs=True)
        for name, module in unet.named_modules()
        if name
    ]
    sample = torch.empty(batch, unet.config.in_channels, height, width, device="meta")
    widths = unet.config.cross_attention_dim  # one, or the same one for every stage
    context_width = widths if isinstance(widths, int) else widths[0]
    context = torch.empty(batch, context_length, context_width, device="meta")
    timestep = torch.empty(batch, device="meta")
    added = _added_conditions(unet, batch)
    with torch.no_grad(), FlopCounterMode(display=False, depth=99) as counter:
        unet(sample, timestep, context, added_cond_kwargs=added)
    for hook in hooks:
        hook.remove()
    root = type(unet).__name__
    flops = {
        name.removeprefix(f"{root}."): sum(counts.values())
        for name, counts in counter.get_flop_counts().items()
    }
    return shapes, flops


def _added_conditions(unet: UNet2DConditionModel, batch: int) -> dict[str, torch.Tensor] | None:
    """What SDXL's UNet takes besides: the pooled prompt, and six numbers about picture sizes."""
    if unet.config.addition_embed_type != "text_time":
        return None
    sizes = 6
    pooled = unet.add_embedding.linear_1.in_features - sizes * unet.add_time_proj.num_channels
    return {
        "text_embeds": torch.empty(batch, pooled, device="meta"),
        "time_ids": torch.empty(batch, sizes, device="meta"),
    }


def _note_shape(
    shapes: dict[str, torch.Size],
    name: str,
    _: nn.Module,
    args: tuple[Any, ...],
    kwargs: dict[str, Any],
) -> None:
    value = args[0] if args else kwargs.get("hidden_states")
    if isinstance(value, torch.Tensor):
        shapes[name] = value.shape
