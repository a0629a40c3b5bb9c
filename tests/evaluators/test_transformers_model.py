"""Scores of transformers' dual encoders against their own forward pass, and unusable models."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file, save_file
from small_models import JUDGED_SIZE, PROMPTS
from torch import Tensor
from transformers import AutoModel, AutoProcessor, CLIPTextConfig, CLIPTextModel

from evaluators.scorers import TransformersModel
from evaluators.scorers.transformers_model import TransformersEncoder


@pytest.fixture
def copied(pick_score: TransformersModel, tmp_path: Path) -> Path:
    """A copy of the model's folder, to be damaged."""
    return Path(shutil.copytree(pick_score.name, tmp_path / "model"))


def refusal(name: object) -> str:
    """The one line that says why a model cannot judge."""
    with pytest.raises(ValueError) as caught:  # noqa: PT011
        TransformersEncoder(TransformersModel(name=str(name)))
    message = str(caught.value)
    assert "\n" not in message
    assert len(message) < 700
    assert message.startswith(f"scorer '{name}'")
    return message


def forward(name: str) -> tuple[Tensor, list[Image.Image], float]:
    """The logits of a model called as its users do, each picture beside its own prompt alone."""
    model, processor = AutoModel.from_pretrained(name), AutoProcessor.from_pretrained(name)
    pixels = np.random.default_rng(0).integers(0, 256, (len(PROMPTS), 30, 20, 3), dtype=np.uint8)
    images = [Image.fromarray(each) for each in pixels]
    inputs = processor(
        text=list(PROMPTS.prompts), images=images, padding="max_length", return_tensors="pt"
    )
    with torch.no_grad():
        logits = model(**inputs).logits_per_image.diagonal()
    return logits, images, getattr(model, "logit_bias", torch.zeros(1)).item()


@pytest.mark.parametrize("kind", ["pick_score", "siglip"])
def test_a_score_is_the_models_own_logit(kind: str, request: pytest.FixtureRequest) -> None:
    settings: TransformersModel = request.getfixturevalue(kind)
    logits, images, bias = forward(settings.name)
    pictures = torch.stack([torch.tensor(np.array(each)) for each in images]).permute(0, 3, 1, 2)
    score = settings.open(PROMPTS).score(pictures / 255, range(len(PROMPTS)))
    torch.testing.assert_close(score, logits - bias, atol=1e-4, rtol=1e-5)
    assert score.std() > 1e-3


def test_long_captions_are_cut(pick_score: TransformersModel) -> None:
    embedded = TransformersEncoder(pick_score).embed_captions(["red " * 500, "red " * 600])
    torch.testing.assert_close(embedded[0], embedded[1])


def test_more_pictures_than_one_batch(pick_score: TransformersModel) -> None:
    encoder = TransformersEncoder(pick_score)
    size = (70, 3, JUDGED_SIZE, JUDGED_SIZE)
    pictures = torch.rand(size, generator=torch.Generator().manual_seed(0))
    embedded = encoder.embed_images(pictures)
    torch.testing.assert_close(embedded.norm(dim=1), torch.ones(70))
    torch.testing.assert_close(embedded[69:], encoder.embed_images(pictures[69:]))


def test_a_folder_that_is_none(tmp_path: Path) -> None:
    assert refusal(tmp_path / "lost").endswith("give one of transformers, or an id")


def test_a_folder_without_a_model(tmp_path: Path) -> None:
    assert "give a transformers folder with processor and safetensors" in refusal(tmp_path)


@pytest.mark.usefixtures("offline")
def test_an_id_that_is_not_here_and_cannot_be_fetched() -> None:
    assert "downloaded once where there is a connection" in refusal("nobody/nothing")


def test_truncated_weights(copied: Path) -> None:
    weights = copied / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-100])
    assert "cannot be loaded: " in refusal(copied)


def test_missing_weights_do_not_judge_at_random(copied: Path) -> None:
    weights = load_file(copied / "model.safetensors")
    del weights["visual_projection.weight"]
    save_file(weights, copied / "model.safetensors", {"format": "pt"})
    message = refusal(copied)
    assert "its files lack 1 of the weights, such as 'visual_projection.weight'" in message


def test_weights_of_another_size(copied: Path) -> None:
    config = json.loads((copied / "config.json").read_text())
    (copied / "config.json").write_text(json.dumps(config | {"projection_dim": 12}))
    assert "cannot be loaded: " in refusal(copied)


def test_pickled_weights_are_not_opened(copied: Path) -> None:
    torch.save(load_file(copied / "model.safetensors"), copied / "pytorch_model.bin")
    (copied / "model.safetensors").unlink()
    assert "safetensors" in refusal(copied)


def test_a_model_without_its_processor(copied: Path) -> None:
    for path in copied.glob("*process*"):
        path.unlink()
    assert "processor" in refusal(copied)


def test_a_model_that_embeds_texts_alone(copied: Path) -> None:
    config = CLIPTextConfig(
        vocab_size=50, hidden_size=8, intermediate_size=8, num_attention_heads=1
    )
    CLIPTextModel(config).save_pretrained(copied)
    message = refusal(copied)
    assert "is a CLIPTextModel, which has no get_text_features and no get_image_features" in message


def test_a_model_that_brings_its_own_code_is_not_run(copied: Path) -> None:
    config = json.loads((copied / "config.json").read_text())
    own = {"AutoConfig": "own_code.Config", "AutoModel": "own_code.Model"}
    new = config | {"model_type": "own", "auto_map": own}
    (copied / "config.json").write_text(json.dumps(new))
    (copied / "own_code.py").write_text("raise SystemExit('it was run')")
    assert "brings code of its own, which is not run" in refusal(copied)


@pytest.mark.parametrize("name", ["zai-org/ImageReward", "THUDM/ImageReward-v1.0"])
def test_image_reward_is_refused_with_what_to_use_instead(name: str) -> None:
    message = refusal(name)
    assert "ImageReward is a BLIP with a head that transformers has no class for" in message
    assert "use yuvalkirstain/PickScore_v1" in message
