"""Between Ray Tune and the sweep's records: every report is judged and recorded once."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ray.tune.experiment import Trial
from ray.tune.schedulers import FIFOScheduler, TrialScheduler

from experiments.sweep.folder import SweepFolder
from experiments.sweep.halving import Halving
from experiments.sweep.records import End, Records, Report


class RecordingScheduler(FIFOScheduler):
    """Trials in their order; which of them stop, ASHA says.

    A verdict is in the records before Tune hears of it. A trial that goes on after an interruption
    tells what it told before, and gets the answers that it got before.

    Args:
        folder: of the sweep.
        records: of the sweep so far; kept up to date.
        halving: has heard the reports in them.
        tell: called with a line for people.
    """

    def __init__(
        self,
        folder: SweepFolder,
        records: Records,
        halving: Halving,
        tell: Callable[[str], None],
    ) -> None:
        super().__init__()
        self.folder = folder
        self.records = records
        self.halving = halving
        self.tell = tell

    def __getstate__(self) -> dict[str, Any]:
        return {}  # Tune pickles it, and nobody reads that

    def on_trial_result(self, controller: Any, trial: Trial, result: dict[str, Any]) -> str:
        name = trial.config["trial"]
        if "failure" in result:
            self._end(name, "failed", result["failure"])
            return TrialScheduler.STOP
        report = Report.model_validate_json(result["report"])
        known = self.records.find(name, report.round)
        if known is None:
            known = report.model_copy(update={"stop": self.halving.stops(report)})
            self._add(known)
        return TrialScheduler.STOP if known.stop else TrialScheduler.CONTINUE

    def on_trial_complete(self, controller: Any, trial: Trial, result: dict[str, Any]) -> None:
        name = trial.config["trial"]
        if self.records[name].end is None and self.folder.trial(name).result.exists():
            self._end(name, "done")

    def on_trial_error(self, controller: Any, trial: Trial) -> None:
        # Whether Tune tries it again, it does not say here.
        self.tell(f"{trial.config['trial']}: its process died")

    def on_trial_remove(self, controller: Any, trial: Trial) -> None:
        pass

    def close(self) -> None:
        """Record, once Tune is through, that what has not ended has failed."""
        for name in self.records.open:
            self._end(name, "failed", "its process died again and again")

    def _add(self, report: Report) -> None:
        self.records.reports.append(report)
        if report.stop:
            self.records[report.trial].end = "stopped"
        self.records.save(self.folder.trials)
        verdict = ", behind the others: stopped" if report.stop else ""
        self.tell(
            f"{report.trial}, round {report.round}: CLIP {report.clip:.4f} at "
            f"{report.latency_ms:.2f} ms{verdict}"
        )

    def _end(self, name: str, end: End, note: str = "") -> None:
        record = self.records[name]
        record.end, record.note = end, note
        self.records.save(self.folder.trials)
        self.tell(f"{name}: {end}{f' ({note})' if note else ''}")
