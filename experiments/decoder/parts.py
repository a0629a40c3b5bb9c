"""What the distillation of a decoder works with, loaded and checked before anything is written."""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import chain, product
from pathlib import Path

import torch
from torch import Tensor

from distillation.decoder_architecture import DecoderArchitecture
from distillation.decoders import autoencoder_config, build_decoder
from distillation.picture_loss import Distance, open_lpips
from distillation.tiny_architecture import AnyDecoder, TinyDecoderArchitecture
from evaluators.decoder_latency import table_latency_ms
from evaluators.evaluator import EvaluatorSpec
from evaluators.pipelines import Pipeline, load_pipeline
from evaluators.prompts import PromptSet
from evaluators.scorers import Scorer
from experiments.decoder.candidates import within_limits
from experiments.decoder.choice import ratio_text, tiny_text
from experiments.decoder.drawing import check_unseen, random_prompts
from experiments.decoder.folder import DecoderFolder
from experiments.decoder.section import DecoderSection, Sizes, SizesSection, TinySizesSection
from experiments.experiment import Experiment, ExperimentError
from experiments.models import pipeline_source, scorer_settings
from experiments.prompts import prompt_set
from experiments.reference import Reference, find_reference
from experiments.sampling import sampling_of
from latency_tables import LatencyTable, load_table
from supernet.architecture import Architecture
from supernet.checkpoint import load_tensors
from supernet.distributed import Workers
from supernet.inventory import take_inventory, unet_config
from supernet.optimization import parts_of_batch


@dataclass(frozen=True)
class DecoderParts:
    """What the distillation of a decoder works with, loaded and checked.

    Attributes:
        experiment: what was asked for.
        pipeline: the teacher in fp32.
        unet: its whole UNet, which draws the latents.
        teacher: sizes of its decoder.
        candidates: sizes to choose among; one if nothing is searched.
        pairs: what the training's latents are drawn with.
        held_out: likewise, of those that candidates are measured on.
        comparison: likewise, of the last comparison.
        scorer: the judge of its pictures.
        reference: what FID and KID compare with, if anything.
        tables: to tell latencies by, with rows for all of these decoders.
        lpips: the perceptual distance, where it is measured.
        start: weights that the training begins with; none for the teacher's.
    """

    experiment: Experiment
    pipeline: Pipeline
    unet: Architecture
    teacher: DecoderArchitecture
    candidates: tuple[AnyDecoder, ...]
    pairs: EvaluatorSpec
    held_out: EvaluatorSpec
    comparison: EvaluatorSpec
    scorer: Scorer
    reference: Reference | None
    tables: tuple[LatencyTable, ...]
    lpips: Distance | None
    start: Mapping[str, Tensor]

    @property
    def section(self) -> DecoderSection:
        return self.experiment.decoder


def sized(teacher: DecoderArchitecture, sizes: Sizes) -> AnyDecoder:
    """The decoder that a section of an experiment describes.

    Raises:
        DecoderError: if there can be none.
    """
    if isinstance(sizes, TinySizesSection):
        return TinyDecoderArchitecture.like_taesd(teacher.base, sizes.width, sizes.blocks)
    most = sizes.resnets or max(teacher.resnets)
    smaller = teacher.narrowed(sizes.ratio).shortened(most, sizes.mid_resnets)
    return smaller if sizes.attention else smaller.without_attention()


def _options(sizes: Sizes, architecture: AnyDecoder) -> tuple[str, str]:
    """What to type behind ``evounet profile`` to have the rows of a decoder measured."""
    if isinstance(architecture, TinyDecoderArchitecture):
        return "--tiny", tiny_text(architecture)
    assert isinstance(sizes, SizesSection)
    return "--ratio", ratio_text(sizes.ratio)


def prepare(experiment: Experiment) -> DecoderParts:
    """Load and check everything; writes nothing.

    Raises:
        ValueError: in one line, if anything that is needed is missing, damaged or does not fit.
    """
    section = experiment.decoder
    parts_of_batch(section.training, Workers(count=section.workers))
    count = section.pairs.count
    if section.pairs.stream:
        count = section.training.steps * section.training.batch_size
    prompts = random_prompts(section.pairs.prompts, count)
    held_out = prompt_set(experiment.evaluation.prompts, "validation")
    comparison = prompt_set(experiment.comparison.prompts, "test")
    check_unseen(prompts, held_out, "evaluation.prompts")
    check_unseen(prompts, comparison, "comparison.prompts")
    pipeline = load_pipeline(pipeline_source(experiment.model.pipeline))
    teacher = DecoderArchitecture.full(autoencoder_config(pipeline.vae))
    wanted = section.search.candidates or (section.sizes,)
    candidates = [sized(teacher, sizes) for sizes in wanted]
    measured = chain.from_iterable(map(_options, wanted, candidates))
    command = shlex.join([experiment.model.pipeline, "--decoder", *measured])
    tables = tuple(load_table(name, unet=command) for name in experiment.latency.tables)
    decoders: list[AnyDecoder] = [teacher, *candidates]
    for table, architecture in product(tables, decoders):
        table_latency_ms(architecture, table)  # raises if rows are missing
    if len(candidates) > 1:
        within_limits(candidates, teacher, tables[0], section.search)
    device = pipeline.device
    judge = scorer_settings(experiment.evaluation.scorer)
    placement = experiment.workers.placement
    sampling = sampling_of(section.pairs.sampling, "decoder.pairs.sampling", placement.device)

    def spec(drawn: PromptSet) -> EvaluatorSpec:
        source = pipeline_source(experiment.model.pipeline)
        return EvaluatorSpec(source, judge, drawn, sampling)

    section.training.loss.open(device)  # only to hear of a fault early
    return DecoderParts(
        experiment,
        pipeline,
        take_inventory(unet_config(pipeline.unet)).full(),
        teacher,
        tuple(dict.fromkeys(candidates)),
        spec(prompts),
        spec(held_out),
        spec(comparison),
        judge.open(comparison),
        find_reference(experiment.comparison),
        tables,
        None if section.lpips is None else open_lpips(section.lpips, device),
        _start(section, candidates),
    )


def _start(section: DecoderSection, candidates: Sequence[AnyDecoder]) -> dict[str, Tensor]:
    """The weights of the run that a training begins with, if any.

    Raises:
        ValueError: if there are none, or they are of other sizes.
    """
    if section.start is None:
        return {}
    path = DecoderFolder(Path(section.start)).trained
    weights, _ = load_tensors(path)
    with torch.device("meta"):
        shapes = build_decoder(candidates[0]).state_dict()
    own = {f"decoder.{name}": weight.shape for name, weight in shapes.items()}
    given = {n: w.shape for n, w in weights.items() if n.startswith("decoder.")}
    if own != given:
        raise ExperimentError(
            f"decoder.start: {path} is of a decoder of other sizes than {candidates[0]}; name the "
            "run of one of these"
        )
    return weights
