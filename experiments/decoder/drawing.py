"""Synthetic pairs by a pool of evaluators: what prompts are drawn, and where pairs go."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

from diffusers import AutoencoderKL

from evaluators.evaluator import EvaluatorSpec
from evaluators.generation import SamplingSettings
from evaluators.prompts import PromptSet
from experiments.data.source import EpochOrder
from experiments.decoder.section import PairPromptsSection
from experiments.decoder.stored_pairs import Origin, PairStore, decoder_digest
from experiments.experiment import ExperimentError
from experiments.models import SHAPES
from experiments.prompt_files import read_prompts
from experiments.shapes.scene import sample_scenes

_CAPTIONS = 4096  # of the shapes world, by default


def random_prompts(section: PairPromptsSection, count: int) -> PromptSet:
    """As many prompts as there are to be pairs, in random order; each as often as any other.

    Raises:
        ExperimentError: if the file is missing, damaged or too short.
    """
    known = _known_prompts(section)
    order = EpochOrder(len(known), section.seed)
    return PromptSet(tuple(known[order[place]] for place in range(count)), section.seed)


def _known_prompts(section: PairPromptsSection) -> list[str]:
    if section.source == SHAPES:
        scenes = sample_scenes("train", section.count or _CAPTIONS, section.seed, unique=True)
        return [scene.caption for scene in scenes]
    prompts = read_prompts(Path(section.source))
    known = prompts[section.skip :][: section.count]
    if not known or len(known) < (section.count or 0):
        raise ExperimentError(
            f"{section.source}: has {len(prompts)} different prompts, too few after the first "
            f"{section.skip}; lower decoder.pairs.prompts.count or skip, or add prompts"
        )
    return known


def check_unseen(drawn: PromptSet, held_out: PromptSet, section: str) -> None:
    """Refuse to measure a decoder on prompts that it learns from.

    Raises:
        ExperimentError: naming a prompt that both have.
    """
    shared = sorted(set(drawn.prompts) & set(held_out.prompts))
    if shared:
        raise ExperimentError(
            f"{section}: {len(shared)} prompts are also in decoder.pairs.prompts, such as "
            f"{shared[0]!r}; use another file or set {section}.skip past them"
        )


def open_store(
    folder: Path,
    spec: EvaluatorSpec,
    teacher: AutoencoderKL,
    latents: tuple[int, int, int],
    shard_size: int,
) -> PairStore:
    """Where a spec's pairs are, or will be.

    Args:
        folder: of the shards.
        spec: pipeline, prompts and sampling.
        teacher: the pipeline's autoencoder.
        latents: shape of one picture's.
        shard_size: pairs of one file.

    Raises:
        DataError: if the folder holds other pairs.
    """
    channels, height, width = latents
    scale = 2 ** (len(teacher.config.block_out_channels) - 1)
    origin = Origin(
        pipeline=spec.pipeline,
        decoder=decoder_digest(teacher),
        scaling_factor=teacher.config.scaling_factor,
        drawn=_digest(spec.prompts, spec.sampling),
        latents=(channels, height, width),
        pictures=(teacher.config.out_channels, height * scale, width * scale),
        count=len(spec.prompts),
        shard_size=shard_size,
    )
    return PairStore(folder, origin)


def _digest(prompts: PromptSet, sampling: SamplingSettings) -> str:
    text = json.dumps([prompts.id, sampling.model_dump()])
    return hashlib.sha256(text.encode()).hexdigest()[:12]
