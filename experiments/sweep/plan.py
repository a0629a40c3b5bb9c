"""The trials of a sweep: their values, drawn beforehand, and the experiment that each one is."""

from __future__ import annotations

import json
from collections.abc import Mapping
from itertools import product
from math import prod
from typing import Any

import torch
from torch.quasirandom import SobolEngine

from experiments.experiment import Experiment, ExperimentError, resolve
from experiments.sweep.section import SweepSection

Values = Mapping[str, Any]

_SWEPT = ("search", "training", "seed", "model.supernet")
_DRAWS = 1000  # for each trial that is wanted


def draw_values(section: SweepSection, seed: int) -> list[Values]:
    """What every trial has in the place of the experiment's values, no two the same.

    All combinations where they can be counted and ``trials`` covers them; else a scrambled Sobol
    sequence, which leaves smaller gaps than random points do.

    Raises:
        ValueError: if ranges are too narrow for so many trials.
    """
    keys, parameters = zip(*section.parameters.items(), strict=True)
    choices = [parameter.choices or () for parameter in parameters]
    if 0 < prod(map(len, choices)) <= section.trials:
        return [dict(zip(keys, values, strict=True)) for values in product(*choices)]
    engine = SobolEngine(len(keys), scramble=True, seed=seed)
    drawn: dict[str, Values] = {}
    for _ in range(_DRAWS * section.trials):
        [point] = engine.draw(1, dtype=torch.float64).tolist()
        pairs = zip(keys, parameters, point, strict=True)
        values = {key: parameter.at(share) for key, parameter, share in pairs}
        drawn.setdefault(json.dumps(values), values)
        if len(drawn) == section.trials:
            return list(drawn.values())
    raise ValueError(
        f"sweep.parameters: have no {section.trials} different values; widen the ranges, or lower "
        "sweep.trials"
    )


def check_values(experiment: Experiment, where: str) -> None:
    """See that every key may be swept, and every value is one that it may have.

    Raises:
        ExperimentError: naming ``where``, the key and the fix.
    """
    section = sweep_of(experiment, where)
    for key, parameter in section.parameters.items():
        for value in parameter.ends:
            trial_experiment(experiment, {key: value}, experiment.name, where)
        if not any(key == each or key.startswith(f"{each}.") for each in _SWEPT):
            raise ExperimentError(
                f"{where}: sweep.parameters: with other values of '{key}' trials would not "
                f"compare; sweep keys of {', '.join(_SWEPT[:-1])} or {_SWEPT[-1]}"
            )
    rounds, grace = experiment.search.rounds, section.grace_rounds
    if grace > rounds:
        raise ExperimentError(
            f"{where}: sweep.grace_rounds {grace} is more than search.rounds {rounds}; lower it"
        )
    if section.concurrent > 1 and experiment.workers.count is None:
        raise ExperimentError(
            f"{where}: sweep.concurrent {section.concurrent} divides the evaluators; set "
            "workers.count to how many each trial has"
        )


def sweep_of(experiment: Experiment, where: str) -> SweepSection:
    """The section of an experiment that is swept.

    Raises:
        ExperimentError: if it has none.
    """
    if experiment.sweep is None:
        raise ExperimentError(
            f"{where}: has no section [sweep]; add one with trials and parameters (docs/search.md)"
        )
    return experiment.sweep


def trial_experiment(experiment: Experiment, values: Values, name: str, where: str) -> Experiment:
    """The experiment of one trial, as if its values were given by ``--set``.

    Raises:
        ExperimentError: naming ``where``, the key and the fix.
    """
    content = experiment.model_dump(mode="json", exclude_none=True, exclude={"sweep"})
    try:
        return resolve(Experiment, content | {"name": name}, settings(values), "sweep.parameters")
    except ExperimentError as error:
        raise ExperimentError(f"{where}: {error}") from error


def settings(values: Values) -> list[str]:
    """Values as they are typed behind ``--set``."""
    return [f"{key}={json.dumps(value)}" for key, value in values.items()]


def trial_names(count: int) -> list[str]:
    """Names of trials and their folders, whose order is the trials'."""
    digits = max(2, len(str(count)))
    return [f"trial-{number:0{digits}}" for number in range(1, count + 1)]
