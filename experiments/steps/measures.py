"""What the UNets of a chain are worth at their steps: pictures, scores, and a table."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from statistics import stdev
from typing import Any

import torch
from rich.table import Column, Table

from evaluators.evaluator import EvaluatorSpec
from evaluators.generation import SamplingSettings, convert, encode_prompts, generate
from evaluators.job import Scores
from evaluators.pipelines import Pipeline
from evaluators.scorers import CaptionAccuracy, Scorer, ScorerSettings
from experiments.comparison import Pictures
from experiments.progress import OnProgress
from experiments.report.data import SampleSet


@dataclass(frozen=True)
class Drawing:
    """Which pictures are drawn.

    Attributes:
        model: name of the pipeline, for people.
        steps: of its scheduler.
        guidance_scale: 1 for none.
    """

    model: str
    steps: int
    guidance_scale: float


@dataclass(frozen=True)
class Drawn:
    """A drawing with its pictures, as judged.

    Attributes:
        drawing: how they were drawn.
        pictures: with scores.
        unet_ms: of all the passes that a picture takes, by the first table.
    """

    drawing: Drawing
    pictures: Pictures
    unet_ms: float

    @property
    def error(self) -> float:
        """Standard error of the mean of the first judge's scores."""
        scores = self.pictures.scores.first
        return stdev(scores) / len(scores) ** 0.5


@dataclass(frozen=True)
class StepsComparison:
    """All drawings of a chain, from the same prompts and noise.

    Attributes:
        drawn: in the order of the stages.
        judges: whose scores they have.
        table_name: of the latencies.
    """

    drawn: tuple[Drawn, ...]
    judges: tuple[ScorerSettings, ...]
    table_name: str

    def figures(self) -> list[dict[str, Any]]:
        """For every drawing: ``model``, ``steps``, ``guidance_scale``, ``unet_ms``, ``clip`` and
        its standard error, and where there are such ``caption_accuracy`` (a share) or else
        ``second_score``, ``fid`` and ``kid``.
        """
        return [self._figures(each) for each in self.drawn]

    def _figures(self, drawn: Drawn) -> dict[str, Any]:
        pictures = drawn.pictures
        figures: dict[str, Any] = {
            "model": drawn.drawing.model,
            "steps": drawn.drawing.steps,
            "guidance_scale": drawn.drawing.guidance_scale,
            "unet_ms": drawn.unet_ms,
            "clip": pictures.clip,
            "clip_error": drawn.error,
        }
        if pictures.second is not None:
            second = self.judges[1]
            shares = isinstance(second, CaptionAccuracy)
            figures["caption_accuracy" if shares else "second_score"] = pictures.second
        if pictures.distance is not None:
            figures["fid"], figures["kid"] = pictures.distance.fid, pictures.distance.kid
        return figures

    @property
    def caption(self) -> str:
        """What the figures are of."""
        return (
            f"{len(self.drawn[0].pictures.images)} pictures each, from the same prompts and noise; "
            f"ms: of the UNet's passes of one guided picture, by {self.table_name}"
        )

    def columns(self) -> list[str]:
        """What :meth:`rows` are made of."""
        judges = [judge.title for judge in self.judges]
        columns = ["UNet", "steps", "guidance", "ms", judges[0], "± s.e.", *judges[1:]]
        return columns if self.drawn[0].pictures.distance is None else [*columns, "FID"]

    def rows(self) -> list[list[str]]:
        """The figures of every drawing for people."""
        rows = []
        for each in self.drawn:
            drawing, pictures = each.drawing, each.pictures
            row = [
                drawing.model,
                str(drawing.steps),
                f"{drawing.guidance_scale:g}",
                f"{each.unet_ms:.1f}",
                f"{pictures.clip:.4f}",
                f"{each.error:.4f}",
            ]
            row += [] if pictures.second is None else [f"{pictures.second:.4f}"]
            row += [] if pictures.distance is None else [f"{pictures.distance.fid:.4g}"]
            rows.append(row)
        return rows

    def table(self) -> Table:
        """The same on a terminal."""
        first, *others = self.columns()
        table = Table(Column(first, overflow="fold"), *others, title="stages", caption=self.caption)
        for row in self.rows():
            table.add_row(*row)
        return table

    def samples(self, spec: EvaluatorSpec, count: int) -> tuple[SampleSet, ...]:
        """The first pictures of every drawing."""
        return tuple(
            SampleSet(
                f"{each.drawing.model.rstrip('/').split('/')[-1]}-{each.drawing.steps}-steps"
                f"-guidance-{each.drawing.guidance_scale:g}",
                each.pictures.images[:count],
                spec.prompts.prompts[:count],
                each.pictures.scores.first[:count],
            )
            for each in self.drawn
        )


def draw(
    pipeline: Pipeline,
    drawings: Sequence[Drawing],
    spec: EvaluatorSpec,
    scorers: Sequence[Scorer],
    on_progress: OnProgress,
) -> Iterator[Pictures]:
    """Draw and judge a pipeline's pictures by its own scheduler, set by set.

    Args:
        pipeline: on the device that draws; it is changed to the spec's precision.
        drawings: steps and guidance of each set.
        spec: prompts, precision and batch size.
        scorers: opened for the same prompts.
        on_progress: called with the number of pictures drawn.
    """
    convert(pipeline, spec.sampling)
    conditioning = encode_prompts(pipeline, spec.prompts)
    done = 0
    for drawing in drawings:
        sampling = _sampling(spec.sampling, drawing)
        batches = []
        for start in range(0, len(spec.prompts), sampling.batch_size):
            rows = range(start, min(start + sampling.batch_size, len(spec.prompts)))
            batches.append(generate(pipeline, spec.prompts, conditioning, sampling, rows))
            done += len(rows)
            on_progress(done, {})
        images = torch.cat(batches)
        scores = (scorer.score(images, range(len(images))) for scorer in scorers)
        yield Pictures(images, Scores(*(tuple(each.tolist()) for each in scores)))


def with_distances(drawn: Sequence[Drawn], pictures: Sequence[Pictures]) -> list[Drawn]:
    """The same drawings with pictures whose distances were measured."""
    return [replace(each, pictures=own) for each, own in zip(drawn, pictures, strict=True)]


def _sampling(settings: SamplingSettings, drawing: Drawing) -> SamplingSettings:
    changed = {
        "num_inference_steps": drawing.steps,
        "guidance_scale": drawing.guidance_scale,
    }
    return settings.model_copy(update=changed)
