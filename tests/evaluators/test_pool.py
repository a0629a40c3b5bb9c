"""Evaluators in Ray: scores do not depend on workers, their number, or their survival."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace

import pytest
import ray
import torch
from small_models import PROMPTS, SAMPLING

from evaluators.evaluator import Evaluator, EvaluatorSpec, weights_digest
from evaluators.job import Job
from evaluators.pool import EvaluatorPool, Evaluators
from evaluators.prompts import PromptSet
from supernet.architecture import Architecture

ByArchitecture = dict[str, tuple[float, ...]]


def jobs_of(architectures: list[Architecture]) -> list[Job]:
    return [Job(each, range(len(PROMPTS))) for each in architectures]


@pytest.fixture(scope="module")
def local_ray() -> Iterator[str]:
    """Four CPUs of Ray for all tests of this module; its address."""
    ray.init(address="local", num_cpus=4, include_dashboard=False, log_to_driver=False)
    yield ray.get_runtime_context().gcs_address
    ray.shutdown()


@pytest.fixture(scope="module")
def one_worker(spec: EvaluatorSpec, local_ray: str) -> Iterator[Evaluators]:
    with EvaluatorPool(workers=1) as pool:
        yield pool.evaluators(spec)
    assert ray.is_initialized()  # a Ray that was there before is left running


@pytest.fixture(scope="module")
def two_workers(spec: EvaluatorSpec, local_ray: str) -> Iterator[Evaluators]:
    with EvaluatorPool(workers=2) as pool:
        yield pool.evaluators(spec)


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
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    scores = {each.id: evaluator.scores(each).first for each in architectures}
    torch.set_num_threads(threads)
    return scores


@pytest.fixture(scope="module")
def weights(evaluator: Evaluator) -> dict[str, torch.Tensor]:
    return dict(evaluator.supernet.unet.state_dict())


def scores_of(evaluators: Evaluators, architectures: list[Architecture]) -> ByArchitecture:
    return {
        job.architecture.id: scores.first
        for job, scores in evaluators.scores(jobs_of(architectures))
    }


def kill_workers(evaluators: Evaluators) -> None:
    """End the processes of all actors, as a crash or a lack of memory would."""
    for actor in evaluators._actors:
        process = ray.get(actor.__ray_call__.remote(lambda _: os.getpid()))
        os.kill(process, signal.SIGKILL)


def test_scores_are_the_same_bits_with_one_worker_and_with_two(
    one_worker: Evaluators,
    two_workers: Evaluators,
    weights: dict[str, torch.Tensor],
    architectures: list[Architecture],
    expected: ByArchitecture,
) -> None:
    assert len(set(expected.values())) > 1
    for evaluators in (one_worker, two_workers):
        assert evaluators.load_weights(weights) == weights_digest(weights)
        assert scores_of(evaluators, architectures) == expected


def test_killed_workers_are_survived(
    two_workers: Evaluators,
    weights: dict[str, torch.Tensor],
    architectures: list[Architecture],
    expected: ByArchitecture,
) -> None:
    two_workers.load_weights(weights)
    results = two_workers.scores(jobs_of(architectures))
    answers = [next(results)]
    kill_workers(two_workers)  # with most architectures still to be scored
    answers += results
    assert {job.architecture.id: scores.first for job, scores in answers} == expected


def test_scores_follow_the_weights(
    one_worker: Evaluators,
    weights: dict[str, torch.Tensor],
    architectures: list[Architecture],
    expected: ByArchitecture,
) -> None:
    changed = {**weights, "conv_out.weight": 2 * weights["conv_out.weight"]}
    assert one_worker.load_weights(changed) != weights_digest(weights)
    other = scores_of(one_worker, architectures[:2])
    assert all(other[each.id] != expected[each.id] for each in architectures[:2])
    one_worker.load_weights(weights)
    assert scores_of(one_worker, architectures[:1]) == {
        architectures[0].id: expected[architectures[0].id]
    }


def test_pictures_are_the_same_bits_in_their_order(
    two_workers: Evaluators, evaluator: Evaluator, weights: dict[str, torch.Tensor]
) -> None:
    """Batches are shared out; the actors draw a second set of prompts after the first."""
    prompts = PromptSet(PROMPTS.prompts[::-1], seed=1)
    spec = replace(
        evaluator.spec, prompts=prompts, sampling=SAMPLING.model_copy(update={"batch_size": 3})
    )
    full = evaluator.supernet.full()
    reduced = full.without(list(full)[:1])
    others = Evaluators(two_workers._actors, spec)
    others.load_weights(weights)
    expected = Evaluator(spec)
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    for architecture in (full, reduced):
        batches = list(others.images(architecture))
        assert [len(batch) for batch in batches] == [3, 1]
        assert torch.equal(torch.cat(batches), expected.images(architecture))
    torch.set_num_threads(threads)


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
        with EvaluatorPool(threads=threads) as pool:
            assert pool.workers == workers


@pytest.mark.parametrize(("workers", "threads", "room"), [(5, 1, 4), (2, 3, 1), (None, 5, 0)])
def test_more_workers_than_a_cluster_has_room_for_are_refused(
    local_ray: str, workers: int | None, threads: int, room: int
) -> None:
    """They would be waited for for ever."""
    with pytest.raises(ValueError, match=rf"4 CPUs on 1 nodes: room for {room} .*--workers"):
        EvaluatorPool(workers, threads=threads)
