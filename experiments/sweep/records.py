"""What a sweep remembers, ``trials.json``: values, reports in the order they came, and ends.

It is all that a resumed sweep needs besides the trials' own folders.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, ValidationError

from experiments.run_folder import RunFolderError
from experiments.sweep.plan import Values, trial_names
from search.state import write_atomically

End = Literal["done", "stopped", "failed"]


class Report(BaseModel):
    """What a trial told after a decision.

    Attributes:
        trial: its name.
        round: of the decision, from 1.
        clip: score of the architecture after it, on the search's prompts.
        latency_ms: of the same, by the first table.
        met: whether it meets the target and all limits.
        marks: comparisons that the trial came to in this round; see
            :class:`experiments.sweep.marks.Marks`.
        stop: whether it was told to stop.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    trial: str
    round: int
    clip: float
    latency_ms: float
    met: bool
    marks: tuple[tuple[int, float], ...]
    stop: bool = False


class TrialRecord(BaseModel):
    """One trial.

    Attributes:
        name: of its folder.
        values: by key of the experiment.
        end: how it ended; None while it has not.
        note: why it failed.
    """

    model_config = ConfigDict(extra="forbid")

    name: str
    values: dict[str, Any]
    end: End | None = None
    note: str = ""


class Records(BaseModel):
    """All trials of a sweep, and their reports in order."""

    model_config = ConfigDict(extra="forbid")

    version: Literal[1] = 1
    trials: list[TrialRecord]
    reports: list[Report] = []

    @classmethod
    def fresh(cls, values: Sequence[Values]) -> Records:
        """Of trials that have not begun."""
        names = trial_names(len(values))
        pairs = zip(names, values, strict=True)
        return cls(trials=[TrialRecord(name=name, values=dict(each)) for name, each in pairs])

    @classmethod
    def load(cls, path: Path) -> Records:
        """Read them.

        Raises:
            RunFolderError: if the file is damaged.
        """
        try:
            return cls.model_validate_json(path.read_text(encoding="utf-8"))
        except (ValidationError, UnicodeDecodeError) as error:
            problem = str(error).splitlines()[-2 if isinstance(error, ValidationError) else -1]
            raise RunFolderError(
                f"{path}: damaged ({problem.strip()}); restore it, or begin the sweep again"
            ) from error

    def save(self, path: Path) -> None:
        write_atomically(path, self.model_dump_json(indent=1) + "\n")

    def __getitem__(self, trial: str) -> TrialRecord:
        return next(each for each in self.trials if each.name == trial)

    def reports_of(self, trial: str) -> list[Report]:
        """What a trial told, in order."""
        return [report for report in self.reports if report.trial == trial]

    def find(self, trial: str, round_: int) -> Report | None:
        """What a trial told after a round, if it has."""
        return next((each for each in self.reports_of(trial) if each.round == round_), None)

    @property
    def open(self) -> list[str]:
        """Trials that have not ended."""
        return [trial.name for trial in self.trials if trial.end is None]

    def reopen(self) -> None:
        """Let those that failed go on where they stand."""
        for trial in self.trials:
            if trial.end == "failed":
                trial.end, trial.note = None, ""
