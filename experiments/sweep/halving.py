"""Which trials stop early: asynchronous successive halving, as Ray Tune does it."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from ray.tune.schedulers import ASHAScheduler, TrialScheduler

from experiments.sweep.records import Report
from experiments.sweep.section import SweepSection


@dataclass(frozen=True)
class _Named:
    """All that ASHA knows of a trial: Tune's own names are others after a resume."""

    trial_id: str


class Halving:
    """ASHA's verdicts, a function of the reports and their order alone.

    Args:
        section: how many stop, and from when on.
        marks: number of comparisons that a trial may come to.
        reports: what was told before, in order.
    """

    def __init__(self, section: SweepSection, marks: int, reports: Iterable[Report]) -> None:
        self._asha = ASHAScheduler(
            time_attr="mark",
            metric="clip",
            mode="max",
            max_t=marks,
            grace_period=section.grace_rounds,
            reduction_factor=section.reduction_factor,
            stop_last_trials=False,  # at the target a trial has its final training before it
        )
        self._known: set[str] = set()
        for report in reports:
            self.stops(report)

    def stops(self, report: Report) -> bool:
        """Whether the trial that told this is to stop."""
        trial = _Named(report.trial)
        if report.trial not in self._known:
            self._known.add(report.trial)
            self._asha.on_trial_add(None, trial)
        for mark, clip in report.marks:
            answer = self._asha.on_trial_result(None, trial, {"mark": mark, "clip": clip})
            if answer == TrialScheduler.STOP:
                return True
        return False
