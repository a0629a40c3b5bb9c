"""The folder of a sweep: its experiment, its records, and a run folder for every trial."""

from __future__ import annotations

import time
from pathlib import Path

from experiments.experiment import Experiment, load_experiment
from experiments.run_folder import ExperimentFolder, RunFolder, RunFolderError

_PATIENCE_S = 30.0  # with a trial of a killed sweep, which ends moments after it


class SweepFolder(ExperimentFolder):
    """Paths of a sweep's files.

    Attributes:
        trials: ``trials.json``, the sweep's records.
        table: ``sweep.csv``, a line for every trial.
        scratch: what Ray Tune writes; nobody reads it, and it goes when the sweep ends.
    """

    def __init__(self, path: Path) -> None:
        super().__init__(path)
        self.trials = path / "trials.json"
        self.table = path / "sweep.csv"
        self.scratch = path / ".tune"

    def trial(self, name: str) -> RunFolder:
        """The run folder of a trial."""
        return RunFolder(self.path / name)

    def wait_until_free(self, name: str) -> None:
        """Wait for a process that still works in a trial's folder.

        Raises:
            RunFolderError: if it does not end.
        """
        trial, patience = self.trial(name), time.monotonic() + _PATIENCE_S
        while trial.path.exists():
            try:
                with trial.locked():
                    return
            except RunFolderError:
                if time.monotonic() > patience:
                    raise
                time.sleep(0.5)

    def _made(self) -> tuple[Path, ...]:
        trials = sorted(self.path.glob("trial-[0-9]*"))
        return (self.trials, self.table, self.scratch, *trials, self.log)

    def _check_kind(self, experiment: Experiment) -> None:
        if experiment.sweep is None:
            raise RunFolderError(f"{self.path}: holds one search, not a sweep")


def is_sweep(path: Path) -> bool:
    """Whether a folder holds a sweep."""
    experiment = SweepFolder(path).experiment
    return experiment.exists() and load_experiment(experiment).sweep is not None
