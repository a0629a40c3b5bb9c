"""``bench world``: the figures it promises, from models as they are shipped but untrained."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from rich.console import Console

from evaluators.scorers import ClipModel
from experiments.benchmarks import world
from experiments.shapes.clip import train_clip
from experiments.shapes.dataset import draw
from experiments.shapes.diffusion import build_unet, save_pipeline
from experiments.shapes.text_encoder import build_text_encoder
from experiments.shapes.tokenizer import load_tokenizer
from experiments.shapes.vae import build_vae


@pytest.fixture
def untrained(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Shipped models by the trainers' own hands, with little work to do for the benchmark."""
    torch.manual_seed(0)
    train_clip(
        tmp_path / "judge",
        draw("train", 16, seed=0),
        steps=1,
        batch_size=4,
        seed=0,
        on_progress=lambda *_: None,
    )
    tokenizer = load_tokenizer(tmp_path / "judge")
    text_encoder = build_text_encoder(tokenizer)
    save_pipeline(tmp_path / "pipeline", tokenizer, text_encoder, build_unet(), build_vae())
    judge = ClipModel(name=f"local-dir:{tmp_path / 'judge'}")
    monkeypatch.setattr(world, "pipeline_source", lambda name: str(tmp_path / "pipeline"))
    monkeypatch.setattr(world, "scorer_settings", lambda model: judge)
    monkeypatch.setattr(world, "_STEPS", 1)
    monkeypatch.setattr(world, "_QUICK", world._Size(reconstructed=3, judged=10, drawn=4))


@pytest.mark.usefixtures("untrained")
def test_every_promised_figure_is_there_and_has_its_goal() -> None:
    figures = {figure.name: figure for figure in world.run(True, Console(quiet=True))}
    assert {name: str(figure.goal) for name, figure in figures.items()} == {
        "vae_psnr_db": ">= 28",
        "judge_recall_at_1": ">= 97",
        "judge_distractor_accuracy": ">= 95",
        "teacher_caption_accuracy": ">= 90",
        "teacher_clip_ratio": ">= 95",
        "removable_blocks": ">= 30",
    }
    assert 0 < figures["vae_psnr_db"].value < 20  # untrained
    assert figures["removable_blocks"].value == 38
    for name in ("judge_recall_at_1", "judge_distractor_accuracy", "teacher_caption_accuracy"):
        assert 0 <= figures[name].value <= 100
    assert torch.tensor(figures["teacher_clip_ratio"].value).isfinite()


def test_recall_counts_the_pictures_whose_own_caption_is_best() -> None:
    captions = torch.eye(4)
    images = captions[[0, 1, 1, 3]]  # the third one is taken for the second
    assert world.recall_at_1(images, captions).tolist() == [True, True, False, True]


def test_captions_and_real_pictures_are_of_the_same_scenes() -> None:
    prompts, images = world._held_out(6)
    scenes = draw("test", 6, world._SEED, unique=True).scenes
    assert list(prompts.prompts) == [scene.caption for scene in scenes]
    assert images.shape == (6, 3, 64, 64)
    assert images.min() >= 0
    assert images.max() <= 1
