"""A pool of evaluators that share the work of scoring architectures."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from functools import reduce
from itertools import chain
from math import isfinite
from operator import add
from types import TracebackType
from typing import Any

from torch import Tensor

from distillation.pairs import Pairs
from evaluators.crew import RayCrew
from evaluators.dispatch import Dispatcher
from evaluators.evaluator import EvaluatorSpec, weights_digest
from evaluators.job import Job, Scores
from evaluators.model import Model
from evaluators.nodes import alive_nodes, resources_of
from evaluators.placement import Placement
from evaluators.pool_events import OnEvent, PoolEvent
from evaluators.ray_session import ray_session
from evaluators.worker import EvaluatorFactory, load_evaluator
from supernet.architecture import Architecture

ONE_THREAD = Placement()


def _untold(event: PoolEvent) -> None:
    """For those who do not ask what happens to the workers."""


class EvaluatorPool:
    """Evaluators on this machine or on a Ray cluster; see :meth:`evaluators` for their work.

    Args:
        workers: number of actors; by default as many as this machine, or the cluster, has room for.
        needed: how many of them the cluster must have room for at the beginning, all by default.
            The others join as it grows.
        placement: what each takes of its node.
        address: of a Ray cluster; by default ``RAY_ADDRESS`` if set, else a local Ray that
            is started here and stopped on leaving.
        spare_cpus: CPUs of Ray that are left to others, such as workers that train.
        on_event: told what happens to the workers, while their answers are waited for.
        factory: makes the evaluators.

    Raises:
        ConnectionError: if there is no cluster at ``address``.
        ValueError: if the cluster has not room for so many workers.
    """

    def __init__(
        self,
        workers: int | None = None,
        *,
        needed: int | None = None,
        placement: Placement = ONE_THREAD,
        address: str | None = None,
        spare_cpus: int = 0,
        on_event: OnEvent = _untold,
        factory: EvaluatorFactory = load_evaluator,
    ) -> None:
        with ExitStack() as stack:
            cpus = local_cpus(workers, placement, spare_cpus)
            stack.enter_context(ray_session(cpus, address))
            least = min(filter(None, (needed, workers)), default=1)
            room = check_room(least, placement, spare_cpus)
            self.workers = workers or room
            self._crew = RayCrew(self.workers, placement, spare_cpus, factory, on_event)
            self._session = stack.pop_all()
        self._dispatcher = Dispatcher(self._crew, on_event)

    def __enter__(self) -> EvaluatorPool:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._crew.close()
        self._session.close()

    @property
    def alive(self) -> int:
        """Workers that are there and have loaded their model."""
        return self._dispatcher.workers

    @property
    def drawn(self) -> int:
        """Pictures since the pool was opened."""
        return self._dispatcher.answered

    def evaluators(self, spec: EvaluatorSpec) -> Evaluators:
        """The actors as evaluators of one kind; one kind at a time, as each replaces the last."""
        self._dispatcher.forget_durations()
        return Evaluators(self._crew, self._dispatcher, spec)


class Evaluators:
    """The evaluators of a pool, for one :class:`EvaluatorSpec`.

    What they answer does not depend on their number, nor on what becomes of them: every batch is
    drawn and judged by one of them, with the same number of threads.
    """

    def __init__(self, crew: RayCrew, dispatcher: Dispatcher, spec: EvaluatorSpec) -> None:
        self.spec = spec
        self._crew = crew
        self._dispatcher = dispatcher
        self._model: Model | None = None

    def load_weights(self, weights: Mapping[str, Tensor]) -> str:
        """Hand new UNet weights to all evaluators, through the object store, once.

        Returns:
            The weights' digest, which scores are recorded under.
        """
        digest = weights_digest(weights)
        if self._model is None or self._model.digest != digest:
            on_cpu = {name: value.detach().cpu() for name, value in weights.items()}
            self._model = Model.put(self.spec, digest, on_cpu)
        return digest

    def scores(self, jobs: Sequence[Job]) -> Iterator[tuple[Job, Scores]]:
        """Scores of every job, as they become known.

        Raises:
            RuntimeError: if no weights were loaded yet.
            EvaluatorError: if a batch failed on three evaluators.
        """
        self._use_model()
        batches = [self._batches(job) for job in jobs]
        places = [(job, part) for job, own in enumerate(batches) for part in range(len(own))]
        found: list[dict[int, Scores]] = [{} for _ in jobs]
        pieces = list(chain.from_iterable(batches))
        for place, scores in self._dispatcher.answers("scores", pieces, _no_number):
            job, part = places[place]
            found[job][part] = scores
            if len(found[job]) == len(batches[job]):
                yield jobs[job], reduce(add, (scores for _, scores in sorted(found[job].items())))

    def images(self, architecture: Architecture, rows: range | None = None) -> Iterator[Tensor]:
        """Pictures of all prompts, or of some of them, in their order, a batch at a time.

        See :meth:`Evaluator.images`.

        Raises:
            RuntimeError: if no weights were loaded yet.
            EvaluatorError: if a batch failed on three evaluators.
        """
        rows = rows if rows is not None else range(len(self.spec.prompts))
        return self._in_order("images", Job(architecture, rows))

    def pairs(self, architecture: Architecture, rows: range) -> Iterator[Pairs]:
        """Latents of some prompts, and the decoder's pictures of them, a batch at a time.

        No more are made ahead of those asked for than the workers have in hand. The pool has to
        have been opened with :func:`evaluators.pair_maker.load_pair_maker`.

        Raises:
            RuntimeError: if no weights were loaded yet.
            EvaluatorError: if a batch failed on three evaluators.
        """
        return self._in_order("pairs", Job(architecture, rows))

    def _in_order(self, method: str, job: Job) -> Iterator[Any]:
        """What evaluators answer to the batches of a job, in their order."""
        self._use_model()
        early: dict[int, Any] = {}
        following = 0
        for place, answer in self._dispatcher.answers(method, self._batches(job)):
            early[place] = answer
            while following in early:
                yield early.pop(following)
                following += 1

    def _batches(self, job: Job) -> list[Job]:
        """A job in parts of one batch each, cut as an evaluator cuts it."""
        size = self.spec.sampling.batch_size
        rows = job.rows
        return [
            Job(job.architecture, rows[start : start + size]) for start in range(0, len(rows), size)
        ]

    def _use_model(self) -> None:
        if self._model is None:
            raise RuntimeError("load_weights comes before scores and images")
        self._crew.use(self._model)


def _no_number(scores: Scores) -> bool:
    return not all(map(isfinite, scores.first + scores.second))


def local_cpus(workers: int | None, placement: Placement, spare_cpus: int = 0) -> int:
    """CPUs of a Ray on this machine alone, for workers and others beside them."""
    local = workers or max(1, (os.cpu_count() or 1) // placement.threads)
    return local * placement.threads + spare_cpus


def check_room(needed: int, placement: Placement, spare_cpus: int = 0) -> int:
    """How many workers the cluster has room for: others would be waited for for ever.

    Raises:
        ValueError: if they are fewer than needed.
    """
    nodes = resources_of(alive_nodes())
    room = placement.room(nodes, spare_cpus)
    if needed > room:
        names = ["CPU", *(name for name in placement.bundle if name != "CPU")]
        totals = [f"{sum(node.get(name, 0) for node in nodes):g} {name}s" for name in names]
        raise ValueError(
            f"the Ray cluster has {' and '.join(totals)} on {len(nodes)} nodes"
            f"{f', {spare_cpus} CPUs of them for training' if spare_cpus else ''}: room for {room} "
            f"evaluators of {placement}, fewer than the {needed} needed; lower "
            "workers.count (--workers), workers.min_count or what each of them takes, or add "
            "nodes first"
        )
    return room
