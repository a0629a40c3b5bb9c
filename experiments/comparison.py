"""The last word of a search: base and found UNet side by side, on prompts it never used."""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from statistics import fmean as mean

import torch
from diffusers import UNet2DConditionModel
from rich.table import Table
from torch import Tensor

from evaluators.job import Scores
from evaluators.latency import TableLatency
from evaluators.picture_sets import SetDistance, set_distance
from evaluators.pool import Evaluators
from evaluators.scorers import CaptionAccuracy, Scorer, ScorerSettings
from evaluators.whole_unets import measure_latency
from experiments.progress import OnProgress
from experiments.reference import Reference
from latency_tables import TableMetadata, TorchCpuProfiler
from latency_tables.profilers.torch_cpu import DTYPES
from supernet.architecture import Architecture


@dataclass(frozen=True)
class Pictures:
    """What one of the two UNets drew, as judged.

    Attributes:
        images: ``(n, 3, height, width)`` in [0, 1].
        scores: of every picture with its prompt.
        distance: from a reference, where there is one.
    """

    images: Tensor
    scores: Scores
    distance: SetDistance | None = None

    @property
    def clip(self) -> float:
        """Mean of the first judge's scores."""
        return mean(self.scores.first)

    @property
    def second(self) -> float | None:
        """Mean of the second judge's scores, where there is one."""
        return mean(self.scores.second) if self.scores.second else None


@dataclass(frozen=True)
class Side:
    """One of the two UNets.

    Attributes:
        predicted_ms: of one UNet pass, by the table.
        measured_ms: of the same pass here and now; comparable with the other side's only.
        parameters: of the UNet.
        pictures: what it drew.
    """

    predicted_ms: float
    measured_ms: float
    parameters: int
    pictures: Pictures


@dataclass(frozen=True)
class Comparison:
    """Both UNets, drawn from the same noise and timed in turns.

    Attributes:
        before: the base UNet.
        after: the one that was found.
        judges: whose scores stand in both.
    """

    before: Side
    after: Side
    judges: tuple[ScorerSettings, ...]

    def figures(self) -> dict[str, float]:
        """Flat figures, each ``_before`` and ``_after``.

        ``unet_ms`` as measured and ``unet_ms_*_predicted`` by the table, in ms; ``clip``, the mean
        score by the first judge; that by the second, ``caption_accuracy`` (a share) or else
        ``second_score``, where there is one; ``fid`` and ``kid``, where there is a reference;
        ``parameters``.
        """
        figures: dict[str, float] = {}
        for when, side in (("before", self.before), ("after", self.after)):
            figures[f"unet_ms_{when}"] = side.measured_ms
            figures[f"unet_ms_{when}_predicted"] = side.predicted_ms
            pictures = side.pictures
            figures[f"clip_{when}"] = pictures.clip
            if pictures.second is not None:
                figures[f"{_second_figure(self.judges[1])}_{when}"] = pictures.second
            if pictures.distance is not None:
                figures[f"fid_{when}"] = pictures.distance.fid
                figures[f"kid_{when}"] = pictures.distance.kid
            figures[f"parameters_{when}"] = side.parameters
        return figures

    def table(self) -> Table:
        """The figures for people."""
        table = Table("", "before", "after", "after / before", title="base and found UNet")
        before, after = self.before, self.after
        old, new = before.pictures, after.pictures
        rows: list[tuple[str, str, float | None, float | None]] = [
            ("UNet latency by the table", "{:.2f} ms", before.predicted_ms, after.predicted_ms),
            ("UNet latency as measured", "{:.2f} ms", before.measured_ms, after.measured_ms),
            (self.judges[0].title, _form(self.judges[0]), old.clip, new.clip),
            *((judge.title, _form(judge), old.second, new.second) for judge in self.judges[1:]),
            *_distance_rows(old.distance, new.distance),
            ("parameters", "{:,.0f}", before.parameters, after.parameters),
        ]
        for name, form, base, found in rows:
            if base is not None and found is not None:
                share = f"{found / base:.1%}" if base > 0 else ""
                table.add_row(name, form.format(base), form.format(found), share)
        return table


