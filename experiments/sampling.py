"""What an experiment leaves open about how pictures are drawn, found out where they will be."""

from __future__ import annotations

from typing import Any

import ray
import torch
from ray.exceptions import RayTaskError
from rich.console import Console

from evaluators.generation import SamplingChoice, SamplingSettings
from evaluators.pipelines import load_pipeline
from evaluators.placement import Placement
from evaluators.pool import check_room
from evaluators.ray_session import ray_session
from evaluators.sampling_probe import Trial, probe
from experiments.experiment import Experiment, ExperimentError
from experiments.models import pipeline_source

_SECTIONS = ("evaluation", "comparison")


def settle_sampling(experiment: Experiment, console: Console) -> Experiment:
    """The experiment with values in the place of every ``auto`` of its sampling.

    A probe finds them where an evaluator has its place; see :mod:`evaluators.sampling_probe`. On
    this machine alone, none is needed for the precision. They then stand in the run's folder, so
    that whoever goes on with it draws the same pictures.

    Raises:
        ConnectionError: if there is no cluster at the experiment's address.
        ValueError: if memory does not suffice for one small batch, or the cluster has no room.
    """
    settled: dict[str, Any] = {}
    workers = experiment.workers
    for name in _SECTIONS:
        section = getattr(experiment, name)
        choice: SamplingChoice = section.sampling
        if not choice.left_open:
            continue
        if choice.left_open == ("precision",) and workers.address is None:
            best = choice.start(workers.placement.device)
        else:
            console.print(f"{name}: trying what is fastest for {_listed(choice)} ...")
            best = _probe_on_worker(experiment, choice, section.prompts.count, console)
        settled[name] = section.model_copy(update={"sampling": best})
    return experiment.model_copy(update=settled)


def sampling_of(choice: SamplingChoice, field: str, device: str) -> SamplingSettings:
    """For what is drawn without a probe, on a device of this type.

    Args:
        choice: as the experiment has it.
        field: where, for errors.
        device: ``cpu`` or ``cuda``.

    Raises:
        ExperimentError: if something else than the precision is left open.
    """
    unsettled = [name for name in choice.left_open if name != "precision"]
    if unsettled:
        raise ExperimentError(
            f"{field}: {', '.join(unsettled)} is 'auto', but only evaluators of a search try what "
            "is fastest; give a value"
        )
    return choice.start(device)


def _listed(choice: SamplingChoice) -> str:
    return ", ".join(choice.left_open)


def _probe_on_worker(
    experiment: Experiment, choice: SamplingChoice, prompts: int, console: Console
) -> SamplingSettings:
    placement = experiment.workers.placement
    pipeline = pipeline_source(experiment.model.pipeline)
    with ray_session(placement.threads, experiment.workers.address):
        check_room(1, placement)
        task: Any = ray.remote(**placement.options)(_probe)
        try:
            best, trials = ray.get(task.remote(pipeline, choice, prompts, placement))
        except RayTaskError as error:
            raise error.cause from None
    for trial in trials:
        console.print(f"  {trial}{' (chosen)' if trial is best else ''}", highlight=False)
    settings: SamplingSettings = best.settings
    return settings


def _probe(
    pipeline: str, choice: SamplingChoice, prompts: int, placement: Placement
) -> tuple[Trial, list[Trial]]:
    torch.set_num_threads(placement.threads)
    return probe(load_pipeline(pipeline).to(placement.device), choice, prompts)
