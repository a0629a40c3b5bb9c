"""``evounet search`` and ``resume``: one search from its experiment to its result.

Everything is loaded and checked by :func:`experiments.search_parts.prepare` before the run folder
is touched, so that bad input leaves nothing behind.
"""

from __future__ import annotations

import json
import shlex
import time
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path

from torch import Tensor

from evaluators.pool import EvaluatorPool, Evaluators
from evaluators.pool_events import PoolEvent
from experiments.comparison import Comparison, Pictures, compare, draw, measure_distances
from experiments.experiment import Experiment
from experiments.fault_log import FaultLog, load_faults
from experiments.found import clip_figure, found_spec, found_unet, weights_files
from experiments.front import front_lines
from experiments.progress import track
from experiments.report import ReportData, SampleSet, write_report
from experiments.report.sample_files import load_samples, save_samples
from experiments.run_folder import RunFolder
from experiments.run_log import RunLog
from experiments.search_parts import Parts, evolution_settings
from experiments.space import space_table
from experiments.training import (
    RoundTrainer,
    open_trainer,
)
from search.decision import Decision
from search.evaluations import Evaluations
from search.evolution import Evolution
from search.front import Front
from search.state import SearchState, write_atomically
from search.store import EvaluationStore
from search.strategies import STRATEGIES
from supernet.architecture import Architecture

_SAMPLES = 12  # pictures of each UNet in the report


def open_pool(parts: Parts, folder: RunFolder, log: RunLog) -> EvaluatorPool:
    """Start the evaluators, before anything is written: their cluster may not be there.

    Raises:
        ConnectionError, ValueError: see :class:`EvaluatorPool`.
    """
    workers = parts.experiment.workers
    log.console.print("starting the evaluators ...")
    return EvaluatorPool(
        workers.count,
        needed=workers.min_count,
        placement=workers.placement,
        address=workers.address,
        spare_cpus=parts.experiment.training.cpus,
        on_event=FaultLog(folder.faults, log),
    )


def _untold(decision: Decision) -> None:
    """For those who do not ask what is decided."""


def search(
    parts: Parts,
    folder: RunFolder,
    log: RunLog,
    pool: EvaluatorPool,
    tell: Callable[[Decision], None] = _untold,
) -> Comparison:
    """Run the search of a created folder from wherever it stands to its end.

    Leaves in the folder: state, decisions, evaluations, checkpoints, the found UNet, spec,
    samples, result and report. ``tell`` hears of every decision, once it is saved.
    """
    experiment = parts.experiment
    interrupted = folder.log.exists() and not folder.result.exists()
    log.console.print(space_table(parts.demands, parts.latencies))
    log.say(_introduction(parts))
    log.say(f"{pool.workers} evaluators of {experiment.workers.placement} each")
    log.say(f"pictures are drawn in {parts.spec.sampling}")
    section, seed = experiment.training, experiment.seed
    trainer = RoundTrainer(
        open_trainer(parts.spec.pipeline, section, seed, section),
        parts.start,
        section,
        seed,
        experiment.search.growth,
        folder.checkpoints,
        partial(track, log.console),
    )
    state = SearchState.load(folder.state, parts.full)
    if interrupted:
        text = f"was interrupted, and goes on after {len(state.decisions)} decisions"
        FaultLog(folder.faults, log)(PoolEvent.now("resumed", "search", text))
    found, weights = _evolve(parts, folder, log, trainer, state, pool.evaluators(parts.spec), tell)
    weights = trainer.finish(weights, found)
    pictures = _draw(parts, log, pool.evaluators(parts.comparison), weights, found)
    unet = found_unet(parts, weights, found)
    unet.save_pretrained(folder.unet)
    unets = (parts.pipeline.unet, unet)
    comparison = compare(
        unets,
        pictures,
        parts.comparison.judges,
        found,
        parts.latency,
        experiment.comparison.repetitions,
    )
    clip = clip_figure(
        parts.comparison,
        experiment.evaluation.scorer.judge,
        comparison.before.pictures.clip,
        comparison.after.pictures.clip,
    )
    spec = found_spec(parts, found, clip, weights_files(folder.unet, folder.path))
    write_atomically(folder.spec, spec.model_dump_json(indent=2) + "\n")
    save_samples(folder.samples, sample_sets(parts, comparison))
    figures = comparison.figures() | {"wall_s": round(time.monotonic() - log.started, 1)}
    actions = [str(action) for decision in state.decisions for action in decision.taken]
    result = json.dumps({**figures, "actions": actions}, indent=2)
    write_atomically(folder.result, result + "\n")
    log.say(f"{len(actions)} actions: {', '.join(actions)}")
    write_report(folder.report, report_data(parts, folder, state))
    return comparison


