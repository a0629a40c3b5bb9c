"""CLIP score: the cosine between a picture's and its prompt's embedding, by open_clip."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from pickle import UnpicklingError
from typing import Literal

import open_clip
import torch
from pydantic import BaseModel, ConfigDict
from safetensors import SafetensorError
from torch import Tensor
from torch.nn import functional as F
from torchvision.transforms.v2.functional import normalize

from evaluators.prompts import PromptSet
from evaluators.scorers.dual_encoder import (
    Device,
    DualEncoder,
    SimilarityScorer,
    shared_encoder,
)

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

    kind: Literal["clip"] = "clip"
    name: str
    pretrained: str | None = None

    @property
    def title(self) -> str:
        return "CLIP score"

    @property
    def judge(self) -> str:
        return self.name

    def encoder(self, device: Device = "cpu") -> DualEncoder:
        """Load it, or take the one that is loaded already.

        Raises:
            ValueError: see :class:`ClipEncoder`.
        """
        return shared_encoder(self, device, ClipEncoder)

    def open(self, prompts: PromptSet, device: Device = "cpu") -> SimilarityScorer:
        return SimilarityScorer(self.encoder(device), prompts)


class ClipEncoder:
    """Embeds pictures and captions with one CLIP model; its scores are the cosines as they are.

    Raises:
        ValueError: if the model or its weights cannot be loaded, with the remedy.
    """

    scale = 1.0

    def __init__(self, model: ClipModel, device: Device = "cpu") -> None:
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
            raise ValueError(
                f"CLIP {model.name!r}{weights} cannot be loaded: {reason}; restore its files, or "
                "download it once where there is a connection"
            ) from error
        self.model.to(device).eval().requires_grad_(False)
        self.device = device

    @torch.no_grad()
    def embed_captions(self, captions: Sequence[str]) -> Tensor:
        parts = [
            self.model.encode_text(
                self.tokenize(list(captions[i : i + _BATCH])).to(self.device), normalize=True
            )
            for i in range(0, len(captions), _BATCH)
        ]
        return torch.cat(parts).float()

    @torch.no_grad()
    def embed_images(self, images: Tensor) -> Tensor:
        parts = [
            self.model.encode_image(self._prepared(chunk), normalize=True)
            for chunk in images.split(_BATCH)
        ]
        return torch.cat(parts).float()

    def _prepared(self, images: Tensor) -> Tensor:
        """Pictures of the size, and with the mean and deviation, that the model was trained on."""
        visual = self.model.visual
        size = visual.image_size
        size = (size, size) if isinstance(size, int) else tuple(size)
        images = images.to(self.device, torch.float32)
        if tuple(images.shape[2:]) != size:
            images = F.interpolate(images, size, mode="bicubic", antialias=True).clamp(0, 1)
        prepared: Tensor = normalize(images, list(visual.image_mean), list(visual.image_std))
        return prepared


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
