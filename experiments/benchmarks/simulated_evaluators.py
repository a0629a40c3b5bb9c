"""Evaluators without a model, for the code that hands out work to real ones.

Ray's workers import this module, so it needs neither torch nor diffusers.
"""

from __future__ import annotations

import heapq
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from itertools import count
from typing import Any

from evaluators.job import Scores
from evaluators.work import Answered, Cancelled, Joined, Report, Ticket
from supernet.architecture import Architecture


class SimulatedCrew:
    """A :class:`evaluators.work.Crew` by discrete events.

    Workers do their pieces one after another on a simulated clock. The driver works on the same
    clock: it goes on by the real time that the dispatcher takes between two calls, and for every
    piece by what Ray takes of the driver to send it out and to bring its answer back.

    Args:
        workers: how many, all ready at the beginning.
        duration_s: of a piece on its worker.
        ray_s: of the driver, for every piece.
        clock: real seconds; one that stands still leaves the dispatcher's own time out.

    Attributes:
        dispatch_s: real time that the dispatcher took.
    """

    def __init__(
        self,
        workers: int,
        duration_s: Callable[[Ticket], float],
        ray_s: float = 0.0,
        clock: Callable[[], float] = time.perf_counter,
    ) -> None:
        self.dispatch_s = 0.0
        self._duration_s = duration_s
        self._ray_s = ray_s
        self._clock = clock
        self._now = 0.0
        self._queues: dict[int, deque[Ticket]] = {n: deque() for n in range(workers)}
        self._ends: list[tuple[float, int, Ticket]] = []
        self._order = count()  # of events at the same moment
        self._reports: list[Report] = [Joined(worker) for worker in self._queues]
        self._left_at: float | None = None  # real time when the dispatcher was last given control
        self._own_s = 0.0  # real time since then that the simulation itself took

    def now(self) -> float:
        return self._now

    def submit(self, ticket: Ticket) -> None:
        start = self._clock()
        self._now += self._ray_s
        queue = self._queues[ticket.worker]
        queue.append(ticket)
        if len(queue) == 1:
            self._begin(ticket, self._now)
        self._own_s += self._clock() - start

    def cancel(self, ticket: Ticket) -> None:
        queue = self._queues[ticket.worker]
        if ticket in queue and queue[0] is not ticket:
            queue.remove(ticket)
            self._reports.append(Cancelled(ticket))

    def wait(self, timeout_s: float) -> Sequence[Report]:
        if self._left_at is not None:
            taken_s = self._clock() - self._left_at - self._own_s
            self.dispatch_s += taken_s
            self._now += taken_s
        deadline = self._now + timeout_s
        if not self._reports and self._ends:
            self._now = max(self._now, min(deadline, self._ends[0][0]))
        while self._ends and self._ends[0][0] <= self._now:
            self._end(*heapq.heappop(self._ends))
        reports, self._reports = self._reports, []
        self._own_s = 0.0
        self._left_at = self._clock()
        return reports

    def _begin(self, ticket: Ticket, moment: float) -> None:
        seconds = self._duration_s(ticket)
        heapq.heappush(self._ends, (moment + seconds, next(self._order), ticket))

    def _end(self, moment: float, _: int, ticket: Ticket) -> None:
        """A piece is done, and its worker goes on at once with what it has."""
        queue = self._queues[ticket.worker]
        queue.popleft()
        if queue:
            self._begin(queue[0], moment)
        self._reports.append(Answered(ticket, Scores((0.0,) * len(ticket.job.rows))))


class InstantEvaluator:
    """Answers at once; made as :class:`evaluators.worker.EvaluatorFactory` says."""

    def __init__(self, spec: Any, threads: int, device: str) -> None:
        self.notes: list[str] = []

    def load_weights(self, weights: Mapping[str, Any]) -> None: ...

    def scores(self, architecture: Architecture, rows: range) -> Scores:
        return Scores((0.0,) * len(rows))
