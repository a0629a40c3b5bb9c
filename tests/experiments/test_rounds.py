"""Trainings between decisions: each goes on where the last one stopped, through evolution steps."""

from __future__ import annotations

from contextlib import nullcontext
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from evaluators.pipelines import load_pipeline
from experiments.models import pipeline_source
from experiments.sections import TrainingSection
from experiments.trainer import LocalTrainer, TrainingJob
from experiments.training import RoundTrainer
from experiments.training_log import TrainingLog, load_training
from search.evaluations import unseen
from supernet.architecture import CROSS_ATTENTION, RESNET, Architecture, BlockId
from supernet.checkpoint import load_tensors
from supernet.inventory import take_inventory, unet_config

DOUBLED, REMOVED = BlockId(RESNET, "mid", 0), BlockId(CROSS_ATTENTION, "down.0", 0)
SETTINGS = {
    "steps": 2,
    "batch_size": 2,
    "learning_rate": 1e-3,
    "warmup_steps": 0,
    "schedule": "constant",
    "precision": "fp32",
    "dropping": {"keep_prob": 1.0},
}


@pytest.fixture(scope="module")
def local() -> LocalTrainer:
    pipeline = load_pipeline(pipeline_source("shapes"))
    return LocalTrainer(pipeline, TrainingSection(pictures=64), 0)


@pytest.fixture
def full(local: LocalTrainer) -> Architecture:
    return take_inventory(unet_config(local.supernet.unet)).full()


@pytest.fixture(scope="module")
def start(local: LocalTrainer) -> dict[str, Tensor]:
    return {name: value.clone() for name, value in local.supernet.unet.state_dict().items()}


def rounds(
    local: LocalTrainer, start: dict[str, Tensor], folder: Path, **section: Any
) -> RoundTrainer:
    settings = TrainingSection(round=SETTINGS, final=SETTINGS, pictures=64, **section)
    log = TrainingLog(folder / "training.jsonl")
    return RoundTrainer(
        local, start, settings, 0, "copy", folder, lambda *_: nullcontext(unseen), log
    )


def test_a_round_goes_on_with_the_moments_of_the_one_before(
    local: LocalTrainer, start: dict[str, Tensor], full: Architecture, tmp_path: Path
) -> None:
    """The steps that Adam counts go on through all rounds, and through an evolution step."""
    trainer = rounds(local, start, tmp_path)
    trainer.train(1, full)
    evolved = full.with_multiplicities({DOUBLED: 2, REMOVED: 0})
    weights = trainer.train(2, evolved)
    state, _ = load_tensors(tmp_path / "round-2.training.safetensors")
    counted = {
        key: value.item() for key, value in state.items() if key.startswith("optimizer/step")
    }
    removed = ".".join(map(str, REMOVED.module_path))
    for key, count in counted.items():
        assert count == (2 if f"/{removed}." in key else 4), key
    copies = [name for name in weights if name.startswith("mid_block.resnets.0.copies.0.")]
    assert copies
    sources = [weights[name.replace(".copies.0", "")] for name in copies]
    apart = [(weights[n] - s).abs().max() for n, s in zip(copies, sources, strict=True)]
    assert max(apart) > 0  # they began alike, and go ways of their own
    found = trainer.finish(weights, evolved)
    assert found.keys() == weights.keys()
    left = {path.name for path in tmp_path.iterdir()}
    weights_left = {"round-1.safetensors", "round-2.safetensors", "final.safetensors"}
    assert left == weights_left | {"training.jsonl"}
    points = load_training(tmp_path / "training.jsonl")
    trained = [(point.training, point.step) for point in points]
    assert trained == [(name, step) for name in ("round-1", "round-2", "final") for step in (1, 2)]


def test_a_finished_round_is_not_trained_again(
    local: LocalTrainer,
    start: dict[str, Tensor],
    full: Architecture,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    once = rounds(local, start, tmp_path).train(1, full)
    monkeypatch.setattr(local, "train", None)
    again = rounds(local, start, tmp_path).train(1, full)
    assert all(torch.equal(again[name], once[name]) for name in once)


def test_copies_are_made_without_a_training_too(
    local: LocalTrainer, start: dict[str, Tensor], full: Architecture, tmp_path: Path
) -> None:
    job = TrainingJob(
        start,
        full.with_multiplicity(DOUBLED, 2),
        TrainingSection().round,
        seed=0,
        growth="identity",
    )
    weights = local.train(job, tmp_path / "none.safetensors", None, unseen)
    assert list(tmp_path.iterdir()) == []
    assert not weights["mid_block.resnets.0.copies.0.conv2.weight"].any()
    assert weights["mid_block.resnets.0.copies.0.conv1.weight"].any()
