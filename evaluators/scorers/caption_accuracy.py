"""Caption accuracy: whether a CLIP tells a picture's caption from near misses."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import torch
from pydantic import BaseModel, ConfigDict
from torch import Tensor

from evaluators.prompts import PromptSet
from evaluators.scorers.clip import ClipModel
from evaluators.scorers.dual_encoder import Device, DualEncoder
from evaluators.scorers.scorer import check_pictures


class CaptionAccuracy(BaseModel):
    """Share of the pictures that a CLIP finds fits its caption better than every distractor.

    Attributes:
        name: of the CLIP, as of :class:`ClipModel`.
        pretrained: likewise.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    kind: Literal["caption_accuracy"] = "caption_accuracy"
    name: str
    pretrained: str | None = None

    @property
    def title(self) -> str:
        return "caption accuracy"

    @property
    def judge(self) -> str:
        return self.name

    def encoder(self, device: Device = "cpu") -> DualEncoder:
        return ClipModel(name=self.name, pretrained=self.pretrained).encoder(device)

    def open(self, prompts: PromptSet, device: Device = "cpu") -> CaptionAccuracyScorer:
        return CaptionAccuracyScorer(self.encoder(device), prompts)


class CaptionAccuracyScorer:
    """Scores 1 for a picture that fits its caption better than every distractor, else 0.

    Raises:
        ValueError: if the prompts have no distractors.
    """

    def __init__(self, encoder: DualEncoder, prompts: PromptSet) -> None:
        if not prompts.distractors:
            raise ValueError(
                "caption_accuracy needs captions that a picture must not fit, which these prompts "
                "have not; use prompts of the shapes world (source = 'shapes'), or another scorer"
            )
        self.encoder = encoder
        self.prompts = prompts
        self.captions = encoder.embed_captions(prompts.prompts)
        others = [caption for each in prompts.distractors for caption in each]
        self.distractors = encoder.embed_captions(others).split([*map(len, prompts.distractors)])

    def score(self, images: Tensor, rows: Sequence[int]) -> Tensor:
        check_pictures(images, rows, self.prompts)
        embedded = self.encoder.embed_images(images)
        own = (embedded * self.captions[list(rows)]).sum(dim=1)
        return torch.tensor(
            [
                float((picture @ self.distractors[row].T < score).all())
                for picture, score, row in zip(embedded, own, rows, strict=True)
            ]
        )
