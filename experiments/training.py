"""Training of an experiment: data, the trainer between decisions, a supernet from a base UNet."""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping
from functools import cached_property
from pathlib import Path

import torch
from diffusers import DDIMScheduler, UNet2DConditionModel
from pydantic import BaseModel, ConfigDict, Field
from torch import Tensor

from evaluators.pipelines import Pipeline
from experiments.data.opening import TrainingData, open_data
from experiments.data.settings import ReadingSettings
from experiments.data.shapes import ShapesData
from experiments.experiment import TrainingSection
from experiments.models import SHAPES
from experiments.shapes.diffusion import CAPTION_DROPOUT
from search.evolution import Track
from supernet.architecture import Architecture
from supernet.block_dropping import BlockDropping
from supernet.checkpoint import CheckpointError, load_tensors, save_tensors
from supernet.robust_training import train
from supernet.supernet import Supernet
from supernet.training_settings import TrainingSettings


def training_data(
    pipeline: Pipeline, data: str, reading: ReadingSettings, pictures: int, seed: int
) -> TrainingData:
    """The shapes world, or the captioned pictures that a path names.

    Args:
        pipeline: encodes them; the one that is trained.
        data: ``shapes``, or see :func:`experiments.data.opening.open_data`.
        reading: how they are read, where that is not clear.
        pictures: how many, of the shapes world.
        seed: which, of the shapes world.

    Raises:
        DataError: if there is no such data, or it cannot be used.
    """
    if data == SHAPES:
        return ShapesData(pipeline, pictures, seed)
    return open_data(data, pipeline, reading)


def check_training_data(pipeline: Pipeline, section: TrainingSection, seed: int) -> None:
    """Hear of faults of an experiment's data early; data that no training uses are not opened.

    Raises:
        DataError: if there is no such data, it cannot be used, or has not one whole batch.
    """
    sizes = [each.batch_size for each in (section.round, section.final) if each.steps]
    if sizes:
        _section_data(pipeline, section, seed).check(max(sizes))


def _section_data(pipeline: Pipeline, section: TrainingSection, seed: int) -> TrainingData:
    return training_data(pipeline, section.data, section.reading, section.pictures, seed)


class RoundTrainer:
    """Trains the supernet between decisions; every round leaves its weights in the run folder.

    Args:
        pipeline: a replica of its own; its UNet is trained, and teaches as it came.
        start: the supernet's weights before the first round.
        section: settings of a round and of the training after the last one.
        seed: with the round it fixes a training.
        folder: for the weights, ``round-1.safetensors`` and so on.
        track: opens progress displays.
    """

    def __init__(
        self,
        pipeline: Pipeline,
        start: Mapping[str, Tensor],
        section: TrainingSection,
        seed: int,
        folder: Path,
        track: Track,
    ) -> None:
        self.teacher = copy.deepcopy(pipeline.unet).requires_grad_(False)
        self.supernet = Supernet(pipeline.unet)
        self.scheduler = noise_schedule(pipeline)
        self.pipeline = pipeline
        self.start = start
        self.section = section
        self.seed = seed
        self.folder = folder
        self.track = track

    def train(self, round_: int, architecture: Architecture) -> Mapping[str, Tensor]:
        """Weights after round ``round_``; from the run folder where it was trained before."""
        name = f"round-{round_}"
        before = self.start if round_ == 1 else load_tensors(self._file(f"round-{round_ - 1}"))[0]
        seed = self.seed * 1_000 + round_
        return self._train(name, before, architecture, self.section.round, seed)

    def finish(
        self, weights: Mapping[str, Tensor], architecture: Architecture
    ) -> Mapping[str, Tensor]:
        """Weights after the longer training of the architecture found."""
        return self._train("final", weights, architecture, self.section.final, self.seed * 1_000)

    @cached_property
    def _data(self) -> TrainingData:
        return _section_data(self.pipeline, self.section, self.seed)

    def _file(self, name: str) -> Path:
        return self.folder / f"{name}.safetensors"

    def _train(
        self,
        name: str,
        before: Mapping[str, Tensor],
        architecture: Architecture,
        settings: TrainingSettings,
        seed: int,
    ) -> Mapping[str, Tensor]:
        finished, checkpoint = self._file(name), self._file(f"{name}.training")
        if finished.exists():
            return load_tensors(finished)[0]
        unet = self.supernet.unet
        unet.load_state_dict(before)
        if settings.steps:
            unet.requires_grad_(True)
            with self.track(f"{name}: training", settings.steps) as on_progress:
                train(
                    self.supernet,
                    self._data.batches(settings.batch_size, seed, self.section.caption_dropout),
                    self.scheduler,
                    settings,
                    seed,
                    architecture=architecture,
                    teacher=self.teacher,
                    checkpoint=checkpoint,
                    on_progress=on_progress,
                )
            unet.requires_grad_(False)
        weights = {key: value.clone() for key, value in unet.state_dict().items()}
        save_tensors(finished, weights, {})
        checkpoint.unlink(missing_ok=True)
        return weights


