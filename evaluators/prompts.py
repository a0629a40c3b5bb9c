"""The prompts that architectures are judged on."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor


@dataclass(frozen=True)
class PromptSet:
    """Prompts with the seed of their starting noise.

    Every architecture is judged on the same prompts *and* the same noise, so that differences
    between architectures are paired.

    Attributes:
        prompts: what to draw.
        seed: fixes the starting noise of every prompt, whatever the batch it is drawn in.
        distractors: for every prompt, captions that its picture must not fit better; may be
            empty where nobody asks for caption accuracy.
    """

    prompts: tuple[str, ...]
    seed: int
    distractors: tuple[tuple[str, ...], ...] = ()

    def __post_init__(self) -> None:
        if not self.prompts:
            raise ValueError("a prompt set needs at least one prompt")
        if self.distractors and len(self.distractors) != len(self.prompts):
            raise ValueError("give distractors for every prompt or for none")

    def __len__(self) -> int:
        return len(self.prompts)

    @cached_property
    def id(self) -> str:
        """Ten hexadecimal digits: the same for the same prompts and seed."""
        text = json.dumps([self.prompts, self.seed])
        return hashlib.sha256(text.encode()).hexdigest()[:10]

    def noise(self, rows: range, shape: tuple[int, int, int]) -> Tensor:
        """Starting noise of some prompts, ``(len(rows), *shape)``, standard normal."""
        return torch.stack([_noise(self.seed, row, shape) for row in rows])


def _noise(seed: int, row: int, shape: tuple[int, int, int]) -> Tensor:
    generator = torch.Generator().manual_seed(seed * 1_000_003 + row)
    return torch.randn(shape, generator=generator)
