"""Models that embed pictures and captions side by side, and the score that follows from it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol, TypeVar
from weakref import WeakValueDictionary

from torch import Tensor, device

from evaluators.prompts import PromptSet
from evaluators.scorers.scorer import check_pictures

Device = device | str


class DualEncoder(Protocol):
    """CLIP and its relatives.

    Attributes:
        scale: what a cosine is multiplied by to give the model's score.
    """

    scale: float

    def embed_captions(self, captions: Sequence[str]) -> Tensor:
        """Unit vectors ``(len(captions), width)``, fp32, on the model's device."""
        ...

    def embed_images(self, images: Tensor) -> Tensor:
        """Likewise ``(n, width)``, of pictures ``(n, 3, height, width)`` in [0, 1]."""
        ...


class SimilarityScorer:
    """Scores by the cosine between a picture's and its prompt's embedding, times the scale."""

    def __init__(self, encoder: DualEncoder, prompts: PromptSet) -> None:
        self.encoder = encoder
        self.prompts = prompts
        self.captions = encoder.embed_captions(prompts.prompts)

    def score(self, images: Tensor, rows: Sequence[int]) -> Tensor:
        check_pictures(images, rows, self.prompts)
        cosines = (self.encoder.embed_images(images) * self.captions[list(rows)]).sum(dim=1)
        return (self.encoder.scale * cosines).cpu()


_Settings = TypeVar("_Settings")
_LOADED: WeakValueDictionary[tuple[object, str], DualEncoder] = WeakValueDictionary()


def shared_encoder(
    settings: _Settings, where: Device, load: Callable[[_Settings, Device], DualEncoder]
) -> DualEncoder:
    """The encoder of these settings: one in a process, however many scorers use it."""
    key = (settings, str(where))
    encoder = _LOADED.get(key)
    if encoder is None:
        encoder = _LOADED[key] = load(settings, where)
    return encoder
