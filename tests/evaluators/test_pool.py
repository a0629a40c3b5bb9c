"""Evaluators in Ray: scores do not depend on workers, their number, or their survival."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace

import pytest
import ray
import torch
from small_models import PROMPTS, SAMPLING

from evaluators.evaluator import Evaluator, EvaluatorSpec, weights_digest
from evaluators.job import Job
from evaluators.placement import Placement
from evaluators.pool import EvaluatorPool, Evaluators
from evaluators.prompts import PromptSet
from supernet.architecture import Architecture

ByArchitecture = dict[str, tuple[float, ...]]


@contextmanager
def one_thread() -> Iterator[None]:
    """As the workers have."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def jobs_of(architectures: list[Architecture]) -> list[Job]:
    return [Job(each, range(len(PROMPTS))) for each in architectures]


@pytest.fixture(scope="module")
def local_ray() -> Iterator[str]:
    """Four CPUs of Ray for all tests of this module; its address."""
    ray.init(address="local", num_cpus=4, include_dashboard=False, log_to_driver=False)
    yield ray.get_runtime_context().gcs_address
    ray.shutdown()


@pytest.fixture(scope="module")
def one_worker(spec: EvaluatorSpec, local_ray: str) -> Iterator[EvaluatorPool]:
    with EvaluatorPool(workers=1) as pool:
        yield pool
    assert ray.is_initialized()  # a Ray that was there before is left running


@pytest.fixture(scope="module")
def two_workers(spec: EvaluatorSpec, local_ray: str) -> Iterator[EvaluatorPool]:
    with EvaluatorPool(workers=2) as pool:
        yield pool


@pytest.fixture(scope="module")
def evaluator(spec: EvaluatorSpec) -> Evaluator:
    return Evaluator(spec)


@pytest.fixture(scope="module")
def architectures(evaluator: Evaluator) -> list[Architecture]:
    full = evaluator.supernet.full()
    return [full, *(full.without([block]) for block in full)]


@pytest.fixture(scope="module")
def expected(evaluator: Evaluator, architectures: list[Architecture]) -> ByArchitecture:
    """The scores that an evaluator without Ray gives, with one thread as the workers have."""
    with one_thread():
        return {each.id: evaluator.scores(each).first for each in architectures}


@pytest.fixture(scope="module")
def weights(evaluator: Evaluator) -> dict[str, torch.Tensor]:
    return dict(evaluator.supernet.unet.state_dict())


def scores_of(evaluators: Evaluators, architectures: list[Architecture]) -> ByArchitecture:
    return {
        job.architecture.id: scores.first
        for job, scores in evaluators.scores(jobs_of(architectures))
    }


def test_scores_are_the_same_bits_with_one_worker_and_with_two(
    one_worker: EvaluatorPool,
    two_workers: EvaluatorPool,
    spec: EvaluatorSpec,
    weights: dict[str, torch.Tensor],
    architectures: list[Architecture],
    expected: ByArchitecture,
) -> None:
    assert len(set(expected.values())) > 1
    for pool in (one_worker, two_workers):
        evaluators = pool.evaluators(spec)
        assert evaluators.load_weights(weights) == weights_digest(weights)
        assert scores_of(evaluators, architectures) == expected


def test_jobs_of_several_batches_are_shared_out_and_put_together(
    two_workers: EvaluatorPool,
    evaluator: Evaluator,
    weights: dict[str, torch.Tensor],
    architectures: list[Architecture],
) -> None:
    spec = replace(evaluator.spec, sampling=SAMPLING.model_copy(update={"batch_size": 1}))
    others = two_workers.evaluators(spec)
    others.load_weights(weights)
    jobs = [Job(architectures[0], range(1, 4)), Job(architectures[1], range(4))]
    with one_thread():
        alone = Evaluator(spec)
        expected = [
            tuple(alone.scores(job.architecture, range(row, row + 1)).first[0] for row in job.rows)
            for job in jobs
        ]
    answers = dict(others.scores(jobs))
    assert [answers[job].first for job in jobs] == expected


def test_scores_follow_the_weights(
    one_worker: EvaluatorPool,
    spec: EvaluatorSpec,
    weights: dict[str, torch.Tensor],
    architectures: list[Architecture],
    expected: ByArchitecture,
) -> None:
    changed = {**weights, "conv_out.weight": 2 * weights["conv_out.weight"]}
    evaluators = one_worker.evaluators(spec)
    assert evaluators.load_weights(changed) != weights_digest(weights)
    other = scores_of(evaluators, architectures[:2])
    assert all(other[each.id] != expected[each.id] for each in architectures[:2])
    evaluators.load_weights(weights)
    assert scores_of(evaluators, architectures[:1]) == {
        architectures[0].id: expected[architectures[0].id]
    }


