"""Pictures to latents and captions to hidden states, by the modules of a pipeline."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import torch
from diffusers import StableDiffusionXLPipeline
from PIL import Image, ImageOps
from torch import Tensor

from evaluators.evaluator import weights_digest

_AT_A_TIME = 8  # pictures in the VAE, whose feature maps are what needs memory
_FIRST_VALUES = 1024  # of each weight: any training changes them


@dataclass(frozen=True)
class Conditioning:
    """What captions tell a UNet.

    Attributes:
        encoder_hidden_states: ``(n, tokens, width)``.
        text_embeds: SDXL's pooled text, ``(n, pooled width)``; None for other pipelines.
    """

    encoder_hidden_states: Tensor
    text_embeds: Tensor | None = None

    def rows(self, numbers: Sequence[int]) -> Conditioning:
        chosen = list(numbers)
        pooled = None if self.text_embeds is None else self.text_embeds[chosen]
        return Conditioning(self.encoder_hidden_states[chosen], pooled)

    def followed_by(self, other: Conditioning) -> Conditioning:
        states = torch.cat([self.encoder_hidden_states, other.encoder_hidden_states])
        if self.text_embeds is None or other.text_embeds is None:
            return Conditioning(states)
        return Conditioning(states, torch.cat([self.text_embeds, other.text_embeds]))


class PipelineEncoder:
    """Encodes for the UNet of a Stable Diffusion or Stable Diffusion XL pipeline.

    Args:
        pipeline: its VAE and text encoders are used where they are, in their own precision.
    """

    def __init__(self, pipeline: Any) -> None:
        self.pipeline = pipeline
        self.is_xl = isinstance(pipeline, StableDiffusionXLPipeline)

    @property
    def latent_size(self) -> tuple[int, int]:
        """Height and width of the UNet's latents."""
        size = self.pipeline.unet.config.sample_size
        return (size, size) if isinstance(size, int) else (size[0], size[1])

    @property
    def picture_size(self) -> tuple[int, int]:
        """Height and width of pictures, in pixels."""
        height, width = self.latent_size
        scale = self.pipeline.vae_scale_factor
        return height * scale, width * scale

    @property
    def latent_shape(self) -> tuple[int, ...]:
        return self.pipeline.vae.config.latent_channels, *self.latent_size

    @cached_property
    def digest(self) -> str:
        """Tells pipelines apart whose latents or hidden states differ."""
        pipeline = self.pipeline
        modules = {"vae": pipeline.vae, "text_encoder": pipeline.text_encoder}
        values = {
            "picture_size": self.picture_size,
            "scaling_factor": pipeline.vae.config.scaling_factor,
            "tokens": pipeline.tokenizer.model_max_length,
        }
        if self.is_xl:
            modules["text_encoder_2"] = pipeline.text_encoder_2
            values["zeros"] = pipeline.config.force_zeros_for_empty_prompt
        weights = {
            f"{name}.{key}": value.flatten()[:_FIRST_VALUES].float()
            for name, module in modules.items()
            for key, value in module.state_dict().items()
            if not key.startswith(("decoder.", "post_quant_conv."))
        }
        text = json.dumps([values, weights_digest(weights)])
        return hashlib.sha256(text.encode()).hexdigest()[:12]

    @torch.no_grad()
    def latents(self, pictures: Sequence[Image.Image]) -> Tensor:
        """Mean latents of RGB pictures times the VAE's scaling factor, ``(n, 4, h, w)``, fp32.

        Pictures are cropped around their centre to the shape of the pipeline's, and resized.
        """
        vae, processor = self.pipeline.vae, self.pipeline.image_processor
        height, width = self.picture_size
        fitted = [
            ImageOps.fit(picture, (width, height), Image.Resampling.LANCZOS) for picture in pictures
        ]
        parts = []
        with self._own_precision():
            for start in range(0, len(fitted), _AT_A_TIME):
                pixels = processor.preprocess(fitted[start : start + _AT_A_TIME])
                encoded = vae.encode(pixels.to(vae.device, vae.dtype)).latent_dist.mean
                parts.append(encoded.float() * vae.config.scaling_factor)
        return torch.cat(parts)

    def conditioning(self, captions: Sequence[str]) -> Conditioning:
        """Of ``n`` captions; empty ones are conditioned on as guidance's unconditional half is."""
        distinct = [caption for caption in dict.fromkeys(captions) if caption]
        table = self.empty.followed_by(self._encode(distinct)) if distinct else self.empty
        numbers = {caption: number for number, caption in enumerate(["", *distinct])}
        return table.rows([numbers[caption] for caption in captions])

    @cached_property
    def empty(self) -> Conditioning:
        """Of the empty caption, one row; zeros where an SDXL pipeline is configured so."""
        return self._encode([""], unconditional=True)

    def time_ids(self, sizes: Sequence[tuple[int, int]]) -> Tensor:
        """SDXL's size conditioning, ``(n, 6)``: original size, crop at 0, 0, and picture size.

        Args:
            sizes: original height and width of each picture, in pixels.
        """
        width = self.pipeline.text_encoder_2.config.projection_dim
        rows = [
            self.pipeline._get_add_time_ids(
                size, (0, 0), self.picture_size, torch.float32, text_encoder_projection_dim=width
            )
            for size in sizes
        ]
        return torch.cat(rows).to(self.pipeline.device)

    @torch.no_grad()
    def _encode(self, captions: list[str], unconditional: bool = False) -> Conditioning:
        arguments = {
            "device": self.pipeline.device,
            "num_images_per_prompt": 1,
            "do_classifier_free_guidance": unconditional,
        }
        with self._own_precision():
            outputs = self.pipeline.encode_prompt(captions, **arguments)
        # In pairs: of the prompt, of the empty prompt; SDXL has two pairs, the second is pooled.
        outputs = outputs[1 if unconditional else 0 :: 2]
        return Conditioning(*(output.float() for output in outputs))

    def _own_precision(self) -> torch.autocast:
        """A training's autocast stays outside, so that a cache holds what it would be given."""
        return torch.autocast(self.pipeline.device.type, enabled=False)


def added_cond_kwargs(
    text_embeds: Tensor | None, time_ids: Tensor | None
) -> Mapping[str, Tensor] | None:
    """What SDXL's UNet takes besides hidden states; None for other pipelines."""
    if text_embeds is None or time_ids is None:
        return None
    return {"text_embeds": text_embeds, "time_ids": time_ids}
