"""``evounet run``: all stages from wherever the folder stands, the pipeline, and the comparison."""

from __future__ import annotations

import json
from functools import partial

import torch

from distillation.efficient_autoencoder import EfficientAutoencoderKL
from evaluators.evaluator import EvaluatorSpec
from evaluators.pipelines import Pipeline, load_pipeline, save_pipeline
from experiments.comparison import Pictures, measure_distances
from experiments.decoder.folder import DecoderFolder
from experiments.drafts import publish
from experiments.models import pipeline_source, scorer_settings
from experiments.progress import track
from experiments.prompts import prompt_set
from experiments.reference import find_reference
from experiments.report.data import SampleSet
from experiments.report.sample_files import save_samples
from experiments.steps.folder import StepsFolder, digest_of
from experiments.steps.measures import Drawing, draw
from experiments.steps.section import DistillationStage
from experiments.steps.sources import Source
from experiments.whole.folder import StageRecord
from experiments.whole.measures import Parameters, WholeComparison, WholeSide
from experiments.whole.report import whole_report
from experiments.whole.stages import WholeRun, WholeStage, stages_of
from experiments.whole.timing import Times, time_pipelines, turns
from search.state import write_atomically

_SAMPLES = 8


def run_whole(run: WholeRun) -> WholeComparison:
    """Do the stages that are not done yet, put the pipeline together, and compare.

    A stage is done again where its settings, or those of a stage that it builds on, have changed.

    Leaves in the folder: a folder of every stage, ``pipeline``, ``samples``, ``result.json`` and
    ``report.html``.
    """
    for stage in stages_of(run.experiment):
        _do(run, stage)
    publish(run.folder.pipeline, partial(save_pipeline, final_pipeline(run)))
    run.log.say(f"pipeline: {run.folder.pipeline}")
    return _compare(run)


def check(run: WholeRun, overwrite: bool) -> None:
    """Hear of faults of the stages that are not done yet, before anything is written.

    Args:
        run: its folder need not be there.
        overwrite: whether what is there of it counts for nothing.

    Raises:
        ValueError: in one line.
    """
    for stage in stages_of(run.experiment):
        if overwrite or not _is_done(run, stage):
            stage.check(run)


def identity(run: WholeRun, stage: WholeStage) -> str:
    """Digest of a stage's settings and of those of all that it builds on."""
    before = [identity(run, each) for each in stages_of(run.experiment) if each.name in stage.needs]
    return digest_of(stage.name, stage.text(run.experiment), *before)


def _is_done(run: WholeRun, stage: WholeStage) -> bool:
    return run.folder.record(stage.name) == StageRecord(identity=identity(run, stage), done=True)


def _do(run: WholeRun, stage: WholeStage) -> None:
    record, own = run.folder.record(stage.name), identity(run, stage)
    if _is_done(run, stage):
        run.log.say(f"{stage.name}: done already")
        return
    again = record is None or record.identity != own
    if record is not None and again:
        run.log.say(f"{stage.name}: its settings or inputs have changed, so it is done again")
    else:
        run.log.say(f"{stage.name}: {'begins' if again else 'goes on'}")
    if again:  # noted before anything is there of it, so that a kill leaves nothing of others
        run.folder.note(stage.name, StageRecord(identity=own, done=False))
    stage.do(run, again)
    run.folder.note(stage.name, StageRecord(identity=own, done=True))


def final_source(run: WholeRun) -> Source:
    """Where the final UNet and its scheduler are."""
    if run.has("steps"):
        last = run.experiment.steps.stages[-1].name
        return Source(str(StepsFolder(run.folder.steps).stage(last).absolute()))
    return Source.named(str(run.folder.search)) if run.has("search") else Source.named(run.pipeline)


def final_pipeline(run: WholeRun) -> Pipeline:
    """The last stage's UNet and scheduler with the small decoder, in fp32."""
    pipeline = final_source(run).open()
    if run.has("decoder"):
        folder = DecoderFolder(run.folder.decoder)
        vae = EfficientAutoencoderKL.from_pretrained(folder.vae)
        pipeline.register_modules(vae=vae.float().eval().requires_grad_(False))
    return pipeline


def final_steps(run: WholeRun) -> int:
    """That the final pipeline draws with."""
    last = run.experiment.steps.stages[-1] if run.has("steps") else None
    if isinstance(last, DistillationStage):
        return last.training.student_steps
    return run.experiment.whole.base_steps


def _compare(run: WholeRun) -> WholeComparison:
    """Base and final pipeline on the clock, then on the comparison's prompts."""
    experiment, console = run.settings, run.log.console
    second = experiment.evaluation.second
    device = torch.device("cuda" if experiment.steps.use_gpu else "cpu")
    spec = EvaluatorSpec(
        pipeline_source(run.pipeline),
        scorer_settings(experiment.evaluation.scorer),
        prompt_set(experiment.comparison.prompts, "test"),
        experiment.comparison.sampling.start(device.type),
        None if second is None else scorer_settings(second),
    )
    sources = {
        "base": (pipeline_source(run.pipeline), experiment.whole.base_steps),
        "final": (str(run.folder.pipeline), final_steps(run)),
    }
    times, parameters = _clock(run, list(sources.values()), spec, device)
    pictures: list[Pictures] = []
    for name, (source, steps) in sources.items():
        drawing = Drawing(name, steps, spec.sampling.guidance_scale)
        with track(console, f"drawing with the {name} pipeline", len(spec.prompts)) as told:
            pipeline = load_pipeline(source).to(device)
            pictures += draw(pipeline, [drawing], spec, spec.open_scorers(), told)
    reference = find_reference(experiment.comparison)
    if reference is not None:
        with track(console, "FID", len(reference)) as told:
            pictures = measure_distances(pictures, reference, spec.scorer, told)
    base, final = (WholeSide(*side) for side in zip(times, parameters, pictures, strict=True))
    comparison = WholeComparison(base, final, spec.judges, spec.sampling.guidance_scale)
    _write(run, spec, comparison)
    return comparison


def _clock(
    run: WholeRun, sources: list[tuple[str, int]], spec: EvaluatorSpec, device: torch.device
) -> tuple[list[Times], list[Parameters]]:
    timed = run.experiment.whole.timed
    pipelines = [(load_pipeline(source).to(device), steps) for source, steps in sources]
    with track(run.log.console, "timing base and final pipeline", turns(timed)) as told:
        times = time_pipelines(
            pipelines,
            spec.prompts.prompts,
            spec.sampling.guidance_scale,
            timed,
            lambda done: told(done, {}),
        )
    return times, [Parameters.of(pipeline) for pipeline, _ in pipelines]


def _write(run: WholeRun, spec: EvaluatorSpec, comparison: WholeComparison) -> None:
    sides = {"base": comparison.base.pictures, "final": comparison.final.pictures}
    samples = tuple(_samples(name, pictures, spec) for name, pictures in sides.items())
    save_samples(run.folder.samples, samples)
    write_atomically(run.folder.result, json.dumps(comparison.figures(), indent=2) + "\n")
    table = run.experiment.latency.tables[0]
    report = whole_report(run.experiment.name, table, comparison, samples)
    write_atomically(run.folder.report, report)


def _samples(name: str, pictures: Pictures, spec: EvaluatorSpec) -> SampleSet:
    return SampleSet(
        name,
        pictures.images[:_SAMPLES],
        spec.prompts.prompts[:_SAMPLES],
        pictures.scores.first[:_SAMPLES],
    )
