"""A sweep without searches: what its trials tell is written down beforehand."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ray.tune.schedulers import TrialScheduler

from experiments.experiment import Experiment
from experiments.sweep.folder import SweepFolder
from experiments.sweep.halving import Halving
from experiments.sweep.records import Records, Report
from experiments.sweep.scheduler import RecordingScheduler
from experiments.sweep.section import SweepSection

Scores = Sequence[float]


def sweep_section(**changes: Any) -> SweepSection:
    values = {"trials": 3, "parameters": {"search.caution": [0.0, 1.0, 2.0]}} | changes
    return SweepSection.model_validate(values)


def swept(section: Mapping[str, Any], **sections: Any) -> Experiment:
    """An experiment with a section ``[sweep]``."""
    values = {"name": "toy", "latency": {"tables": ["toy"], "target_ratio": 0.5}}
    return Experiment.model_validate(values | {"sweep": section} | sections)


def report(trial: str, round_: int, clip: float, marks: int) -> Report:
    """Of a trial that comes to one mark a round."""
    return Report(
        trial=trial,
        round=round_,
        clip=clip,
        latency_ms=40.0 - 10 * round_,
        met=round_ == marks,
        marks=((round_, clip),),
    )


@dataclass(frozen=True)
class ToyTrial:
    """As much of Tune's trial as a scheduler looks at."""

    config: Mapping[str, Any]


def never() -> None:
    """Of a sweep that nothing interrupts."""


def play(
    path: Path,
    section: SweepSection,
    ways: Sequence[Scores],
    clock: Callable[[], None] = never,
) -> Records:
    """Begin a sweep in a folder, or go on with it, one trial after the other.

    Args:
        path: of the sweep.
        section: of its experiment.
        ways: CLIP scores of each trial, round by round.
        clock: ticks at everything that happens; may raise.
    """
    folder, marks = SweepFolder(path), max(map(len, ways))
    if folder.trials.exists():
        records = Records.load(folder.trials)
        records.reopen()
    else:
        path.mkdir(exist_ok=True)
        records = Records.fresh([{"search.caution": float(i)} for i in range(len(ways))])
        records.save(folder.trials)
    halving = Halving(section, marks, records.reports)
    scheduler = RecordingScheduler(folder, records, halving, lambda line: None)
    order = [trial.name for trial in records.trials]
    for name in records.open:
        trial: Any = ToyTrial({"trial": name})
        folder.trial(name).path.mkdir(exist_ok=True)
        scores = ways[order.index(name)]
        for round_, clip in enumerate(scores, start=1):
            clock()
            told = {"report": report(name, round_, clip, marks).model_dump_json()}
            verdict = scheduler.on_trial_result(None, trial, told)
            clock()
            if verdict == TrialScheduler.STOP:
                break
        else:
            folder.trial(name).result.write_text('{"clip_after": 0.5}')
            clock()
        scheduler.on_trial_complete(None, trial, {})
        clock()
    return records
