"""The shapes world's latent diffusion model: UNet, scheduler and what they train on."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch
from diffusers import AutoencoderKL, DDIMScheduler, UNet2DConditionModel
from torch import Tensor
from transformers import CLIPTextModel, CLIPTokenizer

from experiments.shapes.dataset import batch_rows
from experiments.shapes.text_encoder import CONTEXT_WIDTH
from experiments.shapes.tokenizer import tokenize
from supernet.batches import Batch, Batches

CAPTION_DROPOUT = 0.1  # as Stable Diffusion's


def build_unet() -> UNet2DConditionModel:
    """Stable Diffusion's topology (38 removable blocks) at a hundredth of its size.

    It is over-provisioned on purpose: the world needs less, so there is something to find.
    """
    return UNet2DConditionModel(
        sample_size=16,
        block_out_channels=(32, 64, 96, 128),
        layers_per_block=2,
        cross_attention_dim=CONTEXT_WIDTH,
        attention_head_dim=2,  # diffusers' name for the number of heads
        norm_num_groups=8,
    )


def build_scheduler() -> DDIMScheduler:
    """v-prediction on the squared-cosine schedule; steps begin at pure noise ("trailing")."""
    return DDIMScheduler(
        beta_schedule="squaredcos_cap_v2",
        prediction_type="v_prediction",
        timestep_spacing="trailing",
        clip_sample=False,
        steps_offset=1,  # what pipelines expect; "trailing" does not use it
    )


def caption_batches(
    latents: Tensor,
    captions: Sequence[str],
    tokenizer: CLIPTokenizer,
    text_encoder: CLIPTextModel,
    batch_size: int,
    seed: int,
    caption_dropout: float = CAPTION_DROPOUT,
) -> Batches:
    """Batches of captioned latents; the text encoder runs at every step.

    Args:
        latents: ``(n, 4, 16, 16)``, times the VAE's scaling factor.
        captions: the ``n`` captions.
        tokenizer: of ``text_encoder``.
        text_encoder: frozen; gives the hidden states.
        batch_size: latents per step.
        seed: together with the step it fixes the batch.
        caption_dropout: share of captions replaced by the empty one, which guidance needs.
    """
    tokens = tokenize(tokenizer, captions)
    empty = tokenize(tokenizer, [""])

    def batch(step: int, rows: range) -> Batch:
        (chosen,) = batch_rows(len(latents), batch_size, range(step, step + 1), seed)
        generator = torch.Generator().manual_seed(seed * 1_000_003 + step + 1)
        dropped = torch.rand(batch_size, 1, generator=generator) < caption_dropout
        input_ids = torch.where(dropped, empty, tokens[chosen])[list(rows)]
        return Batch(latents[chosen[list(rows)]], text_encoder(input_ids).last_hidden_state)

    return batch


def save_pipeline(
    folder: Path,
    tokenizer: CLIPTokenizer,
    text_encoder: CLIPTextModel,
    unet: UNet2DConditionModel,
    vae: AutoencoderKL,
) -> None:
    """Write a Stable Diffusion folder that stock diffusers loads, UNet and VAE in fp16.

    The small text encoder stays in fp32: transformers loads what is stored, diffusers fp32.
    """
    from diffusers import StableDiffusionPipeline

    pipeline = StableDiffusionPipeline(
        vae=vae,
        text_encoder=text_encoder,
        tokenizer=tokenizer,
        unet=unet,
        scheduler=build_scheduler(),
        safety_checker=None,
        feature_extractor=None,
        requires_safety_checker=False,
    )
    for module in (unet, vae):
        module.half().register_to_config(_name_or_path="")  # not the folder it was trained in
    pipeline.save_pretrained(folder)
