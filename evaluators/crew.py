"""Evaluators as Ray actors that come and go with the cluster's nodes."""

from __future__ import annotations

import time
from collections.abc import Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from itertools import count
from queue import Empty, SimpleQueue
from typing import Any

import ray
from ray.exceptions import ObjectLostError, RayActorError, RayTaskError, TaskCancelledError

from evaluators.model import Model
from evaluators.nodes import alive_nodes, node_name, resources_of
from evaluators.placement import Placement
from evaluators.pool_events import Kind, OnEvent, PoolEvent
from evaluators.work import (
    TRIES,
    Answered,
    Cancelled,
    EvaluatorError,
    Failed,
    Joined,
    Left,
    Report,
    Ticket,
)
from evaluators.worker import Answer, EvaluatorFactory, Home, SharedModel, Worker

_LOOK_EVERY_S = 2.0  # at the cluster's nodes


@dataclass(eq=False)
class _Member:
    """An actor.

    Attributes:
        number: that the dispatcher knows it by.
        actor: Ray's handle.
        home: where it lives; None until it has loaded the model at hand.
        expected: whether it was there from the beginning, or has been told of.
    """

    number: int
    actor: Any
    home: Home | None = None
    expected: bool = False


@dataclass(frozen=True, eq=False)
class _Loading:
    """A model on its way to an actor."""

    member: _Member
    model: Model
    shared: SharedModel


