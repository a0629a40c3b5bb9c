"""Pairs of random latents for the shapes world's decoder."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import torch

from distillation.pairs import Pairs, decode
from evaluators.pipelines import load_pipeline
from experiments.decoder.stored_pairs import Origin, PairStore, decoder_digest
from experiments.models import pipeline_source


def store_pairs(folder: Path, count: int) -> Path:
    """A finished store in a new folder."""
    teacher = load_pipeline(pipeline_source("shapes")).vae
    origin = Origin(
        pipeline="shapes",
        decoder=decoder_digest(teacher),
        scaling_factor=teacher.config.scaling_factor,
        drawn="0123",
        latents=(4, 16, 16),
        pictures=(3, 64, 64),
        count=count,
        shard_size=count,
    )

    @torch.no_grad()
    def make(rows: range) -> Iterator[Pairs]:
        latents = torch.randn(len(rows), 4, 16, 16, generator=torch.Generator().manual_seed(0))
        yield Pairs(latents, decode(teacher, latents))

    PairStore(folder, origin).fill(make, lambda done, figures: None)
    return folder
