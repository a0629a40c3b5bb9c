"""What happens to the workers of a real cluster changes no answer, and all of it is told."""

from __future__ import annotations

import logging
import os
import signal
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from itertools import chain
from math import isnan
from pathlib import Path
from typing import Any

import pytest
import ray
from ray.cluster_utils import Cluster
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy
from toy_evaluators import ToyArchitecture, ToyEvaluator, ToySpec, processes, toy_scores

from evaluators.job import Job, Scores
from evaluators.placement import Placement
from evaluators.pool import EvaluatorPool, Evaluators
from evaluators.pool_events import PoolEvent
from evaluators.work import EvaluatorError

ROWS = range(12)  # three batches
JOBS = [Job(ToyArchitecture(name), ROWS) for name in "abcdefgh"]
EXPECTED = {job.architecture.id: toy_scores(job.architecture, ROWS) for job in JOBS}


@pytest.fixture(scope="module")
def cluster() -> Iterator[Cluster]:
    """A head without room for evaluators and two nodes with room for one each."""
    noticing = {  # that a node is gone, sooner than within half a minute
        "health_check_initial_delay_ms": 500,
        "health_check_period_ms": 500,
        "health_check_failure_threshold": 4,
    }
    head = {"num_cpus": 0, "include_dashboard": False, "_system_config": noticing}
    with pytest.MonkeyPatch.context() as patch:
        here = os.path.dirname(__file__)  # workers have to find the toys
        patch.setenv("PYTHONPATH", os.pathsep.join([here, *filter(None, sys.path)]))
        patch.setenv("RAY_worker_niceness", "0")  # else other load on the machine starves them
        cluster = Cluster(initialize_head=True, head_node_args=head)
        for _ in range(2):
            cluster.add_node(num_cpus=1)
        ray.init(address=cluster.address, log_to_driver=False, logging_level=logging.ERROR)
        cluster.wait_for_nodes()
        yield cluster
        ray.shutdown()
        cluster.shutdown()


TOLD: list[PoolEvent] = []


@pytest.fixture
def events() -> list[PoolEvent]:
    """What this test hears of any pool."""
    TOLD.clear()
    return TOLD


@pytest.fixture(scope="module")
def two_workers(cluster: Cluster) -> Iterator[EvaluatorPool]:
    with open_pool(2) as pool:
        yield pool


def open_pool(workers: int, **options: Any) -> EvaluatorPool:
    return EvaluatorPool(workers, on_event=TOLD.append, factory=ToyEvaluator, **options)


def ready(pool: EvaluatorPool, folder: Path, **settings: Any) -> Evaluators:
    evaluators = pool.evaluators(ToySpec(str(folder), **settings))
    evaluators.load_weights({})
    return evaluators


def gathered(answers: Iterator[tuple[Job, Scores]]) -> dict[str, Scores]:
    found = [(job.architecture.id, scores) for job, scores in answers]
    assert len(found) == len(dict(found))  # every job is answered once
    return dict(found)


def kinds(events: list[PoolEvent]) -> set[str]:
    """Of what happened, but for slowness: that any worker has on a machine with other load."""
    return {event.kind for event in events} - {"slow worker"}


def ask_until(evaluators: Evaluators, condition: Callable[[], bool]) -> None:
    """Things are noticed and mended while answers are waited for."""
    end = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < end, "it did not happen"
        assert gathered(evaluators.scores(JOBS)) == EXPECTED


def test_nothing_is_told_where_nothing_happens(
    two_workers: EvaluatorPool, tmp_path: Path, events: list[PoolEvent]
) -> None:
    evaluators = ready(two_workers, tmp_path)
    ask_until(evaluators, lambda: len(processes(tmp_path)) == 2)
    assert gathered(evaluators.scores(JOBS)) == EXPECTED
    assert gathered(evaluators.scores(JOBS[:1])) == {"a": EXPECTED["a"]}
    assert kinds(events) == set()


def test_pictures_come_in_their_order(two_workers: EvaluatorPool, tmp_path: Path) -> None:
    parts = list(ready(two_workers, tmp_path).images(JOBS[0].architecture))
    assert parts == [(0, 1, 2, 3), (4, 5, 6, 7), (8, 9, 10, 11)]


def test_killed_processes_are_replaced(
    two_workers: EvaluatorPool, tmp_path: Path, events: list[PoolEvent]
) -> None:
    evaluators = ready(two_workers, tmp_path)
    ask_until(evaluators, lambda: len(processes(tmp_path)) == 2)
    victims = list(processes(tmp_path))
    answers = evaluators.scores(JOBS)
    first = next(answers)
    for process in victims:
        os.kill(process, signal.SIGKILL)
    assert gathered(chain([first], answers)) == EXPECTED
    ask_until(evaluators, lambda: [event.kind for event in events].count("worker joined") == 2)
    assert kinds(events) == {"worker lost", "worker joined"}
    lost = "".join(event.who for event in events if event.kind == "worker lost")
    assert all(f"process {victim} on" in lost for victim in victims)