def test_pictures_are_the_same_bits_in_their_order(
    two_workers: EvaluatorPool, evaluator: Evaluator, weights: dict[str, torch.Tensor]
) -> None:
    """Batches are shared out; the actors draw a second set of prompts after the first."""
    prompts = PromptSet(PROMPTS.prompts[::-1], seed=1)
    spec = replace(
        evaluator.spec, prompts=prompts, sampling=SAMPLING.model_copy(update={"batch_size": 3})
    )
    full = evaluator.supernet.full()
    reduced = full.without(list(full)[:1])
    others = two_workers.evaluators(spec)
    others.load_weights(weights)
    expected = Evaluator(spec)
    with one_thread():
        for architecture in (full, reduced):
            batches = list(others.images(architecture))
            assert [len(batch) for batch in batches] == [3, 1]
            assert torch.equal(torch.cat(batches), expected.images(architecture))


@pytest.mark.usefixtures("local_ray")
def test_scores_without_weights_are_refused(
    spec: EvaluatorSpec, architectures: list[Architecture]
) -> None:
    with (
        EvaluatorPool(workers=1) as pool,
        pytest.raises(RuntimeError, match="load_weights comes before"),
    ):
        next(pool.evaluators(spec).scores(jobs_of(architectures)))


_OWN_RAY = """
import sys
import ray
from small_models import make_spec
from evaluators.scorers import ClipModel
from evaluators.evaluator import Evaluator
from evaluators.job import Job
from evaluators.pool import EvaluatorPool

pipeline, clip, address = sys.argv[1:]
spec = make_spec(pipeline, ClipModel(name=clip))
evaluator = Evaluator(spec)
with EvaluatorPool(workers=1, address=address or None) as pool:
    evaluators = pool.evaluators(spec)
    evaluators.load_weights(evaluator.supernet.unet.state_dict())
    ((_, scores),) = evaluators.scores([Job(evaluator.supernet.full(), range(len(spec.prompts)))])
    print(repr(scores.first), ray.get_runtime_context().gcs_address)
print(ray.is_initialized())
"""


@pytest.mark.slow
@pytest.mark.parametrize("joined", [False, True], ids=["own", "joined"])
def test_a_local_ray_is_started_and_stopped_and_another_one_only_joined(
    spec: EvaluatorSpec,
    architectures: list[Architecture],
    expected: ByArchitecture,
    local_ray: str,
    joined: bool,
) -> None:
    answer = subprocess.run(
        [sys.executable, "-c", _OWN_RAY, spec.pipeline, spec.scorer.name, local_ray * joined],
        env={key: value for key, value in os.environ.items() if key != "RAY_ADDRESS"}
        | {"PYTHONPATH": os.pathsep.join([os.path.dirname(__file__), *sys.path])},
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert answer.returncode == 0, answer.stderr
    *scores, address = answer.stdout.splitlines()[0].split()
    assert " ".join(scores) == repr(expected[architectures[0].id])
    assert (address == local_ray) == joined
    assert answer.stdout.splitlines()[1] == "False"
    assert ray.cluster_resources()["CPU"] == 4  # the cluster that was joined is still there


@pytest.mark.parametrize("given", ["address", "RAY_ADDRESS"])
def test_a_cluster_that_is_not_there_is_told_at_once(
    monkeypatch: pytest.MonkeyPatch, given: str
) -> None:
    monkeypatch.setattr(ray, "is_initialized", lambda: False)  # else a pool joins that one
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{unused.getsockname()[1]}"
        monkeypatch.setenv("RAY_ADDRESS", address)
        with pytest.raises(ConnectionError, match=rf"no Ray cluster at '{address}' \(.*refused"):
            EvaluatorPool(workers=1, address=address if given == "address" else None)


def test_a_cluster_is_filled_by_default(local_ray: str) -> None:
    for threads, workers in ((1, 4), (3, 1)):
        with EvaluatorPool(placement=Placement(threads)) as pool:
            assert pool.workers == workers


@pytest.mark.parametrize(
    ("workers", "needed", "threads", "room"),
    [(5, None, 1, 4), (2, None, 3, 1), (None, None, 5, 0), (9, 5, 1, 4)],
)
def test_more_workers_than_a_cluster_has_room_for_are_refused(
    local_ray: str, workers: int | None, needed: int | None, threads: int, room: int
) -> None:
    """They would be waited for for ever."""
    with pytest.raises(ValueError, match=rf"4 CPUs on 1 nodes: room for {room} .*--workers"):
        EvaluatorPool(workers, needed=needed, placement=Placement(threads))


def test_what_a_cluster_lacks_is_named(local_ray: str) -> None:
    placement = Placement(gpus=0.5, resources={"big": 2})
    with pytest.raises(ValueError, match=r"4 CPUs and 0 GPUs and 0 bigs on .*0\.5 GPU and 2 big"):
        EvaluatorPool(1, placement=placement)
