"""Trainings of stages: in this process or on workers of Ray Train."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from distillation.step_training import distill_steps
from distillation.velocity_training import train_velocity
from evaluators.generation import encode_prompts
from evaluators.pipelines import Pipeline
from evaluators.prompts import PromptSet
from experiments.data.settings import DataSettings
from experiments.progress import OnProgress
from experiments.ray_trainer import RayTrainer
from experiments.scaling import ScalingSettings
from experiments.steps.kept_targets import KeptTargets
from experiments.steps.section import DistillationStage, Stage
from experiments.steps.sources import Model, Source
from experiments.trainer import Trainer, training_data
from supernet.training_settings import OptimizationSettings


@dataclass(frozen=True)
class StageJob:
    """One training.

    Attributes:
        weights: of the student before it.
        stage: what is done.
        seed: fixes every random choice.
        inputs: digest of all that goes into it.
    """

    weights: Mapping[str, Tensor]
    stage: Stage
    seed: int
    inputs: str

    @property
    def settings(self) -> OptimizationSettings:
        return self.stage.training

    @property
    def identity(self) -> str:
        """Tells this training from all others."""
        return f"{self.stage.name} {self.seed} {self.inputs}"


class StageTrainer:
    """Trains a student in this process.

    Args:
        student: replica of its own of the pipeline whose UNet is trained, on the device that
            trains.
        teacher: likewise, for distillation.
        outcome: what is known of the student after the stage.
        data: what on.
        data_seed: which pictures, of the shapes world.
        targets: the teacher's answers, where they are kept.
    """

    def __init__(
        self,
        student: Pipeline,
        teacher: Pipeline | None,
        outcome: Model,
        data: DataSettings,
        data_seed: int,
        targets: KeptTargets | None = None,
    ) -> None:
        self.student = student
        self.teacher = teacher
        self.outcome = outcome
        self.settings = data
        self.targets = targets
        self.data = training_data(student, data, data_seed)

    def train(
        self,
        job: StageJob,
        checkpoint: Path,
        continue_from: Path | None,
        on_progress: OnProgress,
    ) -> dict[str, Tensor]:
        """See :meth:`experiments.trainer.Trainer.train`; stages go on from no earlier state."""
        unet = self.student.unet
        unet.load_state_dict(job.weights)
        if job.settings.steps:
            unet.requires_grad_(True)
            self._train(job, checkpoint, on_progress)
            unet.requires_grad_(False)
        return {name: value.to("cpu", copy=True) for name, value in unet.state_dict().items()}

    def _train(self, job: StageJob, checkpoint: Path, on_progress: OnProgress) -> None:
        unet, stage, scheduler = self.student.unet, job.stage, self.outcome.scheduler
        batches = self.data.batches(
            stage.training.batch_size, job.seed, self.settings.caption_dropout
        )
        if not isinstance(stage, DistillationStage):
            train_velocity(
                unet,
                batches,
                scheduler,
                stage.training,
                job.seed,
                checkpoint=checkpoint,
                on_progress=on_progress,
            )
            return
        assert self.teacher is not None, "distillation has a teacher"
        empty = encode_prompts(self.student, PromptSet(("",), 0))
        distill_steps(
            unet,
            self.teacher.unet,
            batches,
            scheduler,
            stage.training,
            empty.negative_prompt_embeds,
            job.seed,
            empty_text_embeds=empty.negative_pooled_prompt_embeds,
            teacher_predicts=self.teacher.scheduler.config.prediction_type,
            targets=self.targets,
            checkpoint=checkpoint,
            on_progress=on_progress,
        )


@dataclass(frozen=True)
class OpenStage:
    """Makes a stage's trainer, here or on a node that sees its inputs and data.

    Attributes:
        student: what is trained.
        teacher: of it, for distillation.
        outcome: what is known of the student after the stage.
        data: what on.
        data_seed: which pictures, of the shapes world.
        targets: folder where the teacher's answers are kept, if they are.
    """

    student: Source
    teacher: Source | None
    outcome: Model
    data: DataSettings
    data_seed: int
    targets: Path | None = None

    def __call__(self, device: torch.device) -> StageTrainer:
        student = self.student.open().to(device)
        teacher = None if self.teacher is None else self.teacher.open().to(device)
        targets = None if self.targets is None else KeptTargets(self.targets)
        return StageTrainer(student, teacher, self.outcome, self.data, self.data_seed, targets)


def open_trainer(stage: OpenStage, scaling: ScalingSettings) -> Trainer[StageJob]:
    """Who trains: this process, or workers of the Ray that is connected."""
    if scaling.on_ray:
        return RayTrainer(stage, scaling)
    return stage(torch.device("cpu"))
