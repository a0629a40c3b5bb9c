"""One evaluator: draws its prompts with an architecture and scores the pictures."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from evaluators.generation import SamplingSettings, convert, encode_prompts, generate
from evaluators.job import Scores
from evaluators.memory import Portions, less_at_a_time
from evaluators.pipelines import Pipeline, load_pipeline
from evaluators.prompts import PromptSet
from evaluators.scorers import Scorer, ScorerSettings
from evaluators.scorers.dual_encoder import Device
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
        scorer: the judge that a search goes by.
        prompts: what is drawn, with its noise.
        sampling: steps, guidance, precision and batch size.
        second: another judge beside it, if any.
    """

    pipeline: str
    scorer: ScorerSettings
    prompts: PromptSet
    sampling: SamplingSettings
    second: ScorerSettings | None = None

    @property
    def judges(self) -> tuple[ScorerSettings, ...]:
        """The first one, and the second if there is one."""
        return (self.scorer,) if self.second is None else (self.scorer, self.second)

    def open_scorers(self, device: Device = "cpu") -> tuple[Scorer, ...]:
        """Load the judges and let them read the prompts.

        Raises:
            ValueError: if one cannot be loaded, or has no use for such prompts.
        """
        return tuple(judge.open(self.prompts, device) for judge in self.judges)


class Evaluator:
    """A model replica that scores architectures; prompts are encoded once.

    Args:
        spec: what it answers.
        device: of torch, where pictures are drawn.

    Attributes:
        notes: what it had to change to go on, in words.
    """

    def __init__(self, spec: EvaluatorSpec, device: str = "cpu") -> None:
        self.spec = spec
        self.notes: list[str] = []
        self._portions = Portions(spec.sampling.batch_size)
        self.pipeline = load_pipeline(spec.pipeline).to(device)
        convert(self.pipeline, spec.sampling)
        self.supernet = Supernet(self.pipeline.unet)
        self.scorers = spec.open_scorers(self.pipeline.device)
        self.prefix = SharedPrefix(self.pipeline.unet)
        self.conditioning = encode_prompts(self.pipeline, spec.prompts)

    def load_weights(self, weights: Mapping[str, Tensor]) -> None:
        """Take over a supernet's weights, those of its copies with them."""
        load_weights(self.supernet.unet, weights)
        self.prefix.forget()

    def images(self, architecture: Architecture, rows: range | None = None) -> Tensor:
        """Pictures of the prompts, or of some of them, ``(n, 3, height, width)`` in [0, 1]."""
        rows = rows if rows is not None else range(len(self.spec.prompts))
        before = self._portions.size
        with self.supernet.running(architecture):
            images = self._portions(rows, lambda some: self._draw(architecture, some))
        if self._portions.size < before:
            self.prefix.forget()
        self.notes += less_at_a_time(before, self._portions, "scores")
        return images

    def _draw(self, architecture: Architecture, rows: range) -> Tensor:
        spec = self.spec
        with self._shared_prefix(architecture, rows):
            return generate(self.pipeline, spec.prompts, self.conditioning, spec.sampling, rows)

    def scores(self, architecture: Architecture, rows: range | None = None) -> Scores:
        """Scores of all prompts, or of some of them, in their order."""
        rows = rows if rows is not None else range(len(self.spec.prompts))
        size = self.spec.sampling.batch_size
        scores = Scores(())
        for start in range(0, len(rows), size):
            # Judged as they are drawn: a judge's last bits, too, depend on how many it sees.
            scores += self._batch_scores(architecture, rows[start : start + size])
        return scores

    def _batch_scores(self, architecture: Architecture, rows: range) -> Scores:
        images = self.images(architecture, rows)
        return Scores(*(tuple(scorer.score(images, rows).tolist()) for scorer in self.scorers))

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


def companions_digest(pipeline: Pipeline) -> str:
    """Twelve hexadecimal digits for all of a pipeline but its UNet."""
    digest = hashlib.sha256()
    for name, part in sorted(pipeline.components.items()):
        if isinstance(part, nn.Module) and name != "unet":
            digest.update(f"{name} {weights_digest(part.state_dict())}".encode())
    scheduler = {k: v for k, v in pipeline.scheduler.config.items() if not k.startswith("_")}
    digest.update(json.dumps([type(pipeline.scheduler).__name__, scheduler], default=str).encode())
    return digest.hexdigest()[:12]
