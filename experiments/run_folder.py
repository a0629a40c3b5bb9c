"""The folder of one run: what is where, and that one process at a time works in it."""

from __future__ import annotations

import fcntl
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from experiments.experiment import Experiment, load_experiment
from search.state import write_atomically


class RunFolderError(ValueError):
    """A run folder that is in the way, missing, incomplete or in use."""


class RunFolder:
    """Paths of a run's files. Nothing is created before :meth:`create`."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.experiment = path / "experiment.toml"
        self.state = path / "state.json"
        self.decisions = path / "decisions.jsonl"
        self.evaluations = path / "evaluations.db"
        self.checkpoints = path / "checkpoints"
        self.samples = path / "samples"
        self.unet = path / "unet"
        self.spec = path / "spec.json"
        self.result = path / "result.json"
        self.report = path / "report.html"
        self.log = path / "log.txt"

    def check_free(self, overwrite: bool) -> None:
        """Refuse to write over another run.

        Raises:
            RunFolderError: if the folder has content and is not to be overwritten, or is to be
                overwritten but does not look like a run.
        """
        if not self.path.exists() or not any(self.path.iterdir()):
            return
        if not overwrite:
            raise RunFolderError(
                f"{self.path}: already there; continue it with 'evounet resume {self.path}', "
                "or give another --run or --overwrite"
            )
        if not self.experiment.exists():
            raise RunFolderError(f"{self.path}: is no run folder, so it is not overwritten")

    def create(self, experiment: Experiment) -> None:
        if self.path.exists():
            shutil.rmtree(self.path)
        self.checkpoints.mkdir(parents=True)
        write_atomically(self.experiment, experiment.to_toml())

    def load_experiment(self) -> Experiment:
        """The resolved experiment of an existing run.

        Raises:
            RunFolderError: if this is no run folder.
        """
        if not self.experiment.exists():
            raise RunFolderError(f"{self.path}: is no run folder (it has no experiment.toml)")
        return load_experiment(self.experiment)

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Hold the folder for this process; the lock ends with the process, however it ends.

        Raises:
            RunFolderError: if another process holds it.
        """
        with (self.path / ".lock").open("a+") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                file.seek(0)
                raise RunFolderError(
                    f"{self.path}: in use by process {file.read().strip() or 'unknown'}; "
                    "wait for it or stop it"
                ) from None
            file.truncate(0)
            file.write(str(os.getpid()))
            file.flush()
            yield
