"""The prompts that architectures are judged on."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

_STEPS = 2**60  # far from the seeds of starting noise


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

    def first(self, count: int) -> PromptSet:
        """The first prompts alone, with their noise."""
        return PromptSet(self.prompts[:count], self.seed, self.distractors[:count])

    @cached_property
    def id(self) -> str:
        """Ten hexadecimal digits: the same for the same prompts and seed."""
        text = json.dumps([self.prompts, self.seed])
        return hashlib.sha256(text.encode()).hexdigest()[:10]

    def noise(self, rows: range, shape: tuple[int, int, int]) -> Tensor:
        """Starting noise of some prompts, ``(len(rows), *shape)``, standard normal."""
        return torch.stack(
            [torch.randn(shape, generator=_generator(self.seed, row)) for row in rows]
        )

    def generators(self, rows: range) -> list[torch.Generator]:
        """One for each of some prompts, for schedulers that add noise at every step."""
        return [_generator(self.seed, row, _STEPS) for row in rows]


def _generator(seed: int, row: int, use: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(use + seed * 1_000_003 + row)
