"""Configurations, UNets and architectures that the tests of the supernet share."""

from __future__ import annotations

from typing import Any

import torch
from diffusers import UNet2DConditionModel
from hypothesis import strategies as st
from torch import Tensor

from supernet.architecture import Architecture
from supernet.parts import Inventory

# unet/config.json of Stable Diffusion v1.5.
SD_15: dict[str, Any] = {
    "_class_name": "UNet2DConditionModel",
    "_diffusers_version": "0.6.0",
    "act_fn": "silu",
    "attention_head_dim": 8,
    "block_out_channels": [320, 640, 1280, 1280],
    "center_input_sample": False,
    "cross_attention_dim": 768,
    "down_block_types": [
        "CrossAttnDownBlock2D",
        "CrossAttnDownBlock2D",
        "CrossAttnDownBlock2D",
        "DownBlock2D",
    ],
    "downsample_padding": 1,
    "flip_sin_to_cos": True,
    "freq_shift": 0,
    "in_channels": 4,
    "layers_per_block": 2,
    "mid_block_scale_factor": 1,
    "norm_eps": 1e-05,
    "norm_num_groups": 32,
    "out_channels": 4,
    "sample_size": 64,
    "up_block_types": [
        "UpBlock2D",
        "CrossAttnUpBlock2D",
        "CrossAttnUpBlock2D",
        "CrossAttnUpBlock2D",
    ],
}

# The same topology with two stages: 12 ResNet and 6 cross-attention blocks, 0.1 M weights.
SMALL: dict[str, Any] = {
    "sample_size": 8,
    "block_out_channels": (8, 16),
    "layers_per_block": 2,
    "down_block_types": ("CrossAttnDownBlock2D", "DownBlock2D"),
    "up_block_types": ("UpBlock2D", "CrossAttnUpBlock2D"),
    "cross_attention_dim": 12,
    "attention_head_dim": 2,
    "norm_num_groups": 4,
}


def small_unet(seed: int = 0, **changes: Any) -> UNet2DConditionModel:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return UNet2DConditionModel(**{**SMALL, **changes}).eval()


def small_inputs(seed: int = 1) -> tuple[Tensor, Tensor, Tensor]:
    """Sample ``(2, 4, 8, 8)``, timesteps ``(2,)`` and prompt ``(2, 5, 12)``."""
    generator = torch.Generator().manual_seed(seed)
    sample = torch.randn(2, 4, 8, 8, generator=generator)
    return sample, torch.tensor([700, 20]), torch.randn(2, 5, 12, generator=generator)


def architectures(inventory: Inventory) -> st.SearchStrategy[Architecture]:
    """Every block removed, kept or, where a copy can follow it, repeated."""
    counts = [st.integers(0, 1 if block.changes_shape else 2) for block in inventory.blocks]
    ids = [block.id for block in inventory.blocks]
    return st.tuples(*counts).map(
        lambda drawn: inventory.full().with_multiplicities(dict(zip(ids, drawn, strict=True)))
    )
