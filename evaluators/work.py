"""Pieces of work, who has them, and what becomes of them: how a dispatcher and its crew talk."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol, TypeAlias

from evaluators.job import Job

TRIES = 3  # of a piece, or of loading evaluators, before the search stops


class EvaluatorError(RuntimeError):
    """Work that no evaluator can do; the message names the architecture and the last error."""


@dataclass(frozen=True, eq=False)
class Ticket:
    """A piece of work in the hands of a worker.

    Attributes:
        worker: its number.
        method: of the evaluator: ``scores``, ``images`` or ``pairs``.
        job: what it is called with.
    """

    worker: int
    method: str
    job: Job


@dataclass(frozen=True)
class Joined:
    """A worker is ready for work."""

    worker: int


@dataclass(frozen=True)
class Left:
    """A worker is no longer there; what it had has to be done by others."""

    worker: int


@dataclass(frozen=True)
class Answered:
    """A worker has done its piece."""

    ticket: Ticket
    value: Any


@dataclass(frozen=True)
class Failed:
    """The evaluator raised: ``error`` is the last line of it, and the worker is no longer there."""

    ticket: Ticket
    error: str


@dataclass(frozen=True)
class Cancelled:
    """A piece was taken back before it was begun."""

    ticket: Ticket


Report: TypeAlias = Joined | Left | Answered | Failed | Cancelled


class Crew(Protocol):
    """Workers by number; no number is given twice. Each does its pieces in their order."""

    def now(self) -> float:
        """Seconds since some moment."""

    def submit(self, ticket: Ticket) -> None:
        """Give a piece to a worker."""

    def cancel(self, ticket: Ticket) -> None:
        """Take a piece back, unless it is at work already; either way it will be reported."""

    def wait(self, timeout_s: float) -> Sequence[Report]:
        """What happened since the last call; waits for the first thing to happen."""
