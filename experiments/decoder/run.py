"""``evounet distill decoder``: from an experiment to a smaller decoder and its measures."""

from __future__ import annotations

import copy
import json
from collections.abc import Mapping
from contextlib import nullcontext
from dataclasses import dataclass
from statistics import median

from torch import Tensor

from distillation.decoder_parts import parameters
from distillation.decoders import decoder_of
from distillation.efficient_autoencoder import EfficientAutoencoderKL
from distillation.inheritance import inherit
from distillation.tiny_architecture import AnyDecoder
from evaluators.decoder_latency import measure_decoders, table_latency_ms
from evaluators.evaluator import EvaluatorSpec
from evaluators.generation import latent_shape
from evaluators.job import Scores
from evaluators.pair_maker import load_pair_maker
from evaluators.pool import EvaluatorPool
from evaluators.ray_session import ray_session
from experiments.comparison import Pictures, host_profiler, measure_distances
from experiments.decoder.candidates import best_of, outcome_table, within_limits
from experiments.decoder.drawing import open_store
from experiments.decoder.folder import DecoderFolder
from experiments.decoder.measures import (
    DecoderComparison,
    DecoderSide,
    likeness,
    pictures_of,
    shown,
)
from experiments.decoder.parts import DecoderParts
from experiments.decoder.search import ShortTraining, rungs_of, short_settings, try_candidates
from experiments.decoder.stored_pairs import PairStore, StoredPairs
from experiments.decoder.trainer import (
    DecoderJob,
    DecoderTrainer,
    OpenStored,
    StreamedPairs,
    open_trainer,
)
from experiments.fault_log import FaultLog
from experiments.progress import track
from experiments.run_log import RunLog
from experiments.training_log import TrainingLog
from search.state import write_atomically
from supernet.checkpoint import load_tensors, save_tensors


def distill(parts: DecoderParts, folder: DecoderFolder, log: RunLog) -> DecoderComparison:
    """Make pairs, choose sizes, train and measure, from wherever the folder's run stands.

    Leaves in the folder: pairs, the state of the training, candidates, the autoencoder
    (``vae``) and ``result.json``.
    """
    architecture = parts.candidates[0]
    lacking = [each for each in _stores(parts, folder) if each.store.left]
    streams = parts.section.pairs.stream and not folder.trained.exists()
    if lacking or streams:
        with _open_pool(parts, folder, log) as pool:
            for each in lacking:
                _draw(each, parts, pool, log)
            if streams:
                save_tensors(
                    folder.trained, _train_streamed(parts, folder, pool, architecture, log), {}
                )
    if len(parts.candidates) > 1:
        architecture = _choose(parts, folder, log)
    if not folder.trained.exists():
        save_tensors(folder.trained, _train_stored(parts, folder, architecture, log), {})
    folder.training.unlink(missing_ok=True)
    weights, _ = load_tensors(folder.trained)
    student = with_decoder(parts, architecture, weights)
    student.save_pretrained(folder.vae)
    comparison = _compare(parts, folder, student, log)
    result = {"decoder": architecture.sizes, **comparison.figures()}
    write_atomically(folder.result, json.dumps(result, indent=2) + "\n")
    return comparison


def with_decoder(
    parts: DecoderParts, architecture: AnyDecoder, weights: Mapping[str, Tensor]
) -> EfficientAutoencoderKL:
    """The pipeline's autoencoder with a trained decoder."""
    student = inherit(parts.pipeline.vae, architecture)
    student.load_state_dict(weights, strict=False)  # the encoder is not among them
    return student


def _open_pool(parts: DecoderParts, folder: DecoderFolder, log: RunLog) -> EvaluatorPool:
    workers = parts.experiment.workers
    return EvaluatorPool(
        workers.count,
        needed=workers.min_count,
        placement=workers.placement,
        address=workers.address,
        on_event=FaultLog(folder.faults, log),
        factory=load_pair_maker,
    )


@dataclass(frozen=True)
class _Wanted:
    """Pairs that a run needs, for people by ``name``, and what draws them."""

    name: str
    spec: EvaluatorSpec
    store: PairStore


def _stores(parts: DecoderParts, folder: DecoderFolder) -> list[_Wanted]:
    """All that a run needs, whether they are there or not."""
    wanted = [("comparison", folder.comparison, parts.comparison)]
    if len(parts.candidates) > 1:
        wanted.append(("held-out", folder.held_out, parts.held_out))
    if not parts.section.pairs.stream:
        wanted.append(("training", folder.pairs, parts.pairs))
    shape, size = latent_shape(parts.pipeline), parts.section.pairs.shard_size
    return [
        _Wanted(name, spec, open_store(place, spec, parts.pipeline.vae, shape, size))
        for name, place, spec in wanted
    ]