def open_store(experiment: Experiment, folder: RunFolder, conditions: str) -> EvaluationStore:
    """Where the scores of a search are kept: its own, or one that it shares.

    Raises:
        StoreError: if it is damaged or cannot be reached.
    """
    shared = experiment.evaluation.store
    if shared is None:
        return EvaluationStore(folder.evaluations, conditions)
    return EvaluationStore(shared if "://" in shared else Path(shared), conditions)


def _introduction(parts: Parts) -> str:
    latency, name = parts.latency, parts.latency.table.metadata.name
    full, smallest = latency(parts.full), latency(latency.inventory.smallest())
    blocks = len(parts.full.blocks)
    return (
        f"{blocks} removable blocks; on table '{name}' the UNet takes {full:.2f} ms with all of "
        f"them, {smallest:.2f} ms with none; target {parts.target_ms:.2f} ms"
    )


def _evolve(
    parts: Parts,
    folder: RunFolder,
    log: RunLog,
    trainer: RoundTrainer,
    state: SearchState,
    evaluators: Evaluators,
    tell: Callable[[Decision], None],
) -> tuple[Architecture, Mapping[str, Tensor]]:
    def on_decision(decision: Decision) -> None:
        for line in decision.explain():
            log.say(f"round {decision.round}: {line}")
        write_report(folder.report, report_data(parts, folder, state))
        tell(decision)

    evaluations = Evaluations(
        evaluators,
        open_store(parts.experiment, folder, parts.conditions),
        len(parts.spec.prompts),
        parts.latency,
    )
    evolution = Evolution(
        evolution_settings(parts.experiment, parts.target_ms),
        parts.demands,
        trainer,
        evaluations,
        parts.spec.sampling.batch_size,
        state,
        folder.state,
        partial(track, log.console),
        on_decision,
        STRATEGIES[parts.experiment.search.strategy],
        parts.experiment.seed,
    )
    answer = evolution.run()
    if evolution.stopped:
        log.say(evolution.stopped)
    if parts.experiment.search.pareto and state.decisions:
        front = evolution.front()
        front.save(folder.front)
        for line in front_lines(front):
            log.say(line)
    log.say(f"pictures: {evaluations.asked} asked for, of which {evaluations.drawn} were drawn")
    return answer


def _draw(
    parts: Parts,
    log: RunLog,
    evaluators: Evaluators,
    weights: Mapping[str, Tensor],
    found: Architecture,
) -> list[Pictures]:
    base = parts.pipeline.unet.state_dict()
    with track(log.console, "comparison: drawing", 2 * len(parts.comparison.prompts)) as done:
        scorers = parts.comparison.open_scorers()
        pictures = draw(evaluators, scorers, [(base, parts.full), (weights, found)], done)
    if parts.reference is None:
        return pictures
    with track(log.console, "comparison: FID and KID", len(parts.reference)) as done:
        return measure_distances(pictures, parts.reference, parts.comparison.scorer, done)


def sample_sets(parts: Parts, comparison: Comparison) -> tuple[SampleSet, ...]:
    """The first pictures of both UNets."""
    return tuple(
        SampleSet(
            title,
            side.pictures.images[:_SAMPLES],
            parts.comparison.prompts.prompts[:_SAMPLES],
            side.pictures.scores.first[:_SAMPLES],
        )
        for title, side in (("base", comparison.before), ("found", comparison.after))
    )


def report_data(parts: Parts, folder: RunFolder, state: SearchState) -> ReportData:
    """What the report shows of a search, finished or under way, from its run folder."""
    return ReportData(
        title=parts.experiment.name,
        inventory=parts.latency.inventory,
        decisions=tuple(state.decisions),
        latency=parts.latency,
        target_ms=parts.target_ms,
        samples=load_samples(folder.samples),
        result=json.loads(folder.result.read_text()) if folder.result.exists() else None,
        commands=commands(folder.path),
        faults=load_faults(folder.faults),
        front=Front.load(folder.front, parts.full).points if folder.front.exists() else (),
    )


def commands(run: Path) -> tuple[str, ...]:
    """What to type to repeat a run, to use what it found, and to look at it again."""
    here = shlex.quote(str(run))
    return (
        f"evounet search {shlex.quote(str(run / 'experiment.toml'))} --run {here}-again",
        f"evounet export {here} --format diffusers --out found-unet",
        f"evounet report {here}",
    )
