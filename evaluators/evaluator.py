"""One evaluator: draws its prompts with an architecture and scores the pictures."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass

import torch
from torch import Tensor

from evaluators.clip_score import ClipModel, ClipScorer
from evaluators.generation import SamplingSettings, convert, encode_prompts, generate
from evaluators.job import Scores
from evaluators.pipelines import load_pipeline
from evaluators.prompts import PromptSet
from supernet.architecture import Architecture
from supernet.growth import load_weights
from supernet.shared_prefix import SharedPrefix
from supernet.supernet import Supernet

_FEW_STEPS = 16  # of more, half of the first is not worth the memory that sharing it takes


@dataclass(frozen=True)
class EvaluatorSpec:
    """Everything that defines what an evaluator answers, apart from the UNet's weights.

    Attributes:
        pipeline: folder or Hugging Face id of a Stable Diffusion or SDXL pipeline.
        clip: the judge.
        prompts: what is drawn, with its noise.
        sampling: steps, guidance, precision and batch size.
    """

    pipeline: str
    clip: ClipModel
    prompts: PromptSet
    sampling: SamplingSettings


class Evaluator:
    """A model replica that scores architectures; prompts are encoded once."""

    def __init__(self, spec: EvaluatorSpec) -> None:
        self.spec = spec
        self.pipeline = load_pipeline(spec.pipeline)
        convert(self.pipeline, spec.sampling)
        self.supernet = Supernet(self.pipeline.unet)
        self.prefix = SharedPrefix(self.pipeline.unet)
        self.scorer = ClipScorer(spec.clip)
        self.conditioning = encode_prompts(self.pipeline, spec.prompts)
        self.captions = self.scorer.embed_captions(spec.prompts.prompts)

    def load_weights(self, weights: Mapping[str, Tensor]) -> None:
        """Take over a supernet's weights, those of its copies with them."""
        load_weights(self.supernet.unet, weights)
        self.prefix.forget()

    def images(self, architecture: Architecture, rows: range | None = None) -> Tensor:
        """Pictures of the prompts, or of some of them, ``(n, 3, height, width)`` in [0, 1]."""
        spec = self.spec
        rows = rows if rows is not None else range(len(spec.prompts))
        with self.supernet.running(architecture), self._shared_prefix(architecture, rows):
            return generate(self.pipeline, spec.prompts, self.conditioning, spec.sampling, rows)

    def scores(self, architecture: Architecture, rows: range | None = None) -> Scores:
        """Scores of all prompts, or of some of them, in their order."""
        rows = rows if rows is not None else range(len(self.spec.prompts))
        captions = self.captions[list(rows)]
        return Scores(tuple(self.scorer.score(self.images(architecture, rows), captions).tolist()))

    def _shared_prefix(
        self, architecture: Architecture, rows: range
    ) -> AbstractContextManager[None]:
        """The first step of a drawing begins alike for all architectures."""
        sampling = self.spec.sampling
        if sampling.num_inference_steps > _FEW_STEPS:
            return nullcontext()
        return self.prefix.first_pass(architecture, rows[: sampling.batch_size])


def weights_digest(weights: Mapping[str, Tensor]) -> str:
    """Twelve hexadecimal digits of the SHA-256 of named weights."""
    digest = hashlib.sha256()
    for name in sorted(weights):
        digest.update(name.encode())
        flat = weights[name].detach().contiguous().cpu().view(-1)
        digest.update(flat.view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()[:12]
