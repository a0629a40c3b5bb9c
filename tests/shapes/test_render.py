"""Pictures of scenes: what is drawn has the size, place and colour that its caption says."""

from __future__ import annotations

import itertools
import math
import random
from functools import cache

import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from torch import Tensor

from experiments.shapes.render import IMAGE_SIZE, render
from experiments.shapes.scene import (
    BACKGROUNDS,
    COLORS,
    SHAPES,
    SIZES,
    Object,
    Scene,
    random_scene,
)

# Areas by hand for a radius of 1, from the corners of each shape.
AREAS = {
    "circle": math.pi,
    "square": (2 * 0.88) ** 2,
    "triangle": 3 * math.sqrt(3) * 0.58**2,  # of inradius 0.58
    "star": 10 * 0.5 * 1.1 * 0.48 * math.sin(math.pi / 5),  # ten triangles around the middle
    "ring": math.pi * (1 - 0.48**2),
    "cross": 2 * (2 * 0.64) - 0.64**2,  # two bars, less the square where they meet
}
RADII = {"small": (6.5, 8.0), "large": (12.0, 14.5)}
# From the second object to the first, in pixels right and down.
DIRECTIONS = {"left of": (-1, 0), "right of": (1, 0), "above": (0, -1), "below": (0, 1)}

seeds = st.integers(0, 2**32)


def drawn(*scenes: Scene, seed: int) -> Tensor:
    return render(scenes, torch.Generator().manual_seed(seed))


def single(shape: str, size: str = "large", color: str = "red", background: str = "white") -> Scene:
    return Scene((Object(shape, color, size),), None, background)


def coverage(picture: Tensor) -> Tensor:
    """How much of each pixel the only object of a picture covers, read off its colours."""
    away = picture - picture[:, :1, :1]  # no object reaches a corner
    full = away.flatten(1)[:, away.norm(dim=0).argmax()].view(3, 1, 1)
    return (away * full).sum(dim=0) / full.square().sum()


def area(shape: str, size: str, seed: int) -> float:
    return coverage(drawn(single(shape, size), seed=seed)[0]).sum().item()


@cache
def color_of(name: str) -> Tensor:
    picture = drawn(single("circle", color=name), seed=0)[0]
    return picture.flatten(1)[:, coverage(picture).argmax()]


def centroid(mask: Tensor) -> Tensor:
    """Mean (x, y) of the marked pixels."""
    return mask.nonzero().float().mean(dim=0).flip(0)


@given(scene_seed=seeds, seed=seeds)
@settings(deadline=None, max_examples=30)
def test_a_picture_is_a_function_of_scene_and_seed(scene_seed: int, seed: int) -> None:
    scene = random_scene(random.Random(scene_seed))
    picture = drawn(scene, seed=seed)
    assert picture.shape == (1, 3, IMAGE_SIZE, IMAGE_SIZE)
    assert picture.min() >= 0
    assert picture.max() <= 1
    assert torch.equal(picture, drawn(scene, seed=seed))
    assert not torch.equal(picture, drawn(scene, seed=seed + 1))


def test_many_scenes_at_once_are_the_same_pictures_as_one_after_the_other() -> None:
    rng = random.Random(0)
    scenes = [random_scene(rng) for _ in range(40)]
    generator = torch.Generator().manual_seed(7)
    one_by_one = torch.cat([render([scene], generator) for scene in scenes])
    torch.testing.assert_close(drawn(*scenes, seed=7), one_by_one, atol=1e-6, rtol=0)


def test_a_picture_does_not_depend_on_its_neighbours() -> None:
    pair = Scene(
        (Object("star", "blue", "large"), Object("ring", "cyan", "small")), "above", "gray"
    )
    ours = single("cross")
    among_singles = drawn(single("circle"), ours, single("square"), seed=3)
    among_pairs = drawn(pair, ours, pair, seed=3)
    assert torch.equal(among_singles[1], among_pairs[1])


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("seed", [0, 1, 2])
def test_shapes_have_their_analytic_area(shape: str, size: str, seed: int) -> None:
    circle = coverage(drawn(single("circle", size), seed=seed)[0])
    radius = circle.sum(dim=1).max().item() / 2  # of the same seed, so of the same radius
    low, high = RADII[size]
    assert low - 0.1 <= radius <= high + 0.1
    assert area(shape, size, seed) == pytest.approx(AREAS[shape] * radius**2, rel=0.03)


@pytest.mark.parametrize("shape", SHAPES)
def test_large_is_larger_than_small(shape: str) -> None:
    small = max(area(shape, "small", seed) for seed in range(8))
    large = min(area(shape, "large", seed) for seed in range(8))
    assert large > 1.8 * small


def test_edges_are_anti_aliased() -> None:
    for seed in range(5):
        circle = coverage(drawn(single("circle"), seed=seed)[0])
        assert circle.min() > -1e-5
        assert circle.max() < 1 + 1e-5
        partly = ((circle > 0.02) & (circle < 0.98)).sum().item()
        perimeter = 2 * math.sqrt(math.pi * circle.sum().item())
        assert 0.7 * perimeter < partly < 1.3 * perimeter  # a seam one pixel wide


def test_colors_and_backgrounds_can_be_told_apart() -> None:
    colors = [color_of(name) for name in COLORS]
    grounds = [drawn(single("circle", background=b), seed=0)[0, :, 0, 0] for b in BACKGROUNDS]
    for one, other in itertools.combinations(colors + grounds, 2):
        assert (one - other).norm() > 0.2


@given(scene_seed=seeds, seed=seeds)
@settings(deadline=None, max_examples=60)
def test_the_relation_is_true_in_the_picture(scene_seed: int, seed: int) -> None:
    scene = random_scene(random.Random(scene_seed))
    assume(scene.relation is not None)
    first, second = scene.objects
    assume(first.color != second.color)
    picture = drawn(scene, seed=seed)[0]
    palette = torch.stack([picture[:, 0, 0], color_of(first.color), color_of(second.color)])
    nearest = (picture[None] - palette[:, :, None, None]).norm(dim=1).argmin(dim=0)
    dx, dy = (centroid(nearest == 1) - centroid(nearest == 2)).tolist()
    right, down = DIRECTIONS[str(scene.relation)]
    assert dx * right + dy * down > 10  # pixels along the direction
    assert abs(dx * down) + abs(dy * right) < 8  # and hardly any across it
