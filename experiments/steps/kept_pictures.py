"""Pictures of a comparison on disk, so that one that was killed draws none of them again."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from evaluators.evaluator import EvaluatorSpec, companions_digest, weights_digest
from evaluators.job import Scores
from evaluators.pipelines import Pipeline
from experiments.comparison import Pictures
from experiments.steps.folder import digest_of
from experiments.steps.measures import Drawing
from supernet.checkpoint import load_tensors, save_tensors


@dataclass(frozen=True)
class KeptPictures:
    """Sets of pictures with their scores, each under a digest of all that they follow from.

    Attributes:
        folder: of the files, one for each set; it need not be there.
    """

    folder: Path

    def __contains__(self, key: str) -> bool:
        return self._file(key).exists()

    def load(self, key: str) -> Pictures:
        """A set as it was drawn.

        Raises:
            CheckpointError: if its file is missing or damaged.
        """
        tensors, _ = load_tensors(self._file(key))
        scores = (tuple(tensors[name].tolist()) for name in ("first", "second"))
        return Pictures(tensors["images"], Scores(*scores))

    def save(self, key: str, pictures: Pictures) -> None:
        scores = {"first": pictures.scores.first, "second": pictures.scores.second}
        tensors = {name: _exact(values) for name, values in scores.items()}
        save_tensors(self._file(key), {"images": pictures.images, **tensors}, {})

    def _file(self, key: str) -> Path:
        return self.folder / f"{key}.safetensors"


def _exact(values: Sequence[float]) -> Tensor:
    return torch.tensor(values, dtype=torch.float64)


def picture_keys(
    pipeline: Pipeline, drawings: Sequence[Drawing], spec: EvaluatorSpec
) -> dict[Drawing, str]:
    """What each of a pipeline's drawings is kept under.

    Args:
        pipeline: as it was opened, in fp32.
        drawings: of it.
        spec: prompts, judges and sampling.
    """
    prompts = spec.prompts
    common = digest_of(
        weights_digest(pipeline.unet.state_dict()),
        companions_digest(pipeline),
        prompts.id,
        str(prompts.distractors),
        spec.sampling.model_dump_json(),
        *(judge.model_dump_json() for judge in spec.judges),
    )
    return {each: digest_of(common, str(each.steps), str(each.guidance_scale)) for each in drawings}
