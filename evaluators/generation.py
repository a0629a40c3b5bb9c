"""Deterministic pictures: the same prompts, noise, steps and guidance for every architecture."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
from diffusers import StableDiffusionPipeline
from pydantic import BaseModel, ConfigDict, Field
from torch import Tensor

from evaluators.prompts import PromptSet


class SamplingSettings(BaseModel):
    """How pictures are drawn.

    Attributes:
        num_inference_steps: DDIM steps.
        guidance_scale: classifier-free guidance, 1 for none.
        precision: of the UNet and the decoder; ``bf16`` through autocast.
        batch_size: pictures drawn at a time. Part of the settings, since the last bits of a
            matrix product depend on it.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    num_inference_steps: int = Field(50, ge=1)
    guidance_scale: float = Field(7.5, ge=1)
    precision: Literal["fp32", "bf16"] = "fp32"
    batch_size: int = Field(32, ge=1)


@dataclass(frozen=True)
class TextConditioning:
    """Encoded prompts: computed once per prompt set, used by every architecture.

    Attributes:
        prompt_embeds: ``(n, tokens, width)``.
        negative_prompt_embeds: the empty prompt's, ``(1, tokens, width)``.
    """

    prompt_embeds: Tensor
    negative_prompt_embeds: Tensor


@torch.no_grad()
def encode_prompts(pipeline: StableDiffusionPipeline, prompts: PromptSet) -> TextConditioning:
    embeds, empty = pipeline.encode_prompt(
        list(prompts.prompts), pipeline.device, 1, do_classifier_free_guidance=True
    )
    return TextConditioning(embeds, empty[:1])


@torch.no_grad()
def generate(
    pipeline: StableDiffusionPipeline,
    prompts: PromptSet,
    conditioning: TextConditioning,
    settings: SamplingSettings,
    rows: range | None = None,
) -> Tensor:
    """Draw the prompts with whatever architecture the pipeline's UNet runs at the moment.

    Args:
        pipeline: a stock pipeline; its scheduler is used as configured.
        prompts: gives the starting noise.
        conditioning: of the same prompts, by :func:`encode_prompts`.
        settings: steps, guidance, precision and batch size.
        rows: which of the prompts; all by default.

    Returns:
        Pictures ``(len(rows), 3, height, width)`` with values in [0, 1], fp32, on the CPU.
    """
    rows = rows if rows is not None else range(len(prompts))
    config = pipeline.unet.config
    size = config.sample_size
    height, width = (size, size) if isinstance(size, int) else size
    scale = pipeline.vae_scale_factor
    pipeline.set_progress_bar_config(disable=True)
    pictures = []
    for start in range(0, len(rows), settings.batch_size):
        chunk = rows[start : start + settings.batch_size]
        embeds = conditioning.prompt_embeds[list(chunk)]
        with torch.autocast(
            pipeline.device.type, torch.bfloat16, enabled=settings.precision == "bf16"
        ):
            output = pipeline(
                prompt_embeds=embeds,
                negative_prompt_embeds=conditioning.negative_prompt_embeds.expand_as(embeds),
                latents=prompts.noise(chunk, (config.in_channels, height, width)).to(
                    pipeline.device, pipeline.unet.dtype
                ),
                height=height * scale,
                width=width * scale,
                num_inference_steps=settings.num_inference_steps,
                guidance_scale=settings.guidance_scale,
                output_type="pt",
            )
        pictures.append(output.images.float().cpu())
    return torch.cat(pictures)
