"""What the report of a search is made of, from its run folder."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from evaluators.evaluator import EvaluatorSpec
from experiments.fault_log import load_faults
from experiments.live import running
from experiments.report.data import ReportData
from experiments.report.sample_files import load_samples
from experiments.report.tradeoff import Cloud
from experiments.run_folder import RunFolder
from experiments.search_parts import Parts
from experiments.training_log import load_training
from latency_tables.parsing import parse_json
from search.decision import Decision
from search.front import Front, not_beaten
from search.recorded_evaluations import RecordedEvaluations, undecided
from search.state import SearchState


def report_data(parts: Parts, folder: RunFolder, state: SearchState) -> ReportData:
    """What the report shows of a search, finished or under way."""
    others, best = _clouds(parts, folder, state.decisions)
    return ReportData(
        title=parts.experiment.name,
        inventory=parts.latency.inventory,
        decisions=tuple(state.decisions),
        latency=parts.latency,
        target_ms=parts.target_ms,
        samples=load_samples(folder.samples),
        result=parse_json(folder.result.read_text()) if folder.result.exists() else None,
        commands=commands(folder.path),
        faults=load_faults(folder.faults),
        front=Front.load(folder.front, parts.full).points if folder.front.exists() else (),
        others=others,
        best=best,
        round_samples=load_samples(folder.round_samples),
        curves=load_training(folder.curves),
        live=running(folder),
        conditions=conditions(parts),
    )


def _clouds(parts: Parts, folder: RunFolder, decisions: Sequence[Decision]) -> tuple[Cloud, Cloud]:
    """What was evaluated besides what was decided on, and of all the best; none in a store that
    is shared, which has other runs' too.
    """
    recorded = RecordedEvaluations(folder.evaluations, parts.full)
    recorded.read()
    evaluations = list(recorded)
    clip = np.array([each.clip for each in evaluations])
    ms = np.array([parts.latency(recorded.architecture(each)) for each in evaluations])

    def cloud(which: Sequence[int]) -> Cloud:
        places = np.array(which, np.int32)
        return Cloud(places, ms[places], clip[places])

    best = not_beaten(dict(enumerate(clip)), dict(enumerate(ms)))
    return cloud(undecided(evaluations, decisions)), cloud(best)


def conditions(parts: Parts) -> tuple[str, ...]:
    """What the figures of a search are of."""
    experiment, table = parts.experiment, parts.latency.table.metadata
    section = experiment.search
    strategy = f"{section.strategy} as published" if section.paper else section.strategy
    return (
        f"model: {experiment.model.pipeline}; strategy: {strategy}; seed: {experiment.seed}",
        f"latency by table {table.name}: {table.device}, {table.precision}, {table.method}",
        f"CLIP score by {experiment.evaluation.scorer.judge}",
        f"while searching: {_drawn(parts.spec)}",
        f"at the end: {_drawn(parts.comparison)}",
    )


def _drawn(spec: EvaluatorSpec) -> str:
    sampling = spec.sampling
    return (
        f"{len(spec.prompts)} prompts, "
        f"{sampling.num_inference_steps} steps, guidance {sampling.guidance_scale:g}, {sampling}"
    )


def commands(run: Path) -> tuple[str, ...]:
    """What to type to repeat a run, to use what it found, and to look at it again."""
    here = shlex.quote(str(run))
    return (
        f"evounet search {shlex.quote(str(run / 'experiment.toml'))} --run {here}-again",
        f"evounet export {here} --format diffusers --out found-unet",
        f"evounet report {here}",
    )
