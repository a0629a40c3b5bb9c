"""What the evaluators of a pool answer about, as the driver keeps and shares it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import ray
from torch import Tensor

from evaluators.evaluator import EvaluatorSpec
from evaluators.worker import SharedModel


@dataclass(eq=False)
class Model:
    """What evaluators answer about; kept here, so that what the cluster loses is put again.

    Attributes:
        spec: of the evaluators.
        digest: of the weights.
        weights: of the UNet, on the CPU.
        shared: both in Ray's object store.
    """

    spec: EvaluatorSpec
    digest: str
    weights: Mapping[str, Tensor]
    shared: SharedModel

    @classmethod
    def put(cls, spec: EvaluatorSpec, digest: str, weights: Mapping[str, Tensor]) -> Model:
        return cls(spec, digest, weights, _share(spec, digest, weights))

    def put_again(self) -> None:
        self.shared = _share(self.spec, self.digest, self.weights)


def _share(spec: EvaluatorSpec, digest: str, weights: Mapping[str, Tensor]) -> SharedModel:
    return SharedModel(digest, ray.put(spec), ray.put(dict(weights)))
