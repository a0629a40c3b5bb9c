"""Is the shipped small decoder as good as its teacher, and how much faster is one at real size?

Pictures are compared on the test split, whose prompts gave no pair of its training. SD v1.5's
decoder has random weights here: latency does not depend on them.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from statistics import fmean as mean
from statistics import median

import torch
from diffusers import AutoencoderKL
from rich.console import Console
from torch import Tensor

from distillation.decoder_architecture import AutoencoderConfig, DecoderArchitecture
from distillation.decoder_parts import parameters
from distillation.decoders import decoder_of
from distillation.efficient_autoencoder import EfficientAutoencoderKL
from distillation.pairs import Pairs
from distillation.tiny_architecture import AnyDecoder
from evaluators.decoder_latency import measure_decoders
from evaluators.generation import SamplingChoice, convert, encode_prompts, generate_latents
from evaluators.pipelines import Pipeline, load_pipeline
from evaluators.prompts import PromptSet
from evaluators.scorers import ClipModel
from experiments.benchmarks.benchmark import Figure, Goal, quartiles
from experiments.decoder.calibration import random_decoder
from experiments.decoder.choice import choose_decoders
from experiments.decoder.measures import likeness, pictures_of
from experiments.models import SHAPES, SHAPES_DECODER, pipeline_source, scorer_settings
from experiments.progress import track
from experiments.prompts import prompt_set
from experiments.sections import PromptsSection
from latency_tables import TorchCpuProfiler

_SEED = 11  # of scenes and noise; no preset uses it
_REDUCTION = 0.5  # the paper's, of all channels
_BATCH = 16


@dataclass(frozen=True)
class _Size:
    """How much is measured.

    Attributes:
        drawn: held-out captions.
        steps: of drawing.
        timed: passes of each shapes decoder.
        sd15_pixels: height and width of SD v1.5's pictures.
        sd15_timed: passes of each of its decoders.
    """

    drawn: int
    steps: int
    timed: int
    sd15_pixels: int
    sd15_timed: int


_QUICK = _Size(drawn=16, steps=8, timed=50, sd15_pixels=64, sd15_timed=3)
_WHOLE = _Size(drawn=128, steps=12, timed=200, sd15_pixels=512, sd15_timed=3)


def run(quick: bool, console: Console) -> list[Figure]:
    """Compare the shipped decoder with its teacher, and time SD v1.5's at half its width."""
    size = _QUICK if quick else _WHOLE
    pipeline = load_pipeline(pipeline_source(SHAPES))
    student = EfficientAutoencoderKL.from_pretrained(SHAPES_DECODER).float().eval()
    student.requires_grad_(False)
    return [
        *_latency_figures(pipeline.vae, student, size.timed),
        _parameters_figure("parameters_pct", decoder_of(student), "of the shapes teacher's"),
        *_picture_figures(pipeline, student, size, console),
        *_sd15_figures(size, console),
    ]


def _latency_figures(
    teacher: AutoencoderKL, student: EfficientAutoencoderKL, timed: int
) -> list[Figure]:
    figures = []
    for name, batch in (("speedup", _BATCH), ("speedup_one", 1)):
        times = measure_decoders(
            [teacher, student], TorchCpuProfiler(), batch=batch, repetitions=timed
        )
        what = (
            f"{'pictures at a time' if batch > 1 else 'picture at a time'}: teacher's time over "
            f"the small decoder's ({decoder_of(student)}), {timed} passes of each in turns, fp32, "
            f"{torch.get_num_threads()} threads; spread: quartiles"
        )
        goal = Goal(">=", 3) if name == "speedup" else None
        before, after = times
        ratios = [one / other for one, other in zip(before, after, strict=True)]
        figures.append(
            Figure(name, median(before) / median(after), f"{batch} {what}", quartiles(ratios), goal)
        )
    return figures


