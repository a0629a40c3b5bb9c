"""What scores architectures keeps the contract of evaluators, with Ray and without."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import pytest
from small_models import SAMPLING

from evaluators.contract import EvaluatorContract
from evaluators.evaluator import Evaluator, EvaluatorSpec
from evaluators.job import Job, Scores
from evaluators.pool import EvaluatorPool, Evaluators
from evaluators.scorers import CaptionAccuracy
from supernet.architecture import Architecture


@pytest.fixture(scope="module")
def evaluator(spec: EvaluatorSpec) -> Evaluator:
    sampling = SAMPLING.model_copy(update={"batch_size": 3})
    second = CaptionAccuracy(name=spec.scorer.name)
    return Evaluator(replace(spec, sampling=sampling, second=second))


@pytest.fixture(scope="module")
def full(evaluator: Evaluator) -> Architecture:
    return evaluator.supernet.full()


@dataclass(frozen=True)
class _Alone:
    """An evaluator that is asked directly."""

    evaluator: Evaluator

    @property
    def spec(self) -> EvaluatorSpec:
        return self.evaluator.spec

    def scores(self, jobs: Sequence[Job]) -> Iterator[tuple[Job, Scores]]:
        return ((job, self.evaluator.scores(job.architecture, job.rows)) for job in jobs)


class TestEvaluator(EvaluatorContract):
    @pytest.fixture
    def evaluators(self, evaluator: Evaluator) -> _Alone:
        return _Alone(evaluator)


@pytest.fixture(scope="module")
def in_ray(evaluator: Evaluator) -> Iterator[Evaluators]:
    with EvaluatorPool(workers=1) as pool:
        evaluators = pool.evaluators(evaluator.spec)
        evaluators.load_weights(evaluator.supernet.unet.state_dict())
        yield evaluators


class TestPool(EvaluatorContract):
    @pytest.fixture
    def evaluators(self, in_ray: Evaluators) -> Evaluators:
        return in_ray