def _draw(wanted: _Wanted, parts: DecoderParts, pool: EvaluatorPool, log: RunLog) -> None:
    """Make the pairs that a store lacks."""
    store, evaluators = wanted.store, pool.evaluators(wanted.spec)
    evaluators.load_weights(parts.pipeline.unet.state_dict())
    with track(log.console, f"{wanted.name} pairs", store.left) as told:
        store.fill(lambda rows: evaluators.pairs(parts.unet, rows), told)
    log.say(f"{wanted.name}: {store.index.pairs} pairs in {store.folder}")


def _choose(parts: DecoderParts, folder: DecoderFolder, log: RunLog) -> AnyDecoder:
    """The best of the candidates, by short trainings."""
    section = parts.section.search
    candidates = within_limits(parts.candidates, parts.teacher, parts.tables[0], section)
    training = ShortTraining(
        parts.pairs.pipeline,
        folder.pairs.absolute(),
        folder.held_out.absolute(),
        short_settings(parts.section.training, section),
        parts.experiment.seed,
        rungs_of(section),
        parts.section.use_gpu,
    )
    address = parts.experiment.workers.address
    with track(log.console, "trying decoders", len(candidates)) as told:
        outcomes = try_candidates(candidates, training, section, folder.candidates, address, told)
    log.console.print(outcome_table(candidates, outcomes))
    best = best_of(candidates, outcomes)
    log.say(f"chosen of {len(candidates)} decoders: {best.architecture}")
    return best.architecture


def _train_stored(
    parts: DecoderParts, folder: DecoderFolder, architecture: AnyDecoder, log: RunLog
) -> dict[str, Tensor]:
    section = parts.section
    job = DecoderJob(architecture, section.training, parts.experiment.seed, parts.start)
    stored = OpenStored(parts.pairs.pipeline, folder.pairs.absolute())
    address = parts.experiment.workers.address
    with (
        ray_session(section.workers, address) if section.on_ray else nullcontext(),
        track(log.console, "training the decoder", job.settings.steps) as told,
    ):
        told = TrainingLog(folder.curves).following("decoder", job.settings, told)
        return open_trainer(stored, section).train(job, folder.training, None, told)


def _train_streamed(
    parts: DecoderParts,
    folder: DecoderFolder,
    pool: EvaluatorPool,
    architecture: AnyDecoder,
    log: RunLog,
) -> dict[str, Tensor]:
    job = DecoderJob(architecture, parts.section.training, parts.experiment.seed, parts.start)
    evaluators = pool.evaluators(parts.pairs)
    evaluators.load_weights(parts.pipeline.unet.state_dict())
    streamed = StreamedPairs(
        lambda rows: evaluators.pairs(parts.unet, rows),
        len(parts.pairs.prompts),
        parts.pairs.sampling.batch_size,
    )
    trainer = DecoderTrainer(parts.pipeline.vae, streamed)
    with track(log.console, "training on streamed pairs", job.settings.steps) as told:
        told = TrainingLog(folder.curves).following("decoder", job.settings, told)
        return trainer.train(job, folder.training, None, told)


def _compare(
    parts: DecoderParts, folder: DecoderFolder, student: EfficientAutoencoderKL, log: RunLog
) -> DecoderComparison:
    """Both decoders on the comparison's latents, and on this machine's clock."""
    stored = StoredPairs(folder.comparison, parts.pipeline.vae)
    pairs = stored.rows(list(range(len(stored))))
    images = (shown(pairs.pictures), pictures_of(student, pairs))
    pictures = [
        Pictures(each, Scores(tuple(parts.scorer.score(each, range(len(each))).tolist())))
        for each in images
    ]
    if parts.reference is not None:
        with track(log.console, "FID and KID", len(parts.reference)) as told:
            pictures = measure_distances(pictures, parts.reference, parts.pairs.scorer, told)
    autoencoders = [parts.pipeline.vae, student]
    measured = measure_decoders(
        [copy.deepcopy(vae) for vae in autoencoders],
        host_profiler(parts.tables[0].metadata),
        repetitions=parts.experiment.comparison.repetitions,
    )
    architectures: tuple[AnyDecoder, ...] = (parts.teacher, decoder_of(student))
    before, after = (
        DecoderSide(
            parameters(architecture),
            median(times),
            tuple(table_latency_ms(architecture, table) for table in parts.tables),
            drawn.clip,
            drawn.distance,
        )
        for architecture, times, drawn in zip(architectures, measured, pictures, strict=True)
    )
    names = tuple(table.metadata.name for table in parts.tables)
    alike = likeness(images[1], images[0], parts.lpips)
    return DecoderComparison(before, after, alike, names, len(pairs))
