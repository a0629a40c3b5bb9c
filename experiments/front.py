"""A search's front for people, and the spec of each of its points."""

from __future__ import annotations

from collections.abc import Iterator

from experiments.found import found_spec
from experiments.search_parts import Parts
from search.front import Front, FrontPoint
from supernet.spec import ClipFigure, Spec


def front_lines(front: Front) -> Iterator[str]:
    """One line for every point, numbered as ``evounet export --point`` takes them."""
    yield f"front: {len(front.points)} points, with the weights of round {front.round}"
    for number, point in enumerate(front.points, start=1):
        gone = len(point.architecture.removed)
        yield (
            f"point {number}: {point.latency_ms:.2f} ms, CLIP {point.clip:.4f} "
            f"({point.clip - front.base_clip:+.4f}), {gone} blocks removed"
        )


def point_spec(parts: Parts, front: Front, point: FrontPoint) -> Spec:
    """The spec of a point, with its score on the prompts that the search went by.

    The base's score beside it is that of the same weights, with every block on.
    """
    drawn = parts.spec
    clip = ClipFigure(
        base=front.base_clip,
        found=point.clip,
        prompts=len(drawn.prompts),
        num_inference_steps=drawn.sampling.num_inference_steps,
        guidance_scale=drawn.sampling.guidance_scale,
        judge=parts.experiment.evaluation.scorer.judge,
    )
    return found_spec(parts, point.architecture, clip, front.weights)