def _second_figure(judge: ScorerSettings) -> str:
    return "caption_accuracy" if isinstance(judge, CaptionAccuracy) else "second_score"


def _form(judge: ScorerSettings) -> str:
    return "{:.1%}" if isinstance(judge, CaptionAccuracy) else "{:.4f}"


def _distance_rows(
    old: SetDistance | None, new: SetDistance | None
) -> list[tuple[str, str, float | None, float | None]]:
    if old is None or new is None:
        return []
    return [("FID", "{:.4g}", old.fid, new.fid), ("KID", "{:.3g}", old.kid, new.kid)]


def draw(
    evaluators: Evaluators,
    scorers: Sequence[Scorer],
    models: Sequence[tuple[Mapping[str, Tensor], Architecture]],
    on_progress: Callable[[int, dict[str, float]], None],
) -> list[Pictures]:
    """Draw the evaluators' prompts with each model and judge the pictures.

    Args:
        evaluators: draw.
        scorers: judge; opened for the same prompts.
        models: weights of the supernet's UNet, and what of it runs.
        on_progress: called with the number of pictures drawn.
    """
    drawn, judged = 0, []
    for weights, architecture in models:
        evaluators.load_weights(weights)
        batches = []
        for batch in evaluators.images(architecture):
            batches.append(batch)
            drawn += len(batch)
            on_progress(drawn, {})
        images = torch.cat(batches)
        scores = (scorer.score(images, range(len(images))) for scorer in scorers)
        judged.append(Pictures(images, Scores(*(tuple(each.tolist()) for each in scores))))
    return judged


def measure_distances(
    pictures: Sequence[Pictures],
    reference: Reference,
    scorer: ScorerSettings,
    on_progress: OnProgress,
) -> list[Pictures]:
    """The same pictures with their distance from a reference.

    Args:
        pictures: of both UNets.
        reference: real ones.
        scorer: whose embeddings are compared, where the reference asks for them.
        on_progress: called with the number of real pictures looked at.
    """
    height, width = pictures[0].images.shape[2:]
    features = reference.features(scorer)
    real: list[Tensor] = []
    for batch in reference.batches(height, width):
        real.append(features(batch))
        on_progress(sum(map(len, real)), {})
    expected = torch.cat(real)
    return [
        replace(each, distance=set_distance(expected, features(each.images))) for each in pictures
    ]


def compare(
    unets: Sequence[UNet2DConditionModel],
    pictures: Sequence[Pictures],
    judges: tuple[ScorerSettings, ...],
    found: Architecture,
    latency: TableLatency,
    repetitions: int,
) -> Comparison:
    """Time both UNets and put all figures side by side.

    Args:
        unets: the base, and the standalone UNet of ``found``.
        pictures: of each, by :func:`draw`.
        judges: whose scores they have.
        found: the architecture.
        latency: by the table of the objective; its precision and threads are used for timing.
        repetitions: timed passes of each UNet.
    """
    architectures = (latency.inventory.full(), found)
    before, after = (
        Side(latency(architecture), measured_ms, latency.inventory.parameters(architecture), drawn)
        for architecture, measured_ms, drawn in zip(
            architectures, _measure(unets, latency, repetitions), pictures, strict=True
        )
    )
    return Comparison(before, after, judges)


def host_profiler(about: TableMetadata) -> TorchCpuProfiler:
    """Times on this machine, under a table's conditions as far as it has them.

    For a table of another runtime or device that is torch on the CPU: then only ratios compare.
    """
    on_cpu = about.runtime == "torch" and about.compute_unit in (None, "cpu")
    if on_cpu and about.precision in DTYPES:
        return TorchCpuProfiler(about.precision, about.threads, about.memory_format, about.compiled)
    return TorchCpuProfiler()


def _measure(
    unets: Sequence[UNet2DConditionModel], latency: TableLatency, repetitions: int
) -> list[float]:
    """Copies of both UNets on this machine, at the table's batch."""
    overhead = latency.inventory.overhead
    return measure_latency(
        [copy.deepcopy(unet) for unet in unets],
        host_profiler(latency.table.metadata),
        context_length=overhead.context_length,
        batch=overhead.batch,
        repetitions=repetitions,
    )
