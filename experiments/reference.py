"""Real pictures that the last comparison measures drawn ones against."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator
from pathlib import Path

import torch
from PIL import Image, ImageOps
from torch import Tensor
from torchvision.transforms.v2.functional import pil_to_tensor

from evaluators.picture_sets import Features, inception_features
from evaluators.scorers import ScorerSettings
from experiments.data.folder import SUFFIXES
from experiments.data.picture import decode
from experiments.data.source import CaptionedPicture
from experiments.experiment import ExperimentError
from experiments.models import SHAPES
from experiments.sections import ComparisonSection
from experiments.shapes.dataset import draw

_BATCH = 32


class Reference(ABC):
    """Real pictures, and what of them is compared.

    Args:
        inception: Inception's features, or None for those of a scorer.
    """

    def __init__(self, inception: Features | None) -> None:
        self._inception = inception

    @abstractmethod
    def __len__(self) -> int: ...

    @abstractmethod
    def batches(self, height: int, width: int) -> Iterator[Tensor]:
        """All of them, as ``(n, 3, height, width)`` in [0, 1]."""

    def features(self, scorer: ScorerSettings) -> Features:
        """What FID and KID see of a picture."""
        return self._inception or scorer.encoder().embed_images


def find_reference(section: ComparisonSection) -> Reference | None:
    """The folder that is named; in the shapes world, pictures of the captions; else None.

    Raises:
        ValueError: if the folder holds fewer than two pictures, or Inception is asked for and
            cannot be loaded.
    """
    inception = inception_features() if section.features == "inception" else None
    if section.reference is not None:
        return _Folder(Path(section.reference), inception)
    if section.prompts.source == SHAPES:
        return _Shapes(section.prompts.count, section.prompts.seed, inception)
    return None


class _Shapes(Reference):
    """One picture of each caption of the comparison: of the same scenes as its prompts."""

    def __init__(self, count: int, seed: int, inception: Features | None) -> None:
        super().__init__(inception)
        self.count = count
        self.seed = seed

    def __len__(self) -> int:
        return self.count

    def batches(self, height: int, width: int) -> Iterator[Tensor]:
        pixels = draw("test", self.count, self.seed, unique=True).pixels
        return (chunk.float() / 255 for chunk in pixels.split(_BATCH))


class _Folder(Reference):
    """Pictures below a folder, cropped around their centre to the drawn ones' shape, resized."""

    def __init__(self, folder: Path, inception: Features | None) -> None:
        super().__init__(inception)
        found = (path for path in folder.rglob("*") if path.suffix.lower() in SUFFIXES)
        self.pictures = sorted(found)
        if len(self) < 2:
            raise ExperimentError(
                f"comparison.reference: {folder} holds {len(self)} pictures "
                f"({', '.join(SUFFIXES)}), 2 are needed at least; name a folder of real ones"
            )

    def __len__(self) -> int:
        return len(self.pictures)

    def batches(self, height: int, width: int) -> Iterator[Tensor]:
        for start in range(0, len(self), _BATCH):
            chunk = [_fitted(path, height, width) for path in self.pictures[start : start + _BATCH]]
            yield torch.stack(chunk).float() / 255


def _fitted(path: Path, height: int, width: int) -> Tensor:
    picture = decode(CaptionedPicture(str(path), path.read_bytes(), ()))
    return pil_to_tensor(ImageOps.fit(picture, (width, height), Image.Resampling.LANCZOS))