def _parameters_figure(name: str, architecture: AnyDecoder, whose: str) -> Figure:
    full = parameters(DecoderArchitecture.full(architecture.base))
    own = parameters(architecture)
    return Figure(
        name,
        100 * own / full,
        f"% {whose} {full:,} ({architecture}: {own:,})",
        goal=Goal("<=", 30),
    )


def _picture_figures(
    pipeline: Pipeline, student: EfficientAutoencoderKL, size: _Size, console: Console
) -> list[Figure]:
    prompts = prompt_set(PromptsSection(source=SHAPES, count=size.drawn, seed=_SEED), "test")
    latents = _draw(pipeline, prompts, size, console)
    teachers, students = (
        pictures_of(vae, Pairs(latents, latents))
        for vae in (load_pipeline(pipeline_source(SHAPES)).vae, student)
    )
    scorer = scorer_settings(ClipModel(name=SHAPES)).open(prompts)
    before, after = (scorer.score(each, range(len(prompts))) for each in (teachers, students))
    lost = 100 * (before - after) / before.mean()
    error = 1.96 * lost.std().item() / len(lost) ** 0.5
    alike = [likeness(students[i : i + 1], teachers[i : i + 1]) for i in range(len(prompts))]
    how = f"{size.drawn} held-out captions, {size.steps} steps, guidance 4"
    psnr = [each.psnr_db for each in alike]
    return [
        Figure(
            "psnr_db",
            mean(psnr),
            f"the small decoder's pictures against the teacher's, mean; {how}; spread: quartiles",
            quartiles(psnr),
            Goal(">=", 32),
        ),
        Figure("ssim", mean(each.ssim for each in alike), f"likewise; {how}"),
        Figure(
            "clip_loss_pct",
            lost.mean().item(),
            f"% of the teacher's mean CLIP score that is lost; {how}; spread: 95 % interval",
            (lost.mean().item() - error, lost.mean().item() + error),
            Goal("<=", 0.5),
        ),
    ]


def _draw(pipeline: Pipeline, prompts: PromptSet, size: _Size, console: Console) -> Tensor:
    sampling = SamplingChoice(
        num_inference_steps=size.steps, guidance_scale=4.0, precision="auto", batch_size=_BATCH
    ).start()
    convert(pipeline, sampling)
    parts = []
    with track(console, "decoder: drawing held-out captions", len(prompts)) as on_progress:
        for start in range(0, len(prompts), _BATCH):
            some = PromptSet(prompts.prompts[start : start + _BATCH], prompts.seed + start)
            conditioning = encode_prompts(pipeline, some)
            parts.append(generate_latents(pipeline, some, conditioning, sampling))
            on_progress(start + len(some), {})
    return torch.cat(parts)


def _sd15_figures(size: _Size, console: Console) -> list[Figure]:
    full, narrow = choose_decoders("sd15", [_REDUCTION]).architectures
    with track(console, "decoder: SD v1.5's", 1) as on_progress:
        base = AutoencoderConfig.of({**full.base.values, "sample_size": size.sd15_pixels})
        both = [replace(full, base=base), replace(narrow, base=base)]
        times = measure_decoders(
            [random_decoder(each) for each in both],
            TorchCpuProfiler(),
            repetitions=size.sd15_timed,
        )
        on_progress(1, {})
    before, after = times
    ratios = [100 * other / one for one, other in zip(before, after, strict=True)]
    return [
        Figure(
            "sd15_latency_pct",
            100 * median(after) / median(before),
            f"% of the latency of SD v1.5's decoder ({median(before) / 1000:.2f} s) with half of "
            f"all channels, {size.sd15_pixels}x{size.sd15_pixels} pixels, {size.sd15_timed} passes "
            f"of each in turns, fp32, {torch.get_num_threads()} threads; spread: range",
            (min(ratios), max(ratios)),
            Goal("<=", 35),
        ),
        _parameters_figure("sd15_parameters_pct", narrow, "of SD v1.5's"),
    ]
