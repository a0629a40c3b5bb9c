"""Small UNets to be trained, what on, and how to stop that."""

from __future__ import annotations

from typing import Any

import torch
from diffusers import UNet2DConditionModel
from torch import Tensor

from supernet.batches import Batch

CONFIG: dict[str, Any] = {
    "sample_size": 8,
    "block_out_channels": (8, 16),
    "layers_per_block": 1,
    "down_block_types": ("CrossAttnDownBlock2D", "DownBlock2D"),
    "up_block_types": ("UpBlock2D", "CrossAttnUpBlock2D"),
    "cross_attention_dim": 12,
    "attention_head_dim": 2,
    "norm_num_groups": 4,
}
BATCH = 4


SDXL: dict[str, Any] = {  # besides
    "addition_embed_type": "text_time",
    "addition_time_embed_dim": 2,
    "projection_class_embeddings_input_dim": 6 * 2 + 3,
}


def small_unet(seed: int, **changes: Any) -> UNet2DConditionModel:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return UNet2DConditionModel(**(CONFIG | changes)).eval()


def batches(step: int, rows: range) -> Batch:
    generator = torch.Generator().manual_seed(step)
    latents = torch.randn(BATCH, 4, 8, 8, generator=generator)
    prompts = torch.randn(BATCH, 5, 12, generator=generator)
    return Batch(latents[list(rows)], prompts[list(rows)])


def sdxl_batches(step: int, rows: range) -> Batch:
    plain = batches(step, rows)
    texts = torch.randn(BATCH, 3, generator=torch.Generator().manual_seed(100 + step))
    time_ids = torch.tensor([[16.0, 16, 0, 0, 8, 8]]).repeat(BATCH, 1)
    time_ids[:, 0] += torch.arange(BATCH)
    added = {"text_embeds": texts[list(rows)], "time_ids": time_ids[list(rows)]}
    return Batch(plain.latents, plain.encoder_hidden_states, added)


def equal(one: dict[str, Tensor], other: dict[str, Tensor]) -> bool:
    return all(torch.equal(one[name], other[name]) for name in one)


class Stopped(Exception):
    pass
