"""The networks of a pipeline, named as ``optimum.onnxruntime`` finds and calls them.

Folders, inputs, outputs and axes bear the names that its Stable Diffusion pipelines ask for.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from diffusers import AutoencoderKL, UNet2DConditionModel
from torch import Tensor, nn

from evaluators.generation import latent_shape
from evaluators.pipelines import Pipeline

UNET, DECODER, TEXT_ENCODER = "unet", "vae_decoder", "text_encoder"
_TEXT_ENCODERS = (TEXT_ENCODER, "text_encoder_2")
_SEED = 0
_BATCH, _TOKENS = "batch_size", "sequence_length"
_LATENTS = {0: _BATCH, 2: "height", 3: "width"}


@dataclass(frozen=True)
class Extent:
    """How large the inputs of a pipeline's networks are.

    Attributes:
        batch: pictures at a time.
        height: of their latents.
        width: likewise.
        tokens: of a prompt.
    """

    batch: int
    height: int
    width: int
    tokens: int


@dataclass(frozen=True)
class Network:
    """A network as it is exported.

    Attributes:
        name: of its folder.
        module: takes the inputs in their order and returns the outputs, a tensor or a tuple.
        examples: random inputs of an extent, by name.
        axes: names of the axes that may have any length, by input.
        outputs: names of what it returns.
        extents: what it is traced with comes first; it is verified with all others.
        save_config: writes ``config.json`` into a folder.
    """

    name: str
    module: nn.Module
    examples: Callable[[Extent], dict[str, Tensor]]
    axes: Mapping[str, Mapping[int, str]]
    outputs: tuple[str, ...]
    extents: tuple[Extent, ...]
    save_config: Callable[[Any], object]

    @torch.no_grad()
    def answers(self, inputs: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """What torch answers."""
        answer = self.module(*inputs.values())
        several = answer if isinstance(answer, tuple) else (answer,)
        return dict(zip(self.outputs, several, strict=True))

    @property
    def parameters(self) -> int:
        """Number of weights."""
        return sum(parameter.numel() for parameter in self.module.parameters())


def networks_of(pipeline: Pipeline) -> tuple[Network, ...]:
    """What is exported of a pipeline, the smallest first.

    Args:
        pipeline: in fp32, frozen and in evaluation mode.
    """
    _, height, width = latent_shape(pipeline)
    tokens = pipeline.tokenizer.model_max_length
    factor = 2 ** (len(pipeline.unet.config.block_out_channels) - 1)
    extents = (
        Extent(2, 2 * factor, 3 * factor, tokens),
        Extent(1, height, width, tokens),
        Extent(3, factor, 2 * factor, tokens // 2),
    )
    encoders = (
        _text_encoder_network(name, getattr(pipeline, name), extents)
        for name in _TEXT_ENCODERS
        if getattr(pipeline, name, None) is not None
    )
    return (
        *encoders,
        _decoder_network(pipeline.vae, extents),
        unet_network(pipeline.unet, extents),
    )


def unet_network(unet: UNet2DConditionModel, extents: tuple[Extent, ...]) -> Network:
    """The noise predictor; SDXL's takes the pooled prompt and the picture's size beside it.

    Args:
        unet: stock or standalone, in fp32 and in evaluation mode.
        extents: to trace and to verify it with.
    """
    config = unet.config
    axes = {"sample": _LATENTS, "timestep": {}, "encoder_hidden_states": {0: _BATCH, 1: _TOKENS}}
    pooled = 0
    if config.addition_embed_type == "text_time":
        axes |= {"text_embeds": {0: _BATCH}, "time_ids": {0: _BATCH}}
        pooled = config.projection_class_embeddings_input_dim - 6 * config.addition_time_embed_dim

    def examples(extent: Extent) -> dict[str, Tensor]:
        random = torch.Generator().manual_seed(_SEED)
        batch, size = extent.batch, (extent.height, extent.width)
        context = (batch, extent.tokens, config.cross_attention_dim)
        inputs = {
            "sample": torch.randn(batch, config.in_channels, *size, generator=random),
            # As fp32, since the timesteps of some schedulers are no whole numbers.
            "timestep": torch.tensor(501.0),
            "encoder_hidden_states": torch.randn(context, generator=random),
        }
        if pooled:
            inputs["text_embeds"] = torch.randn(batch, pooled, generator=random)
            pixels = [8.0 * side for side in size]
            inputs["time_ids"] = torch.tensor([[*pixels, 0.0, 0.0, *pixels]] * batch)
        return inputs

    return Network(UNET, _UNet(unet), examples, axes, ("out_sample",), extents, unet.save_config)


def _decoder_network(vae: AutoencoderKL, extents: tuple[Extent, ...]) -> Network:
    """The image decoder; its latents are divided by their scaling factor already."""

    def examples(extent: Extent) -> dict[str, Tensor]:
        random = torch.Generator().manual_seed(_SEED)
        shape = (extent.batch, vae.config.latent_channels, extent.height, extent.width)
        return {"latent_sample": torch.randn(shape, generator=random) / vae.config.scaling_factor}

    axes = {"latent_sample": {0: _BATCH, 2: "latent_height", 3: "latent_width"}}
    return Network(DECODER, _Decoder(vae), examples, axes, ("sample",), extents, vae.save_config)


def _text_encoder_network(name: str, encoder: Any, extents: tuple[Extent, ...]) -> Network:
    """A CLIP text model; SDXL's pipelines also ask for the states of all of its layers."""
    config = encoder.config

    def examples(extent: Extent) -> dict[str, Tensor]:
        random = torch.Generator().manual_seed(_SEED)
        shape = (extent.batch, extent.tokens)
        words = torch.randint(config.vocab_size - 2, shape, generator=random)
        words[:, extent.tokens // 2 :] = config.eos_token_id  # the end, and what fills the rest
        return {"input_ids": words}

    projected = hasattr(encoder, "text_projection")
    own = (
        ("text_embeds", "last_hidden_state")
        if projected
        else ("last_hidden_state", "pooler_output")
    )
    layers = (f"hidden_states.{layer}" for layer in range(config.num_hidden_layers + 1))
    axes = {"input_ids": {0: _BATCH, 1: _TOKENS}}
    module = _TextEncoder(encoder, own)
    return Network(name, module, examples, axes, (*own, *layers), extents, config.save_pretrained)


class _UNet(nn.Module):
    def __init__(self, unet: UNet2DConditionModel) -> None:
        super().__init__()
        self.unet = unet

    def forward(
        self,
        sample: Tensor,
        timestep: Tensor,
        encoder_hidden_states: Tensor,
        text_embeds: Tensor | None = None,
        time_ids: Tensor | None = None,
    ) -> Tensor:
        added = {"text_embeds": text_embeds, "time_ids": time_ids}
        answer: Tensor = self.unet(
            sample,
            timestep,
            encoder_hidden_states,
            added_cond_kwargs=added if text_embeds is not None else None,
            return_dict=False,
        )[0]
        return answer


class _Decoder(nn.Module):
    def __init__(self, vae: AutoencoderKL) -> None:
        super().__init__()
        self.post_quant_conv = vae.post_quant_conv or nn.Identity()
        self.decoder = vae.decoder

    def forward(self, latent_sample: Tensor) -> Tensor:
        picture: Tensor = self.decoder(self.post_quant_conv(latent_sample))
        return picture


class _TextEncoder(nn.Module):
    def __init__(self, encoder: nn.Module, outputs: tuple[str, ...]) -> None:
        super().__init__()
        self.encoder, self.outputs = encoder, outputs

    def forward(self, input_ids: Tensor) -> tuple[Tensor, ...]:
        answer = self.encoder(input_ids, output_hidden_states=True)
        return *(answer[name] for name in self.outputs), *answer.hidden_states
