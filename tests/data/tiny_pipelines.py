"""Stable Diffusion and Stable Diffusion XL pipelines, tiny and with random weights."""

from __future__ import annotations

from typing import Any

import torch
from diffusers import (
    AutoencoderKL,
    DDIMScheduler,
    StableDiffusionPipeline,
    StableDiffusionXLPipeline,
    UNet2DConditionModel,
)
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTextModelWithProjection

from experiments.shapes.tokenizer import CONTEXT_LENGTH, build_tokenizer

TOKENIZER = build_tokenizer(0)
POOLED = 24  # width of SDXL's pooled text
LATENTS, PICTURE = 4, 8  # their height and width


def text_config(**changes: int) -> CLIPTextConfig:
    sizes: dict[str, Any] = {
        "vocab_size": len(TOKENIZER),
        "hidden_size": 16,
        "intermediate_size": 32,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "max_position_embeddings": CONTEXT_LENGTH,
        "bos_token_id": TOKENIZER.bos_token_id,
        "eos_token_id": TOKENIZER.eos_token_id,
        "pad_token_id": TOKENIZER.pad_token_id,
    }
    return CLIPTextConfig(**(sizes | changes))


def build_vae() -> AutoencoderKL:
    return AutoencoderKL(
        down_block_types=("DownEncoderBlock2D",) * 2,
        up_block_types=("UpDecoderBlock2D",) * 2,
        block_out_channels=(8, 16),
        latent_channels=4,
        norm_num_groups=4,
        sample_size=PICTURE,
        scaling_factor=0.5,
    ).eval()


def build_unet(sample_size: int = LATENTS, **changes: Any) -> UNet2DConditionModel:
    sizes: dict[str, Any] = {
        "sample_size": sample_size,
        "block_out_channels": (8, 16),
        "layers_per_block": 1,
        "down_block_types": ("CrossAttnDownBlock2D", "DownBlock2D"),
        "up_block_types": ("UpBlock2D", "CrossAttnUpBlock2D"),
        "cross_attention_dim": 16,
        "attention_head_dim": 2,
        "norm_num_groups": 4,
    }
    return UNet2DConditionModel(**(sizes | changes)).eval()


def build_sd(seed: int = 0, sample_size: int = LATENTS) -> StableDiffusionPipeline:
    """It draws 8x8 pictures from 4x4 latents."""
    torch.manual_seed(seed)
    return StableDiffusionPipeline(
        vae=build_vae(),
        text_encoder=CLIPTextModel(text_config()).eval(),
        tokenizer=TOKENIZER,
        unet=build_unet(sample_size),
        scheduler=DDIMScheduler(clip_sample=False, steps_offset=1),
        safety_checker=None,
        feature_extractor=None,
        requires_safety_checker=False,
    )


def build_xl(seed: int = 0, zeros: bool = True) -> StableDiffusionXLPipeline:
    """The same with a second text encoder, of the same width, and its pooled text."""
    torch.manual_seed(seed)
    return StableDiffusionXLPipeline(
        vae=build_vae(),
        text_encoder=CLIPTextModel(text_config()).eval(),
        text_encoder_2=CLIPTextModelWithProjection(text_config(projection_dim=POOLED)).eval(),
        tokenizer=TOKENIZER,
        tokenizer_2=TOKENIZER,
        unet=build_unet(
            cross_attention_dim=32,
            addition_embed_type="text_time",
            addition_time_embed_dim=8,
            projection_class_embeddings_input_dim=6 * 8 + POOLED,
        ),
        scheduler=DDIMScheduler(clip_sample=False, steps_offset=1),
        force_zeros_for_empty_prompt=zeros,
        add_watermarker=False,
    )
