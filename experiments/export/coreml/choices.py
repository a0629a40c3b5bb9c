"""What one can choose of a Core ML export; light, for the command line reads it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

AttentionLayout = Literal["original", "split_einsum", "split_einsum_v2"]
WeightFormat = Literal["fp16", "palettize-4", "palettize-6", "palettize-8", "linear-8"]


@dataclass(frozen=True)
class Choices:
    """How a pipeline is exported.

    Attributes:
        attention: layout of the UNet's; the split ones are for the Neural Engine, the second of
            them with 512 queries at a time.
        weights: how they are stored: ``palettize`` as indices of so many bits into the means of
            clusters of a tensor's values (k-means), ``linear`` in equal steps with a scale for
            each channel.
        chunk: whether the UNet is cut in two; None for where it has more than 0.7 GB of weights.
        batch: 2 for guidance, 1 for a UNet that draws without.
    """

    attention: AttentionLayout = "original"
    weights: WeightFormat = "fp16"
    chunk: bool | None = None
    batch: int = 2
