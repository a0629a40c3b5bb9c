"""What a sweep came to: a line for every trial, and the best one."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd
from rich.table import Table

from experiments.sweep.folder import SweepFolder
from experiments.sweep.plan import Values, settings
from experiments.sweep.records import Records
from experiments.sweep.section import SweepSection
from latency_tables.parsing import parse_json


@dataclass(frozen=True)
class TrialOutcome:
    """How far a trial came.

    Attributes:
        name: of its folder.
        values: by key of the experiment.
        rounds: that it decided.
        clip: score after the last of them, on the search's prompts.
        latency_ms: by the first table, of the same architecture.
        met: whether that meets the target and all limits.
        final_clip: score of the UNet found, on the comparison's prompts; None if it did not end.
        end: ``done``, ``stopped``, ``failed`` or ``open``.
    """

    name: str
    values: Values
    rounds: int
    clip: float | None
    latency_ms: float | None
    met: bool
    final_clip: float | None
    end: str


def outcomes(records: Records, folder: SweepFolder) -> list[TrialOutcome]:
    """Of all trials, in order."""
    found = []
    for trial in records.trials:
        reports = records.reports_of(trial.name)
        last = reports[-1] if reports else None
        result = _result(folder, trial.name) if trial.end == "done" else {}
        found.append(
            TrialOutcome(
                trial.name,
                trial.values,
                len(reports),
                last.clip if last else None,
                last.latency_ms if last else None,
                last.met if last else False,
                result.get("clip_after"),
                trial.end or "open",
            )
        )
    return found


def _result(folder: SweepFolder, name: str) -> dict[str, Any]:
    path = folder.trial(name).result
    result: dict[str, Any] = parse_json(path.read_text()) if path.exists() else {}
    return result


def best_trial(trials: Sequence[TrialOutcome], section: SweepSection) -> TrialOutcome | None:
    """Of those that met the target and ended, the one with the highest metric; the first of equals.

    None if there is none.
    """
    ended = [each for each in trials if each.end == "done" and each.met]
    scores = [each.clip if section.metric == "clip" else each.final_clip for each in ended]
    pairs = [(score, each) for score, each in zip(scores, ended, strict=True) if score is not None]
    return max(pairs, key=lambda pair: pair[0], default=(None, None))[1]


def trials_table(trials: Sequence[TrialOutcome], section: SweepSection) -> Table:
    """All trials for people; the best one is marked, and keys are told by their last part."""
    best, short = best_trial(trials, section), _short(list(section.parameters))
    table = Table(title="trials")
    table.add_column("trial", no_wrap=True)
    table.add_column("values", overflow="fold")
    for column in ("rounds", "latency (ms)", "CLIP", "CLIP at the end", "target"):
        table.add_column(column, justify="right")
    table.add_column("", no_wrap=True)
    for each in trials:
        table.add_row(
            each.name,
            "\n".join(settings({short[key]: value for key, value in each.values.items()})),
            str(each.rounds),
            _number(each.latency_ms, 2),
            _number(each.clip, 4),
            _number(each.final_clip, 4),
            "met" if each.met else "not met",
            "best" if each is best else each.end,
        )
    return table


def _short(keys: Sequence[str]) -> dict[str, str]:
    """The last part of every key that no other ends with."""
    last = {key: key.rpartition(".")[2] for key in keys}
    alone = Counter(last.values())
    return {key: part if alone[part] == 1 else key for key, part in last.items()}


def _number(value: float | None, digits: int) -> str:
    return "" if value is None else f"{value:.{digits}f}"


def trials_csv(trials: Sequence[TrialOutcome], section: SweepSection) -> str:
    """The same for tools; a key's value as in JSON, unless it is a number or text."""
    best = best_trial(trials, section)
    rows = [
        {
            "trial": each.name,
            **{key: _plain(value) for key, value in each.values.items()},
            "rounds": each.rounds,
            "latency_ms": each.latency_ms,
            "clip": each.clip,
            "final_clip": each.final_clip,
            "target_met": each.met,
            "end": each.end,
            "best": each is best,
        }
        for each in trials
    ]
    return str(pd.DataFrame(rows).to_csv(index=False))


def _plain(value: Any) -> Any:
    return value if isinstance(value, (int, float, str)) else json.dumps(value)
