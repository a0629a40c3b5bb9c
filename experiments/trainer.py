"""Who trains, and one training of a supernet after another in this process."""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Protocol, TypeAlias, TypeVar

import torch
from diffusers import DDIMScheduler
from torch import Tensor

from evaluators.pipelines import Pipeline, load_pipeline
from experiments.data.opening import TrainingData, open_data
from experiments.data.settings import DataSettings
from experiments.data.shapes import ShapesData
from experiments.models import SHAPES
from experiments.progress import OnProgress
from supernet.architecture import Architecture
from supernet.growth import Growth, grow, load_weights
from supernet.robust_training import train
from supernet.supernet import Supernet
from supernet.training_settings import OptimizationSettings, TrainingSettings


@dataclass(frozen=True)
class TrainingJob:
    """One training.

    Attributes:
        weights: of the supernet before it, stock or grown.
        architecture: the largest one that is trained; it may have copies that the weights lack.
        settings: of the training.
        seed: fixes every random choice.
        growth: how such copies begin.
    """

    weights: Mapping[str, Tensor]
    architecture: Architecture
    settings: TrainingSettings
    seed: int
    growth: Growth = "copy"

    @property
    def identity(self) -> str:
        """Tells this training from others that begin with the same weights."""
        text = self.settings.model_dump_json()
        return f"{text} {self.seed} {self.growth} {self.architecture.id}"


class AnyJob(Protocol):
    """What all trainings have, as frozen dataclasses."""

    __dataclass_fields__: ClassVar[dict[str, Any]]

    @property
    def weights(self) -> Mapping[str, Tensor]: ...

    @property
    def settings(self) -> OptimizationSettings: ...

    @property
    def identity(self) -> str: ...


Job = TypeVar("Job", bound=AnyJob)
_Job = TypeVar("_Job", bound=AnyJob, contravariant=True)


class Trainer(Protocol[_Job]):
    """Who does trainings of one kind: this process, or workers of Ray."""

    def train(
        self,
        job: _Job,
        checkpoint: Path,
        continue_from: Path | None,
        on_progress: OnProgress,
    ) -> dict[str, Tensor]:
        """The weights after a training.

        Args:
            job: what to do.
            checkpoint: the training's state while it goes on, and at its end.
            continue_from: the state that an earlier training ended with.
            on_progress: told of steps and loss.
        """
        ...


OpenTrainer: TypeAlias = Callable[[torch.device], Trainer[Job]]
SupernetTrainer: TypeAlias = Trainer[TrainingJob]


class LocalTrainer:
    """Trains the UNet of a pipeline, which teaches as it came.

    Args:
        pipeline: a replica of its own, on the device that trains.
        data: what on.
        data_seed: which pictures, of the shapes world.
    """

    def __init__(self, pipeline: Pipeline, data: DataSettings, data_seed: int) -> None:
        self.teacher = copy.deepcopy(pipeline.unet).requires_grad_(False)
        self.supernet = Supernet(pipeline.unet)
        self.scheduler = noise_schedule(pipeline)
        self.settings = data
        self.data = training_data(pipeline, data, data_seed)

    def train(
        self,
        job: TrainingJob,
        checkpoint: Path,
        continue_from: Path | None,
        on_progress: OnProgress,
    ) -> dict[str, Tensor]:
        """See :meth:`Trainer.train`."""
        unet, settings = self.supernet.unet, job.settings
        load_weights(unet, job.weights)
        grow(unet, job.architecture, job.growth)
        if settings.steps:
            unet.requires_grad_(True)
            train(
                self.supernet,
                self.data.batches(settings.batch_size, job.seed, self.settings.caption_dropout),
                self.scheduler,
                settings,
                job.seed,
                architecture=job.architecture,
                teacher=self.teacher,
                checkpoint=checkpoint,
                continue_from=continue_from,
                growth=job.growth,
                on_progress=on_progress,
            )
            unet.requires_grad_(False)
        return {name: value.to("cpu", copy=True) for name, value in unet.state_dict().items()}


def local_trainer(
    pipeline: str, data: DataSettings, data_seed: int, device: torch.device
) -> LocalTrainer:
    """The trainer of a pipeline, folder or Hugging Face id, on a device."""
    return LocalTrainer(load_pipeline(pipeline).to(device), data, data_seed)


def training_data(pipeline: Pipeline, settings: DataSettings, seed: int) -> TrainingData:
    """The shapes world, or the captioned pictures that a path names.

    Args:
        pipeline: encodes them; the one that is trained.
        settings: which data.
        seed: which pictures, of the shapes world.

    Raises:
        DataError: if there is no such data, or it cannot be used.
    """
    if settings.data == SHAPES:
        return ShapesData(pipeline, settings.pictures, seed)
    return open_data(settings.data, pipeline, settings.reading)


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
