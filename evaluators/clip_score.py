"""CLIP score: the cosine between a picture's and its prompt's embedding, by open_clip."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from pickle import UnpicklingError

import open_clip
import torch
from pydantic import BaseModel, ConfigDict
from safetensors import SafetensorError
from torch import Tensor
from torch.nn import functional as F
from torchvision.transforms.v2.functional import normalize

from evaluators.prompts import PromptSet

_BATCH = 128

# What open_clip, torch and safetensors raise for folders and files that are not what they should
# be; UnpicklingError is how torch refuses a weights file that is none.
_UNUSABLE = (
    OSError,
    RuntimeError,
    ValueError,
    KeyError,
    TypeError,
    SafetensorError,
    UnpicklingError,
)


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
        _check_available(model)
        try:
            # Without require_pretrained, a folder without weights would judge at random.
            self.model = open_clip.create_model(
                model.name, pretrained=model.pretrained, require_pretrained=True
            )
            self.tokenize = open_clip.get_tokenizer(model.name)
        except _UNUSABLE as error:
            weights = f" with {model.pretrained}" if model.pretrained else ""
            reason = " ".join(str(error).split())[:300]
            raise ValueError(f"CLIP {model.name!r}{weights} cannot be loaded: {reason}") from error
        self.model.eval().requires_grad_(False)

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


def _check_available(model: ClipModel) -> None:
    """Refuse what open_clip would answer with log lines and a list of all that it knows."""
    name, pretrained = model.name, model.pretrained
    if name.startswith("local-dir:"):
        folder = Path(name.removeprefix("local-dir:"))
        if not (folder / "open_clip_config.json").is_file():
            raise ValueError(f"{folder}: no open_clip_config.json there; give an open_clip folder")
    elif not name.startswith("hf-hub:"):
        if name not in open_clip.list_models():
            raise ValueError(
                f"CLIP {name!r}: open_clip has no such architecture; "
                "use one of open_clip.list_models(), hf-hub:ORG/REPO or local-dir:FOLDER"
            )
        known = pretrained and (
            open_clip.is_pretrained_cfg(name, pretrained) or Path(pretrained).is_file()
        )
        if not known:
            tags = ", ".join(open_clip.list_pretrained_tags_by_model(name)) or "(it has none)"
            raise ValueError(
                f"CLIP {name!r} needs 'pretrained', a weights file or one of its tags: {tags}; "
                f"it is {pretrained!r}"
            )
