"""A search's front for people, and the spec of each of its points."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from experiments.found import clip_figure, found_spec, weights_file
from experiments.run_folder import RunFolder
from experiments.search_parts import Parts
from search.front import Front, FrontPoint
from supernet.spec import Spec


def front_lines(front: Front) -> Iterator[str]:
    """One line for every point, numbered as ``evounet export --point`` takes them."""
    yield f"front: {len(front.points)} points, with the weights of round {front.round}"
    for number, point in enumerate(front.points, start=1):
        gone = len(point.architecture.removed)
        yield (
            f"point {number}: {point.latency_ms:.2f} ms, CLIP {point.clip:.4f} "
            f"({point.clip - front.base_clip:+.4f}), {gone} blocks removed"
        )


def point_spec(parts: Parts, front: Front, point: FrontPoint, run: RunFolder) -> Spec:
    """The spec of a point, with its score on the prompts that the search went by.

    The base's score beside it is that of the same weights, with every block on.
    """
    judge = parts.experiment.evaluation.scorer.judge
    clip = clip_figure(parts.spec, judge, front.base_clip, point.clip)
    weights = weights_file(front_weights(run, front), run.path)
    return found_spec(parts, point.architecture, clip, (weights,))


def front_weights(run: RunFolder, front: Front) -> Path:
    """The supernet's weights that the points of a front were scored with."""
    return run.checkpoints / f"round-{front.round}.safetensors"
