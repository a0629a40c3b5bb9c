"""What a search works with, loaded and checked before anything is written."""

from __future__ import annotations

import json
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

from rich.console import Console
from torch import Tensor

from evaluators.evaluator import EvaluatorSpec, companions_digest
from evaluators.latency import TableLatency
from evaluators.pipelines import Pipeline, load_pipeline
from evaluators.scorers import Scorer
from experiments.experiment import Experiment
from experiments.models import pipeline_source, scorer_settings, supernet_weights
from experiments.prompts import check_disjoint, prompt_set
from experiments.reference import Reference, find_reference
from experiments.sampling import settle_sampling
from experiments.trainer import noise_schedule
from experiments.training import (
    check_training,
    load_unet_weights,
)
from latency_tables import load_table
from search.demands import Demands, count_limits, latency_limit
from search.settings import EvolutionOptions, EvolutionSettings
from search.store import EvaluationStore
from supernet.architecture import Architecture
from supernet.inventory import take_inventory, unet_config


@dataclass(frozen=True)
class Parts:
    """What a search works with, loaded and checked.

    Attributes:
        experiment: what was asked for.
        pipeline: the base pipeline in fp32.
        start: weights of the supernet before the first round.
        latencies: by each table; the first is the objective.
        demands: what has to be reached.
        spec: what the evaluators answer.
        comparison: what they answer in the last comparison.
        reference: what FID and KID compare with, if anything.
    """

    experiment: Experiment
    pipeline: Pipeline
    start: Mapping[str, Tensor]
    latencies: tuple[TableLatency, ...]
    demands: Demands
    spec: EvaluatorSpec
    comparison: EvaluatorSpec
    reference: Reference | None

    @property
    def latency(self) -> TableLatency:
        return self.latencies[0]

    @property
    def target_ms(self) -> float:
        """Latency to reach by the objective's table."""
        return self.demands.target_ms

    @property
    def full(self) -> Architecture:
        return self.latency.inventory.full()

    @cached_property
    def conditions(self) -> str:
        """What scores depend on besides architecture and weights, wherever the pipeline lies."""
        spec = self.spec
        judges = [judge.model_dump() for judge in spec.judges]
        parts = [companions_digest(self.pipeline), spec.prompts.id, spec.sampling.model_dump()]
        return json.dumps([*parts, *judges])


def prepare(experiment: Experiment) -> Parts:
    """Load and check everything; writes nothing.

    Raises:
        ValueError: in one line, if anything the search needs is missing, damaged or does not fit.
    """
    unet = shlex.quote(experiment.model.pipeline)  # as errors about missing rows recommend it
    if experiment.search.granularity != "block":
        unet += f" --granularity {experiment.search.granularity}"
    tables = [load_table(name, unet=unet) for name in experiment.latency.tables]
    section = experiment.evaluation
    device = experiment.workers.placement.device
    spec = EvaluatorSpec(
        pipeline=pipeline_source(experiment.model.pipeline),
        scorer=scorer_settings(section.scorer),
        prompts=prompt_set(section.prompts, "validation"),
        sampling=section.sampling.start(device),
        second=None if section.second is None else scorer_settings(section.second),
    )
    comparison = replace(
        spec,
        prompts=prompt_set(experiment.comparison.prompts, "test"),
        sampling=experiment.comparison.sampling.start(device),
    )
    check_disjoint(spec.prompts, comparison.prompts)
    pipeline = load_pipeline(spec.pipeline)
    noise_schedule(pipeline)  # as the training will; here only to hear of a fault early
    context_length = pipeline.tokenizer.model_max_length
    inventory = take_inventory(
        unet_config(pipeline.unet),
        granularity=experiment.search.granularity,
        context_length=context_length,
    )
    for settings in (experiment.training.round, experiment.training.final):
        settings.dropping.check(inventory.full())
    latencies = tuple(TableLatency(inventory, table) for table in tables)
    demands = find_demands(experiment, latencies)
    check_training(pipeline, experiment.training, experiment.seed)
    _check_store(section.store)
    reference = find_reference(experiment.comparison)
    _check_scorers(spec, comparison, reference)
    start = pipeline.unet.state_dict()
    if experiment.model.supernet is not None:
        start = load_unet_weights(supernet_weights(experiment.model.supernet), pipeline.unet)
    start = {name: value.clone() for name, value in start.items()}
    return Parts(experiment, pipeline, start, latencies, demands, spec, comparison, reference)


def find_demands(experiment: Experiment, latencies: Sequence[TableLatency]) -> Demands:
    """What an experiment asks of the UNet that is to be found.

    Raises:
        ValueError: if it cannot be had, or a table is limited that is not among the experiment's.
    """
    limits = experiment.limits
    by_name = dict(zip(experiment.latency.tables[1:], latencies[1:], strict=True))
    for name in limits.latency_ms:
        if name not in by_name:
            raise ValueError(
                f"limits.latency_ms: '{name}' is none of the further tables; add it to "
                "latency.tables (the first has latency.target_ms or target_ratio)"
            )
    inventory = latencies[0].inventory
    others = [latency_limit(by_name[name], ms) for name, ms in limits.latency_ms.items()]
    others += count_limits(inventory, limits.parameters, limits.macs, limits.activations)
    target_ms = experiment.latency.target(latencies[0](inventory.full()))
    return Demands(latencies[0], target_ms, tuple(others))


def _check_scorers(
    spec: EvaluatorSpec, comparison: EvaluatorSpec, reference: Reference | None
) -> None:
    """Use the judges for a prompt of each, as is done later for all, to hear of a fault early."""
    opened: list[Scorer] = []  # kept, so that each model is loaded once
    for each in (spec, comparison):
        opened += replace(each, prompts=each.prompts.first(1)).open_scorers()
    if reference is not None:
        reference.features(spec.scorer)


def _check_store(shared: str | None) -> None:
    """Read the file that searches share, if it is there, to hear of a fault early.

    Raises:
        ValueError: if it is damaged, or would be in a folder that is not there.
    """
    if shared is None or "://" in shared:
        return
    path = Path(shared)
    if path.exists():
        EvaluationStore(path, "")
    elif not path.parent.is_dir():
        raise ValueError(f"evaluation.store: {path.parent} is no folder; make it, or name another")


def settle(parts: Parts, console: Console) -> Parts:
    """The same with values for what the experiment's sampling leaves open; writes nothing.

    Raises:
        ConnectionError, ValueError: see :func:`settle_sampling`.
    """
    experiment = settle_sampling(parts.experiment, console)
    return replace(
        parts,
        experiment=experiment,
        spec=replace(parts.spec, sampling=experiment.evaluation.sampling.start()),
        comparison=replace(parts.comparison, sampling=experiment.comparison.sampling.start()),
    )


def evolution_settings(experiment: Experiment, target_ms: float) -> EvolutionSettings:
    """How the experiment wants Algorithm 1 to be run."""
    section = experiment.search
    settings = EvolutionSettings(
        target_ms=target_ms,
        budget=section.budget,
        race=section.race,
        **{name: getattr(section, name) for name in EvolutionOptions.model_fields},
    )
    return settings.as_published() if section.paper else settings
