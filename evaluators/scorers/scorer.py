"""What every scorer can do, and what it refuses."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from torch import Tensor

from evaluators.prompts import PromptSet


class Scorer(Protocol):
    """Scores pictures against the prompts of the set that it was opened for.

    What the prompts alone decide, such as their embeddings, is done on opening.
    """

    def score(self, images: Tensor, rows: Sequence[int]) -> Tensor:
        """Scores of pictures, higher is better.

        Args:
            images: ``(n, 3, height, width)`` in [0, 1], on any device, of any size.
            rows: the prompt of every picture, by its place in the set.

        Returns:
            ``(n,)``, fp32, on the CPU. A score depends on picture and prompt, not on what else
            is scored with them.

        Raises:
            ValueError: see :func:`check_pictures`.
        """
        ...


def check_pictures(images: Tensor, rows: Sequence[int], prompts: PromptSet) -> None:
    """Refuse what a scorer would answer with figures that mean nothing.

    Raises:
        ValueError: if these are no pictures in [0, 1], or not one for each of the rows, or a row
            is not of the prompt set.
    """
    shape = tuple(images.shape)
    if len(shape) != 4 or shape[1] != 3 or not images.is_floating_point():
        raise ValueError(f"pictures are floats (n, 3, height, width), not {images.dtype} {shape}")
    if not images.numel() or len(images) != len(rows):
        raise ValueError(f"{len(images)} pictures {shape} for {len(rows)} prompts; give one each")
    outside = [row for row in rows if not 0 <= row < len(prompts)]
    if outside:
        raise ValueError(f"the set has {len(prompts)} prompts, but rows {outside} are asked for")
    low, high = images.min().item(), images.max().item()
    if not (low >= 0 and high <= 1):  # so that NaN is refused too
        raise ValueError(f"pictures have values in [0, 1]; these have {low:g} to {high:g}")
