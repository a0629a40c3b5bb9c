"""Scenes: captions that say everything, distractors one attribute away, splits that keep apart."""

from __future__ import annotations

import itertools
import random
import re
from collections.abc import Iterator

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from experiments.shapes.scene import (
    BACKGROUNDS,
    COLORS,
    MOST_UNIQUE,
    RELATIONS,
    SHAPES,
    SIZES,
    Object,
    Scene,
    Split,
    random_scene,
    sample_scenes,
)

SPLITS: tuple[Split, ...] = ("train", "validation", "test")
RED = Object("circle", "red", "small")
BLUE = Object("star", "blue", "large")

THINGS = [Object(*each) for each in itertools.product(SHAPES, COLORS, SIZES)]

scenes = st.integers(0, 2**32).map(lambda seed: random_scene(random.Random(seed)))
ONE = f"a ({'|'.join(SIZES)}) ({'|'.join(COLORS)}) ({'|'.join(SHAPES)})"
TWO = f" ({'|'.join(RELATIONS)}) {ONE}"
CAPTION = re.compile(f"{ONE}(?:{TWO})? on a ({'|'.join(BACKGROUNDS)}) background")


def read(caption: str) -> Scene:
    """The scene that a caption describes, by nothing but its words."""
    match = CAPTION.fullmatch(caption)
    assert match is not None, caption
    size, color, shape, relation, size_2, color_2, shape_2, background = match.groups()
    objects = [Object(shape, color, size)]
    if relation:
        objects.append(Object(shape_2, color_2, size_2))
    return Scene(tuple(objects), relation, background)


def attributes(scene: Scene) -> tuple[str | None, ...]:
    parts = [(item.shape, item.color, item.size) for item in scene.objects]
    return (*itertools.chain(*parts), scene.relation, scene.background)


def whole_world() -> Iterator[Scene]:
    for background in BACKGROUNDS:
        yield from (Scene((thing,), None, background) for thing in THINGS)
        for pair in itertools.permutations(THINGS, 2):
            yield from (Scene(pair, relation, background) for relation in RELATIONS)


def test_captions_read_as_english() -> None:
    assert Scene((RED,), None, "white").caption == "a small red circle on a white background"
    assert Scene((RED, BLUE), "left of", "brown").caption == (
        "a small red circle left of a large blue star on a brown background"
    )


@given(scenes)
@settings(deadline=None, max_examples=200)
def test_a_caption_says_everything_about_its_scene_and_nothing_else(scene: Scene) -> None:
    assert read(scene.caption) == scene  # so no two scenes share a caption


def changed_attribute(scene: Scene, other: Scene) -> int:
    """The place of the only attribute that two scenes differ in."""
    pairs = zip(attributes(other), attributes(scene), strict=True)
    (place,) = [i for i, (theirs, ours) in enumerate(pairs) if theirs != ours]
    return place


@given(scenes)
@settings(deadline=None, max_examples=200)
def test_distractors_differ_in_exactly_one_attribute_each_in_another(scene: Scene) -> None:
    changed = [changed_attribute(scene, read(caption)) for caption in scene.distractors()]
    assert len(set(changed)) == len(changed)
    # Of a pair that differs in size alone, neither size can change.
    sizes = [item.size for item in scene.objects]
    alike = len({(item.shape, item.color) for item in scene.objects}) < len(sizes)
    assert len(changed) == (4 if len(sizes) == 1 else 8 - 2 * alike)


@given(scenes)
@settings(deadline=None, max_examples=20)
def test_variations_are_all_scenes_one_attribute_away(scene: Scene) -> None:
    groups = scene.variations()
    for group in groups:
        assert len({changed_attribute(scene, other) for other in group}) == 1
    everything = {
        Scene(objects, relation, background)
        for objects in _one_object_off(scene)
        for relation in (RELATIONS if scene.relation else (None,))
        for background in BACKGROUNDS
    }
    one_off = {
        other
        for other in everything
        if sum(a != b for a, b in zip(attributes(other), attributes(scene), strict=True)) == 1
    }
    varied = [other for group in groups for other in group]
    assert len(varied) == len(set(varied))
    assert set(varied) == one_off


def _one_object_off(scene: Scene) -> Iterator[tuple[Object, ...]]:
    for i, thing in itertools.product(range(len(scene.objects)), THINGS):
        objects = (*scene.objects[:i], thing, *scene.objects[i + 1 :])
        if len(set(objects)) == len(objects):
            yield objects


def test_a_distractor_is_no_other_way_to_say_the_same() -> None:
    for scene in sample_scenes("train", 300, seed=0):
        meanings = [read(caption).meaning for caption in scene.distractors()]
        assert scene.meaning not in meanings


