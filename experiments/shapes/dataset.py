"""Scenes of one split, drawn once and kept in memory: what every model of the world trains on."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from experiments.shapes.render import render
from experiments.shapes.scene import Scene, Split, sample_scenes

_CHUNK = 256  # scenes drawn at a time


@dataclass(frozen=True)
class PictureSet:
    """Scenes and their pictures.

    Attributes:
        scenes: ``n`` scenes.
        pixels: ``(n, 3, 64, 64)`` uint8, so that tens of thousands fit into memory.
    """

    scenes: list[Scene]
    pixels: Tensor

    def __len__(self) -> int:
        return len(self.scenes)

    def images(self, rows: Tensor | slice) -> Tensor:
        """Pictures of the given rows as floats in [-1, 1], shape ``(rows, 3, 64, 64)``."""
        return self.pixels[rows].float() / 127.5 - 1


def draw(split: Split, count: int, seed: int, *, unique: bool = False) -> PictureSet:
    """Sample ``count`` scenes of a split and draw each once; the same ones for the same seed."""
    scenes = sample_scenes(split, count, seed, unique=unique)
    generator = torch.Generator().manual_seed(seed)
    parts = [
        (render(scenes[start : start + _CHUNK], generator) * 255).round().to(torch.uint8)
        for start in range(0, count, _CHUNK)
    ]
    return PictureSet(scenes, torch.cat(parts))


def batch_rows(size: int, batch_size: int, steps: range, seed: int) -> Iterator[Tensor]:
    """Row indices ``(batch_size,)`` for every step, a function of (seed, step) alone.

    Because a step's batch depends on nothing that came before it, a resumed training sees the
    same batches as an uninterrupted one.
    """
    for step in steps:
        generator = torch.Generator().manual_seed(seed * 1_000_003 + step)
        yield torch.randint(size, (batch_size,), generator=generator)
