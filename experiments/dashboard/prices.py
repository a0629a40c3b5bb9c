"""A run's architectures by the latency table that is chosen."""

from __future__ import annotations

import threading
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from evaluators.latency import TableLatency
from experiments.dashboard.runs import Run
from latency_tables import TableError, available_tables, load_table
from search.decision import Decision
from search.front import FrontPoint, not_beaten
from search.recorded_evaluations import counts_of, undecided
from search.repricing import repriced, repriced_front
from supernet.architecture import Architecture
from supernet.parts import Inventory


@dataclass(frozen=True)
class Priced:
    """A run with all its latencies by one table, in ms.

    Attributes:
        run: as it was recorded.
        latency: by the table.
        decisions: of the run.
        front: of the run.
        evaluations_ms: of its evaluations.
        target_ms: None by a table that is not the objective's.
    """

    run: Run
    latency: TableLatency
    decisions: tuple[Decision, ...]
    front: tuple[FrontPoint, ...]
    evaluations_ms: NDArray[np.float64]
    target_ms: float | None

    @property
    def base(self) -> Architecture:
        return self.run.inventory.full()

    @property
    def found(self) -> Architecture:
        """The architecture after the last decision; the base before the first."""
        return self.decisions[-1].after if self.decisions else self.base

    @cached_property
    def clip(self) -> NDArray[np.float64]:
        """Scores of the run's evaluations."""
        return np.array([each.clip for each in self.run.evaluations])

    @cached_property
    def undecided(self) -> list[int]:
        """Places of evaluations that are no candidate of a decision, nor before or after one."""
        return undecided(self.run.evaluations, self.decisions)

    @cached_property
    def best(self) -> list[int]:
        """Places of evaluations that no other one beats in both, fastest first."""
        scores, ms = dict(enumerate(self.clip)), dict(enumerate(self.evaluations_ms))
        return not_beaten(scores, ms)


class PriceList:
    """Prices runs, each by each table once."""

    def __init__(self) -> None:
        self._priced: dict[tuple[str, str], Priced] = {}
        self._lock = threading.Lock()  # of several requests at once, one works them out

    def priced(self, run: Run, table: str | None) -> Priced:
        """A run by a table, or by its objective's.

        Raises:
            TableError: if there is no such table, or it lacks rows.
        """
        name = table or run.tables[0]
        with self._lock:
            known = self._priced.get((run.name, name))
            if known is None or known.run is not run:
                known = self._priced[run.name, name] = _price(run, name)
            return known


def table_choices(run: Run) -> list[str]:
    """The run's own tables, then all known ones that have every row of its UNet."""
    others = [name for name in available_tables() if _covers(name, run.inventory)]
    return list(dict.fromkeys([*run.tables, *others]))


def _price(run: Run, name: str) -> Priced:
    latency = TableLatency(run.inventory, load_table(name))
    is_objective = name == run.tables[0]
    return Priced(
        run=run,
        latency=latency,
        decisions=(
            run.decisions if is_objective else tuple(repriced(d, latency) for d in run.decisions)
        ),
        front=run.front if is_objective else repriced_front(run.front, latency),
        evaluations_ms=latency.of_counts(counts_of(run.evaluations, run.inventory.blocks)),
        target_ms=run.target_ms(latency(run.inventory.full())) if is_objective else None,
    )


def _covers(name: str, inventory: Inventory) -> bool:
    try:
        TableLatency(inventory, load_table(name))
    except TableError:
        return False
    return True
