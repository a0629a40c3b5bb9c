"""Latency of an image decoder: by a table, a sum over its parts; and by the clock."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import partial

import torch
from diffusers import AutoencoderKL
from torch import Tensor, nn

from distillation.decoder_architecture import AutoencoderConfig, DecoderArchitecture
from distillation.decoder_parts import decoder_parts, latent_size
from distillation.decoders import autoencoder_config
from distillation.tiny_architecture import AnyDecoder, TinyDecoderArchitecture
from evaluators.whole_unets import in_turns
from latency_tables import BlockSignature, LatencyTable, ModuleProfiler


def table_latency_ms(architecture: AnyDecoder, table: LatencyTable, batch: int = 1) -> float:
    """Milliseconds of one decoder pass by a table.

    The sum of its parts' rows, times the factor that the table was calibrated to for decoders of
    this base, and their overhead row; 1 and 0 where it has none. Tiny decoders, of other parts,
    are the sum alone.

    Args:
        architecture: of the decoder; at the size of its base's own pictures.
        table: any that has rows of it.
        batch: pictures per pass.

    Raises:
        MissingRowsError: naming every signature that the table lacks.
    """
    if isinstance(architecture, TinyDecoderArchitecture):
        return sum_of_parts_ms(architecture, table, batch)
    overhead = decoder_overhead(architecture.base, batch)
    factor = table.factor(architecture.base.digest, batch, overhead.height, overhead.width)
    overhead_ms = table.latency_ms([overhead]) if table.covers([overhead]) else 0.0
    return overhead_ms + factor * sum_of_parts_ms(architecture, table, batch)


def sum_of_parts_ms(architecture: AnyDecoder, table: LatencyTable, batch: int = 1) -> float:
    """The same as the table's rows tell it, without what whole passes told."""
    parts = decoder_parts(architecture, batch, *latent_size(architecture))
    return table.latency_ms(part.signature for part in parts)


def decoder_overhead(base: AutoencoderConfig, batch: int = 1) -> BlockSignature:
    """The signature of what a pass of a base's decoders takes beyond their parts."""
    full = DecoderArchitecture.full(base)
    parts = decoder_parts(full, batch, *latent_size(full))
    first = next(part.signature for part in parts if part.signature.kind == "conv_in")
    return replace(first, kind="overhead")


def measure_decoders(
    autoencoders: Sequence[AutoencoderKL],
    profiler: ModuleProfiler,
    *,
    batch: int = 1,
    repetitions: int = 30,
) -> list[list[float]]:
    """Timings of whole decoders, from latents to picture, that take turns, in ms.

    Args:
        autoencoders: to be compared, stock or efficient ones; they are changed to the profiler's
            precision and device.
        profiler: runs them.
        batch: pictures per pass.
        repetitions: timed passes of each, after two for warm-up.
    """
    with profiler.session():
        runs = []
        for vae in autoencoders:
            size = latent_size(DecoderArchitecture.full(autoencoder_config(vae)))
            latents = torch.randn(batch, vae.config.latent_channels, *size)
            runs.append(profiler.prepare_module(_Decoding(vae), (latents,)))
        return in_turns([partial(profiler.time_ms, run) for run in runs], repetitions)


class _Decoding(nn.Module):
    def __init__(self, vae: AutoencoderKL) -> None:
        super().__init__()
        self.vae = vae

    def forward(self, latents: Tensor) -> Tensor:
        picture: Tensor = self.vae.decode(latents).sample
        return picture
