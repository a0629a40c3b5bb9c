"""A decoder's training is the same in this process and shared by workers of Ray."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from random_pairs import store_pairs

from distillation.decoder_training import DecoderTraining
from evaluators.ray_session import ray_session
from experiments.decoder.choice import choose_decoders
from experiments.decoder.trainer import DecoderJob, OpenStored, open_trainer
from experiments.models import pipeline_source
from experiments.scaling import ScalingSettings
from supernet.checkpoint import load_tensors

SETTINGS = DecoderTraining(
    steps=4,
    batch_size=4,
    warmup_steps=1,
    ema_decay=0.5,
    precision="fp32",
    checkpoint_every=2,
)


def test_two_workers_have_the_losses_of_one(tmp_path: Path) -> None:
    stored = OpenStored(pipeline_source("shapes"), store_pairs(tmp_path / "pairs", 8))
    job = DecoderJob(choose_decoders("shapes", [0.5]).architectures[1], SETTINGS, seed=3)
    losses: dict[int, list[float]] = {}
    weights: dict[int, dict[str, torch.Tensor]] = {}
    with ray_session(2):
        for workers in (1, 2):
            scaling = ScalingSettings(workers=workers, storage_path=str(tmp_path / "storage"))
            own = losses[workers] = []
            state = tmp_path / f"{workers}.safetensors"
            weights[workers] = open_trainer(stored, scaling).train(
                job, state, None, lambda _, figures, own=own: own.append(figures["loss"])
            )
            assert load_tensors(state)[1]["step"] == str(SETTINGS.steps)
    assert losses[2] == pytest.approx(losses[1], rel=1e-3)
    assert weights[1].keys() == weights[2].keys()
    # AdamW divides by the size of a gradient, so rounding decides where the smallest ones lead;
    # most are not that small.
    apart = torch.cat([(weights[1][n] - weights[2][n]).abs().flatten() for n in weights[1]])
    assert apart.mean() < 0.02 * SETTINGS.learning_rate
