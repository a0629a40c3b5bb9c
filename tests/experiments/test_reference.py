"""Real pictures for FID and KID, and what the last comparison says of them."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from PIL import Image
from rich.console import Console
from torch import Tensor

from evaluators.job import Scores
from evaluators.picture_sets import SetDistance
from evaluators.scorers import CaptionAccuracy, ClipModel, TransformersModel
from evaluators.scorers.settings import ScorerSettings
from experiments.comparison import Comparison, Pictures, Side, measure_distances
from experiments.data.source import DataError
from experiments.experiment import ExperimentError
from experiments.models import scorer_settings
from experiments.prompts import prompt_set
from experiments.reference import find_reference
from experiments.sections import ComparisonPromptsSection, ComparisonSection

CLIP = scorer_settings(ClipModel(name="shapes"))
SOME = ComparisonPromptsSection(count=24)


def save(folder: Path, name: str, size: tuple[int, int], left: int, right: int) -> None:
    """A picture in two shades of gray."""
    (folder / name).parent.mkdir(exist_ok=True)
    image = Image.new("RGB", size, (left,) * 3)
    image.paste((right,) * 3, (size[0] // 2, 0, *size))
    image.save(folder / name)


def drawn(images: Tensor) -> Pictures:
    return Pictures(images, Scores((0.0,) * len(images)))


def test_pictures_of_the_shapes_world_show_the_comparisons_captions() -> None:
    reference = find_reference(ComparisonSection(prompts=SOME))
    images = torch.cat(list(reference.batches(64, 64)))
    assert len(reference) == len(images) == SOME.count
    accuracy = scorer_settings(CaptionAccuracy(name="shapes")).open(prompt_set(SOME, "test"))
    assert accuracy.score(images, range(len(images))).mean() > 0.9


def test_pictures_of_a_folder_are_cropped_and_resized_to_the_drawn_ones(tmp_path: Path) -> None:
    save(tmp_path, "b.png", (40, 20), 50, 200)
    save(tmp_path, "below/a.JPG", (20, 40), 100, 100)
    (tmp_path / "notes.txt").write_text("no picture")
    reference = find_reference(ComparisonSection(reference=str(tmp_path)))
    (images,) = reference.batches(8, 8)
    assert len(reference) == 2
    assert images.shape == (2, 3, 8, 8)
    torch.testing.assert_close(images[0, :, 4, [0, 7]] * 255, torch.tensor([[50.0, 200]] * 3))
    torch.testing.assert_close(images[1] * 255, torch.full((3, 8, 8), 100.0), atol=2, rtol=0)


def test_a_folder_of_one_picture_is_refused(tmp_path: Path) -> None:
    save(tmp_path, "a.png", (4, 4), 0, 0)
    with pytest.raises(ExperimentError, match=r"comparison\.reference: .* holds 1 pictures"):
        find_reference(ComparisonSection(reference=str(tmp_path)))


def test_a_damaged_picture_is_named(tmp_path: Path) -> None:
    for name in ("a.png", "b.png"):
        save(tmp_path, name, (4, 4), 0, 0)
    (tmp_path / "b.png").write_bytes(b"no picture")
    reference = find_reference(ComparisonSection(reference=str(tmp_path)))
    with pytest.raises(DataError, match=r"b\.png: cannot be read as a picture"):
        list(reference.batches(4, 4))


def test_prompts_of_a_file_have_no_reference_of_their_own() -> None:
    section = ComparisonSection(prompts=ComparisonPromptsSection(source="captions.txt"))
    assert find_reference(section) is None


def test_worse_pictures_are_farther_from_the_reference() -> None:
    reference = find_reference(ComparisonSection(prompts=SOME))
    real = torch.cat(list(reference.batches(64, 64)))
    noise = torch.rand(real.shape, generator=torch.Generator().manual_seed(0))
    seen: list[int] = []
    same, mixed, worse = measure_distances(
        [drawn(real), drawn(real.lerp(noise, 0.3)), drawn(noise)],
        reference,
        CLIP,
        lambda count, _: seen.append(count),
    )
    assert same.distance.fid == pytest.approx(0, abs=1e-5)
    assert same.distance.fid < mixed.distance.fid < worse.distance.fid
    assert same.distance.kid < mixed.distance.kid < worse.distance.kid
    assert seen[-1] == SOME.count


def compared(second: ScorerSettings | None, distance: SetDistance | None) -> Comparison:
    scores = Scores((0.25, 0.75), (1.0, 0.0) if second else ())
    side = Side(2.0, 3.0, 100, Pictures(torch.zeros(2, 3, 4, 4), scores, distance))
    return Comparison(side, side, (CLIP, second) if second else (CLIP,))


def shown(comparison: Comparison) -> str:
    console = Console(width=120)
    with console.capture() as capture:
        console.print(comparison.table())
    return capture.get()


@pytest.mark.parametrize(
    ("second", "figure", "row"),
    [
        (CaptionAccuracy(name="shapes"), "caption_accuracy", "caption accuracy"),
        (TransformersModel(name="some/PickScore_v1"), "second_score", "score by PickScore_v1"),
    ],
)
def test_a_second_score_and_distances_stand_beside_the_first(
    second: ScorerSettings, figure: str, row: str
) -> None:
    comparison = compared(second, SetDistance(12.5, -0.25))
    figures = comparison.figures()
    expected = {"clip": 0.5, figure: 0.5, "fid": 12.5, "kid": -0.25}
    for name, value in expected.items():
        assert figures[f"{name}_before"] == figures[f"{name}_after"] == value
    for title in ("CLIP score", row, "FID", "KID"):
        assert title in shown(comparison)


def test_what_is_not_there_is_not_shown() -> None:
    comparison = compared(None, None)
    names = ("caption_accuracy", "second_score", "fid", "kid")
    assert not [each for each in comparison.figures() if each.startswith(names)]
    assert "FID" not in shown(comparison)
