"""A weighted sum of scorers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Literal

import torch
from pydantic import BaseModel, ConfigDict, Field, Tag
from torch import Tensor

from evaluators.prompts import PromptSet
from evaluators.scorers.caption_accuracy import CaptionAccuracy
from evaluators.scorers.clip import ClipModel
from evaluators.scorers.dual_encoder import Device, DualEncoder
from evaluators.scorers.kind import BY_KIND
from evaluators.scorers.scorer import Scorer
from evaluators.scorers.transformers_model import TransformersModel

PartSettings = Annotated[
    Annotated[ClipModel, Tag("clip")]
    | Annotated[TransformersModel, Tag("transformers")]
    | Annotated[CaptionAccuracy, Tag("caption_accuracy")],
    BY_KIND,
]


class Part(BaseModel):
    """One scorer of a mix.

    Attributes:
        weight: what its scores are multiplied by. Scorers have scales of their own: a CLIP score
            lies in [-1, 1], that of most ``transformers`` models about 100 times higher.
        scorer: any but a mix.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    weight: float
    scorer: PartSettings


class Mix(BaseModel):
    """The sum of several scorers' scores, each times its weight."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    kind: Literal["mix"] = "mix"
    parts: tuple[Part, ...] = Field(min_length=2)

    @property
    def title(self) -> str:
        return "mixed score"

    @property
    def judge(self) -> str:
        return " + ".join(
            f"{p.weight:g} × {p.scorer.title} by {p.scorer.judge}" for p in self.parts
        )

    def encoder(self, device: Device = "cpu") -> DualEncoder:
        """That of the first part."""
        return self.parts[0].scorer.encoder(device)

    def open(self, prompts: PromptSet, device: Device = "cpu") -> MixScorer:
        return MixScorer([(p.weight, p.scorer.open(prompts, device)) for p in self.parts])


class MixScorer:
    """Adds up what scorers of the same prompts say.

    Args:
        parts: weight and scorer of each.
    """

    def __init__(self, parts: Sequence[tuple[float, Scorer]]) -> None:
        self.parts = parts

    def score(self, images: Tensor, rows: Sequence[int]) -> Tensor:
        scores = [weight * scorer.score(images, rows) for weight, scorer in self.parts]
        return torch.stack(scores).sum(dim=0)
