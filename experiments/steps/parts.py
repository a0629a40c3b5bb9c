"""What a chain of stages works with, loaded and checked before anything is written."""

from __future__ import annotations

import shlex
from dataclasses import dataclass, replace

from distillation.step_schedule import StepSchedule
from distillation.velocity_training import velocity_scheduler
from evaluators.evaluator import EvaluatorSpec, weights_digest
from evaluators.latency import TableLatency
from evaluators.scorers import Scorer
from experiments.experiment import Experiment, ExperimentError
from experiments.models import pipeline_source, scorer_settings
from experiments.prompts import prompt_set
from experiments.reference import Reference, find_reference
from experiments.sampling import sampling_of
from experiments.steps.section import (
    DistillationStage,
    Stage,
    StepsSection,
    VPredictionStage,
    inputs_of,
)
from experiments.steps.sources import Model, Source, check_teaching
from experiments.trainer import training_data
from latency_tables import load_table
from supernet.architecture import granularity_of
from supernet.distributed import Workers
from supernet.inventory import take_inventory
from supernet.optimization import parts_of_batch


@dataclass(frozen=True)
class Input:
    """A pipeline that comes from elsewhere.

    Attributes:
        source: where it lies.
        model: what it is.
        digest: of its UNet's weights.
    """

    source: Source
    model: Model
    digest: str


@dataclass(frozen=True)
class StepsParts:
    """What a chain works with, loaded and checked.

    Attributes:
        experiment: what was asked for.
        inputs: pipelines from elsewhere, by their names in the experiment.
        outcomes: what will be known of every stage's outcome, by its name.
        spec: prompts, judges and sampling of the comparison, but for its steps and guidance.
        scorers: the judges, with the prompts.
        reference: what FID and KID compare with, if anything.
        latencies: of a pass of each model's UNet by the first table in ms, by name.
    """

    experiment: Experiment
    inputs: dict[str, Input]
    outcomes: dict[str, Model]
    spec: EvaluatorSpec
    scorers: tuple[Scorer, ...]
    reference: Reference | None
    latencies: dict[str, float]

    @property
    def section(self) -> StepsSection:
        return self.experiment.steps

    def model(self, name: str) -> Model:
        """An input, or the outcome of a stage."""
        return self.outcomes[name] if name in self.outcomes else self.inputs[name].model


def check_stages(experiment: Experiment) -> None:
    """See that there is something to do.

    Raises:
        ExperimentError: if there is no stage.
    """
    if not experiment.steps.stages:
        raise ExperimentError(
            f"steps.stages of '{experiment.name}' is empty: describe a stage (docs/steps.md), or "
            "take a preset, 'steps'"
        )


def prepare(experiment: Experiment) -> StepsParts:
    """Load and check everything; writes nothing.

    Args:
        experiment: has stages, see :func:`check_stages`.

    Raises:
        ValueError: in one line, if anything that is needed is missing, damaged or does not fit.
    """
    section = experiment.steps
    for stage in section.stages:
        parts_of_batch(stage.training, Workers(count=section.workers))
    spec = _comparison(experiment)
    inputs = _open_inputs(experiment)
    outcomes: dict[str, Model] = {}
    for stage in section.stages:
        outcomes[stage.name] = _outcome(stage, outcomes, inputs)
    models = {name: each.model for name, each in inputs.items()} | outcomes
    return StepsParts(
        experiment,
        inputs,
        outcomes,
        spec,
        spec.open_scorers(),
        find_reference(experiment.comparison),
        {name: _latency_ms(experiment, model) for name, model in models.items()},
    )


def _comparison(experiment: Experiment) -> EvaluatorSpec:
    section = experiment.comparison
    device = "cuda" if experiment.steps.use_gpu else "cpu"
    second = experiment.evaluation.second
    return EvaluatorSpec(
        pipeline_source(experiment.model.pipeline),
        scorer_settings(experiment.evaluation.scorer),
        prompt_set(section.prompts, "test"),
        sampling_of(section.sampling, "comparison.sampling", device),
        None if second is None else scorer_settings(second),
    )


def _open_inputs(experiment: Experiment) -> dict[str, Input]:
    """All pipelines that stages name and that no stage makes, each loaded once."""
    section = experiment.steps
    made = {stage.name for stage in section.stages}
    inputs: dict[str, Input] = {}
    for stage in section.stages:
        for role, name in inputs_of(stage).items():
            if name in made or name in inputs:
                continue
            try:
                source = Source.named(name)
                pipeline = source.open()
                model = Model.of(pipeline)
            except ValueError as error:
                raise ExperimentError(f"stage '{stage.name}', {role}: {error}") from error
            digest = weights_digest(pipeline.unet.state_dict())
            inputs[name] = Input(source, model, digest)
            if stage.training.steps:
                batch_size = max(each.training.batch_size for each in section.stages)
                training_data(pipeline, section, experiment.seed).check(batch_size)
    return inputs


def _outcome(stage: Stage, outcomes: dict[str, Model], inputs: dict[str, Input]) -> Model:
    """What is known of a stage's outcome before it is done."""
    where = f"stage '{stage.name}'"

    def known(name: str) -> Model:
        return outcomes[name] if name in outcomes else inputs[name].model

    student = known(stage.student)
    rescaled = isinstance(stage, VPredictionStage) and stage.zero_terminal_snr
    after = replace(student, scheduler=velocity_scheduler(student.scheduler, rescaled))
    if isinstance(stage, DistillationStage):
        check_teaching(where, student, known(stage.teacher))
        try:
            StepSchedule.of(after.scheduler, stage.training.student_steps)
        except ValueError as error:
            raise ExperimentError(f"{where}: {error}") from error
    return after


def _latency_ms(experiment: Experiment, model: Model) -> float:
    """Of a pass by the first table."""
    unet = shlex.quote(experiment.model.pipeline)
    table = load_table(experiment.latency.tables[0], unet=unet)
    architecture = model.architecture
    inventory = take_inventory(
        architecture.base,
        granularity=granularity_of(architecture),
        context_length=model.tokens,
    )
    return TableLatency(inventory, table)(architecture)
