"""The scores of another run, so that a new target, table or strategy draws none of them again."""

from __future__ import annotations

import os
import sqlite3
from contextlib import closing

from experiments.experiment import Experiment
from experiments.run_folder import RunFolder, RunFolderError
from search.store import EvaluationStore


def check_earlier(earlier: RunFolder, run: RunFolder, experiment: Experiment) -> None:
    """See that a run's scores can be taken over by a new one; writes nothing.

    Raises:
        RunFolderError: if it is no run folder, has no scores of its own, is the new run itself, or
            the new experiment keeps its scores elsewhere.
        StoreError: if its scores are damaged.
    """
    if earlier.path.resolve() == run.path.resolve():
        raise RunFolderError(
            f"{run.path}: cannot begin with its own scores, which would be deleted first; "
            "give another --run"
        )
    shared = earlier.load_experiment().evaluation.store
    if shared is not None:
        raise RunFolderError(
            f"{earlier.path}: keeps its scores in '{shared}'; set evaluation.store to the same, "
            "in place of --from"
        )
    if experiment.evaluation.store is not None:
        raise RunFolderError(
            "--from takes scores into the new run's own folder; omit it, or evaluation.store"
        )
    if not earlier.evaluations.exists():
        raise RunFolderError(f"{earlier.path}: has no scores yet (no {earlier.evaluations.name})")
    EvaluationStore(earlier.evaluations, "")


def take_scores(earlier: RunFolder, run: RunFolder) -> None:
    """Copy another run's scores into a created folder, also while that run goes on."""
    draft = run.evaluations.with_name(f".{run.evaluations.name}.draft")
    draft.unlink(missing_ok=True)
    try:
        with (
            closing(
                sqlite3.connect(f"{earlier.evaluations.resolve().as_uri()}?mode=ro", uri=True)
            ) as source,
            closing(sqlite3.connect(draft)) as target,
        ):
            source.backup(target)
        os.replace(draft, run.evaluations)
    finally:
        draft.unlink(missing_ok=True)
