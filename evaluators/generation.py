"""Deterministic pictures: the same prompts, noise, steps and guidance for every architecture."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
from diffusers import StableDiffusionXLPipeline
from pydantic import BaseModel, ConfigDict, Field
from torch import Tensor

from evaluators.pipelines import Pipeline
from evaluators.prompts import PromptSet

_SDXL_BATCH = 16  # prompts at a time: its encoders answer with the states of all their layers


class SamplingSettings(BaseModel):
    """How pictures are drawn.

    Attributes:
        num_inference_steps: of the pipeline's scheduler.
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
        negative_prompt_embeds: of the empty prompt, ``(1, tokens, width)``.
        pooled_prompt_embeds: of SDXL's second text encoder, ``(n, width)``; None for others.
        negative_pooled_prompt_embeds: likewise, ``(1, width)``.
    """

    prompt_embeds: Tensor
    negative_prompt_embeds: Tensor
    pooled_prompt_embeds: Tensor | None = None
    negative_pooled_prompt_embeds: Tensor | None = None

    def arguments(self, rows: range) -> dict[str, Tensor]:
        """Some prompts as a pipeline is called with them."""
        own = {
            "prompt_embeds": self.prompt_embeds,
            "pooled_prompt_embeds": self.pooled_prompt_embeds,
        }
        empty = {
            "negative_prompt_embeds": self.negative_prompt_embeds,
            "negative_pooled_prompt_embeds": self.negative_pooled_prompt_embeds,
        }
        return {name: part[list(rows)] for name, part in own.items() if part is not None} | {
            name: part.expand(len(rows), *part.shape[1:])
            for name, part in empty.items()
            if part is not None
        }


@torch.no_grad()
def encode_prompts(pipeline: Pipeline, prompts: PromptSet) -> TextConditioning:
    """Encode the prompts and the empty one, as the pipeline does when it is called."""
    if isinstance(pipeline, StableDiffusionXLPipeline):
        return _encode_for_sdxl(pipeline, prompts)
    embeds, empty = pipeline.encode_prompt(
        list(prompts.prompts), pipeline.device, 1, do_classifier_free_guidance=True
    )
    return TextConditioning(embeds, empty[:1])


def _encode_for_sdxl(pipeline: StableDiffusionXLPipeline, prompts: PromptSet) -> TextConditioning:
    texts = list(prompts.prompts)
    chunks = [
        pipeline.encode_prompt(
            texts[start : start + _SDXL_BATCH],
            device=pipeline.device,
            do_classifier_free_guidance=True,
        )
        for start in range(0, len(texts), _SDXL_BATCH)
    ]
    embeds, empty, pooled, empty_pooled = zip(*chunks, strict=True)
    return TextConditioning(torch.cat(embeds), empty[0][:1], torch.cat(pooled), empty_pooled[0][:1])


@torch.no_grad()
def generate(
    pipeline: Pipeline,
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
        with torch.autocast(
            pipeline.device.type, torch.bfloat16, enabled=settings.precision == "bf16"
        ):
            output = pipeline(
                **conditioning.arguments(chunk),
                latents=prompts.noise(chunk, (config.in_channels, height, width)).to(
                    pipeline.device, pipeline.unet.dtype
                ),
                generator=prompts.generators(chunk),
                height=height * scale,
                width=width * scale,
                num_inference_steps=settings.num_inference_steps,
                guidance_scale=settings.guidance_scale,
                output_type="pt",
            )
        pictures.append(output.images.float().cpu())
    return torch.cat(pictures)
