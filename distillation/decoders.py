"""Image decoders as values and as modules: from the one to the other."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from diffusers import AutoencoderKL
from diffusers.models.autoencoders.vae import Decoder

from distillation.decoder_architecture import AutoencoderConfig, DecoderError
from distillation.efficient_autoencoder import TinyDecoder, sized_decoder
from distillation.tiny_architecture import AnyDecoder, decoder_of_sizes


def build_decoder(architecture: AnyDecoder) -> Decoder | TinyDecoder:
    """A decoder with random weights; see :func:`sized_decoder`."""
    return sized_decoder(architecture.base.values, architecture.sizes)


def decoder_of(vae: AutoencoderKL | Mapping[str, Any]) -> AnyDecoder:
    """The architecture of the decoder that an autoencoder has, stock or not, or a configuration.

    Raises:
        DecoderError: if there can be no such decoder.
    """
    config = vae.config if isinstance(vae, AutoencoderKL) else vae
    sizes = config.get("decoder_sizes", {})
    if not isinstance(sizes, Mapping):
        raise DecoderError(f"decoder_sizes is {sizes!r}; give an object")
    return decoder_of_sizes(autoencoder_config(vae), sizes)


def autoencoder_config(vae: AutoencoderKL | Mapping[str, Any]) -> AutoencoderConfig:
    """The complete base configuration of an autoencoder, or of a mapping as diffusers stores it."""
    given = vae.config if isinstance(vae, AutoencoderKL) else vae
    return AutoencoderConfig.complete(AutoencoderKL, given)
