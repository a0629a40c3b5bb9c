"""Scenes drawn once: pictures beside their scenes, and batches that a resumed training repeats."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from experiments.shapes.dataset import batch_rows, draw
from experiments.shapes.render import IMAGE_SIZE, render
from experiments.shapes.scene import BACKGROUNDS, Object, Scene, sample_scenes


def test_pictures_are_the_renderers_in_eight_bits() -> None:
    pictures = draw("train", 5, seed=2)
    assert len(pictures) == 5
    assert pictures.scenes == sample_scenes("train", 5, seed=2)
    assert pictures.pixels.dtype == torch.uint8
    rendered = render(pictures.scenes, torch.Generator().manual_seed(2))
    images = pictures.images(slice(None))
    assert images.shape == (5, 3, IMAGE_SIZE, IMAGE_SIZE)
    # Half of one of 255 levels, in a range of 2.
    torch.testing.assert_close(images, 2 * rendered - 1, atol=1.01 / 255, rtol=0)
    assert torch.equal(pictures.images(torch.tensor([3, 1])), images[[3, 1]])


def test_the_same_seed_draws_the_same_and_another_one_others() -> None:
    pictures = draw("test", 6, seed=0, unique=True)
    assert torch.equal(pictures.pixels, draw("test", 6, seed=0, unique=True).pixels)
    assert not torch.equal(pictures.pixels, draw("test", 6, seed=1, unique=True).pixels)
    assert pictures.scenes == sample_scenes("test", 6, seed=0, unique=True)


def test_pictures_stay_beside_their_scenes_over_many() -> None:
    pictures = draw("train", 700, seed=0)  # several chunks
    corners = {
        name: render([Scene((Object("circle", "red", "small"),), None, name)], torch.Generator())[
            0, :, 0, 0
        ]
        for name in BACKGROUNDS
    }
    expected = torch.stack([corners[scene.background] for scene in pictures.scenes])
    corner = pictures.pixels[:, :, 0, 0] / 255
    torch.testing.assert_close(corner, expected, atol=1 / 255, rtol=0)


@given(
    seed=st.integers(0, 10_000),
    step=st.integers(0, 100_000),
    size=st.integers(1, 1000),
    batch_size=st.integers(1, 64),
)
@settings(deadline=None, max_examples=40)
def test_a_batch_is_a_function_of_seed_and_step_alone(
    seed: int, step: int, size: int, batch_size: int
) -> None:
    (resumed,) = batch_rows(size, batch_size, range(step, step + 1), seed)
    *_, uninterrupted = batch_rows(size, batch_size, range(max(0, step - 3), step + 1), seed)
    assert torch.equal(resumed, uninterrupted)
    assert resumed.shape == (batch_size,)
    assert resumed.min() >= 0
    assert resumed.max() < size


@pytest.mark.parametrize("other", [{"seed": 1}, {"steps": range(1, 5)}], ids=str)
def test_batches_differ_between_steps_and_seeds(other: dict[str, Any]) -> None:
    given: dict[str, Any] = {"size": 1000, "batch_size": 16, "steps": range(4), "seed": 0}
    for ours, theirs in zip(batch_rows(**given), batch_rows(**given | other), strict=True):
        assert not torch.equal(ours, theirs)


def test_batches_reach_all_rows_alike() -> None:
    rows = torch.cat(list(batch_rows(10, 100, range(100), seed=0)))
    counts = rows.bincount(minlength=10)
    assert counts.min() > 850  # of 1000 on average, with a standard deviation of 30
    assert counts.max() < 1150
