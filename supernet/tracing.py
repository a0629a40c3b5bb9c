"""One forward pass on torch's meta device: shapes and operations without weights."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from typing import Any

import torch
from diffusers import UNet2DConditionModel
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from supernet.architecture import ArchitectureError, UNetConfig


def meta_unet(config: UNetConfig) -> UNet2DConditionModel:
    """The UNet of a configuration with weights that have shapes but no memory."""
    with refusing("diffusers cannot build this UNet configuration"), torch.device("meta"):
        return UNet2DConditionModel.from_config(config.values).eval()


@contextmanager
def refusing(what: str) -> Iterator[None]:
    """Whatever diffusers and torch say of a bad configuration becomes one line of ours.

    Raises:
        ArchitectureError: beginning with ``what``.
    """
    try:
        yield
    except (TypeError, ValueError, LookupError, AttributeError, ArithmeticError, RuntimeError) as e:
        raise ArchitectureError(f"{what}: {' '.join(str(e).split())[:300]}") from e


def trace(
    model: nn.Module, inputs: Mapping[str, Any]
) -> tuple[dict[str, torch.Size], dict[str, int]]:
    """Input shape and floating-point operations of every module, from one pass.

    Args:
        model: on the meta device.
        inputs: of the pass, likewise, by the names of its arguments.
    """
    shapes: dict[str, torch.Size] = {}
    hooks = [
        module.register_forward_pre_hook(partial(_note_shape, shapes, name), with_kwargs=True)
        for name, module in model.named_modules()
        if name
    ]
    with torch.no_grad(), FlopCounterMode(display=False, depth=99) as counter:
        model(**inputs)
    for hook in hooks:
        hook.remove()
    root = type(model).__name__
    flops = {
        name.removeprefix(f"{root}."): sum(counts.values())
        for name, counts in counter.get_flop_counts().items()
    }
    return shapes, flops


def example_inputs(
    unet: UNet2DConditionModel, batch: int, height: int, width: int, context_length: int
) -> dict[str, Any]:
    """Random inputs for one pass of a UNet, on its device, by the names of its arguments.

    ``sample`` ``(batch, in_channels, height, width)``, ``timestep`` ``(batch,)``,
    ``encoder_hidden_states`` ``(batch, context_length, width)`` and ``added_cond_kwargs``: for
    SDXL's UNets ``text_embeds`` ``(batch, width)`` and ``time_ids`` ``(batch, 6)``, else None.

    Raises:
        ArchitectureError: if there is no room for SDXL's conditions in the UNet's embedding.
    """
    widths = unet.config.cross_attention_dim  # one, or the same one for every stage
    context_width = widths if isinstance(widths, int) else widths[0]
    with torch.random.fork_rng(devices=[]), torch.device(unet.device):
        torch.manual_seed(0)
        return {
            "sample": torch.randn(batch, unet.config.in_channels, height, width),
            "timestep": torch.full((batch,), 500.0),
            "encoder_hidden_states": torch.randn(batch, context_length, context_width),
            "added_cond_kwargs": _added_conditions(unet, batch),
        }


def _added_conditions(unet: UNet2DConditionModel, batch: int) -> dict[str, torch.Tensor] | None:
    """What SDXL's UNet takes besides: the pooled prompt, and six numbers about picture sizes."""
    if unet.config.addition_embed_type != "text_time":
        return None
    sizes = 6
    embedded = unet.add_embedding.linear_1.in_features
    pooled = embedded - sizes * unet.add_time_proj.num_channels
    if pooled < 1:
        raise ArchitectureError(
            f"projection_class_embeddings_input_dim is {embedded}; it must be more than {sizes} "
            f"times addition_time_embed_dim, which is {unet.add_time_proj.num_channels}"
        )
    return {"text_embeds": torch.randn(batch, pooled), "time_ids": torch.randn(batch, sizes)}


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
