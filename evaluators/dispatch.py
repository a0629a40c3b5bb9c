"""Handing out work: who does what next, what is done again, and which answer counts.

Nothing here knows Ray. A :class:`evaluators.work.Crew` does the work, be it on a cluster or in a
simulation, so that both are served by the same code. All answers to a piece are the same, whoever
gives them: therefore the first one counts.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from statistics import median
from typing import Any

from evaluators.job import Job
from evaluators.pool_events import Kind, OnEvent, PoolEvent
from evaluators.work import (
    TRIES,
    Answered,
    Cancelled,
    Crew,
    EvaluatorError,
    Failed,
    Joined,
    Left,
    Report,
    Ticket,
)

DEPTH = 2  # pieces that a worker has: one at work, and one so that it never waits for the driver
SLOW = 2.0  # times the usual duration, after which a piece is given to another worker as well,
_SLOW_S = 1.0  # if it is by so much: what takes moments is not worth doing twice
_REMEMBERED = 100  # durations that say what is usual
_LOOK_S = 1.0  # how long to wait for answers at most before looking around


@dataclass(eq=False)
class _Piece:
    """A job of a call and what became of it so far.

    Attributes:
        index: its place in the call.
        tickets: of the workers that have it.
        refused: workers whose answer was doubtful.
        errors: one line for every worker that it cost.
        doubted: whether an answer to it was not taken.
    """

    index: int
    job: Job
    tickets: set[Ticket] = field(default_factory=set)
    refused: set[int] = field(default_factory=set)
    errors: list[str] = field(default_factory=list)
    doubted: bool = False


@dataclass(eq=False)
class _Call:
    """Pieces that were asked for together.

    Attributes:
        waiting: those to be handed out, the one that has waited longest first.
        open: how many have no answer yet.
        pieces: by the tickets that are out.
        next_up: tickets of pieces that only lie with a worker; the dictionary is an ordered set.
        begun: tickets of pieces that one worker works on, in the order in which they were begun.
        slow: workers that were told to be slow.
    """

    method: str
    doubtful: Callable[[Any], bool]
    waiting: deque[_Piece]
    open: int
    pieces: dict[Ticket, _Piece] = field(default_factory=dict)
    next_up: dict[Ticket, None] = field(default_factory=dict)
    begun: dict[Ticket, None] = field(default_factory=dict)
    slow: set[int] = field(default_factory=set)


def _never(value: Any) -> bool:
    return False


def _named(job: Job) -> str:
    return f"prompts {job.rows.start} to {job.rows.stop - 1} of architecture {job.architecture.id}"


class Dispatcher:
    """Hands pieces to a crew and gathers the answers, one call at a time.

    It remembers what workers still have from earlier calls, so that a slow one is not mistaken
    for one that is free.

    Attributes:
        answered: prompts of all answers that counted so far.
    """

    def __init__(self, crew: Crew, on_event: OnEvent) -> None:
        self.answered = 0
        self._crew = crew
        self._on_event = on_event
        self._queues: dict[int, deque[Ticket]] = {}
        self._free: dict[int, None] = {}  # workers that can take a piece; an ordered set
        self._since: dict[int, float] = {}  # when workers began what is first in their queues
        self._rates: deque[float] = deque(maxlen=_REMEMBERED)  # seconds per prompt

    def answers(
        self, method: str, jobs: Sequence[Job], doubtful: Callable[[Any], bool] = _never
    ) -> Iterator[tuple[int, Any]]:
        """Places of the jobs with their answers, as they become known.

        Args:
            method: of the evaluators.
            jobs: each is done by one worker.
            doubtful: tells of an answer whether it should be asked for once more; the second
                answer counts, whatever it is.

        Raises:
            EvaluatorError: if a job failed three times.
        """
        pieces = deque(_Piece(index, job) for index, job in enumerate(jobs))
        call = _Call(method, doubtful, pieces, len(pieces))
        timeout_s = 0.0  # first who is there, then who has what
        try:
            while call.open:
                reports = self._crew.wait(timeout_s)
                answers = [found for report in reports if (found := self._take(report, call))]
                self._hand_out(call)
                yield from answers
                timeout_s = self._patience(call)
        finally:
            for ticket in call.pieces:
                self._crew.cancel(ticket)

    @property
    def workers(self) -> int:
        """How many are ready for work."""
        return len(self._queues)

    def forget_durations(self) -> None:
        """What is usual is no longer so, because the workers will do something else."""
        self._rates.clear()

    # --- what comes back

    def _take(self, report: Report, call: _Call) -> tuple[int, Any] | None:
        match report:
            case Joined(worker):
                self._queues[worker] = deque()
                self._free[worker] = None
            case Left(worker):
                self._lose(worker, call)
            case Answered(ticket, value):
                return self._answer(ticket, value, call)
            case Failed(ticket, error):
                self._fail(ticket, error, call)
            case Cancelled(ticket):
                piece = self._take_off(ticket, call)
                if piece is not None:
                    self._again(piece, call)
        return None

    def _lose(self, worker: int, call: _Call) -> None:
        queue = self._queues.get(worker)
        piece = call.pieces.get(queue[0]) if queue else None
        self._leave(worker, call)
        if piece is not None:
            self._count_error(piece, f"worker {worker} died over it")

    def _leave(self, worker: int, call: _Call) -> None:
        self._free.pop(worker, None)
        self._since.pop(worker, None)
        for ticket in reversed(self._queues.pop(worker, deque())):
            piece = self._forget(ticket, call)
            if piece is not None:
                self._again(piece, call)  # the last one first: the first one is in front again

    def _answer(self, ticket: Ticket, value: Any, call: _Call) -> tuple[int, Any] | None:
        seconds = self._crew.now() - self._since.get(ticket.worker, self._crew.now())
        piece = self._take_off(ticket, call)
        if piece is None:
            return None
        self._rates.append(seconds / len(piece.job.rows))
        if call.doubtful(value) and not piece.doubted:
            piece.doubted = True
            piece.refused.add(ticket.worker)
            text = f"no number for {_named(piece.job)}; asked for once more"
            self._tell("not a number", ticket, text)
            self._again(piece, call)
            return None
        for other in list(piece.tickets):
            self._crew.cancel(other)
            self._forget(other, call)
        call.open -= 1
        self.answered += len(piece.job.rows)
        return piece.index, value

    def _fail(self, ticket: Ticket, error: str, call: _Call) -> None:
        piece = self._take_off(ticket, call)
        self._leave(ticket.worker, call)
        text = f"{error}, over {_named(ticket.job)}; others take its work"
        self._tell("evaluator failed", ticket, text)
        if piece is not None:
            self._count_error(piece, error)
            self._again(piece, call)

    def _count_error(self, piece: _Piece, error: str) -> None:
        piece.errors.append(error)
        if len(piece.errors) >= TRIES:
            raise EvaluatorError(
                f"{_named(piece.job)}: failed on {TRIES} evaluators; the last: {error}"
            )

    def _again(self, piece: _Piece, call: _Call) -> None:
        """Put a piece in front, unless another worker has it as well."""
        if not piece.tickets:
            call.waiting.appendleft(piece)

    def _take_off(self, ticket: Ticket, call: _Call) -> _Piece | None:
        """Take a ticket off its worker; its piece, if an answer is still wanted."""
        queue = self._queues.get(ticket.worker, deque())
        if ticket not in queue:
            return None
        begun = queue[0] is ticket
        queue.remove(ticket)
        self._free[ticket.worker] = None
        piece = self._forget(ticket, call)
        if begun and queue:
            self._begin(queue[0], call)
        return piece

    def _forget(self, ticket: Ticket, call: _Call) -> _Piece | None:
        """Its answer will not be waited for; its worker may have it still."""
        call.next_up.pop(ticket, None)
        call.begun.pop(ticket, None)
        piece = call.pieces.pop(ticket, None)
        if piece is not None:
            piece.tickets.discard(ticket)
        return piece

    # --- what goes out

    def _hand_out(self, call: _Call) -> None:
        """Give every worker that has room a piece, as long as there is something for anyone."""
        turns = deque(self._free)
        while turns and self._on_offer(call):
            worker = turns.popleft()
            piece = self._next_piece(worker, call)
            if piece is not None:
                self._give(worker, piece, call)
                if worker in self._free:
                    turns.append(worker)

    def _on_offer(self, call: _Call) -> bool:
        return bool(call.waiting or call.next_up or self._overdue(call))

    def _next_piece(self, worker: int, call: _Call) -> _Piece | None:
        """What has waited longest; for a worker without any work also what others have.

        The last pieces decide when all is done. One that only lies with another worker is taken
        from it, and one that is overdue there is given a second time.
        """
        for place, piece in enumerate(call.waiting):
            if self._may_have(worker, piece):
                del call.waiting[place]
                return piece
        if self._queues[worker]:
            return None
        for ticket in call.next_up:
            if self._may_have(worker, call.pieces[ticket]):
                piece = call.pieces[ticket]
                self._crew.cancel(ticket)
                self._forget(ticket, call)
                return piece
        overdue = self._overdue(call)
        if overdue is None or not self._may_have(worker, call.pieces[overdue]):
            return None
        self._tell_slow(overdue, worker, call)
        return call.pieces[overdue]

    def _may_have(self, worker: int, piece: _Piece) -> bool:
        """Whether a worker may try; where all have tried, any may again."""
        return worker not in piece.refused or piece.refused.issuperset(self._queues)

    def _give(self, worker: int, piece: _Piece, call: _Call) -> None:
        ticket = Ticket(worker, call.method, piece.job)
        for other in piece.tickets:
            call.begun.pop(other, None)  # two have it: nobody needs to be the third
        piece.tickets.add(ticket)
        call.pieces[ticket] = piece
        queue = self._queues[worker]
        queue.append(ticket)
        del self._free[worker]
        if len(queue) < DEPTH:
            self._free[worker] = None  # at the end: the others come first
        if len(queue) == 1:
            self._begin(ticket, call)
        else:
            call.next_up[ticket] = None
        self._crew.submit(ticket)

    def _begin(self, ticket: Ticket, call: _Call) -> None:
        """A ticket has come to the front of its worker's queue."""
        self._since[ticket.worker] = self._crew.now()
        call.next_up.pop(ticket, None)
        piece = call.pieces.get(ticket)
        if piece is not None and len(piece.tickets) == 1:
            call.begun[ticket] = None

    # --- time

    def _due_s(self, ticket: Ticket) -> float | None:
        """When a piece that was begun should have been answered; None if nobody knows."""
        if not self._rates:
            return None
        usual_s = median(self._rates) * len(ticket.job.rows)
        return self._since[ticket.worker] + max(SLOW * usual_s, usual_s + _SLOW_S)

    def _overdue(self, call: _Call) -> Ticket | None:
        """The piece that one worker alone has worked on longest, if that is too long."""
        ticket = next(iter(call.begun), None)
        due_s = None if ticket is None else self._due_s(ticket)
        return ticket if due_s is not None and self._crew.now() > due_s else None

    def _patience(self, call: _Call) -> float:
        """How long to wait: until a piece may be overdue, where somebody could take it."""
        ticket = next(iter(call.begun), None)
        due_s = self._due_s(ticket) if ticket is not None and self._free else None
        if due_s is None:
            return _LOOK_S
        return min(max(due_s - self._crew.now(), 0.02), _LOOK_S)

    def _tell_slow(self, ticket: Ticket, helper: int, call: _Call) -> None:
        if ticket.worker in call.slow:
            return
        call.slow.add(ticket.worker)
        seconds = self._crew.now() - self._since[ticket.worker]
        usual_s = median(self._rates) * len(ticket.job.rows)
        self._tell(
            "slow worker",
            ticket,
            f"{seconds:.1f} s over {_named(ticket.job)}, where {usual_s:.1f} s are usual; "
            f"worker {helper} does it too, and the first answer counts",
        )

    def _tell(self, kind: Kind, ticket: Ticket, text: str) -> None:
        self._on_event(PoolEvent.now(kind, f"worker {ticket.worker}", text))
