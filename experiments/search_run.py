"""``evounet search`` and ``resume``: one search from its experiment to its result.

Everything is loaded and checked by :func:`experiments.search_parts.prepare` before the run folder
is touched, so that bad input leaves nothing behind.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from torch import Tensor

from evaluators.pool import EvaluatorPool
from evaluators.pool_events import PoolEvent
from experiments.comparison import Comparison, Pictures, compare, draw, measure_distances
from experiments.experiment import Experiment
from experiments.fault_log import FaultLog
from experiments.found import clip_figure, found_spec, found_unet, weights_files
from experiments.front import front_lines
from experiments.live import LiveLog
from experiments.report.data import SampleSet
from experiments.report.page import write_report
from experiments.report.sample_files import save_samples
from experiments.report_data import report_data
from experiments.round_samples import RoundSamples
from experiments.run_folder import RunFolder
from experiments.run_log import RunLog
from experiments.search_parts import Parts, evolution_settings
from experiments.space import space_table
from experiments.training import (
    RoundTrainer,
    open_trainer,
)
from experiments.training_log import TrainingLog
from search.decision import Decision
from search.evaluations import Evaluations
from search.evolution import Evolution
from search.state import SearchState, write_atomically
from search.store import EvaluationStore
from search.strategies import STRATEGIES
from supernet.architecture import Architecture
from supernet.inventory_file import inventory_text

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

    Leaves in the folder: inventory, state, decisions, evaluations, checkpoints, the found UNet,
    spec, samples, result and report. ``tell`` hears of every decision, once it is saved.
    """
    experiment = parts.experiment
    interrupted = folder.log.exists() and not folder.result.exists()
    write_atomically(folder.inventory, inventory_text(parts.latency.inventory))
    log.console.print(space_table(parts.demands, parts.latencies))
    log.say(_introduction(parts))
    log.say(f"{pool.workers} evaluators of {experiment.workers.placement} each")
    log.say(f"pictures are drawn in {parts.spec.sampling}")
    state = SearchState.load(folder.state, parts.full)
    if interrupted:
        text = f"was interrupted, and goes on after {len(state.decisions)} decisions"
        FaultLog(folder.faults, log)(PoolEvent.now("resumed", "search", text))
    with LiveLog(folder.live, log.console, pool, len(state.decisions) + 1) as live:
        return _Search(parts, folder, log, live, pool, state, tell).run()


@dataclass(frozen=True)
class _Search:
    """A search on its way; see :func:`search`."""

    parts: Parts
    folder: RunFolder
    log: RunLog
    live: LiveLog
    pool: EvaluatorPool
    state: SearchState
    tell: Callable[[Decision], None]

    def run(self) -> Comparison:
        section, seed = self.parts.experiment.training, self.parts.experiment.seed
        trainer = RoundTrainer(
            open_trainer(self.parts.spec.pipeline, section, seed, section),
            self.parts.start,
            section,
            seed,
            self.parts.experiment.search.growth,
            self.folder.checkpoints,
            self.live.track,
            TrainingLog(self.folder.curves),
        )
        found, weights = self._evolve(trainer)
        return self._conclude(found, trainer.finish(weights, found))

    def _evolve(self, trainer: RoundTrainer) -> tuple[Architecture, Mapping[str, Tensor]]:
        """Decide until the search ends; the architecture found and the weights it ended with."""
        parts, folder, log, state = self.parts, self.folder, self.log, self.state
        evaluators = self.pool.evaluators(parts.spec)
        store = open_store(parts.experiment, folder, parts.conditions)
        evaluations = Evaluations(evaluators, store, len(parts.spec.prompts), parts.latency)
        samples = RoundSamples(
            folder.round_samples,
            evaluators,
            store,
            lambda decision: trainer.train(decision.round, decision.before),
            parts.experiment.search.growth,
            self.live.track,
        )
        samples.draw(state.decisions)

        def on_decision(decision: Decision) -> None:
            samples.draw(state.decisions)
            self._on_decision(decision)

        evolution = Evolution(
            evolution_settings(parts.experiment, parts.target_ms),
            parts.demands,
            trainer,
            evaluations,
            parts.spec.sampling.batch_size,
            state,
            folder.state,
            self.live.track,
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

    def _on_decision(self, decision: Decision) -> None:
        for line in decision.explain():
            self.log.say(f"round {decision.round}: {line}")
        self.live.round = decision.round + 1
        self._write_report()
        self.tell(decision)

    def _conclude(self, found: Architecture, weights: Mapping[str, Tensor]) -> Comparison:
        """Compare base and found UNet, and leave all that a finished run has."""
        parts, folder = self.parts, self.folder
        pictures = self._draw(found, weights)
        unet = found_unet(parts, weights, found)
        unet.save_pretrained(folder.unet)
        comparison = compare(
            (parts.pipeline.unet, unet),
            pictures,
            parts.comparison.judges,
            found,
            parts.latency,
            parts.experiment.comparison.repetitions,
        )
        clip = clip_figure(
            parts.comparison,
            parts.experiment.evaluation.scorer.judge,
            comparison.before.pictures.clip,
            comparison.after.pictures.clip,
        )
        spec = found_spec(parts, found, clip, weights_files(folder.unet, folder.path))
        write_atomically(folder.spec, spec.model_dump_json(indent=2) + "\n")
        save_samples(folder.samples, sample_sets(parts, comparison))
        figures = comparison.figures() | {"wall_s": round(time.monotonic() - self.log.started, 1)}
        actions = [str(action) for decision in self.state.decisions for action in decision.taken]
        result = json.dumps({**figures, "actions": actions}, indent=2)
        write_atomically(folder.result, result + "\n")
        self.log.say(f"{len(actions)} actions: {', '.join(actions)}")
        self._write_report()
        return comparison

    def _draw(self, found: Architecture, weights: Mapping[str, Tensor]) -> list[Pictures]:
        parts = self.parts
        base = parts.pipeline.unet.state_dict()
        evaluators = self.pool.evaluators(parts.comparison)
        with self.live.track("comparison: drawing", 2 * len(parts.comparison.prompts)) as done:
            scorers = parts.comparison.open_scorers()
            pictures = draw(evaluators, scorers, [(base, parts.full), (weights, found)], done)
        if parts.reference is None:
            return pictures
        with self.live.track("comparison: FID and KID", len(parts.reference)) as done:
            return measure_distances(pictures, parts.reference, parts.comparison.scorer, done)

    def _write_report(self) -> None:
        write_report(self.folder.report, report_data(self.parts, self.folder, self.state))


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
