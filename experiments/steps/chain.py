"""The stages of a chain, one after the other; what is done is not done again."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from contextlib import nullcontext
from dataclasses import dataclass
from itertools import product
from pathlib import Path

from torch import Tensor

from evaluators.evaluator import companions_digest, weights_digest
from evaluators.pipelines import Pipeline, save_pipeline
from evaluators.ray_session import ray_session
from experiments.drafts import publish
from experiments.progress import track
from experiments.run_log import RunLog
from experiments.steps.folder import StageRecord, StepsFolder, digest_of
from experiments.steps.parts import StepsParts
from experiments.steps.section import (
    DistillationStage,
    Stage,
    inputs_of,
    questions,
    taught_alike,
)
from experiments.steps.sources import Source
from experiments.steps.trainer import OpenStage, StageJob, open_trainer
from experiments.training_log import TrainingLog


@dataclass(frozen=True)
class Chain:
    """Stages on their way.

    Attributes:
        parts: what they work with.
        folder: where outcomes and trainings lie; held by this process.
        log: told of every stage.
    """

    parts: StepsParts
    folder: StepsFolder
    log: RunLog

    def source(self, name: str) -> Source:
        """Of an input, or of a stage's outcome."""
        if name in self.parts.outcomes:
            return Source(str(self.folder.stage(name).absolute()))
        return self.parts.inputs[name].source

    def digests(self) -> dict[str, str]:
        """Of the UNets' weights that the stages ended with."""
        return {stage.name: self._digest(stage.name) for stage in self.parts.section.stages}

    def do(self, stage: Stage) -> None:
        """Train a stage's student, unless that was done with the same settings and inputs."""
        name, inputs = stage.name, self._inputs(stage)
        record = self.folder.record(name)
        if record is not None and record.identity == inputs:
            self.log.say(f"{name}: done already")
            return
        if record is not None:
            self.log.say(f"{name}: its settings or inputs have changed, so it is done again")
        self._save(stage, inputs, self._train(stage, inputs))
        shutil.rmtree(self.folder.checkpoints / name, ignore_errors=True)
        self._let_go_of_targets(stage)
        self.log.say(f"{name}: {self.folder.stage(name)}")

    def _inputs(self, stage: Stage) -> str:
        """Digest of all that a stage's outcome follows from."""
        names = inputs_of(stage)
        settings = stage.model_dump_json(exclude={"name", *names})
        models = [self.parts.model(name) for name in names.values()]
        return digest_of(
            settings,
            *self._data,
            *(self._digest(name) for name in names.values()),
            *(f"{model.schedule} {model.text}" for model in models),
        )

    @property
    def _data(self) -> tuple[str, str]:
        """What batches follow from."""
        named = {"data", "reading", "pictures", "caption_dropout"}
        return self.parts.section.model_dump_json(include=named), str(self.parts.experiment.seed)

    def _digest(self, name: str) -> str:
        """Of a UNet's weights."""
        if name in self.parts.inputs:
            return self.parts.inputs[name].digest
        record = self.folder.record(name)
        assert record is not None, "stages are done in order"
        return record.digest

    def _targets(self, stage: Stage, student: Pipeline) -> Path | None:
        """Where the teacher's answers are kept, if other stages have use for them."""
        section = self.parts.section
        alike = [each for each in section.stages if taught_alike(stage, each)]
        if not section.keep_targets or not isinstance(stage, DistillationStage) or len(alike) < 2:
            return None
        schedules = (self.parts.model(stage.teacher), self.parts.outcomes[stage.name])
        return self.folder.targets / digest_of(
            questions(stage),
            self._digest(stage.teacher),
            *(each.schedule for each in schedules),
            companions_digest(student),  # which encode pictures and prompts
            *self._data,
        )

    def _let_go_of_targets(self, done: Stage) -> None:
        """Remove them once no stage will ask for them."""
        stages = self.parts.section.stages
        place = stages.index(done) + 1
        if not any(taught_alike(*each) for each in product(stages[:place], stages[place:])):
            shutil.rmtree(self.folder.targets, ignore_errors=True)

    def _train(self, stage: Stage, inputs: str) -> dict[str, Tensor]:
        parts, section = self.parts, self.parts.section
        teacher = stage.teacher if isinstance(stage, DistillationStage) else None
        student = self.source(stage.student).open()
        opening = OpenStage(
            self.source(stage.student),
            None if teacher is None else self.source(teacher),
            parts.outcomes[stage.name],
            section,
            parts.experiment.seed,
            self._targets(stage, student),
        )
        job = StageJob(student.unet.state_dict(), stage, parts.experiment.seed, inputs)
        state = self.folder.training(stage.name, inputs)
        state.parent.mkdir(parents=True, exist_ok=True)
        address = parts.experiment.workers.address
        with (
            ray_session(section.workers, address) if section.on_ray else nullcontext(),
            track(self.log.console, _title(stage), stage.training.steps) as told,
        ):
            told = TrainingLog(self.folder.curves).following(stage.name, job.settings, told)
            return open_trainer(opening, section).train(job, state, None, told)

    def _save(self, stage: Stage, inputs: str, weights: Mapping[str, Tensor]) -> None:
        """Write the student's pipeline with its new UNet and scheduler."""
        pipeline = self.source(stage.student).open()
        pipeline.unet.load_state_dict(weights)
        pipeline.unet.register_to_config(_name_or_path="")  # not where the student came from
        pipeline.register_modules(scheduler=self.parts.outcomes[stage.name].scheduler)

        def write(draft: Path) -> None:
            save_pipeline(pipeline, draft)
            StageRecord(identity=inputs, digest=weights_digest(weights)).save(draft)

        publish(self.folder.stage(stage.name), write)


def _title(stage: Stage) -> str:
    if not isinstance(stage, DistillationStage):
        return f"{stage.name}: to velocities"
    return f"{stage.name}: {stage.teacher_steps} -> {stage.training.student_steps} steps"
