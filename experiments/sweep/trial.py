"""One trial: a search in a process that Ray Tune starts, which tells Tune of every decision."""

from __future__ import annotations

import os
import traceback
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ray import tune
from rich.console import Console

from experiments.experiment import Experiment
from experiments.run_log import RunLog
from experiments.search_parts import prepare
from experiments.search_run import open_pool, search
from experiments.sweep.folder import SweepFolder
from experiments.sweep.marks import Marks
from experiments.sweep.records import Report
from search.decision import Decision
from search.state import SearchState


@dataclass(frozen=True)
class Task:
    """What all trials of a sweep are told.

    Attributes:
        folder: of the sweep.
        experiments: of the trials, by name.
        marks: number of comparisons on the way to the target.
        directory: that relative paths in experiments start from.
        environment: variables that experiments depend on.
    """

    folder: Path
    experiments: Mapping[str, Experiment]
    marks: int
    directory: Path
    environment: Mapping[str, str]


def run_trial(config: dict[str, Any], task: Task) -> None:
    """Begin a trial, or go on with it; what Tune calls.

    It tells all decisions that its folder holds, and then each new one. It is at a decision, which
    is saved by then, that Tune ends it. An error ends the trial, but not the sweep.
    """
    # A cluster's workers are where, and with what environment, 'ray start' was called.
    os.chdir(task.directory)
    os.environ.update(task.environment)
    name = config["trial"]
    try:
        _search(name, task)
    except Exception as error:
        trial = SweepFolder(task.folder).trial(name)
        if trial.path.exists():
            RunLog(Console(quiet=True), trial.log).say(traceback.format_exc())
        line = (str(error).splitlines() or [""])[0]
        tune.report({"failure": f"{type(error).__name__}: {line}"})


def _search(name: str, task: Task) -> None:
    folder = SweepFolder(task.folder).trial(name)
    if not folder.experiment.exists():
        folder.create(task.experiments[name])
    log = RunLog(Console(quiet=True), folder.log)
    parts = prepare(task.experiments[name])
    marks = Marks(parts.demands, task.marks)

    def tell(decision: Decision) -> None:
        report = Report(
            trial=name,
            round=decision.round,
            clip=decision.clip_after,
            latency_ms=decision.latency_after_ms,
            met=parts.demands.met(decision.after),
            marks=marks.passed(decision),
        )
        tune.report({"report": report.model_dump_json()})

    for decision in SearchState.load(folder.state, parts.full).decisions:
        tell(decision)
    if not folder.result.exists():
        with open_pool(parts, folder, log) as pool, folder.locked():
            search(parts, folder, log, pool, tell)
