"""Evaluators as Ray actors: model replicas that share the work of scoring architectures."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from types import TracebackType
from typing import Any

import ray
import torch
from ray.util import ActorPool
from torch import Tensor

from evaluators.evaluator import Evaluator, EvaluatorSpec, weights_digest
from evaluators.job import Job, Scores
from evaluators.ray_session import ray_session
from supernet.architecture import Architecture


class _Worker:
    """What runs in an actor.

    Everything comes with every call and is loaded when it is new, so that an actor which was
    restarted has it too. (Ray cannot restart one whose constructor took a large value.)
    """

    def __init__(self, threads: int) -> None:
        torch.set_num_threads(threads)
        self.evaluator: Evaluator | None = None
        self.loaded: str | None = None

    def scores(
        self, spec: EvaluatorSpec, digest: str, weights: Mapping[str, Tensor], job: Job
    ) -> tuple[Job, Scores]:
        return job, self._ready(spec, digest, weights).scores(job.architecture, job.rows)

    def images(
        self,
        spec: EvaluatorSpec,
        digest: str,
        weights: Mapping[str, Tensor],
        architecture: Architecture,
        rows: range,
    ) -> Tensor:
        return self._ready(spec, digest, weights).images(architecture, rows)

    def _ready(self, spec: EvaluatorSpec, digest: str, weights: Mapping[str, Tensor]) -> Evaluator:
        if self.evaluator is None or self.evaluator.spec != spec:
            self.evaluator = self.loaded = None  # first, so that two models are never held at once
            self.evaluator = Evaluator(spec)
        if digest != self.loaded:
            self.evaluator.load_weights(weights)
            self.loaded = digest
        return self.evaluator


class EvaluatorPool:
    """Evaluators on this machine or on a Ray cluster; see :meth:`evaluators` for their work.

    Args:
        workers: number of actors; by default as many as this machine, or the cluster, has room for.
        threads: CPU threads, and Ray CPUs, of each actor.
        address: of a Ray cluster; by default ``RAY_ADDRESS`` if set, else a local Ray that
            is started here and stopped on leaving.
        spare_cpus: CPUs of Ray that are left to others, such as workers that train.

    Raises:
        ConnectionError: if there is no cluster at ``address``.
        ValueError: if the cluster has not room for so many workers.
    """

    def __init__(
        self,
        workers: int | None = None,
        *,
        threads: int = 1,
        address: str | None = None,
        spare_cpus: int = 0,
    ) -> None:
        local = workers or max(1, (os.cpu_count() or 1) // threads)
        with ExitStack() as stack:
            stack.enter_context(ray_session(local * threads + spare_cpus, address))
            self.workers = _workers_with_room(workers, threads, spare_cpus)
            self._session = stack.pop_all()
        actor: Any = ray.remote(num_cpus=threads, max_restarts=-1, max_task_retries=-1)(_Worker)
        self._actors = [actor.remote(threads) for _ in range(self.workers)]

    def __enter__(self) -> EvaluatorPool:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        for actor in self._actors:
            ray.kill(actor)
        self._session.close()

    def evaluators(self, spec: EvaluatorSpec) -> Evaluators:
        """The actors as evaluators of one kind; one kind at a time, as each replaces the last."""
        return Evaluators(self._actors, spec)


class Evaluators:
    """The evaluators of a pool, for one :class:`EvaluatorSpec`.

    What they answer does not depend on their number: every architecture is scored, and every batch
    drawn, by one of them, with the same number of threads.
    """

    def __init__(self, actors: Sequence[Any], spec: EvaluatorSpec) -> None:
        self.spec = spec
        self._actors = actors
        self._shared_spec = ray.put(spec)
        self._weights: tuple[str, Any] | None = None

    def load_weights(self, weights: Mapping[str, Tensor]) -> str:
        """Hand new UNet weights to all evaluators, through the object store, once.

        Returns:
            The weights' digest, which scores are recorded under.
        """
        digest = weights_digest(weights)
        if self._weights is None or self._weights[0] != digest:
            shared = {name: value.detach().cpu() for name, value in weights.items()}
            self._weights = (digest, ray.put(shared))
        return digest

    def scores(self, jobs: Sequence[Job]) -> Iterator[tuple[Job, Scores]]:
        """Scores of every job, as they become known.

        Raises:
            RuntimeError: if no weights were loaded yet.
        """
        model = self._model()
        yield from ActorPool(self._actors).map_unordered(
            lambda actor, job: actor.scores.remote(*model, job), list(jobs)
        )

    def images(self, architecture: Architecture) -> Iterator[Tensor]:
        """Pictures of all prompts in their order, a batch at a time; see :meth:`Evaluator.images`.

        Raises:
            RuntimeError: if no weights were loaded yet.
        """
        model = self._model()
        count, batch = len(self.spec.prompts), self.spec.sampling.batch_size
        yield from ActorPool(self._actors).map(
            lambda actor, rows: actor.images.remote(*model, architecture, rows),
            [range(start, min(start + batch, count)) for start in range(0, count, batch)],
        )

    def _model(self) -> tuple[Any, str, Any]:
        """What every call to an actor begins with."""
        if self._weights is None:
            raise RuntimeError("load_weights comes before scores and images")
        return self._shared_spec, *self._weights


def _workers_with_room(wanted: int | None, threads: int, spare_cpus: int) -> int:
    """How many workers to start: actors beyond a cluster's room would be waited for for ever."""
    cpus = [int(node["Resources"].get("CPU", 0)) for node in ray.nodes() if node["Alive"]]
    room = min(sum(count // threads for count in cpus), (sum(cpus) - spare_cpus) // threads)
    if (wanted or 1) > room:
        raise ValueError(
            f"the Ray cluster has {sum(cpus)} CPUs on {len(cpus)} nodes"
            f"{f', {spare_cpus} of them for training' if spare_cpus else ''}: room for {room} "
            f"evaluators of {threads} threads, fewer than the {wanted or 1} needed; lower "
            "workers.count (--workers) or workers.threads, or add nodes first"
        )
    return wanted or room
