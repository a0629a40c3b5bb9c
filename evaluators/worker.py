"""What runs in a Ray actor: one evaluator, and what it has to be told."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

import ray

from evaluators.job import Job

if TYPE_CHECKING:
    from torch import Tensor

    from evaluators.evaluator import EvaluatorSpec


class WorkersEvaluator(Protocol):
    """What a worker needs of an evaluator, as :class:`evaluators.evaluator.Evaluator` has it.

    Besides, it has the methods that tickets name, each of an architecture and a range of rows.

    Attributes:
        notes: what it had to change to go on, in words; the worker takes them away.
    """

    notes: list[str]

    def load_weights(self, weights: Mapping[str, Tensor]) -> None: ...


# Makes an evaluator from its spec, the number of its CPU threads and its torch device.
EvaluatorFactory = Callable[["EvaluatorSpec", int, str], WorkersEvaluator]


def load_evaluator(spec: EvaluatorSpec, threads: int, device: str) -> WorkersEvaluator:
    """The evaluator that draws and judges pictures."""
    # Here, so that a process with another kind of evaluator starts without these.
    import torch

    from evaluators.evaluator import Evaluator

    torch.set_num_threads(threads)
    return Evaluator(spec, device)


@dataclass(frozen=True)
class SharedModel:
    """What evaluators answer about, in Ray's object store.

    Attributes:
        digest: of the weights.
        spec: reference to the :class:`~evaluators.evaluator.EvaluatorSpec`.
        weights: reference to the UNet's weights. As both lie within this value, Ray hands over
            the references, and a worker fetches what is new to it.
    """

    digest: str
    spec: Any
    weights: Any


@dataclass(frozen=True)
class Home:
    """Where a worker lives: Ray's id of its node, and its process there."""

    node: str
    process: int


@dataclass(frozen=True)
class Answer:
    """What an evaluator answered, and what it had to change for it."""

    value: Any
    notes: tuple[str, ...]


class Worker:
    """The actor."""

    def __init__(self, factory: EvaluatorFactory, threads: int, device: str) -> None:
        self._factory = factory
        self._threads = threads
        self._device = device
        self._evaluator: WorkersEvaluator | None = None
        self._spec: EvaluatorSpec | None = None
        self._digest: str | None = None

    def load(self, model: SharedModel) -> Home:
        """Get ready for a model; what it shares with the last one is kept."""
        spec = ray.get(model.spec)
        if self._spec != spec:
            self._evaluator = self._digest = None  # first, so that two are never held at once
            self._evaluator = self._factory(spec, self._threads, self._device)
            self._spec = spec
        assert self._evaluator is not None
        if self._digest != model.digest:
            self._evaluator.load_weights(ray.get(model.weights))
            self._digest = model.digest
        return Home(ray.get_runtime_context().get_node_id(), os.getpid())

    def work(self, method: str, job: Job) -> Answer:
        """What a method of the evaluator says of a job."""
        evaluator = self._ready()
        value = getattr(evaluator, method)(job.architecture, job.rows)
        notes, evaluator.notes = evaluator.notes, []
        return Answer(value, tuple(notes))

    def _ready(self) -> WorkersEvaluator:
        assert self._evaluator is not None, "load comes first"
        return self._evaluator
