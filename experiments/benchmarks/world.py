"""Are the shipped models of the shapes world good enough to search with?

All of it is measured on the test split: on combinations of attributes that no model was trained
on, and on scenes that no search was steered by.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from diffusers import AutoencoderKL, StableDiffusionPipeline
from rich.console import Console
from torch import Tensor
from torchmetrics.functional.image import peak_signal_noise_ratio

from evaluators.generation import SamplingChoice, convert, encode_prompts, generate
from evaluators.pipelines import load_pipeline
from evaluators.prompts import PromptSet
from evaluators.scorers import ClipModel
from evaluators.scorers.caption_accuracy import CaptionAccuracyScorer
from evaluators.scorers.dual_encoder import DualEncoder, SimilarityScorer
from experiments.benchmarks.benchmark import Figure, Goal
from experiments.models import SHAPES, pipeline_source, scorer_settings
from experiments.progress import track
from experiments.prompts import prompt_set
from experiments.sections import PromptsSection
from experiments.shapes.dataset import draw
from experiments.shapes.vae import reconstruct
from supernet.inventory import take_inventory, unet_config
from supernet.precision import settled_precision

_SEED = 10  # of scenes, pictures and noise; no preset uses it
_STEPS = 50
_GUIDANCE_SCALES = (3.0, 4.5, 6.0, 7.5)  # each for a quarter of the prompts


@dataclass(frozen=True)
class _Size:
    """How much is measured.

    Attributes:
        reconstructed: pictures through the autoencoder.
        judged: captions with a real picture each; the judge chooses among all of them.
        drawn: captions that the pipeline draws, a multiple of the guidance scales' number.
    """

    reconstructed: int
    judged: int
    drawn: int


_QUICK = _Size(reconstructed=128, judged=500, drawn=32)
_WHOLE = _Size(reconstructed=1000, judged=500, drawn=256)


def run(quick: bool, console: Console) -> list[Figure]:
    """Measure the shipped autoencoder, judge and pipeline."""
    size = _QUICK if quick else _WHOLE
    pipeline = load_pipeline(pipeline_source(SHAPES))
    judge = scorer_settings(ClipModel(name=SHAPES)).encoder()
    blocks = take_inventory(unet_config(pipeline.unet)).blocks
    return [
        _vae_figure(pipeline.vae, size.reconstructed),
        *_judge_figures(judge, size.judged),
        *_teacher_figures(pipeline, judge, size.drawn, console),
        Figure(
            "removable_blocks",
            len(blocks),
            "ResNet and cross-attention blocks of the UNet",
            goal=Goal(">=", 30),
        ),
    ]


def _vae_figure(vae: AutoencoderKL, count: int) -> Figure:
    images = draw("test", count, _SEED, unique=True).images(slice(None))
    psnr = peak_signal_noise_ratio(
        reconstruct(vae, images), images, data_range=2.0, dim=(1, 2, 3)
    )  # mean over the pictures
    return Figure(
        "vae_psnr_db",
        psnr.item(),
        f"{count} held-out pictures through the autoencoder, mean",
        goal=Goal(">=", 28),
    )


def _judge_figures(judge: DualEncoder, count: int) -> list[Figure]:
    prompts, images = _held_out(count)
    recalled = recall_at_1(judge.embed_images(images), judge.embed_captions(prompts.prompts))
    return [
        Figure(
            "judge_recall_at_1",
            _percent(recalled),
            f"% of {count} held-out pictures whose own caption is the best of all {count}",
            goal=Goal(">=", 97),
        ),
        Figure(
            "judge_distractor_accuracy",
            _percent(CaptionAccuracyScorer(judge, prompts).score(images, range(count))),
            f"% of these pictures that fit their own caption better than every caption with one "
            f"attribute changed ({sum(map(len, prompts.distractors)) / count:.1f} of them each)",
            goal=Goal(">=", 95),
        ),
    ]


def _teacher_figures(
    pipeline: StableDiffusionPipeline, judge: DualEncoder, count: int, console: Console
) -> list[Figure]:
    prompts, real = _held_out(count)
    drawn = _draw(pipeline, prompts, console)
    similarity, rows = SimilarityScorer(judge, prompts), range(count)
    ratio = similarity.score(drawn, rows).mean() / similarity.score(real, rows).mean()
    how = (
        f"{count} held-out captions, {_STEPS} DDIM steps in {settled_precision('auto', 'cpu')}, "
        f"guidance {_GUIDANCE_SCALES[0]:g} to {_GUIDANCE_SCALES[-1]:g}"
    )
    return [
        Figure(
            "teacher_caption_accuracy",
            _percent(CaptionAccuracyScorer(judge, prompts).score(drawn, rows)),
            f"% of drawn pictures that fit their caption better than every distractor; {how}",
            goal=Goal(">=", 90),
        ),
        Figure(
            "teacher_clip_ratio",
            100 * ratio.item(),
            f"mean CLIP of drawn pictures in % of that of real ones; {how}",
            goal=Goal(">=", 95),
        ),
    ]


def recall_at_1(images: Tensor, captions: Tensor) -> Tensor:
    """Which pictures fit their own caption best of all, ``(n,)`` bool.

    Args:
        images: unit vectors ``(n, width)``.
        captions: unit vectors ``(n, width)``, in the pictures' order.
    """
    return (images @ captions.T).argmax(dim=1) == torch.arange(len(images))


def _held_out(count: int) -> tuple[PromptSet, Tensor]:
    """Different captions of the test split and a real picture of each, in [0, 1]."""
    prompts = prompt_set(PromptsSection(source=SHAPES, count=count, seed=_SEED), "test")
    pictures = draw("test", count, _SEED, unique=True)  # of the same scenes
    return prompts, (pictures.images(slice(None)) + 1) / 2


def _draw(pipeline: StableDiffusionPipeline, prompts: PromptSet, console: Console) -> Tensor:
    conditioning = encode_prompts(pipeline, prompts)
    each = len(prompts) // len(_GUIDANCE_SCALES)
    parts = []
    with track(console, "world: drawing held-out captions", len(prompts)) as on_progress:
        for i, guidance_scale in enumerate(_GUIDANCE_SCALES):
            sampling = SamplingChoice(
                num_inference_steps=_STEPS,
                guidance_scale=guidance_scale,
                precision="auto",
                batch_size=each,
            ).start()
            convert(pipeline, sampling)
            rows = range(i * each, (i + 1) * each)
            parts.append(generate(pipeline, prompts, conditioning, sampling, rows))
            on_progress(rows.stop, {"guidance": guidance_scale})
    return torch.cat(parts)


def _percent(hits: Tensor) -> float:
    return 100 * hits.float().mean().item()