@pytest.mark.slow  # Ray takes its time to be sure that an owner is gone
def test_lost_weights_are_put_again(
    two_workers: EvaluatorPool, tmp_path: Path, events: list[PoolEvent]
) -> None:
    evaluators = ready(two_workers, tmp_path)
    model = evaluators._model
    assert model is not None
    head = NodeAffinitySchedulingStrategy(ray.get_runtime_context().get_node_id(), soft=False)
    owner: Any = ray.remote(num_cpus=0, scheduling_strategy=head)(Owner).remote()
    (weights,) = ray.get(owner.put.remote({"weight": bytes(1_000_000)}))
    model.shared = replace(model.shared, weights=weights)
    ray.kill(owner)
    assert gathered(evaluators.scores(JOBS)) == EXPECTED
    assert kinds(events) == {"weights lost"}


class Owner:
    """Whose objects Ray loses with it."""

    def put(self, value: Any) -> list[Any]:
        return [ray.put(value)]


@pytest.mark.parametrize(
    ("fault", "told"),
    [
        ("raise", {"evaluator failed", "worker joined"}),
        ("load", {"evaluator failed", "worker joined"}),
        ("nan", {"not a number"}),
        ("memory", {"out of memory"}),
    ],
)
def test_an_evaluator_that_fails_once_changes_nothing(
    two_workers: EvaluatorPool,
    tmp_path: Path,
    events: list[PoolEvent],
    fault: str,
    told: set[str],
) -> None:
    evaluators = ready(two_workers, tmp_path, fault=fault)
    assert gathered(evaluators.scores(JOBS)) == EXPECTED
    ask_until(evaluators, lambda: kinds(events) == told)


def test_what_no_evaluator_can_do_stops_the_search(
    two_workers: EvaluatorPool, tmp_path: Path, events: list[PoolEvent]
) -> None:
    message = (
        r"prompts 4 to 7 of architecture b: failed on 3 evaluators; "
        r"the last: ZeroDivisionError: this batch$"
    )
    with pytest.raises(EvaluatorError, match=message):
        gathered(ready(two_workers, tmp_path, fault="always raise").scores(JOBS))
    assert len({event.who for event in events if event.kind == "evaluator failed"}) == 3


def test_evaluators_that_cannot_be_loaded_stop_the_search(
    two_workers: EvaluatorPool, tmp_path: Path, events: list[PoolEvent]
) -> None:
    with pytest.raises(EvaluatorError, match=r"could not be loaded; .* OSError: no such pipeline"):
        gathered(ready(two_workers, tmp_path, fault="always load").scores(JOBS))
    assert kinds(events) == {"evaluator failed"}


def test_scores_that_are_no_numbers_twice_are_passed_on(
    two_workers: EvaluatorPool, tmp_path: Path, events: list[PoolEvent]
) -> None:
    """The search says that training diverged."""
    found = gathered(ready(two_workers, tmp_path, fault="always nan").scores(JOBS))
    assert isnan(found["b"].first[4])
    assert {name for name in found if found[name] != EXPECTED[name]} == {"b"}
    assert [event.kind for event in events].count("not a number") == 1


def test_a_slow_worker_does_not_hold_up_the_others(
    two_workers: EvaluatorPool, tmp_path: Path, events: list[PoolEvent]
) -> None:
    evaluators = ready(two_workers, tmp_path, fault="slow", seconds=0.3)
    ask_until(evaluators, lambda: len(processes(tmp_path)) == 2)
    events.clear()
    start = time.monotonic()
    assert gathered(evaluators.scores(JOBS)) == EXPECTED
    took = time.monotonic() - start
    assert "slow worker" in {event.kind for event in events}
    assert kinds(events) == set()
    slowest = min(map(len, processes(tmp_path).values()))
    assert slowest <= 7, "of 24 batches and those before"
    assert took < 24 * 0.3 + 3


def test_a_node_that_comes_gets_workers(
    cluster: Cluster, two_workers: EvaluatorPool, tmp_path: Path, events: list[PoolEvent]
) -> None:
    """Of the three evaluators of a pool only one has room, beside the other pool's.

    Under other load the worker that stays may be lost too, and then another joins in its place.
    """
    labels = {"here": 1}
    node = cluster.add_node(num_cpus=1, resources=labels)
    with open_pool(2, needed=1, placement=Placement(resources=labels)) as pool:
        evaluators = ready(pool, tmp_path)
        answers = evaluators.scores(JOBS)
        first = next(answers)
        other = cluster.add_node(num_cpus=1, resources=labels)
        assert gathered(chain([first], answers)) == EXPECTED
        ask_until(evaluators, lambda: kinds(events) == {"node joined", "worker joined"})
        assert len(processes(tmp_path)) == 2

        # It goes again, unannounced, ...
        events.clear()
        answers = evaluators.scores(JOBS)
        first = next(answers)
        cluster.remove_node(other, allow_graceful=False)
        assert gathered(chain([first], answers)) == EXPECTED
        lost = {"node lost", "worker lost"}
        ask_until(evaluators, lambda: lost <= kinds(events) <= lost | {"worker joined"})

        # ... and then the last one too, until there is another.
        events.clear()
        pool._crew._on_event = lambda event: bring_back(event)
        back: list[Any] = []

        def bring_back(event: PoolEvent) -> None:
            events.append(event)
            if event.kind == "no room":
                back.append(cluster.add_node(num_cpus=1, resources=labels))

        answers = evaluators.scores(JOBS)
        first = next(answers)
        cluster.remove_node(node)
        assert gathered(chain([first], answers)) == EXPECTED
        assert kinds(events) >= {"worker lost", "node lost", "no room", "worker joined"}
    cluster.remove_node(back[0])
