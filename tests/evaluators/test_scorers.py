"""Every scorer keeps the contract of scorers; and what is each one's own."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import pytest
import torch
from pydantic import TypeAdapter
from small_models import JUDGED_SIZE, PROMPTS
from torch import Tensor

from evaluators.contract import CONTRACT_PROMPTS, ScorerContract
from evaluators.scorers import (
    CaptionAccuracy,
    ClipModel,
    Mix,
    Part,
    Scorer,
    ScorerSettings,
    TransformersModel,
    check_pictures,
)

ROWS = range(len(PROMPTS))
SETTINGS: TypeAdapter[ScorerSettings] = TypeAdapter(ScorerSettings)


def pictures() -> Tensor:
    generator = torch.Generator().manual_seed(0)
    return torch.rand(len(PROMPTS), 3, JUDGED_SIZE, JUDGED_SIZE, generator=generator)


class TestClip(ScorerContract):
    @pytest.fixture
    def scorer(self, clip: ClipModel) -> Scorer:
        return clip.open(self.prompts)


class TestTransformersClip(ScorerContract):
    @pytest.fixture
    def scorer(self, pick_score: TransformersModel) -> Scorer:
        return pick_score.open(self.prompts)


class TestSiglip(ScorerContract):
    @pytest.fixture
    def scorer(self, siglip: TransformersModel) -> Scorer:
        return siglip.open(self.prompts)


class TestCaptionAccuracy(ScorerContract):
    @pytest.fixture
    def scorer(self, clip: ClipModel) -> Scorer:
        return CaptionAccuracy(name=clip.name).open(self.prompts)


class TestMix(ScorerContract):
    @pytest.fixture
    def scorer(self, clip: ClipModel, pick_score: TransformersModel) -> Scorer:
        parts = (Part(weight=-0.5, scorer=clip), Part(weight=0.01, scorer=pick_score))
        return Mix(parts=parts).open(self.prompts)


class _Wrong:
    """Means of the pictures, with one fault."""

    def __init__(self, fault: str) -> None:
        self.fault = fault
        self.calls = 0

    def score(self, images: Tensor, rows: Sequence[int]) -> Tensor:
        if self.fault != "no checks":
            check_pictures(images, rows, CONTRACT_PROMPTS)
        self.calls += 1
        scores = images.float().mean(dim=(1, 2, 3))
        return {
            "constant": torch.zeros(len(images)),
            "ranks": scores.argsort().argsort().float(),
            "by place": scores + torch.arange(len(images)),
            "drifts": scores + self.calls,
            "a mean": scores.mean().expand_as(scores),
            "NaN": scores.where(scores > scores.median(), torch.nan),
            "fp64": scores.double(),
        }.get(self.fault, scores)


class TestWithoutFault(ScorerContract):
    @pytest.fixture
    def scorer(self) -> Scorer:
        return _Wrong("none")


@pytest.mark.parametrize(
    ("fault", "test"),
    [
        ("constant", "test_it_tells_pictures_or_prompts_apart"),
        ("ranks", "test_batches_may_be_cut_anywhere"),
        ("by place", "test_the_order_of_pictures_does_not_matter"),
        ("drifts", "test_it_answers_alike_when_asked_again"),
        ("a mean", "test_batches_may_be_cut_anywhere"),
        ("NaN", "test_it_gives_a_number_for_every_picture"),
        ("fp64", "test_it_gives_a_number_for_every_picture"),
        ("no checks", "test_pictures_that_are_none_are_refused"),
    ],
)
def test_the_contract_finds_faults(fault: str, test: str) -> None:
    with pytest.raises(AssertionError):
        getattr(ScorerContract(), test)(_Wrong(fault))


def test_a_mix_adds_up_its_parts(clip: ClipModel, pick_score: TransformersModel) -> None:
    parts = (Part(weight=2, scorer=clip), Part(weight=-0.25, scorer=pick_score))
    score = Mix(parts=parts).open(PROMPTS).score(pictures(), ROWS)
    first, second = (each.open(PROMPTS).score(pictures(), ROWS) for each in (clip, pick_score))
    torch.testing.assert_close(score, 2 * first - 0.25 * second)


def test_caption_accuracy_needs_distractors(clip: ClipModel) -> None:
    with pytest.raises(ValueError, match=r"caption_accuracy needs captions .* another scorer$"):
        CaptionAccuracy(name=clip.name).open(replace(PROMPTS, distractors=()))


def test_settings_without_a_kind_are_of_a_clip() -> None:
    assert SETTINGS.validate_python({"name": "shapes"}) == ClipModel(name="shapes")


def test_settings_come_back_from_what_is_written_of_them() -> None:
    clip, accuracy = ClipModel(name="RN50", pretrained="openai"), CaptionAccuracy(name="shapes")
    model = TransformersModel(name="some/model")
    mix = Mix(parts=(Part(weight=1, scorer=clip), Part(weight=-0.5, scorer=model)))
    for settings in (clip, accuracy, model, mix):
        assert SETTINGS.validate_json(settings.model_dump_json()) == settings
