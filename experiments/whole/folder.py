"""The folder of a whole run: a folder for every stage, and what each of them came from."""

from __future__ import annotations

import json
from pathlib import Path

from pydantic import BaseModel, ConfigDict, ValidationError

from experiments.experiment import Experiment
from experiments.run_folder import ExperimentFolder, RunFolderError
from latency_tables.parsing import parse_json
from search.state import write_atomically


class StageRecord(BaseModel):
    """Where a stage stands.

    Attributes:
        identity: digest of its settings and of those of all stages that it builds on.
        done: whether it has ended.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    identity: str
    done: bool


class WholeFolder(ExperimentFolder):
    """Paths of a whole run's files.

    Attributes:
        pipeline: what comes out of it, for stock diffusers.
        result: figures of base and final pipeline.
        report: the same for people, with pictures.
    """

    def __init__(self, path: Path) -> None:
        super().__init__(path)
        self.records = path / "stages.json"
        self.base = path / "base"
        self.supernet = path / "supernet.safetensors"
        self.search = path / "search"
        self.decoder = path / "decoder"
        self.steps = path / "steps"
        self.pipeline = path / "pipeline"
        self.samples = path / "samples"
        self.result = path / "result.json"
        self.report = path / "report.html"

    def _made(self) -> tuple[Path, ...]:
        return (
            self.records,
            self.base,
            self.supernet,
            self.search,
            self.decoder,
            self.steps,
            self.pipeline,
            self.samples,
            self.result,
            self.report,
            self.log,
        )

    def _check_kind(self, experiment: Experiment) -> None:
        if not self.records.exists():
            raise RunFolderError(f"{self.path}: is no whole run; give another --run")

    def check(self, overwrite: bool) -> None:
        """Refuse to write over a run of another kind; a whole run goes on.

        Raises:
            RunFolderError: see :meth:`ExperimentFolder.check_free`.
        """
        if overwrite or not is_whole(self.path):
            self.check_free(overwrite)
        else:
            with self.locked():
                pass

    def begin(self, experiment: Experiment, overwrite: bool) -> None:
        """Create the folder, or note the experiment where there is a run to go on with."""
        if overwrite or not is_whole(self.path):
            self.create(experiment)
            write_atomically(self.records, "{}\n")
        else:
            with self.locked():
                write_atomically(self.experiment, experiment.to_toml())

    def record(self, name: str) -> StageRecord | None:
        """Where a stage stands; None where it has not begun.

        Raises:
            RunFolderError: if the file is damaged.
        """
        return self._load().get(name)

    def note(self, name: str, record: StageRecord) -> None:
        """Write down where a stage stands."""
        records = {**self._load(), name: record}
        values = {each: record.model_dump() for each, record in records.items()}
        write_atomically(self.records, json.dumps(values, indent=1) + "\n")

    def _load(self) -> dict[str, StageRecord]:
        if not self.records.exists():
            return {}
        try:
            values = parse_json(self.records.read_text(encoding="utf-8"))
            return {name: StageRecord.model_validate(value) for name, value in values.items()}
        except (OSError, ValueError, AttributeError, ValidationError) as error:
            raise RunFolderError(
                f"{self.records}: is damaged; delete it to do all stages again"
            ) from error


def is_whole(path: Path) -> bool:
    """Whether a folder holds a run of the whole paper."""
    return WholeFolder(path).records.exists()


def refuse_whole(path: Path) -> None:
    """See that a run folder is none of the whole paper, which is no search to go on with.

    Raises:
        RunFolderError: if it is.
    """
    if is_whole(path):
        raise RunFolderError(f"{path}: is a whole run; call 'evounet run' again as before")
