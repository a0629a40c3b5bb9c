"""A run folder with as many evaluations as one wants, of made-up scores."""

from __future__ import annotations

import json
import random
import sqlite3
from contextlib import closing
from datetime import datetime
from itertools import count
from pathlib import Path

from evaluators.job import Scores
from evaluators.latency import TableLatency
from experiments.experiment import load_experiment
from experiments.run_folder import RunFolder
from experiments.unets import choose_unet
from latency_tables import load_table
from search.action import removals
from search.decision import Decision, score_action
from search.state import SearchState
from search.store import EvaluationStore
from supernet.architecture import MAX_MULTIPLICITY, Architecture
from supernet.inventory_file import inventory_text

TABLES = ("epyc-1core-fp32", "epyc-1core-bf16")
ROUNDS = 4
_REMOVED = 4  # blocks of a round
_PROMPTS = 8
_CLIP = 0.9


def large_run(path: Path, evaluations: int, seed: int = 0) -> RunFolder:
    """A search of the shapes UNet: random architectures that score the worse the less they have.

    Evaluations are put into the tables of Optuna's storage directly, as Optuna takes some
    milliseconds for each.
    """
    random_ = random.Random(seed)
    inventory = choose_unet("shapes").inventory
    latency, full = TableLatency(inventory, load_table(TABLES[0])), inventory.full()
    overrides = [f"latency.tables={json.dumps(TABLES)}", f"seed={seed}"]
    folder = RunFolder(path)
    folder.create(load_experiment(Path("demo"), overrides))
    folder.inventory.write_text(inventory_text(inventory), encoding="utf-8")
    decisions = _decisions(latency, full, random_)
    SearchState(full, decisions).save(folder.state)
    found = [_random_architecture(full, random_) for _ in range(evaluations)]
    EvaluationStore(folder.evaluations, "made up")  # makes the tables
    with closing(sqlite3.connect(folder.evaluations)) as connection, connection:
        _write(connection, found, latency, random_)
    return folder


def _random_architecture(full: Architecture, random_: random.Random) -> Architecture:
    gone = random_.random()
    counts = {block: 0 for block in full if random_.random() < gone}
    return full.with_multiplicities(counts)


def _clip(architecture: Architecture, random_: random.Random) -> float:
    share = len(architecture.removed) / len(architecture.blocks)
    return _CLIP - 0.3 * share**2 + random_.gauss(0, 0.01)


def _decisions(latency: TableLatency, full: Architecture, random_: random.Random) -> list[Decision]:
    decisions, now = [], full
    for round_ in range(1, ROUNDS + 1):
        before = Scores(tuple(_clip(now, random_) for _ in range(_PROMPTS)))
        candidates = []
        for action in removals(now):
            after = action.apply(now)
            scores = Scores(tuple(_clip(after, random_) for _ in range(_PROMPTS)))
            saved_ms = latency(after) - latency(now)
            candidates.append(score_action(action, before, before, scores, saved_ms))
        executed = sorted(candidates, key=lambda each: each.value)[:_REMOVED]
        left = now
        for each in executed:
            left = each.action.apply(left)
        decisions.append(
            Decision(
                round=round_,
                phase="remove",
                weights=f"round {round_}",
                before=now,
                clip_before=sum(before.first) / _PROMPTS,
                latency_before_ms=latency(now),
                candidates=tuple(candidates),
                executed=tuple(executed),
                after=left,
                clip_after=_clip(left, random_),
                latency_after_ms=latency(left),
            )
        )
        now = left
    return decisions


def _write(
    connection: sqlite3.Connection,
    found: list[Architecture],
    latency: TableLatency,
    random_: random.Random,
) -> None:
    """As Optuna writes its trials."""
    now = datetime(2026, 1, 1).isoformat(" ")
    block_range = {"log": False, "step": 1, "low": 0, "high": MAX_MULTIPLICITY}
    distribution = json.dumps({"name": "IntDistribution", "attributes": block_range})
    values, params, attributes = count(1), count(1), count(1)
    for trial, each in enumerate(found, start=1):
        clip = _clip(each, random_)
        own = {
            "architecture": each.id,
            "weights": "round 1",
            "conditions": "made up",
            "round": 1,
            "first_prompt": 0,
            "clip_scores": [clip] * _PROMPTS,
            "second_scores": [],
        }
        connection.execute(
            "INSERT INTO trials VALUES (?, ?, 1, 'COMPLETE', ?, ?)", (trial, trial - 1, now, now)
        )
        connection.executemany(
            "INSERT INTO trial_values VALUES (?, ?, ?, ?, 'FINITE')",
            [(next(values), trial, i, value) for i, value in enumerate((clip, latency(each)))],
        )
        connection.executemany(
            "INSERT INTO trial_params VALUES (?, ?, ?, ?, ?)",
            [(next(params), trial, str(b), float(n), distribution) for b, n in each.blocks],
        )
        connection.executemany(
            "INSERT INTO trial_user_attributes VALUES (?, ?, ?, ?)",
            [(next(attributes), trial, key, json.dumps(value)) for key, value in own.items()],
        )
