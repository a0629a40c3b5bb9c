"""The scores of another run, so that a new target, table or strategy draws none of them again."""

from __future__ import annotations

import os
import sqlite3
from contextlib import closing

from experiments.experiment import Experiment
from experiments.run_folder import RunFolder, RunFolderError
from search.store import EvaluationStore


def check_earlier(run: RunFolder, experiment: Experiment) -> None:
    """See that a run's scores can be taken over; writes nothing.

    Raises:
        RunFolderError: if it is no run folder, has no scores of its own, or the new experiment
            keeps its scores elsewhere.
        StoreError: if its scores are damaged.
    """
    shared = run.load_experiment().evaluation.store
    if shared is not None:
        raise RunFolderError(
            f"{run.path}: keeps its scores in '{shared}'; set evaluation.store to the same, "
            "in place of --from"
        )
    if experiment.evaluation.store is not None:
        raise RunFolderError(
            "--from takes scores into the new run's own folder; omit it, or evaluation.store"
        )
    if not run.evaluations.exists():
        raise RunFolderError(f"{run.path}: has no scores yet (no {run.evaluations.name})")
    EvaluationStore(run.evaluations, "")


def take_scores(earlier: RunFolder, run: RunFolder) -> None:
    """Copy another run's scores into a created folder, also while that run goes on."""
    draft = run.evaluations.with_name(f".{run.evaluations.name}.draft")
    draft.unlink(missing_ok=True)
    try:
        with (
            closing(sqlite3.connect(f"file:{earlier.evaluations}?mode=ro", uri=True)) as source,
            closing(sqlite3.connect(draft)) as target,
        ):
            source.backup(target)
        os.replace(draft, run.evaluations)
    finally:
        draft.unlink(missing_ok=True)
