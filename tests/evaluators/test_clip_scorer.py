"""CLIP scores against open_clip called by hand, and models that cannot be loaded."""

from __future__ import annotations

import shutil
from pathlib import Path

import open_clip
import pytest
import torch
from safetensors.torch import load_file, save_file
from small_models import JUDGED_SIZE, PROMPTS, save_clip
from torch import Tensor

from evaluators.prompts import PromptSet
from evaluators.scorers import ClipModel
from evaluators.scorers.caption_accuracy import CaptionAccuracyScorer
from evaluators.scorers.clip import ClipEncoder

COUNT = len(PROMPTS)


@pytest.fixture(scope="module")
def encoder(clip: ClipModel) -> ClipEncoder:
    return ClipEncoder(clip)


@pytest.fixture
def copied(clip: ClipModel, tmp_path: Path) -> Path:
    """A copy of the judge's folder, to be damaged."""
    return Path(shutil.copytree(folder_of(clip), tmp_path / "judge"))


def folder_of(clip: ClipModel) -> Path:
    return Path(clip.name.removeprefix("local-dir:"))


def pictures(count: int = COUNT, size: int = JUDGED_SIZE) -> Tensor:
    return torch.rand(count, 3, size, size, generator=torch.Generator().manual_seed(0))


def refusal(model: ClipModel) -> str:
    """The one line that says why a model cannot judge."""
    with pytest.raises(ValueError) as caught:  # noqa: PT011
        ClipEncoder(model)
    message = str(caught.value)
    assert "\n" not in message
    assert len(message) < 700
    return message


def test_score_is_the_cosine_that_open_clip_gives(clip: ClipModel) -> None:
    model = open_clip.create_model(clip.name).eval()
    tokens = open_clip.get_tokenizer(clip.name)(list(PROMPTS.prompts))
    mean = torch.tensor([0.5, 0.4, 0.3]).view(3, 1, 1)
    std = torch.tensor([0.5, 0.25, 0.2]).view(3, 1, 1)
    with torch.no_grad():
        image = model.encode_image((pictures() - mean) / std)
        text = model.encode_text(tokens)
    expected = torch.cosine_similarity(image, text)
    score = clip.open(PROMPTS).score(pictures(), range(COUNT))
    assert score.shape == (COUNT,)
    torch.testing.assert_close(score, expected, atol=1e-6, rtol=0)


def test_embeddings_are_unit_vectors_in_the_given_order(encoder: ClipEncoder) -> None:
    many = [f"a {'small' if i % 2 else 'large'} red {'circle ' * (i % 5)}" for i in range(200)]
    captions = encoder.embed_captions(many)  # more than one batch
    torch.testing.assert_close(captions.norm(dim=1), torch.ones(200))
    torch.testing.assert_close(captions[150:151], encoder.embed_captions(many[150:151]))
    images = encoder.embed_images(pictures(130))
    torch.testing.assert_close(images.norm(dim=1), torch.ones(130))
    torch.testing.assert_close(images[129:], encoder.embed_images(pictures(130)[129:]))


def test_pictures_of_another_size_are_resized(encoder: ClipEncoder) -> None:
    flat = torch.tensor([0.1, 0.5, 0.9]).view(1, 3, 1, 1)
    small, large = (flat.expand(1, 3, size, size) for size in (JUDGED_SIZE, 4 * JUDGED_SIZE))
    torch.testing.assert_close(encoder.embed_images(large), encoder.embed_images(small))
    # Doubling every pixel and averaging pairs again gives the picture back, up to the filter.
    doubled = pictures().repeat_interleave(2, dim=2).repeat_interleave(2, dim=3)
    similarity = (encoder.embed_images(doubled) * encoder.embed_images(pictures())).sum(dim=1)
    assert similarity.min() > 0.9


def test_sharp_edges_do_not_leave_the_range_when_resized(encoder: ClipEncoder) -> None:
    # Bicubic resizing overshoots beside an edge; a picture has no values outside [0, 1].
    edge = torch.zeros(1, 3, 40, 40)
    edge[..., 19:] = 1
    seen: list[Tensor] = []
    hook = encoder.model.visual.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
    try:
        encoder.embed_images(edge)
    finally:
        hook.remove()
    mean = torch.tensor([0.5, 0.4, 0.3]).view(3, 1, 1)
    std = torch.tensor([0.5, 0.25, 0.2]).view(3, 1, 1)
    (resized,) = seen
    values = resized * std + mean
    assert values.shape == (1, 3, JUDGED_SIZE, JUDGED_SIZE)
    assert values.min() > -1e-6
    assert values.max() < 1 + 1e-6


