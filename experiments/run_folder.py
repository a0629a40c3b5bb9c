"""The folder of a run: what is where, and that one process at a time works in it."""

from __future__ import annotations

import fcntl
import os
import shutil
from abc import ABC, abstractmethod
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING

from search.state import write_atomically

if TYPE_CHECKING:
    from experiments.experiment import Experiment  # imports torch, which paths do without


class RunFolderError(ValueError):
    """A run folder that is in the way, missing, incomplete or in use."""


@contextmanager
def held(path: Path) -> Iterator[None]:
    """Hold a folder for this process; the lock ends with the process, however it ends.

    Raises:
        RunFolderError: if another process holds it.
    """
    with (path / ".lock").open("a+") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            file.seek(0)
            raise RunFolderError(
                f"{path}: in use by process {file.read().strip() or 'unknown'}; "
                "wait for it or stop it"
            ) from None
        file.truncate(0)
        file.write(str(os.getpid()))
        file.flush()
        yield


class ExperimentFolder(ABC):
    """What a search, or a sweep of searches, is kept in. Nothing is there before :meth:`create`."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.experiment = path / "experiment.toml"
        self.log = path / "log.txt"

    def check_free(self, overwrite: bool) -> None:
        """Refuse to write over another run.

        Raises:
            RunFolderError: if the folder has content and is not to be overwritten, or is to be
                overwritten but does not look like a run or is in use.
        """
        from experiments.experiment import ExperimentError

        if not self.path.exists():
            return
        if not self.path.is_dir():
            raise RunFolderError(f"{self.path}: is a file; give another --run")
        # Hidden files alone are what is left of a run that was killed while it began.
        if all(entry.name.startswith(".") for entry in self.path.iterdir()):
            return
        if not self.experiment.exists():
            kept = ", so it is not overwritten" if overwrite else ""
            raise RunFolderError(
                f"{self.path}: has files in it and is no run folder{kept}; give another --run"
            )
        if not overwrite:
            raise RunFolderError(
                f"{self.path}: already there; continue it with 'evounet resume {self.path}', "
                "or give another --run or --overwrite"
            )
        with suppress(ExperimentError):  # a damaged one may go
            self.load_experiment()
        with self.locked():
            pass

    def create(self, experiment: Experiment) -> None:
        """Begin a run: ``experiment.toml``, and nothing that an earlier run has made.

        The earlier run's state goes first and its experiment last, so that killed at any moment
        this leaves a folder that can be overwritten, or resumed from its beginning. Files that are
        no run's stay.

        Raises:
            RunFolderError: if another process works in the folder.
        """
        self.path.mkdir(parents=True, exist_ok=True)
        with self.locked():
            for made in self._made():
                if made.is_dir():
                    shutil.rmtree(made)
                else:
                    made.unlink(missing_ok=True)
            write_atomically(self.experiment, experiment.to_toml())

    @abstractmethod
    def _made(self) -> tuple[Path, ...]:
        """What is made in the folder besides ``experiment.toml``; the state first."""

    def load_experiment(self) -> Experiment:
        """The resolved experiment of what is there.

        Raises:
            RunFolderError: if nothing of this kind is.
        """
        from experiments.experiment import load_experiment

        if not self.experiment.exists():
            raise RunFolderError(f"{self.path}: is no run folder (it has no experiment.toml)")
        experiment = load_experiment(self.experiment)
        self._check_kind(experiment)
        return experiment

    @abstractmethod
    def _check_kind(self, experiment: Experiment) -> None:
        """See that it is a folder of this kind.

        Raises:
            RunFolderError: if it is of the other.
        """

    @contextmanager
    def locked(self) -> Iterator[None]:
        """See :func:`held`."""
        with held(self.path):
            yield


class RunFolder(ExperimentFolder):
    """Paths of a run's files."""

    def __init__(self, path: Path) -> None:
        super().__init__(path)
        self.state = path / "state.json"
        self.decisions = path / "decisions.jsonl"
        self.evaluations = path / "evaluations.db"
        self.checkpoints = path / "checkpoints"
        self.samples = path / "samples"
        self.round_samples = self.samples / "rounds"
        self.unet = path / "unet"
        self.spec = path / "spec.json"
        self.result = path / "result.json"
        self.report = path / "report.html"
        self.faults = path / "faults.jsonl"
        self.curves = path / "training.jsonl"
        self.live = path / "live.json"
        self.tensorboard = path / "tensorboard"
        self.front = path / "front.json"
        self.inventory = path / "inventory.json"

    def _made(self) -> tuple[Path, ...]:
        return (
            self.state,
            self.decisions,
            self.evaluations,
            self.checkpoints,
            self.samples,
            self.unet,
            self.spec,
            self.result,
            self.report,
            self.log,
            self.faults,
            self.curves,
            self.live,
            self.tensorboard,
            self.front,
            self.inventory,
        )

    def check_finished(self) -> None:
        """See that the folder holds a search that has ended.

        Raises:
            RunFolderError: if it does not.
        """
        self.load_experiment()
        if not self.result.exists():
            raise RunFolderError(
                f"{self.path}: this search has not ended; continue it with "
                f"'evounet resume {self.path}'"
            )

    def _check_kind(self, experiment: Experiment) -> None:
        if experiment.sweep is not None:
            raise RunFolderError(
                f"{self.path}: holds a sweep, not one search; name one of its trials, such as "
                f"{self.path / 'trial-01'}"
            )
