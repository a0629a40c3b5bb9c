"""``evounet distill steps``: from an experiment to pipelines that draw in few steps."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator, Sequence

import torch

from evaluators.generation import SamplingSettings
from experiments.comparison import Pictures, measure_distances
from experiments.progress import track
from experiments.report.sample_files import save_samples
from experiments.run_log import RunLog
from experiments.steps.chain import Chain
from experiments.steps.folder import StepsFolder
from experiments.steps.kept_pictures import KeptPictures, picture_keys
from experiments.steps.measures import Drawing, Drawn, StepsComparison, draw, with_distances
from experiments.steps.parts import StepsParts
from experiments.steps.report import steps_report
from experiments.steps.section import DistillationStage, Stage, StepsSection
from search.state import write_atomically

_SAMPLES = 8


def distill(parts: StepsParts, folder: StepsFolder, log: RunLog) -> StepsComparison:
    """Do the stages that are not done yet, then measure all, from wherever the folder stands.

    Leaves in the folder: a pipeline for every stage (``stages/NAME``), ``samples``,
    ``report.html`` and ``result.json``.
    """
    chain = Chain(parts, folder, log)
    for stage in parts.section.stages:
        chain.do(stage)
    comparison = compare(chain, list(drawings_of(parts.section, parts.spec.sampling)))
    samples = comparison.samples(parts.spec, _SAMPLES)
    save_samples(folder.samples, samples)
    report = steps_report(parts.experiment.name, comparison, samples)
    write_atomically(folder.report, report)
    result = {"stages": chain.digests(), "drawn": comparison.figures()}
    write_atomically(folder.result, json.dumps(result, indent=2) + "\n")
    shutil.rmtree(folder.drawn)  # full pictures, which may be many
    return comparison


def drawings_of(section: StepsSection, sampling: SamplingSettings) -> Iterator[Drawing]:
    """Of every stage its teacher, its student before it and before any stage, and its outcome.

    Args:
        section: the stages.
        sampling: steps of models that are distilled to none, and the guidance.
    """
    students = {stage.name: stage.student for stage in section.stages}

    def undistilled(stage: Stage) -> str:
        name = stage.student
        while name in students:
            name = students[name]
        return name

    pairs: list[tuple[str, int]] = []
    for stage in section.stages:
        steps = sampling.num_inference_steps
        if isinstance(stage, DistillationStage):
            steps = stage.training.student_steps
            pairs.append((stage.teacher, stage.teacher_steps))
        pairs += [(undistilled(stage), steps), (stage.student, steps), (stage.name, steps)]
    for name, steps in dict.fromkeys(pairs):
        for scale in section.guidance_scales or (sampling.guidance_scale,):
            yield Drawing(name, steps, scale)


def compare(chain: Chain, drawings: Sequence[Drawing]) -> StepsComparison:
    """Draw with inputs and outcomes of a chain, and judge.

    Args:
        chain: whose stages are done; pictures are kept in its folder (``drawn``), and those that
            are there are not drawn again.
        drawings: of its models by their names.
    """
    parts, console = chain.parts, chain.log.console
    by_model: dict[str, list[Drawing]] = {}
    for drawing in drawings:
        by_model.setdefault(drawing.model, []).append(drawing)
    device = torch.device("cuda" if parts.section.use_gpu else "cpu")
    pictures: dict[Drawing, Pictures] = {}
    for name, own in by_model.items():
        pictures |= _draw(chain, name, own, device)
    results = [
        Drawn(each, pictures[each], each.steps * parts.latencies[each.model]) for each in drawings
    ]
    if parts.reference is not None:
        with track(console, "FID and KID", len(parts.reference)) as told:
            measured = measure_distances(
                [each.pictures for each in results], parts.reference, parts.spec.scorer, told
            )
        results = with_distances(results, measured)
    table = parts.experiment.latency.tables[0]
    return StepsComparison(tuple(results), parts.spec.judges, table)


def _draw(
    chain: Chain, name: str, drawings: Sequence[Drawing], device: torch.device
) -> dict[Drawing, Pictures]:
    """Those of one model; what is kept is not drawn again."""
    parts, kept = chain.parts, KeptPictures(chain.folder.drawn)
    pipeline = chain.source(name).open().to(device)
    keys = picture_keys(pipeline, drawings, parts.spec)
    lacking = [each for each in drawings if keys[each] not in kept]
    if lacking:
        count = len(lacking) * len(parts.spec.prompts)
        with track(chain.log.console, f"drawing with {name}", count) as told:
            drawn = draw(pipeline, lacking, parts.spec, parts.scorers, told)
            for drawing, pictures in zip(lacking, drawn, strict=True):
                kept.save(keys[drawing], pictures)
    return {each: kept.load(keys[each]) for each in drawings}
