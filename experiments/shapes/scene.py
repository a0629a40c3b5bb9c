"""What the shapes world can show: scenes, their captions, distractors and splits.

A scene is one or two objects on a background. Every object has a shape, a colour and a size; two
objects stand in a relation. The caption says all of it, so that a picture can be right or wrong
about each attribute, and a *distractor* is the caption of the scene with exactly one of them
changed.
"""

from __future__ import annotations

import hashlib
import random
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Literal

SHAPES = ("circle", "square", "triangle", "star", "ring", "cross")
COLORS = ("red", "orange", "yellow", "green", "cyan", "blue", "purple")
SIZES = ("small", "large")
BACKGROUNDS = ("white", "gray", "black", "brown")
RELATIONS = ("left of", "right of", "above", "below")
_OPPOSITE = {"right of": "left of", "below": "above"}

Split = Literal["train", "validation", "test"]

# Every split has more scenes than that, but to draw the last ones by chance would take minutes.
MOST_UNIQUE = 5_000


@dataclass(frozen=True, order=True)
class Object:
    """One thing in a scene, e.g. ``Object("circle", "red", "small")``."""

    shape: str
    color: str
    size: str

    @property
    def held_out(self) -> bool:
        """Whether this combination of attributes is kept out of all training.

        One in eight combinations is held out, and never both sizes of one (shape, colour) pair:
        every pair is seen in training, but not every triple.
        """
        rank = SHAPES.index(self.shape) + 2 * COLORS.index(self.color)
        return (rank + 3 * SIZES.index(self.size)) % 8 == 0

    def phrase(self) -> str:
        return f"a {self.size} {self.color} {self.shape}"


@dataclass(frozen=True, order=True)
class Scene:
    """One or two objects, how they stand to each other, and what is behind them.

    ``relation`` is the place of the first object seen from the second; it is ``None`` exactly when
    there is a single object.
    """

    objects: tuple[Object, ...]
    relation: str | None
    background: str

    def __post_init__(self) -> None:
        if len(self.objects) not in (1, 2):
            raise ValueError(f"a scene has one or two objects, not {len(self.objects)}")
        if (self.relation is None) != (len(self.objects) == 1):
            raise ValueError("two objects need a relation, a single object has none")
        if len(set(self.objects)) < len(self.objects):
            # Two equal objects would make "left of" and "right of" true at once.
            raise ValueError("the two objects of a scene differ in at least one attribute")

    @property
    def held_out(self) -> bool:
        return any(item.held_out for item in self.objects)

    @property
    def caption(self) -> str:
        phrases = [item.phrase() for item in self.objects]
        where = f" {self.relation} ".join(phrases) if self.relation else phrases[0]
        return f"{where} on a {self.background} background"

    @property
    def split(self) -> Split:
        """``train`` unless held out; the held-out ones are halved by a hash of what they say."""
        if not self.held_out:
            return "train"
        digest = hashlib.sha256(self.meaning.caption.encode()).digest()
        return "validation" if digest[0] % 2 == 0 else "test"

    @property
    def meaning(self) -> Scene:
        """The one of both ways to say it ("a left of b" is "b right of a") that stands for both."""
        if self.relation not in _OPPOSITE:
            return self
        return replace(self, objects=self.objects[::-1], relation=_OPPOSITE[self.relation])

    def variations(self) -> list[list[Scene]]:
        """Scenes that differ from this one in exactly one attribute, grouped by the attribute.

        Within a group the values follow in the order of the attribute's list, beginning after
        this scene's own. A scene whose two objects would be equal is left out.
        """
        objects = [
            [
                replace(self, objects=(*self.objects[:i], other, *self.objects[i + 1 :]))
                for other in others
                if other not in self.objects
            ]
            for i, item in enumerate(self.objects)
            for others in _one_attribute_off(item)
        ]
        relations = [replace(self, relation=r) for r in _others(RELATIONS, self.relation)]
        backgrounds = [replace(self, background=b) for b in _others(BACKGROUNDS, self.background)]
        return [group for group in (*objects, relations, backgrounds) if group]

    def distractors(self) -> list[str]:
        """Near misses that a picture of this scene must not fit: one caption per attribute.

        Four for a single object (shape, colour, size, background), up to eight for two. Each is
        the first of its group of :meth:`variations`, so the answer needs no random state.
        """
        return [group[0].caption for group in self.variations()]


def _others(values: tuple[str, ...], value: str | None) -> tuple[str, ...]:
    """All other values, beginning with the next; none for None."""
    if value is None:
        return ()
    place = values.index(value)
    return values[place + 1 :] + values[:place]


def _one_attribute_off(item: Object) -> Iterator[list[Object]]:
    yield [replace(item, shape=shape) for shape in _others(SHAPES, item.shape)]
    yield [replace(item, color=color) for color in _others(COLORS, item.color)]
    yield [replace(item, size=size) for size in _others(SIZES, item.size)]


def _random_object(rng: random.Random) -> Object:
    return Object(rng.choice(SHAPES), rng.choice(COLORS), rng.choice(SIZES))


def random_scene(rng: random.Random) -> Scene:
    """A scene drawn at random from the whole world: one object in a quarter of cases, else two."""
    background = rng.choice(BACKGROUNDS)
    if rng.random() < 0.25:
        return Scene((_random_object(rng),), None, background)
    first = second = _random_object(rng)
    while second == first:
        second = _random_object(rng)
    return Scene((first, second), rng.choice(RELATIONS), background)


def sample_scenes(split: Split, count: int, seed: int, *, unique: bool = False) -> list[Scene]:
    """``count`` scenes of one split, the same ones for the same seed.

    ``unique`` leaves out scenes that came before, also in other words (prompt sets want that).

    Raises:
        ValueError: if more than :data:`MOST_UNIQUE` unique ones are asked for.
    """
    if unique and count > MOST_UNIQUE:
        raise ValueError(
            f"{count} different captions of the shapes world are asked for; "
            f"it has {MOST_UNIQUE} to give"
        )
    rng = random.Random(f"{split}-{seed}")
    scenes: list[Scene] = []
    seen: set[Scene] = set()
    while len(scenes) < count:
        scene = random_scene(rng)
        if scene.split != split or (unique and scene.meaning in seen):
            continue
        seen.add(scene.meaning)
        scenes.append(scene)
    return scenes
