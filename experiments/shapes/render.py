"""Pictures of scenes: seeded, anti-aliased, many at a time.

Shapes are signed distance functions (negative inside, in pixels); the coverage of a pixel is a
linear ramp over one pixel across the edge, which is what anti-aliases it.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from experiments.shapes.scene import COLORS, RELATIONS, SHAPES, Object, Scene

IMAGE_SIZE = 64

_RGB = {
    "red": (220, 40, 40),
    "orange": (245, 140, 20),
    "yellow": (250, 225, 50),
    "green": (40, 160, 60),
    "cyan": (70, 205, 225),
    "blue": (40, 70, 205),
    "purple": (150, 50, 175),
    "white": (245, 245, 245),
    "gray": (140, 140, 140),
    "black": (20, 20, 20),
    "brown": (105, 70, 40),
}
_RADIUS = {"small": (6.5, 8.0), "large": (12.0, 14.5)}  # pixels
# Where the first object stands, as seen from the second: unit vectors in picture coordinates.
_DIRECTION = {
    "left of": (-1.0, 0.0),
    "right of": (1.0, 0.0),
    "above": (0.0, -1.0),
    "below": (0.0, 1.0),
}
_DISTANCE = 16.0  # pixels from the middle of the picture to either object of a pair
_JITTER = 1.5  # pixels, for objects of a pair
_JITTER_SINGLE = 8.0


def render(scenes: Sequence[Scene], generator: torch.Generator) -> Tensor:
    """Draw every scene once.

    Args:
        scenes: what to draw.
        generator: fixes place, radius and shade of every object.

    Returns:
        Pictures of shape ``(len(scenes), 3, 64, 64)`` with values in [0, 1].
    """
    background = torch.tensor([_RGB[scene.background] for scene in scenes]) / 255.0
    pictures = background[:, :, None, None].expand(-1, -1, IMAGE_SIZE, IMAGE_SIZE).clone()
    # Drawn for both slots of every scene, so that one scene's picture is independent of whether
    # its neighbours have one object or two.
    uniform = torch.rand(len(scenes), 2, 4, generator=generator)
    for slot in range(2):
        rows = [i for i, scene in enumerate(scenes) if len(scene.objects) > slot]
        if not rows:
            continue
        objects = [scenes[i].objects[slot] for i in rows]
        noise = uniform[rows, slot]
        center = _centers([scenes[i] for i in rows], slot, noise[:, :2])
        coverage = _coverage(objects, center, _radii(objects, noise[:, 2]))
        color = torch.tensor([_RGB[item.color] for item in objects]) / 255.0
        color = (color * (0.92 + 0.16 * noise[:, 3:])).clamp(0, 1)[:, :, None, None]
        pictures[rows] = torch.lerp(pictures[rows], color, coverage[:, None])
    return pictures


def _centers(scenes: Sequence[Scene], slot: int, noise: Tensor) -> Tensor:
    """Object centres in pixels, shape ``(n, 2)`` as (x, y)."""
    sign = 1.0 if slot == 0 else -1.0
    base = torch.tensor(
        [
            [sign * _DISTANCE * d for d in _DIRECTION[scene.relation]]
            if scene.relation
            else [0.0, 0.0]
            for scene in scenes
        ]
    )
    reach = torch.tensor([_JITTER if scene.relation else _JITTER_SINGLE for scene in scenes])
    return IMAGE_SIZE / 2 + base + (2 * noise - 1) * reach[:, None]


def _radii(objects: Sequence[Object], noise: Tensor) -> Tensor:
    low, high = torch.tensor([_RADIUS[item.size] for item in objects]).unbind(1)
    return low + (high - low) * noise


def _coverage(objects: Sequence[Object], center: Tensor, radius: Tensor) -> Tensor:
    """How much of every pixel an object covers, shape ``(n, 64, 64)``, values in [0, 1]."""
    axis = torch.arange(IMAGE_SIZE) + 0.5
    x = axis[None, None, :] - center[:, 0, None, None]
    y = axis[None, :, None] - center[:, 1, None, None]
    coverage = torch.zeros(len(objects), IMAGE_SIZE, IMAGE_SIZE)
    for shape in SHAPES:
        rows = [i for i, item in enumerate(objects) if item.shape == shape]
        if rows:
            distance = _DISTANCES[shape](x[rows], y[rows], radius[rows, None, None])
            coverage[rows] = (0.5 - distance).clamp(0, 1)
    return coverage


def _circle(x: Tensor, y: Tensor, r: Tensor) -> Tensor:
    return torch.hypot(x, y) - r


def _square(x: Tensor, y: Tensor, r: Tensor) -> Tensor:
    return torch.maximum(x.abs(), y.abs()) - 0.88 * r


def _ring(x: Tensor, y: Tensor, r: Tensor) -> Tensor:
    return (torch.hypot(x, y) - 0.74 * r).abs() - 0.26 * r


def _cross(x: Tensor, y: Tensor, r: Tensor) -> Tensor:
    upright = torch.maximum(x.abs() - 0.32 * r, y.abs() - r)
    level = torch.maximum(x.abs() - r, y.abs() - 0.32 * r)
    return torch.minimum(upright, level)


def _triangle(x: Tensor, y: Tensor, r: Tensor) -> Tensor:
    """Equilateral, point up: the largest of its three half-plane distances."""
    slanted = math.sqrt(3) / 2 * x.abs() - 0.5 * (y - 0.15 * r)
    return torch.maximum(slanted, y - 0.15 * r) - 0.58 * r


def _star(x: Tensor, y: Tensor, r: Tensor) -> Tensor:
    """Five points: the angle is folded into one tenth of the turn, whose edge is one line."""
    tenth = math.pi / 5
    turn = torch.atan2(x, -y)  # 0 points up
    folded = (turn + tenth).remainder(2 * tenth) - tenth
    rho = torch.hypot(x, y)
    px, py = rho * folded.sin().abs(), rho * folded.cos()
    # The edge runs from the tip (0, 1.1 r) to the inner corner at 36 degrees and 0.48 r.
    tip_y = 1.1 * r
    inner_x, inner_y = 0.48 * r * math.sin(tenth), 0.48 * r * math.cos(tenth)
    edge_x, edge_y = inner_x, inner_y - tip_y
    return (edge_x * (py - tip_y) - edge_y * px) / torch.hypot(edge_x, edge_y)


_DISTANCES = {
    "circle": _circle,
    "square": _square,
    "triangle": _triangle,
    "star": _star,
    "ring": _ring,
    "cross": _cross,
}
assert set(_DISTANCES) == set(SHAPES)
assert set(_DIRECTION) == set(RELATIONS)
assert set(COLORS) <= set(_RGB)
