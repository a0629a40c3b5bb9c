"""CLIP score: the cosine between a picture's and its prompt's embedding, by open_clip."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import open_clip
import torch
from pydantic import BaseModel, ConfigDict
from torch import Tensor
from torch.nn import functional as F
from torchvision.transforms.v2.functional import normalize

from evaluators.prompts import PromptSet

_BATCH = 128


class ClipModel(BaseModel):
    """Which CLIP judges, as open_clip names it.

    Attributes:
        name: an architecture (``ViT-H-14``), ``hf-hub:org/repo`` or ``local-dir:FOLDER``.
        pretrained: a tag of open_clip (``laion2b_s32b_b79k``) or a weights file; not used with
            ``hf-hub:`` and ``local-dir:``, which bring their own.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str
    pretrained: str | None = None


class ClipScorer:
    """Scores pictures against captions with one CLIP model.

    Raises:
        ValueError: if the model or its weights cannot be loaded, with the remedy.
    """

    def __init__(self, model: ClipModel) -> None:
        self.model_name = model
        path = model.name.removeprefix("local-dir:")
        if path != model.name and not (Path(path) / "open_clip_config.json").is_file():
            raise ValueError(f"{path}: no open_clip_config.json there; give an open_clip folder")
        if not model.pretrained and ":" not in model.name:
            tags = ", ".join(tag for _, tag in _tags(model.name)) or "none: no such architecture"
            raise ValueError(
                f"CLIP {model.name!r} needs 'pretrained', a weights file or one of: {tags}"
            )
        try:
            self.model = open_clip.create_model(model.name, pretrained=model.pretrained)
        except (RuntimeError, OSError) as error:
            raise ValueError(f"CLIP {model.name!r} cannot be loaded: {error}") from error
        self.model.eval().requires_grad_(False)
        self.tokenize = open_clip.get_tokenizer(model.name)

    @torch.no_grad()
    def embed_captions(self, captions: Sequence[str]) -> Tensor:
        """Unit vectors ``(len(captions), width)``."""
        parts = [
            self.model.encode_text(self.tokenize(list(captions[i : i + _BATCH])), normalize=True)
            for i in range(0, len(captions), _BATCH)
        ]
        return torch.cat(parts).float()

    @torch.no_grad()
    def embed_images(self, images: Tensor) -> Tensor:
        """Unit vectors ``(n, width)`` of pictures ``(n, 3, height, width)`` in [0, 1]."""
        visual = self.model.visual
        size = visual.image_size
        size = (size, size) if isinstance(size, int) else tuple(size)
        if tuple(images.shape[2:]) != size:
            images = F.interpolate(images, size, mode="bicubic", antialias=True).clamp(0, 1)
        images = normalize(images, list(visual.image_mean), list(visual.image_std))
        parts = [self.model.encode_image(chunk, normalize=True) for chunk in images.split(_BATCH)]
        return torch.cat(parts).float()

    def score(self, images: Tensor, captions: Tensor) -> Tensor:
        """CLIP score of every picture with its caption's embedding, ``(n,)``, in [-1, 1]."""
        return (self.embed_images(images) * captions).sum(dim=1)

    def caption_hits(self, images: Tensor, prompts: PromptSet) -> Tensor:
        """Whether each picture fits its own caption better than every distractor, ``(n,)`` bool.

        Their mean is the *caption accuracy*.
        """
        embedded = self.embed_images(images)
        own = (embedded * self.embed_captions(prompts.prompts)).sum(dim=1)
        hits = [
            bool((row @ self.embed_captions(others).T < score).all())
            for row, score, others in zip(embedded, own, prompts.distractors, strict=True)
        ]
        return torch.tensor(hits)


def _tags(architecture: str) -> list[tuple[str, str]]:
    return [pair for pair in open_clip.list_pretrained() if pair[0] == architecture]