@given(scenes)
@settings(deadline=None, max_examples=100)
def test_both_ways_to_say_it_mean_the_same(scene: Scene) -> None:
    opposite = {"left of": "right of", "right of": "left of", "above": "below", "below": "above"}
    assert scene.meaning.meaning == scene.meaning
    if scene.relation is None:
        assert scene.meaning == scene
    else:
        other = Scene(scene.objects[::-1], opposite[scene.relation], scene.background)
        assert other.meaning == scene.meaning
        assert scene.meaning in (scene, other)
        assert other.split == scene.split


def test_impossible_scenes_are_refused() -> None:
    with pytest.raises(ValueError, match="one or two objects, not 0"):
        Scene((), None, "white")
    with pytest.raises(ValueError, match="one or two objects, not 3"):
        Scene((RED, BLUE, Object("ring", "cyan", "small")), "above", "white")
    with pytest.raises(ValueError, match="need a relation"):
        Scene((RED, BLUE), None, "white")
    with pytest.raises(ValueError, match="need a relation"):
        Scene((RED,), "above", "white")
    with pytest.raises(ValueError, match="differ in at least one attribute"):
        Scene((RED, RED), "above", "white")


def test_about_one_in_eight_combinations_is_held_out_but_no_pair_of_shape_and_color() -> None:
    held_out = {
        (shape, color): [size for size in SIZES if Object(shape, color, size).held_out]
        for shape, color in itertools.product(SHAPES, COLORS)
    }
    assert all(len(sizes) < len(SIZES) for sizes in held_out.values())
    share = sum(map(len, held_out.values())) / (len(SHAPES) * len(COLORS) * len(SIZES))
    assert share == pytest.approx(1 / 8, abs=0.02)
    assert {size for sizes in held_out.values() for size in sizes} == set(SIZES)


@given(seed=st.integers(0, 10_000))
@settings(deadline=None, max_examples=10)
def test_training_never_shows_a_held_out_combination(seed: int) -> None:
    for scene in sample_scenes("train", 300, seed):
        assert not any(item.held_out for item in scene.objects)
    for split in SPLITS[1:]:
        for scene in sample_scenes(split, 50, seed):
            assert any(item.held_out for item in scene.objects)


def test_training_shows_every_value_and_every_pair_of_shape_and_color() -> None:
    train = sample_scenes("train", 2000, seed=0)
    things = [thing for scene in train for thing in scene.objects]
    assert {(thing.shape, thing.color) for thing in things} == set(
        itertools.product(SHAPES, COLORS)
    )
    assert {(thing.size, thing.shape) for thing in things} == set(itertools.product(SIZES, SHAPES))
    assert {(scene.relation, scene.background) for scene in train} == set(
        itertools.product((None, *RELATIONS), BACKGROUNDS)
    )


def test_splits_share_no_scene_and_the_held_out_ones_are_halves() -> None:
    meanings: dict[Split, set[str]] = {split: set() for split in SPLITS}
    for scene in whole_world():
        meanings[scene.split].add(scene.meaning.caption)
    assert not meanings["train"] & (meanings["validation"] | meanings["test"])
    assert not meanings["validation"] & meanings["test"]
    held_out = len(meanings["validation"]) + len(meanings["test"])
    assert len(meanings["test"]) / held_out == pytest.approx(0.5, abs=0.01)
    assert min(map(len, meanings.values())) > MOST_UNIQUE


def test_samples_are_a_function_of_split_and_seed() -> None:
    for split in SPLITS:
        sample = sample_scenes(split, 40, seed=3)
        assert sample == sample_scenes(split, 40, seed=3)
        assert sample[:25] == sample_scenes(split, 25, seed=3)
        assert sample != sample_scenes(split, 40, seed=4)
        assert all(scene.split == split for scene in sample)


def test_unique_samples_never_say_the_same_twice() -> None:
    unique = sample_scenes("test", 1000, seed=0, unique=True)
    assert len({scene.meaning for scene in unique}) == 1000
    assert unique[:30] == sample_scenes("test", 30, seed=0, unique=True)
    some = sample_scenes("test", 1000, seed=0)
    first_of_each = {scene.meaning: scene for scene in reversed(some)}
    assert len(first_of_each) < 1000  # so uniqueness is no accident
    assert unique[: len(first_of_each)] == [
        scene for scene in dict.fromkeys(some) if scene in first_of_each.values()
    ]


def test_more_unique_scenes_than_there_are_is_refused_instead_of_searched_for() -> None:
    with pytest.raises(ValueError, match=f"5001 different captions .* {MOST_UNIQUE} to give"):
        sample_scenes("test", MOST_UNIQUE + 1, seed=0, unique=True)
