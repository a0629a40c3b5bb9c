"""The networks of a pipeline, called and named as Apple's Swift runtime for Stable Diffusion does.

The runtime (``apple/ml-stable-diffusion``) finds files and features by the names given here: in
``Unet`` channels of the context come second, ``TextEncoder`` is given token ids as fp32, and
``VAEDecoder`` latents that are divided by their scaling factor already.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from diffusers import AutoencoderKL, UNet2DConditionModel
from torch import Tensor, nn
from transformers import CLIPTextModel

from experiments.export.destination import ExportError

UNET, DECODER, TEXT_ENCODER = "Unet", "VAEDecoder", "TextEncoder"
_SEED = 0
_MASKED = -1e4  # fp16 has no smaller power of ten; softmax makes it 0


@dataclass(frozen=True)
class Network:
    """A network as it is exported.

    Attributes:
        name: of its file, without the ending.
        about: what it does, in a sentence.
        module: takes ``inputs`` in their order and returns the outputs, a tensor or a tuple.
        inputs: by name an example of each, in the type and shape that the runtime gives it.
        outputs: names of what it returns.
        notes: on every input and output, by its name.
    """

    name: str
    about: str
    module: nn.Module
    inputs: dict[str, Tensor]
    outputs: tuple[str, ...]
    notes: dict[str, str]

    @torch.no_grad()
    def answers(self) -> dict[str, Tensor]:
        """What torch answers to the example inputs, in fp32."""
        answer = self.module(*self.inputs.values())
        several = answer if isinstance(answer, tuple) else (answer,)
        return dict(zip(self.outputs, several, strict=True))

    @property
    def parameters(self) -> int:
        """Number of weights."""
        return sum(parameter.numel() for parameter in self.module.parameters())


def unet_network(
    unet: UNet2DConditionModel, tokens: int, timesteps: int, batch: int = 2
) -> Network:
    """The noise predictor of Stable Diffusion 1 and 2.

    Args:
        unet: that predicts; stock or standalone, in evaluation mode and fp32.
        tokens: of a prompt.
        timesteps: that it was trained with. The examples' are from the first to the last of them.
        batch: 2 for guidance, which draws with and without a prompt at once; 1 for none.

    Raises:
        ExportError: if it needs more than a prompt's hidden states, as Stable Diffusion XL's does.
    """
    config = unet.config
    if config.addition_embed_type is not None or config.class_embed_type is not None:
        more = config.addition_embed_type or config.class_embed_type
        raise ExportError(
            f"UNet: its configuration asks for {more!r} embeddings beside the prompt's; Core ML "
            "packages are written for UNets of Stable Diffusion 1 and 2, whose prompts are all"
        )
    size = config.sample_size
    height, width = size if isinstance(size, list | tuple) else (size, size)
    generator = torch.Generator().manual_seed(_SEED)

    def noise(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=generator).half()

    return Network(
        UNET,
        "Predicts what is to be taken from noisy latents, given a timestep and a prompt.",
        _UNet(unet),
        {
            "sample": noise(batch, config.in_channels, height, width),
            "timestep": torch.linspace(timesteps - 1, 1, batch).round().half(),
            "encoder_hidden_states": noise(batch, config.cross_attention_dim, 1, tokens),
        },
        ("noise_pred",),
        {
            "sample": "Noisy latents",
            "timestep": "Timestep of the noise, for every picture",
            "encoder_hidden_states": "The prompt as the text encoder reads it, channels second",
            "noise_pred": "What the UNet predicts: noise, or the velocity if it was trained so",
        },
    )


def decoder_network(vae: AutoencoderKL, size: tuple[int, int]) -> Network:
    """The image decoder.

    Args:
        vae: whose decoder it is, in evaluation mode and fp32.
        size: height and width of the latents.
    """
    generator = torch.Generator().manual_seed(_SEED)
    latents = torch.randn(1, vae.config.latent_channels, *size, generator=generator)
    return Network(
        DECODER,
        "Draws the picture that latents stand for.",
        _Decoder(vae),
        {"z": (latents / vae.config.scaling_factor).half()},
        ("image",),
        {
            "z": "Latents without noise, divided by their scaling factor",
            "image": "The picture, from -1 to 1",
        },
    )


def text_encoder_network(text_encoder: CLIPTextModel, tokens: int) -> Network:
    """The text encoder.

    Args:
        text_encoder: a CLIP text model, in evaluation mode and fp32.
        tokens: of a prompt.
    """
    config = text_encoder.config
    generator = torch.Generator().manual_seed(_SEED)
    words = torch.randint(config.vocab_size - 2, (1, tokens), generator=generator)
    words[:, tokens // 2 :] = config.vocab_size - 1  # the end, and what fills the rest
    return Network(
        TEXT_ENCODER,
        "Reads a prompt's tokens for the UNet.",
        _TextEncoder(text_encoder, tokens),
        {"input_ids": words.float()},
        ("last_hidden_state", "pooled_outputs"),
        {
            "input_ids": "Numbers of the prompt's tokens, filled up to this length",
            "last_hidden_state": "Hidden states of all tokens",
            "pooled_outputs": "Hidden state of the end token",
        },
    )


class _UNet(nn.Module):
    def __init__(self, unet: UNet2DConditionModel) -> None:
        super().__init__()
        self.unet = unet

    def forward(self, sample: Tensor, timestep: Tensor, encoder_hidden_states: Tensor) -> Tensor:
        context = encoder_hidden_states.float().squeeze(2).transpose(1, 2)
        answer: Tensor = self.unet(sample.float(), timestep.float(), context, return_dict=False)[0]
        return answer


class _Decoder(nn.Module):
    def __init__(self, vae: AutoencoderKL) -> None:
        super().__init__()
        self.post_quant_conv = vae.post_quant_conv or nn.Identity()
        self.decoder = vae.decoder

    def forward(self, z: Tensor) -> Tensor:
        image: Tensor = self.decoder(self.post_quant_conv(z.float()))
        return image


class _TextEncoder(nn.Module):
    """With mask and positions of its own: transformers' are an infinity and an ``alias``."""

    mask: Tensor
    positions: Tensor

    def __init__(self, text_encoder: CLIPTextModel, tokens: int) -> None:
        super().__init__()
        self.text_encoder = text_encoder
        later = torch.full((tokens, tokens), _MASKED).triu(1)
        self.register_buffer("mask", later[None, None], persistent=False)
        self.register_buffer("positions", torch.arange(tokens)[None], persistent=False)

    def forward(self, input_ids: Tensor) -> tuple[Tensor, Tensor]:
        answer = self.text_encoder(
            input_ids.to(torch.int32), attention_mask=self.mask, position_ids=self.positions
        )
        return answer.last_hidden_state, answer.pooler_output
