"""Deterministic pictures: the same prompts, noise, steps and guidance for every architecture."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, Literal

import torch
from pydantic import BaseModel, ConfigDict, Field, field_validator
from torch import Tensor, nn

from evaluators.pipelines import Pipeline
from evaluators.prompts import PromptSet
from latency_tables.table import MemoryFormat
from supernet.precision import settled_precision, warn_of_emulation

_START_BATCH = 4
_ENCODED_AT_ONCE = 16  # SDXL's encoders answer with the states of all their layers

_DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16}
_LAYOUTS = {"contiguous": torch.contiguous_format, "channels_last": torch.channels_last}


class SamplingChoice(BaseModel):
    """How pictures are to be drawn, as experiment files say it.

    Attributes:
        num_inference_steps: of the pipeline's scheduler.
        guidance_scale: classifier-free guidance, 1 for none.
        precision: of the UNet and the decoder. ``bf16``: their weights are rounded once, their
            arithmetic goes through autocast; latents stay fp32 from step to step.
        batch_size: pictures drawn at a time. Part of the settings, since the last bits of a
            matrix product depend on it.
        memory_format: of feature maps and convolutions' weights.

    The last three may be ``auto``: of the precision, that is what the device is fast in
    (:func:`supernet.precision.settled_precision`); of the others, what is fastest where evaluators
    run, found by :mod:`evaluators.sampling_probe` before a search begins.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    num_inference_steps: int = Field(50, ge=1)
    guidance_scale: float = Field(7.5, ge=1)
    precision: Literal["fp32", "bf16", "auto"] = "fp32"
    batch_size: int | Literal["auto"] = 32
    memory_format: Literal["contiguous", "channels_last", "auto"] = "contiguous"

    @field_validator("batch_size", mode="before")
    @classmethod
    def _some_pictures(cls, value: Any) -> Any:
        if value != "auto" and not (type(value) is int and value >= 1):
            raise ValueError('give a whole number of 1 or more, or "auto"')
        return value

    @property
    def left_open(self) -> tuple[str, ...]:
        """Names of the fields that are ``auto``."""
        return tuple(name for name, value in self if value == "auto")

    def start(self, device: str = "cpu") -> SamplingSettings:
        """What any device of a type can do, for what is left open: where a probe begins."""
        given = self.model_dump(exclude=set(self.left_open))
        given["precision"] = settled_precision(self.precision, device)
        return SamplingSettings(**({"batch_size": _START_BATCH} | given))


class SamplingSettings(SamplingChoice):
    """How pictures are drawn; nothing is left open."""

    precision: Literal["fp32", "bf16"] = "fp32"
    batch_size: int = Field(32, ge=1)
    memory_format: MemoryFormat = "contiguous"

    @property
    def dtype(self) -> torch.dtype:
        """Of the weights."""
        return _DTYPES[self.precision]

    def __str__(self) -> str:
        return f"batches of {self.batch_size}, {self.precision}, {self.memory_format}"


