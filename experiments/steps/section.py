"""The section ``[steps]`` of an experiment file: a chain of stages as data."""

from __future__ import annotations

from typing import Annotated, Literal, TypeAlias

from pydantic import Field, model_validator

from distillation.step_training import StepDistillation
from experiments.data.settings import DataSettings
from experiments.models import SHAPES
from experiments.scaling import ScalingSettings
from experiments.sections import Section
from supernet.training_settings import OptimizationSettings


class _Stage(Section):
    """What both kinds have.

    Attributes:
        name: of its folder, and how later stages call its outcome.
        student: what is trained: an earlier stage's outcome by its name, the run folder of a
            search (the UNet that it found), a pipeline's folder or Hugging Face id, or ``shapes``.
    """

    name: str = Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$")
    student: str


class VPredictionStage(_Stage):
    """A UNet learns to predict velocities, whatever it predicted before.

    Attributes:
        zero_terminal_snr: whether the noise schedule is rescaled so that it ends in noise alone.
        training: on the data, Eq. 6.
    """

    kind: Literal["v_prediction"] = "v_prediction"
    zero_terminal_snr: bool = False
    training: OptimizationSettings


class DistillationStage(_Stage):
    """A student learns to do in one step what its teacher does in two.

    Attributes:
        teacher: named like the student.
        teacher_steps: that the student's steps are distilled from: twice as many.
        training: the student's steps, the mix of losses, and how long.
    """

    kind: Literal["distillation"] = "distillation"
    teacher: str
    teacher_steps: int = Field(ge=2)
    training: StepDistillation

    @model_validator(mode="after")
    def _halved(self) -> DistillationStage:
        steps = self.training.student_steps
        if self.teacher_steps != 2 * steps:
            raise ValueError(
                f"teacher_steps {self.teacher_steps} is not twice training.student_steps {steps}; "
                "a stage halves the steps, so add stages for more"
            )
        return self


Stage: TypeAlias = Annotated[VPredictionStage | DistillationStage, Field(discriminator="kind")]


class StepsSection(Section, DataSettings, ScalingSettings):
    """The stages, in the order in which they are done.

    Attributes:
        stages: each may build on those before it.
        guidance_scales: that outcomes are compared at; that of ``comparison.sampling`` by default.
        keep_targets: whether what a teacher says is kept on disk while other stages have the same
            teacher, steps and batches: 16 bytes a latent pixel, 64 KB a picture and training step
            of Stable Diffusion.
    """

    stages: tuple[Stage, ...] = ()
    keep_targets: bool = False
    guidance_scales: tuple[Annotated[float, Field(ge=1)], ...] = ()

    @model_validator(mode="after")
    def _names(self) -> StepsSection:
        names = [stage.name for stage in self.stages]
        for i, stage in enumerate(self.stages):
            if stage.name in names[:i]:
                raise ValueError(f"two stages are named '{stage.name}'; rename one")
            if stage.name == SHAPES:
                raise ValueError(f"a stage cannot be named '{SHAPES}', the name of a pipeline")
            for role, name in inputs_of(stage).items():
                if name in names[i:]:
                    raise ValueError(
                        f"the {role} of '{stage.name}' is '{name}', which is not done before it; "
                        "stages build on earlier ones, so change their order"
                    )
        return self

    @model_validator(mode="after")
    def _steps_of_teachers(self) -> StepsSection:
        sampled = {
            stage.name: stage.training.student_steps
            for stage in self.stages
            if isinstance(stage, DistillationStage)
        }
        for stage in self.stages:
            if isinstance(stage, DistillationStage):
                steps = sampled.get(stage.teacher, stage.teacher_steps)
                if steps != stage.teacher_steps:
                    raise ValueError(
                        f"the teacher of '{stage.name}' is '{stage.teacher}', which samples in "
                        f"{steps} steps, not in teacher_steps {stage.teacher_steps}"
                    )
        return self


def taught_alike(one: Stage, other: Stage) -> bool:
    """Whether two stages ask the same teacher the same, but for what depends on the student."""
    if not isinstance(one, DistillationStage) or not isinstance(other, DistillationStage):
        return False
    return questions(one) == questions(other)


def questions(stage: DistillationStage) -> str:
    """The settings of a stage that its teacher's answers depend on."""
    asked = {"student_steps", "guidance_scale", "batch_size", "accumulation", "precision"}
    return f"{stage.teacher} {stage.training.model_dump_json(include=asked)}"


def inputs_of(stage: Stage) -> dict[str, str]:
    """What a stage needs, by its role."""
    inputs = {"student": stage.student}
    if isinstance(stage, DistillationStage):
        inputs["teacher"] = stage.teacher
    return inputs