def noise_schedule(pipeline: Pipeline) -> DDIMScheduler:
    """The noise that a pipeline's UNet was trained on, whichever sampler it is drawn with.

    Samplers like SDXL's add noise on a scale of their own, which is not what the UNet takes.

    Raises:
        ValueError: if the pipeline's scheduler has no schedule of betas.
    """
    scheduler = pipeline.scheduler
    if "beta_schedule" not in scheduler.config:
        raise ValueError(
            f"the pipeline's scheduler, {type(scheduler).__name__}, has no beta_schedule, so its "
            "UNet cannot be trained as Stable Diffusion's are; give another pipeline"
        )
    schedule: DDIMScheduler = DDIMScheduler.from_config(scheduler.config)
    return schedule


def load_unet_weights(path: Path, unet: UNet2DConditionModel) -> dict[str, Tensor]:
    """Weights for a UNet from a safetensors file, in fp32.

    Raises:
        CheckpointError: naming the file, if it is missing, damaged, or of another UNet.
    """
    tensors, _ = load_tensors(path)
    own = unet.state_dict()
    wrong = sorted(
        name
        for name in own.keys() | tensors.keys()
        if name not in own or name not in tensors or own[name].shape != tensors[name].shape
    )
    if wrong:
        raise CheckpointError(
            f"{path}: is not of this UNet ({len(wrong)} weights differ, such as '{wrong[0]}'); "
            "give the weights that were trained from this pipeline"
        )
    return {name: value.float() for name, value in tensors.items()}


class SupernetTraining(BaseModel):
    """How a supernet is made of a base UNet; the defaults made the shipped one.

    Attributes:
        data: ``shapes`` or other training data, as in an experiment file.
        reading: how they are read, where that is not clear.
        pictures: how many pictures of the shapes world to train on; of other data it is all.
        caption_dropout: share of captions replaced by the empty one, in [0, 1).
        training: the robust training.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    data: str = SHAPES
    reading: ReadingSettings = ReadingSettings()
    pictures: int = Field(32_768, ge=1024)
    caption_dropout: float = Field(CAPTION_DROPOUT, ge=0, lt=1)
    training: TrainingSettings = TrainingSettings(
        steps=4000,
        batch_size=32,
        learning_rate=6e-4,
        warmup_steps=50,
        ema_decay=0.998,
        dropping=BlockDropping(keep_prob=(0.4, 1.0)),
    )


def train_supernet(
    pipeline: Pipeline,
    settings: SupernetTraining,
    seed: int,
    path: Path,
    on_progress: Callable[[int, dict[str, float]], None],
    start: Mapping[str, Tensor] | None = None,
) -> None:
    """Robust training of a pipeline's UNet from its own weights; writes them in fp16.

    Interrupted, it goes on from ``PATH.training.safetensors`` when called again.

    Args:
        pipeline: its UNet is trained in place.
        settings: of the training, and of its data.
        seed: fixes all random choices.
        path: of the safetensors file to write.
        on_progress: called after each step.
        start: weights of a supernet to go on from, in place of the UNet's own.
    """
    checkpoint = path.with_suffix(".training.safetensors")
    data = training_data(pipeline, settings.data, settings.reading, settings.pictures, seed)
    teacher = copy.deepcopy(pipeline.unet).requires_grad_(False)
    if start is not None:
        pipeline.unet.load_state_dict(start)
    pipeline.unet.requires_grad_(True)
    train(
        Supernet(pipeline.unet),
        data.batches(settings.training.batch_size, seed, settings.caption_dropout),
        noise_schedule(pipeline),
        settings.training,
        seed,
        teacher=teacher,
        checkpoint=checkpoint,
        on_progress=on_progress,
    )
    halves = {name: value.to(torch.float16) for name, value in pipeline.unet.state_dict().items()}
    save_tensors(path, halves, {"seed": str(seed), "settings": settings.model_dump_json()})
    checkpoint.unlink(missing_ok=True)