def test_a_hit_is_a_caption_that_beats_every_distractor(encoder: ClipEncoder) -> None:
    images = pictures()
    captions = encoder.embed_captions(PROMPTS.prompts)
    # The captions of each picture, from the one that fits it worst to the best.
    ranked = [
        [PROMPTS.prompts[i] for i in order]
        for order in (encoder.embed_images(images) @ captions.T).argsort(dim=1)
    ]

    def hits(own: int, *others: int) -> list[float]:
        texts = tuple(captions[own] for captions in ranked)
        distractors = tuple(tuple(captions[i] for i in others) for captions in ranked)
        scorer = CaptionAccuracyScorer(encoder, PromptSet(texts, 0, distractors))
        return scorer.score(images, range(COUNT)).tolist()

    assert hits(3, 0, 1, 2) == [1] * COUNT
    assert hits(1, 0) == [1] * COUNT
    assert hits(2, 0, 3, 1) == [0] * COUNT  # one better one among worse ones is enough
    assert hits(0, 1) == [0] * COUNT


def test_a_folder_that_is_none(tmp_path: Path) -> None:
    message = refusal(ClipModel(name=f"local-dir:{tmp_path / 'nothing'}"))
    assert message == (
        f"{tmp_path / 'nothing'}: no open_clip_config.json there; give an open_clip folder"
    )


def test_a_folder_without_weights_does_not_judge_at_random(copied: Path) -> None:
    (copied / "open_clip_model.safetensors").unlink()
    assert str(copied) in refusal(ClipModel(name=f"local-dir:{copied}"))


def test_truncated_weights(copied: Path) -> None:
    weights = copied / "open_clip_model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-100])
    assert str(copied) in refusal(ClipModel(name=f"local-dir:{copied}"))


def test_weights_of_another_model(copied: Path, tmp_path: Path) -> None:
    weights = load_file(copied / "open_clip_model.safetensors")
    del weights["visual.proj"]
    save_file(weights, copied / "open_clip_model.safetensors")
    assert "visual.proj" in refusal(ClipModel(name=f"local-dir:{copied}"))


@pytest.mark.parametrize("config", ["{", "{}", '{"model_cfg": {"embed_dim": 8}}'])
def test_a_damaged_configuration(copied: Path, config: str) -> None:
    (copied / "open_clip_config.json").write_text(config)
    assert str(copied) in refusal(ClipModel(name=f"local-dir:{copied}"))


def test_a_folder_without_its_tokenizer(copied: Path) -> None:
    for name in ("tokenizer.json", "tokenizer_config.json", "vocab.json", "merges.txt"):
        (copied / name).unlink(missing_ok=True)
    assert str(copied) in refusal(ClipModel(name=f"local-dir:{copied}"))


@pytest.mark.parametrize("pretrained", [None, "openai"])
def test_an_unknown_architecture(pretrained: str | None) -> None:
    message = refusal(ClipModel(name="ViT-H-15", pretrained=pretrained))
    assert message.startswith("CLIP 'ViT-H-15': open_clip has no such architecture;")


@pytest.mark.parametrize("pretrained", [None, "laion3b"])
def test_a_missing_or_unknown_tag_is_answered_by_the_known_ones(pretrained: str | None) -> None:
    message = refusal(ClipModel(name="ViT-H-14", pretrained=pretrained))
    assert "laion2b_s32b_b79k" in message
    assert repr(pretrained) in message


def test_a_weights_file_that_is_none(tmp_path: Path) -> None:
    path = tmp_path / "weights.bin"
    path.write_text("<html>404</html>" * 50)
    assert str(path) in refusal(ClipModel(name="RN50", pretrained=str(path)))


def test_image_sizes_of_the_judge_may_differ_from_the_pictures(tmp_path: Path) -> None:
    other = ClipEncoder(save_clip(tmp_path, image_size=24))
    assert other.embed_images(pictures()).shape == (COUNT, 8)


def test_a_model_that_is_not_here_and_cannot_be_fetched(offline: None) -> None:
    message = refusal(ClipModel(name="hf-hub:nobody/nothing"))
    assert message.startswith("CLIP 'hf-hub:nobody/nothing' cannot be loaded: ")
    assert message.endswith("download it once where there is a connection")
