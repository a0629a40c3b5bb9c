"""From the sum of a decoder's parts to whole decoders."""

from __future__ import annotations

import shlex

import torch
from rich.console import Console

from distillation.decoder_architecture import DecoderArchitecture
from distillation.efficient_autoencoder import EfficientAutoencoderKL
from distillation.tiny_architecture import AnyDecoder
from evaluators.decoder_latency import decoder_overhead, measure_decoders, sum_of_parts_ms
from experiments.calibration import WholeModel, check_calibration, fitted
from experiments.decoder.choice import ChosenDecoders
from experiments.profiling import TableTarget
from experiments.progress import track
from latency_tables import BlockProfiler, Calibration, write_table

_SEED = 1


def calibrate_decoders(
    chosen: ChosenDecoders,
    target: TableTarget,
    profiler: BlockProfiler,
    *,
    rounds: int,
    console: Console,
) -> Calibration:
    """Measure whole decoders and write what they tell into a table.

    All that were chosen, each also with one ResNet in every stage, and without attention.

    Raises:
        TableError: if there is no such table, it lacks rows of them, was not taken under the
            profiler's conditions, or is of a runtime that runs no whole models.
    """
    table, module_profiler = check_calibration(chosen, target, profiler)
    variants = [
        variant
        for each in chosen.architectures
        if isinstance(each, DecoderArchitecture)
        for variant in (each, each.shortened(1), each.without_attention())
    ]
    architectures = list(dict.fromkeys(variants))
    sums = [sum_of_parts_ms(each, table, chosen.batch) for each in architectures]
    with track(console, f"timing {len(architectures)} decoders", 1) as on_progress:
        times = measure_decoders(
            [random_decoder(each) for each in architectures],
            module_profiler,
            batch=chosen.batch,
            repetitions=rounds,
        )
        on_progress(1, {})
    base = chosen.architectures[0].base
    whole = WholeModel(chosen.name, base.digest, decoder_overhead(base, chosen.batch))
    name = shlex.quote(target.name)
    command = f"evounet tables calibrate {chosen.arguments} --table={name} --rounds={rounds}"
    after = fitted(whole, table, sums, times, command)
    write_table(after, target.folder)
    return after.metadata.calibrations[-1]


def random_decoder(architecture: AnyDecoder) -> EfficientAutoencoderKL:
    """An autoencoder with random weights and this decoder."""
    config = {**architecture.base.values, "decoder_sizes": architecture.sizes}
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(_SEED)
        vae = EfficientAutoencoderKL.from_config(config)
    return vae.eval().requires_grad_(False)
