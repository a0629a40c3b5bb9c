"""The last word of a search: base and found UNet side by side, on prompts it never used."""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import torch
from diffusers import UNet2DConditionModel
from rich.table import Table
from torch import Tensor

from evaluators.clip_score import ClipScorer
from evaluators.latency import TableLatency
from evaluators.pool import Evaluators
from evaluators.whole_unets import measure_latency
from latency_tables import TorchCpuProfiler
from latency_tables.profilers.torch_cpu import DTYPES
from supernet.architecture import Architecture


@dataclass(frozen=True)
class Pictures:
    """What one of the two UNets drew, as judged.

    Attributes:
        images: ``(n, 3, height, width)`` in [0, 1].
        clip_scores: of every picture with its prompt.
        caption_hits: which pictures fit their caption better than its distractors; empty where
            the prompts have none.
    """

    images: Tensor
    clip_scores: tuple[float, ...]
    caption_hits: tuple[bool, ...]

    @property
    def clip(self) -> float:
        return sum(self.clip_scores) / len(self.clip_scores)

    @property
    def caption_accuracy(self) -> float | None:
        return sum(self.caption_hits) / len(self.caption_hits) if self.caption_hits else None


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
    """Both UNets, drawn from the same noise and timed in turns."""

    before: Side
    after: Side

    def figures(self) -> dict[str, float]:
        """Flat figures, each ``_before`` and ``_after``.

        ``unet_ms`` as measured and ``unet_ms_*_predicted`` by the table, in ms; ``clip``, the mean
        CLIP score; ``caption_accuracy``, a share, where there are distractors; ``parameters``.
        """
        figures: dict[str, float] = {}
        for when, side in (("before", self.before), ("after", self.after)):
            figures[f"unet_ms_{when}"] = side.measured_ms
            figures[f"unet_ms_{when}_predicted"] = side.predicted_ms
            pictures = side.pictures
            figures[f"clip_{when}"] = pictures.clip
            if pictures.caption_accuracy is not None:
                figures[f"caption_accuracy_{when}"] = pictures.caption_accuracy
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
            ("CLIP score", "{:.4f}", old.clip, new.clip),
            ("caption accuracy", "{:.1%}", old.caption_accuracy, new.caption_accuracy),
            ("parameters", "{:,.0f}", before.parameters, after.parameters),
        ]
        for name, form, base, found in rows:
            if base is not None and found is not None:
                share = f"{found / base:.1%}" if base else ""
                table.add_row(name, form.format(base), form.format(found), share)
        return table


def draw(
    evaluators: Evaluators,
    scorer: ClipScorer,
    models: Sequence[tuple[Mapping[str, Tensor], Architecture]],
    on_progress: Callable[[int, dict[str, float]], None],
) -> list[Pictures]:
    """Draw the evaluators' prompts with each model and judge the pictures.

    Args:
        evaluators: draw.
        scorer: judges.
        models: weights of the supernet's UNet, and what of it runs.
        on_progress: called with the number of pictures drawn.
    """
    prompts = evaluators.spec.prompts
    captions = scorer.embed_captions(prompts.prompts)
    drawn, judged = 0, []
    for weights, architecture in models:
        evaluators.load_weights(weights)
        batches = []
        for batch in evaluators.images(architecture):
            batches.append(batch)
            drawn += len(batch)
            on_progress(drawn, {})
        images = torch.cat(batches)
        scores = scorer.score(images, captions).tolist()
        hits = scorer.caption_hits(images, prompts).tolist() if prompts.distractors else []
        judged.append(Pictures(images, tuple(scores), tuple(hits)))
    return judged


def compare(
    unets: Sequence[UNet2DConditionModel],
    pictures: Sequence[Pictures],
    found: Architecture,
    latency: TableLatency,
    repetitions: int,
) -> Comparison:
    """Time both UNets and put all figures side by side.

    Args:
        unets: the base, and the standalone UNet of ``found``.
        pictures: of each, by :func:`draw`.
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
    return Comparison(before, after)


def _measure(
    unets: Sequence[UNet2DConditionModel], latency: TableLatency, repetitions: int
) -> list[float]:
    """Copies of both UNets on this machine, under the table's conditions as far as it has them.

    For a table of another runtime or device, both are timed with torch on the CPU at the table's
    batch: then only their ratio compares.
    """
    about = latency.table.metadata
    profiler = TorchCpuProfiler()
    on_cpu = about.runtime == "torch" and about.compute_unit in (None, "cpu")
    if on_cpu and about.precision in DTYPES:
        profiler = TorchCpuProfiler(
            about.precision, about.threads, about.memory_format, about.compiled
        )
    overhead = latency.inventory.overhead
    return measure_latency(
        [copy.deepcopy(unet) for unet in unets],
        profiler,
        context_length=overhead.context_length,
        batch=overhead.batch,
        repetitions=repetitions,
    )