class RayCrew:
    """A :class:`evaluators.work.Crew` of Ray actors.

    An actor that dies or whose evaluator raises is not mended but replaced: by a new one with a
    new number, wherever the cluster has room, at once or later.

    Args:
        wanted: number of actors.
        placement: what each takes of its node.
        spare_cpus: CPUs that are left to others.
        factory: makes their evaluators.
        on_event: told of what happens to actors and nodes.
    """

    def __init__(
        self,
        wanted: int,
        placement: Placement,
        spare_cpus: int,
        factory: EvaluatorFactory,
        on_event: OnEvent,
    ) -> None:
        self._wanted = wanted
        self._placement = placement
        self._spare_cpus = spare_cpus
        self._factory = factory
        self._on_event = on_event
        # The strategy said, they are not kept to the placement group of a trial that starts them.
        self._actor_class: Any = ray.remote(
            **placement.options,
            scheduling_strategy="DEFAULT",
            max_restarts=0,
            max_task_retries=0,
        )(Worker)
        self._numbers = count(1)
        self._members: dict[int, _Member] = {}
        self._model: Model | None = None
        self._calls: dict[Ticket, Any] = {}
        self._done: SimpleQueue[tuple[Ticket | _Loading, Future[Any]]] = SimpleQueue()
        self._reports: list[Report] = []
        self._failed_loads = 0  # in succession
        self._nodes = alive_nodes()
        self._looked = time.monotonic()
        self._told_no_room = False
        self._fill()
        for member in list(self._members.values())[: self._room()]:
            member.expected = True

    def close(self) -> None:
        """End all actors."""
        for member in self._members.values():
            ray.kill(member.actor)
        self._members.clear()

    def use(self, model: Model) -> None:
        """Let all actors load a model, unless it is the one that they have."""
        if model is self._model:
            return
        self._model = model
        for member in self._members.values():
            if member.home is not None:
                member.home = None
                self._reports.append(Left(member.number))
            self._load(member)

    # --- what the dispatcher asks for

    def now(self) -> float:
        return time.monotonic()

    def submit(self, ticket: Ticket) -> None:
        actor = self._members[ticket.worker].actor
        call = actor.work.remote(ticket.method, ticket.job)
        self._calls[ticket] = call
        self._expect(ticket, call)

    def cancel(self, ticket: Ticket) -> None:
        if ticket in self._calls:
            ray.cancel(self._calls[ticket])

    def wait(self, timeout_s: float) -> Sequence[Report]:
        self._look_around()
        try:
            if not self._reports:
                self._take(*self._done.get(timeout=timeout_s))
            while True:
                self._take(*self._done.get_nowait())
        except Empty:
            pass
        reports, self._reports = self._reports, []
        return reports

    # --- calls and their ends

    def _expect(self, what: Ticket | _Loading, call: Any) -> None:
        # Ray calls back from a thread of its own. Asking for all calls with ray.wait would take
        # as long as there are calls, for every single one that has ended.
        call.future().add_done_callback(lambda future: self._done.put((what, future)))

    def _take(self, what: Ticket | _Loading, future: Future[Any]) -> None:
        if isinstance(what, _Loading):
            if what.model is self._model and what.member.number in self._members:
                self._end_loading(what, future)
            return
        self._calls.pop(what, None)
        member = self._members.get(what.worker)
        if member is not None:
            self._end_call(what, member, future)

    def _end_call(self, ticket: Ticket, member: _Member, future: Future[Any]) -> None:
        error = future.exception()
        if error is None:
            answer: Answer = future.result()
            for note in answer.notes:
                self._tell("out of memory", self._name(member), note)
            self._reports.append(Answered(ticket, answer.value))
        elif isinstance(error, TaskCancelledError):
            self._reports.append(Cancelled(ticket))
        elif isinstance(error, RayActorError):
            self._lose(member, error)
        else:
            self._reports.append(Failed(ticket, _last_line(error)))
            self._remove(member)
            self._fill()

    def _load(self, member: _Member) -> None:
        assert self._model is not None
        shared = self._model.shared
        loading = _Loading(member, self._model, shared)
        self._expect(loading, member.actor.load.remote(shared))

    def _end_loading(self, loading: _Loading, future: Future[Any]) -> None:
        member, error = loading.member, future.exception()
        if error is None:
            self._join(member, future.result())
        elif isinstance(error, ObjectLostError):
            self._count_failed_load(error)
            if loading.shared is loading.model.shared:
                self._tell("weights lost", self._name(member), "the driver shares its copy again")
                loading.model.put_again()
            self._load(member)
        elif isinstance(error, RayActorError):
            self._count_failed_load(error)
            self._lose(member, error)
        else:
            self._tell("evaluator failed", self._name(member), f"{_last_line(error)}, in loading")
            self._count_failed_load(error)
            self._remove(member)
            self._fill()

    def _count_failed_load(self, error: BaseException) -> None:
        self._failed_loads += 1
        if self._failed_loads >= TRIES and not any(m.home for m in self._members.values()):
            raise EvaluatorError(
                f"{self._failed_loads} evaluators in succession could not be loaded; "
                f"the last: {_last_line(error)}"
            ) from error

    # --- who is there

    def _join(self, member: _Member, home: Home) -> None:
        member.home = home
        self._failed_loads = 0
        self._reports.append(Joined(member.number))
        if not member.expected:
            member.expected = True
            self._tell("worker joined", self._name(member), "takes part from now on")

    def _lose(self, member: _Member, error: BaseException) -> None:
        text = f"{_last_line(error)}; what it had goes to others"
        self._tell("worker lost", self._name(member), text)
        if member.home is not None:
            self._reports.append(Left(member.number))
        self._remove(member)
        self._fill()

    def _remove(self, member: _Member) -> None:
        del self._members[member.number]
        ray.kill(member.actor)  # it may live on where only the network failed

    def _room(self) -> int:
        return self._placement.room(resources_of(self._nodes), self._spare_cpus)

    def _fill(self) -> None:
        """Start the actors that are missing.

        Those without room wait in Ray's queue, which is what an autoscaling cluster grows for; but
        where CPUs are left to others, they must not wait for these.
        """
        target = min(self._wanted, self._room()) if self._spare_cpus else self._wanted
        for _ in range(target - len(self._members)):
            actor = self._actor_class.remote(
                self._factory, self._placement.threads, self._placement.device
            )
            member = _Member(next(self._numbers), actor)
            self._members[member.number] = member
            if self._model is not None:
                self._load(member)

    def _look_around(self) -> None:
        if time.monotonic() - self._looked < _LOOK_EVERY_S:
            return
        self._looked = time.monotonic()
        before, self._nodes = self._nodes, alive_nodes()
        for node in before.keys() - self._nodes.keys():
            self._tell("node lost", node_name(before[node]), "is no longer part of the cluster")
        for node in self._nodes.keys() - before.keys():
            self._tell("node joined", node_name(self._nodes[node]), "is part of the cluster now")
        self._fill()
        waiting = not self._room()
        if waiting and not self._told_no_room:
            self._tell("no room", "cluster", f"none for {self._placement}; waiting for a node")
        self._told_no_room = waiting

    def _name(self, member: _Member) -> str:
        if member.home is None:
            return f"worker {member.number}"
        node = self._nodes.get(member.home.node)
        where = node_name(node) if node else member.home.node[:6]
        return f"worker {member.number} (process {member.home.process} on {where})"

    def _tell(self, kind: Kind, who: str, text: str) -> None:
        self._on_event(PoolEvent.now(kind, who, text))


def _last_line(error: BaseException) -> str:
    """What happened, without the trace that Ray puts in front of it."""
    if isinstance(error, RayTaskError):
        return f"{type(error.cause).__name__}: {_lines(error.cause)[0]}"[:300]
    return _lines(error)[-1][:300]


def _lines(error: BaseException) -> list[str]:
    lines = [line.strip() for line in str(error).splitlines()]
    return [line for line in lines if line] or ["no reason given"]
