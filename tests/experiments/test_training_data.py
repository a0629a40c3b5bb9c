"""Captioned pictures from the command line: cached, trained on, refused before anything happens."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from in_process import Evounet
from PIL import Image

from evaluators.evaluator import load_pipeline
from experiments.data.settings import DataSettings
from experiments.models import pipeline_source
from experiments.sections import TrainingSection
from experiments.shapes.dataset import draw
from experiments.shapes.diffusion import caption_batches
from experiments.shapes.vae import encode
from experiments.trainer import training_data
from experiments.training import check_training
from supernet.checkpoint import load_tensors

TWO_STEPS = tuple(
    f"--set={setting}"
    for setting in (
        "training.steps=2",
        "training.batch_size=4",
        "training.warmup_steps=0",
        "training.ema_decay=0",
        "training.precision=fp32",
    )
)


@pytest.fixture
def pictures(tmp_path: Path) -> Path:
    folder = tmp_path / "pictures"
    folder.mkdir()
    for number in range(8):
        Image.new("RGB", (70, 64), (30 * number, 0, 0)).save(folder / f"{number}.jpg")
        (folder / f"{number}.txt").write_text(f"a red of {number}")
    return folder


def test_training_on_a_cache_is_training_on_its_pictures(
    evounet: Evounet, tmp_path: Path, pictures: Path
) -> None:
    answer = evounet(
        "train", "cache", "--data", pictures, "--out", tmp_path / "cache", "--set=precision=fp32"
    )
    assert answer.code == 0, answer.err
    assert f"cache: {tmp_path / 'cache'} (8 pictures, 8 captions)" in answer.out
    assert "encoding: 8/8" in answer.out
    on_pictures = trained_on(evounet, pictures, tmp_path / "weights.safetensors")
    on_cache = trained_on(evounet, tmp_path / "cache", tmp_path / "weights.safetensors")
    otherwise = trained_on(evounet, pictures, tmp_path / "weights.safetensors", "--seed=1")
    assert distance(on_cache, on_pictures) < 0.02 * distance(otherwise, on_pictures)


def trained_on(evounet: Evounet, data: Path, out: Path, *more: str) -> dict[str, torch.Tensor]:
    answer = evounet("train", "supernet", "--data", data, "--out", out, *TWO_STEPS, *more)
    assert answer.code == 0, answer.err
    return load_tensors(out)[0]


def distance(left: dict[str, torch.Tensor], right: dict[str, torch.Tensor]) -> float:
    return sum((left[name].float() - right[name].float()).abs().sum().item() for name in left)


def test_a_finished_cache_is_left_as_it_is(
    evounet: Evounet, tmp_path: Path, pictures: Path
) -> None:
    arguments = ("train", "cache", "--data", pictures, "--out", tmp_path / "cache")
    assert evounet(*arguments).code == 0
    again = evounet(*arguments)
    assert again.code == 0
    assert "8 pictures are encoded already" in again.out


def test_bad_data_are_refused_before_anything_is_written(
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
    pictures: Path,
) -> None:
    evounet, out = Evounet(monkeypatch, capsys), tmp_path / "out"  # with the shipped tables
    message = evounet.refused("train", "cache", "--data", tmp_path / "none", "--out", out)
    assert "none: no such folder" in message
    settings = ("--set=training.steps=1", "--set=training.batch_size=9")
    message = evounet.refused("train", "supernet", "--data", pictures, "--out", out, *settings)
    assert "has 8 captioned pictures, fewer than one batch of 9" in message
    for changed, reason in (
        (f"training.data={tmp_path / 'none'}", "no such folder"),
        (f"training.data={pictures}", "fewer than one batch of 32"),
    ):
        message = evounet.refused("search", "demo", "--run", out, "--set", changed)
        assert reason in message
    assert not out.exists()


def test_an_experiment_s_data_are_opened_only_for_a_training(tmp_path: Path) -> None:
    pipeline = load_pipeline(pipeline_source("shapes"))
    check_training(pipeline, TrainingSection(data="nowhere"), 0)


def test_the_shapes_world_gives_the_batches_that_it_always_gave() -> None:
    pipeline = load_pipeline(pipeline_source("shapes"))
    data = training_data(pipeline, DataSettings(pictures=64), 3)
    batch = data.batches(4, 7, 0.25)(5, range(1, 4))
    world = draw("train", 64, 3)
    latents = encode(pipeline.vae, world, slice(None)) * pipeline.vae.config.scaling_factor
    texts = [scene.caption for scene in world.scenes]
    models = pipeline.tokenizer, pipeline.text_encoder
    expected = caption_batches(latents, texts, *models, 4, 7, 0.25)(5, range(1, 4))
    assert torch.equal(batch.latents, expected.latents)
    assert torch.equal(batch.encoder_hidden_states, expected.encoder_hidden_states)
