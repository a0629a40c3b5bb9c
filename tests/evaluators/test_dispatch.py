"""Handing out work, on simulated workers: every job is answered once, and nobody waits in vain."""

from __future__ import annotations

from collections import deque

import pytest
from hypothesis import given
from hypothesis import strategies as st
from toy_evaluators import ToyArchitecture

from evaluators.dispatch import Dispatcher
from evaluators.job import Job
from evaluators.pool_events import PoolEvent
from evaluators.work import EvaluatorError, Joined, Left, Ticket
from experiments.benchmarks.simulated_evaluators import SimulatedCrew

FOREVER = 1000


def still() -> float:
    """A clock without time: the dispatcher takes none."""
    return 0.0


class MortalCrew(SimulatedCrew):
    """Workers that die over the piece after their last; a new one comes in the place of each."""

    def __init__(self, lives: list[int], durations: list[float]) -> None:
        super().__init__(
            len(lives), lambda ticket: durations[ticket.worker % len(durations)], clock=still
        )
        self.lives = dict(enumerate(lives))
        self.lives_of_new = FOREVER

    def _end(self, moment: float, order: int, ticket: Ticket) -> None:
        worker = ticket.worker
        if self.lives[worker]:
            self.lives[worker] -= 1
            super()._end(moment, order, ticket)
            return
        new = 1 + max(self._queues)
        self.lives[new] = self.lives_of_new
        self._queues[new] = deque()
        self._reports += [Left(worker), Joined(new)]


def jobs_of(count: int) -> list[Job]:
    return [Job(ToyArchitecture(str(i)), range(1)) for i in range(count)]


def places(dispatcher: Dispatcher, count: int) -> list[int]:
    return [place for place, _ in dispatcher.answers("scores", jobs_of(count))]


def crew_of(durations: list[float]) -> SimulatedCrew:
    return SimulatedCrew(len(durations), lambda ticket: durations[ticket.worker], clock=still)


@pytest.fixture
def events() -> list[PoolEvent]:
    return []


@given(
    count=st.integers(0, 40),
    lives=st.lists(st.sampled_from([0, 1, 3, FOREVER]), min_size=1, max_size=6).filter(
        lambda lives: len(lives) - lives.count(FOREVER) <= 2
    ),
    durations=st.lists(st.floats(0.1, 20), min_size=1, max_size=6),
)
def test_every_job_is_answered_once_whoever_dies(
    count: int, lives: list[int], durations: list[float]
) -> None:
    dispatcher = Dispatcher(MortalCrew(lives, durations), lambda event: None)
    for _ in range(2):  # what is left of the first call does not disturb the second
        assert sorted(places(dispatcher, count)) == list(range(count))
    assert dispatcher.answered == 2 * count
    assert dispatcher.workers <= len(lives)


def test_a_job_that_kills_its_workers_stops_the_search(events: list[PoolEvent]) -> None:
    crew = MortalCrew([0], [1.0])
    crew.lives_of_new = 0
    with pytest.raises(EvaluatorError, match=r"architecture 0: failed on 3 evaluators; .* died"):
        places(Dispatcher(crew, events.append), 1)


def test_no_worker_waits_for_the_driver(events: list[PoolEvent]) -> None:
    crew = SimulatedCrew(4, lambda ticket: 1.0, ray_s=0.2, clock=still)  # it can serve five
    assert places(Dispatcher(crew, events.append), 40) == list(range(40))
    assert crew.now() < 40 / 4 + 8 * 0.2
    assert events == []


def test_jobs_are_done_in_their_order(events: list[PoolEvent]) -> None:
    done = places(Dispatcher(crew_of([1.0, 1.1, 0.9]), events.append), 30)
    assert all(abs(place - i) <= 6 for i, place in enumerate(done))


def test_the_last_pieces_are_not_left_with_a_slow_worker(events: list[PoolEvent]) -> None:
    crew = crew_of([10.0, 1.0, 1.0, 1.0, 1.0])
    assert sorted(places(Dispatcher(crew, events.append), 40)) == list(range(40))
    assert crew.now() < 40 / 4 + 2
    assert [(event.kind, event.who) for event in events] == [("slow worker", "worker 0")]


def test_a_queued_piece_goes_to_whoever_is_idle(events: list[PoolEvent]) -> None:
    """Seven pieces for four workers, one of which takes twice as long: that is not slow."""
    crew = crew_of([2.0, 1.0, 1.0, 1.0])
    assert sorted(places(Dispatcher(crew, events.append), 7)) == list(range(7))
    assert crew.now() <= 2
    assert events == []


def test_a_call_that_was_broken_off_leaves_nothing_behind(events: list[PoolEvent]) -> None:
    dispatcher = Dispatcher(crew_of([10.0, 1.0]), events.append)
    answers = dispatcher.answers("scores", jobs_of(20))
    next(answers)
    answers.close()
    assert sorted(places(dispatcher, 5)) == list(range(5))
