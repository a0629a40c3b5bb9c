"""The run folder of a chain of stages."""

from __future__ import annotations

import hashlib
from pathlib import Path

from pydantic import BaseModel, ConfigDict, ValidationError

from experiments.experiment import Experiment
from experiments.run_folder import RunFolder, RunFolderError
from search.state import write_atomically

_RECORD = "stage.json"


class StageRecord(BaseModel):
    """What a finished stage came from; the last of its files.

    Attributes:
        identity: digest of its settings and of all that went in.
        digest: of the UNet's weights that came out.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    identity: str
    digest: str

    def save(self, folder: Path) -> None:
        write_atomically(folder / _RECORD, self.model_dump_json(indent=1) + "\n")


class StepsFolder(RunFolder):
    """Paths of a chain's files, besides those of every run."""

    def __init__(self, path: Path) -> None:
        super().__init__(path)
        self.stages = path / "stages"
        self.drawn = path / "drawn"
        self.targets = path / "targets"

    def _made(self) -> tuple[Path, ...]:
        return (*super()._made(), self.stages, self.drawn, self.targets)

    def stage(self, name: str) -> Path:
        """The pipeline that a stage ends with."""
        return self.stages / name

    def training(self, name: str, identity: str) -> Path:
        """The state of a stage's training while it goes on."""
        return self.checkpoints / name / f"{identity}.training.safetensors"

    def record(self, name: str) -> StageRecord | None:
        """What a finished stage came from; None where there is none yet.

        Raises:
            RunFolderError: if the file is damaged.
        """
        path = self.stage(name) / _RECORD
        if not path.exists():
            return None
        try:
            return StageRecord.model_validate_json(path.read_text(encoding="utf-8"))
        except (OSError, UnicodeDecodeError, ValidationError) as error:
            raise RunFolderError(
                f"{path}: is damaged; delete {path.parent} to do the stage again"
            ) from error

    def check(self, overwrite: bool) -> None:
        """Refuse to write over a run of another kind; another chain of stages goes on.

        Raises:
            RunFolderError: see :meth:`RunFolder.check_free`.
        """
        if overwrite or not self.stages.exists():
            self.check_free(overwrite)
            return
        with self.locked():
            pass

    def begin(self, experiment: Experiment, overwrite: bool) -> None:
        """Create the folder, or note the experiment where there is a chain to go on with."""
        if overwrite or not self.stages.exists():
            self.create(experiment)
            self.stages.mkdir()
        else:
            with self.locked():
                write_atomically(self.experiment, experiment.to_toml())


def refuse_steps(path: Path) -> None:
    """See that a run folder is none of stages, which is no search to go on with.

    Raises:
        RunFolderError: if it is.
    """
    if StepsFolder(path).stages.exists():
        raise RunFolderError(
            f"{path}: is a run of stages; call 'evounet distill steps' again as before"
        )


def digest_of(*parts: str) -> str:
    """Twelve hexadecimal digits for some texts."""
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()[:12]