@dataclass(frozen=True)
class Conditioning:
    """Encoded prompts and their noise: made once per prompt set, used by every architecture.

    Attributes:
        latents: starting noise, ``(n, 4, h, w)``.
        prompt_embeds: ``(n, tokens, width)``.
        negative_prompt_embeds: of the empty prompt, ``(1, tokens, width)``.
        pooled_prompt_embeds: of SDXL's second text encoder, ``(n, width)``; None for others.
        negative_pooled_prompt_embeds: likewise, ``(1, width)``.
    """

    latents: Tensor
    prompt_embeds: Tensor
    negative_prompt_embeds: Tensor
    pooled_prompt_embeds: Tensor | None = None
    negative_pooled_prompt_embeds: Tensor | None = None

    def arguments(self, rows: range) -> dict[str, Tensor]:
        """Some prompts as a pipeline is called with them."""
        own = {
            "latents": self.latents,
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


def convert(pipeline: Pipeline, settings: SamplingSettings) -> None:
    """Give a pipeline's UNet and decoder the weights that they draw with, once for all passes."""
    warn_of_emulation(settings.precision, pipeline.device.type)
    for part in (pipeline.unet, pipeline.vae):
        # Module's own cast: that of diffusers' models warns.
        nn.Module.to(part, settings.dtype)
        part.to(memory_format=_LAYOUTS[settings.memory_format])


@torch.no_grad()
def encode_prompts(pipeline: Pipeline, prompts: PromptSet) -> Conditioning:
    """Encode the prompts and the empty one, as the pipeline does when it is called."""
    texts = list(prompts.prompts)
    parts = [
        pipeline.encode_prompt(
            texts[start : start + _ENCODED_AT_ONCE],
            device=pipeline.device,
            num_images_per_prompt=1,
            do_classifier_free_guidance=start == 0,  # the empty prompt is the same for all
        )
        for start in range(0, len(texts), _ENCODED_AT_ONCE)
    ]
    own, empty, *pooled = zip(*parts, strict=True)
    latents = prompts.noise(range(len(prompts)), latent_shape(pipeline)).to(pipeline.device)
    conditioning = Conditioning(latents, torch.cat(own), empty[0][:1])
    if not pooled:
        return conditioning
    pooled_own, pooled_empty = pooled
    return replace(
        conditioning,
        pooled_prompt_embeds=torch.cat(pooled_own),
        negative_pooled_prompt_embeds=pooled_empty[0][:1],
    )


@torch.no_grad()
def generate(
    pipeline: Pipeline,
    prompts: PromptSet,
    conditioning: Conditioning,
    settings: SamplingSettings,
    rows: range | None = None,
) -> Tensor:
    """Draw the prompts with whatever architecture the pipeline's UNet runs at the moment.

    Args:
        pipeline: a stock pipeline that :func:`convert` gave these settings, or an fp32 one for
            fp32; its scheduler is used as configured.
        prompts: give the noise that schedulers add at every step.
        conditioning: of the same prompts, by :func:`encode_prompts`.
        settings: steps, guidance, precision and batch size.
        rows: which of the prompts; all by default.

    Returns:
        Pictures ``(len(rows), 3, height, width)`` with values in [0, 1], fp32, on the CPU.

    Raises:
        ValueError: if the pipeline's weights are not in the precision of the settings.
    """
    return _drawn(pipeline, prompts, conditioning, settings, rows, "pt")


@torch.no_grad()
def generate_latents(
    pipeline: Pipeline,
    prompts: PromptSet,
    conditioning: Conditioning,
    settings: SamplingSettings,
    rows: range | None = None,
) -> Tensor:
    """What the UNet makes of prompts before it is decoded; see :func:`generate`.

    Returns:
        Latents ``(len(rows), 4, h, w)``, times the autoencoder's scaling factor, fp32, on the CPU.
    """
    return _drawn(pipeline, prompts, conditioning, settings, rows, "latent")


def _drawn(
    pipeline: Pipeline,
    prompts: PromptSet,
    conditioning: Conditioning,
    settings: SamplingSettings,
    rows: range | None,
    output_type: Literal["pt", "latent"],
) -> Tensor:
    if pipeline.unet.dtype != settings.dtype:
        raise ValueError(
            f"the UNet's weights are {pipeline.unet.dtype}, not {settings.precision}: convert() "
            "comes before generate()"
        )
    rows = rows if rows is not None else range(len(prompts))
    _, height, width = latent_shape(pipeline)
    scale = pipeline.vae_scale_factor
    pipeline.set_progress_bar_config(disable=True)
    drawn = []
    for start in range(0, len(rows), settings.batch_size):
        chunk = rows[start : start + settings.batch_size]
        with torch.autocast(
            pipeline.device.type, torch.bfloat16, enabled=settings.precision == "bf16"
        ):
            output = pipeline(
                **conditioning.arguments(chunk),
                generator=prompts.generators(chunk),
                height=height * scale,
                width=width * scale,
                num_inference_steps=settings.num_inference_steps,
                guidance_scale=settings.guidance_scale,
                output_type=output_type,
            )
        drawn.append(output.images.float().cpu())
    return torch.cat(drawn)


def latent_shape(pipeline: Pipeline) -> tuple[int, int, int]:
    """Channels, height and width of one picture's latents."""
    config = pipeline.unet.config
    size = config.sample_size
    height, width = (size, size) if isinstance(size, int) else size
    return config.in_channels, height, width
