"""Scores by any dual encoder of transformers: PickScore, HPS, SigLIP, and CLIP itself."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import torch
import transformers
from pydantic import BaseModel, ConfigDict
from safetensors import SafetensorError
from torch import Tensor
from torch.nn import functional as F

from evaluators.prompts import PromptSet
from evaluators.scorers.dual_encoder import (
    Device,
    DualEncoder,
    SimilarityScorer,
    shared_encoder,
)

_BATCH = 64
_HUB_ID = re.compile(r"\w[\w.-]*(/\w[\w.-]*)?")
_PARTS = ("get_text_features", "get_image_features", "logit_scale")
# What transformers and safetensors raise for folders and files that are not what they should be.
_UNUSABLE = (
    OSError,
    RuntimeError,
    ValueError,
    KeyError,
    TypeError,
    AttributeError,
    ImportError,
    SafetensorError,
)


class TransformersModel(BaseModel):
    """Which model judges, as transformers names it.

    Attributes:
        name: a folder or Hugging Face id (``yuvalkirstain/PickScore_v1``) of a model that embeds
            pictures and captions, with its processor, in safetensors.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    kind: Literal["transformers"] = "transformers"
    name: str

    @property
    def title(self) -> str:
        return f"score by {Path(self.name).name}"

    @property
    def judge(self) -> str:
        return self.name

    def encoder(self, device: Device = "cpu") -> DualEncoder:
        """Load it, or take the one that is loaded already.

        Raises:
            ValueError: see :class:`TransformersEncoder`.
        """
        return shared_encoder(self, device, TransformersEncoder)

    def open(self, prompts: PromptSet, device: Device = "cpu") -> SimilarityScorer:
        return SimilarityScorer(self.encoder(device), prompts)


class TransformersEncoder:
    """Embeds pictures and captions as a model's own processor and feature heads do.

    Pictures are rounded to 8 bits, as they would be in a file, because this is what processors
    are made for. The scale is the exponential of the model's ``logit_scale``, as PickScore has it
    (Kirstain et al., NeurIPS 2023); SigLIP's bias, the same for all pictures, is left out.

    Raises:
        ValueError: if there is no such model, its files are damaged or lack weights, it needs code
            of its own, or does not embed pictures and captions side by side; with the remedy.
    """

    def __init__(self, settings: TransformersModel, device: Device = "cpu") -> None:
        name = settings.name
        _check_name(name)
        # Their bars and warnings would stand between the lines of a message.
        transformers.utils.logging.set_verbosity_error()
        transformers.utils.logging.disable_progress_bar()
        try:
            # False, not left out: then transformers would ask on the terminal.
            self.processor = transformers.AutoProcessor.from_pretrained(
                name, trust_remote_code=False
            )
            model, report = transformers.AutoModel.from_pretrained(
                name, trust_remote_code=False, use_safetensors=True, output_loading_info=True
            )
        except _UNUSABLE as error:
            raise _unusable(name, error) from error
        _check_model(name, model, self.processor, report["missing_keys"])
        self.model = model.to(device, torch.float32).eval().requires_grad_(False)
        self.device = device
        self.scale = float(model.logit_scale.exp())
        # All texts padded alike, so that none depends on its neighbours; SigLIP's must be.
        self.tokens = min(
            self.processor.tokenizer.model_max_length,
            model.config.get_text_config().max_position_embeddings,
        )

    @torch.no_grad()
    def embed_captions(self, captions: Sequence[str]) -> Tensor:
        parts = [
            self.model.get_text_features(**self._tokens(captions[i : i + _BATCH]))
            for i in range(0, len(captions), _BATCH)
        ]
        return torch.cat([_unit_vectors(part) for part in parts])

    @torch.no_grad()
    def embed_images(self, images: Tensor) -> Tensor:
        parts = [
            self.model.get_image_features(**self._pixels(chunk)) for chunk in images.split(_BATCH)
        ]
        return torch.cat([_unit_vectors(part) for part in parts])

    def _tokens(self, captions: Sequence[str]) -> Any:
        return self.processor(
            text=list(captions),
            padding="max_length",
            max_length=self.tokens,
            truncation=True,
            return_tensors="pt",
        ).to(self.device)

    def _pixels(self, images: Tensor) -> Any:
        pixels = (images.float() * 255).round().to(torch.uint8).cpu()
        return self.processor(images=list(pixels), return_tensors="pt").to(self.device)


def _unusable(name: str, error: Exception) -> ValueError:
    if "trust_remote_code" in str(error):
        return ValueError(
            f"scorer {name!r} brings code of its own, which is not run; give a model whose class "
            "transformers has, or write a scorer (docs/scorers.md)"
        )
    reason = " ".join(str(error).split())[:300]
    return ValueError(
        f"scorer {name!r} cannot be loaded: {reason}; give a transformers folder with processor "
        "and safetensors, or an id, downloaded once where there is a connection"
    )


def _unit_vectors(features: Any) -> Tensor:
    """Normalised; transformers 5 hands out the pooled output among others, 4 alone."""
    pooled = features if isinstance(features, Tensor) else features.pooler_output
    return F.normalize(pooled.float(), dim=-1)


def _check_name(name: str) -> None:
    if "imagereward" in Path(name).name.lower():
        raise ValueError(
            f"scorer {name!r}: ImageReward is a BLIP with a head that transformers has no class "
            "for, published as a pickle for code of its own; use yuvalkirstain/PickScore_v1, which "
            "learned from people's choices too, or write a scorer (docs/scorers.md)"
        )
    if not Path(name).is_dir() and not _HUB_ID.fullmatch(name):
        raise ValueError(f"scorer {name!r}: no such folder; give one of transformers, or an id")


def _check_model(name: str, model: Any, processor: Any, missing: Sequence[str]) -> None:
    """Refuse what transformers would run with random weights, or cannot compare with."""
    absent = [part for part in _PARTS if not hasattr(model, part)]
    if absent:
        raise ValueError(
            f"scorer {name!r} is a {type(model).__name__}, which has no {' and no '.join(absent)}; "
            "give a model that embeds pictures and captions, such as a CLIP or SigLIP"
        )
    if missing:
        raise ValueError(
            f"scorer {name!r}: its files lack {len(missing)} of the weights, such as "
            f"{sorted(missing)[0]!r}; restore them, or give the model that they are of"
        )
    if not hasattr(processor, "image_processor") or not hasattr(processor, "tokenizer"):
        raise ValueError(
            f"scorer {name!r} has no processor of both pictures and texts; add "
            "preprocessor_config.json and the tokenizer's files to the model's"
        )
