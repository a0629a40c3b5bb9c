"""The evaluations in a run's storage, for those who look on: nothing is written, nobody waits.

:class:`search.store.EvaluationStore` goes through Optuna, which opens a storage to write and reads
all of it. Here SQLite reads the tables of Optuna's storage, what is new in them alone, in portions
that keep its lock for milliseconds.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from search.decision import Decision
from supernet.architecture import Architecture

_PORTION = 500  # trials that are read at a time
_BUSY_S = 1.0  # that the search's own writing is waited for


class EvaluationReadError(ValueError):
    """A storage of evaluations that cannot be read."""


@dataclass(frozen=True)
class Evaluation:
    """What one architecture is worth with some weights.

    Attributes:
        architecture: its id.
        weights: digest of the UNet's weights.
        round: of the search.
        clip: mean CLIP score of all prompts so far.
        prompts: so many.
        counts: how often every block runs, in forward order.
    """

    architecture: str
    weights: str
    round: int
    clip: float
    prompts: int
    counts: NDArray[np.int8]


class RecordedEvaluations:
    """All evaluations of a run so far, in the order of their beginning.

    Args:
        path: of the SQLite file, which need not be there yet.
        full: the base with every block once.
    """

    def __init__(self, path: Path, full: Architecture) -> None:
        self.path = path
        self.full = full
        self._places = {str(block): i for i, block in enumerate(full)}
        self._found: dict[tuple[str, str, str], Evaluation] = {}
        self._last = 0
        self._first: tuple[object, ...] | None = None  # trial, which tells storages apart

    def __len__(self) -> int:
        return len(self._found)

    def __iter__(self) -> Iterator[Evaluation]:
        return iter(self._found.values())

    def read(self) -> None:
        """Take in what is new.

        What the search is just writing comes the next time.

        Raises:
            EvaluationReadError: if the file is no storage of evaluations of this base.
        """
        if not self.path.exists():
            return
        try:
            address = f"{self.path.resolve().as_uri()}?mode=ro"
            with closing(sqlite3.connect(address, uri=True, timeout=_BUSY_S)) as connection:
                self._forget_another(connection)
                while self._read_portion(connection):
                    pass
        except sqlite3.OperationalError as error:
            if not _is_passing(error):
                raise self._damaged(error) from error
        except (sqlite3.DatabaseError, KeyError, ValueError, TypeError) as error:
            raise self._damaged(error) from error

    def architecture(self, evaluation: Evaluation) -> Architecture:
        """What was evaluated."""
        counts = evaluation.counts.tolist()
        return Architecture(self.full.base, tuple(zip(self.full, counts, strict=True)))

    def _forget_another(self, connection: sqlite3.Connection) -> None:
        """Begin anew where a run has been written over."""
        first = connection.execute(_FIRST).fetchone()
        if first != self._first:
            self._first, self._last = first, 0
            self._found.clear()

    def _damaged(self, error: Exception) -> EvaluationReadError:
        return EvaluationReadError(
            f"{self.path}: cannot be read ({error}); move it away, and what it held is evaluated "
            "again"
        )

    def _read_portion(self, connection: sqlite3.Connection) -> bool:
        """Whether there may be more."""
        asked = (self._last, _PORTION)
        trials = connection.execute(_TRIALS, asked).fetchall()
        if not trials:
            return False
        span = (trials[0][0], trials[-1][0])
        counts = {trial: np.ones(len(self._places), np.int8) for trial, *_ in trials}
        for trial, block, count in connection.execute(_COUNTS, span):
            if trial in counts:
                counts[trial][self._places[block]] = count
        own: dict[int, dict[str, str]] = {trial: {} for trial in counts}
        for trial, key, value in connection.execute(_ATTRIBUTES, span):
            if trial in own:
                own[trial][key] = value
        for trial, clip in trials:
            self._take(own[trial], clip, counts[trial])
        self._last = span[1]
        return len(trials) == _PORTION

    def _take(self, own: dict[str, str], clip: float, counts: NDArray[np.int8]) -> None:
        architecture, weights = json.loads(own["architecture"]), json.loads(own["weights"])
        prompts = int(own["first_prompt"]) + int(own["scores"])
        found = Evaluation(architecture, weights, int(own["round"]), clip, prompts, counts)
        self._found[architecture, weights, own["conditions"]] = found


def undecided(evaluations: Sequence[Evaluation], decisions: Sequence[Decision]) -> list[int]:
    """Places of evaluations that are no candidate of a decision, nor before or after one."""
    shown = {(d.weights, a.id) for d in decisions for a in (d.before, d.after)}
    for d in decisions:
        shown |= {(d.weights, each.action.apply(d.before).id) for each in d.candidates}
    return [
        i for i, each in enumerate(evaluations) if (each.weights, each.architecture) not in shown
    ]


def counts_of(evaluations: Sequence[Evaluation], blocks: Sequence[object]) -> NDArray[np.int8]:
    """How often every block runs, ``(evaluations, blocks)``."""
    return np.array([each.counts for each in evaluations], np.int8).reshape(-1, len(blocks))


def _is_passing(error: sqlite3.OperationalError) -> bool:
    """Whether another process is just writing, or has not got to its first evaluation yet."""
    return any(text in str(error) for text in ("locked", "no such table", "readonly"))


_FIRST = "SELECT trial_id, datetime_complete FROM trials ORDER BY trial_id LIMIT 1"
_TRIALS = """
SELECT trials.trial_id, trial_values.value FROM trials
JOIN trial_values ON trial_values.trial_id = trials.trial_id AND trial_values.objective = 0
WHERE trials.trial_id > ? AND trials.state = 'COMPLETE' ORDER BY trials.trial_id LIMIT ?
"""
# A block that runs once is as in the base.
_COUNTS = """
SELECT trial_id, param_name, param_value FROM trial_params
WHERE trial_id BETWEEN ? AND ? AND param_value != 1
"""
_ATTRIBUTES = """
SELECT trial_id, key, value_json FROM trial_user_attributes
WHERE trial_id BETWEEN ?1 AND ?2
AND key IN ('architecture', 'weights', 'conditions', 'round', 'first_prompt')
UNION ALL
SELECT trial_id, 'scores', json_array_length(value_json) FROM trial_user_attributes
WHERE trial_id BETWEEN ?1 AND ?2 AND key = 'clip_scores'
"""
