"""The last word of a search: base and found UNet side by side, on prompts it never used."""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from diffusers import StableDiffusionPipeline, UNet2DConditionModel
from rich.table import Table
from torch import Tensor

from evaluators.clip_score import ClipScorer
from evaluators.generation import SamplingSettings, encode_prompts, generate
from evaluators.latency import TableLatency
from evaluators.prompts import PromptSet
from evaluators.whole_unets import measure_latency
from latency_tables import TorchCpuProfiler
from latency_tables.profilers.torch_cpu import DTYPES
from supernet.architecture import Architecture


@dataclass(frozen=True)
class Side:
    """Figures of one of the two UNets.

    Attributes:
        predicted_ms: of one UNet pass, by the table.
        measured_ms: of the same pass here and now; comparable with the other side's only.
        parameters: of the UNet.
        clip_scores: of every picture with its prompt.
        caption_hits: which pictures fit their caption better than its distractors; empty where
            the prompts have none.
        images: the pictures, ``(n, 3, height, width)`` in [0, 1].
    """

    predicted_ms: float
    measured_ms: float
    parameters: int
    clip_scores: tuple[float, ...]
    caption_hits: tuple[bool, ...]
    images: Tensor

    @property
    def clip(self) -> float:
        return sum(self.clip_scores) / len(self.clip_scores)

    @property
    def caption_accuracy(self) -> float | None:
        return sum(self.caption_hits) / len(self.caption_hits) if self.caption_hits else None


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
            figures[f"clip_{when}"] = side.clip
            if side.caption_accuracy is not None:
                figures[f"caption_accuracy_{when}"] = side.caption_accuracy
            figures[f"parameters_{when}"] = side.parameters
        return figures

    def table(self) -> Table:
        """The figures for people."""
        table = Table("", "before", "after", "after / before", title="base and found UNet")
        before, after = self.before, self.after
        rows: list[tuple[str, str, float | None, float | None]] = [
            ("UNet latency by the table", "{:.2f} ms", before.predicted_ms, after.predicted_ms),
            ("UNet latency as measured", "{:.2f} ms", before.measured_ms, after.measured_ms),
            ("CLIP score", "{:.4f}", before.clip, after.clip),
            ("caption accuracy", "{:.1%}", before.caption_accuracy, after.caption_accuracy),
            ("parameters", "{:,.0f}", before.parameters, after.parameters),
        ]
        for name, form, old, new in rows:
            if old is not None and new is not None:
                share = f"{new / old:.1%}" if old else ""
                table.add_row(name, form.format(old), form.format(new), share)
        return table


def compare(
    pipeline: StableDiffusionPipeline,
    found_unet: UNet2DConditionModel,
    found: Architecture,
    latency: TableLatency,
    prompts: PromptSet,
    sampling: SamplingSettings,
    scorer: ClipScorer,
    repetitions: int,
    on_progress: Callable[[int, dict[str, float]], None],
) -> Comparison:
    """Draw, score and time both UNets.

    Args:
        pipeline: with the base UNet.
        found_unet: the standalone UNet of ``found``.
        found: the architecture.
        latency: by the table of the objective; its precision and threads are used for timing.
        prompts: that the search never used.
        sampling: how pictures are drawn.
        scorer: the judge.
        repetitions: timed passes of each UNet.
        on_progress: called with the number of pictures drawn.
    """
    base_unet = pipeline.unet
    unets = (base_unet, found_unet)
    architectures = (latency.inventory.full(), found)
    measured = _measure(unets, latency, repetitions)
    conditioning = encode_prompts(pipeline, prompts)
    captions = scorer.embed_captions(prompts.prompts)

    def draw(unet: UNet2DConditionModel, drawn_before: int) -> Tensor:
        pipeline.unet = unet
        parts = []
        for start in range(0, len(prompts), sampling.batch_size):
            rows = range(start, min(start + sampling.batch_size, len(prompts)))
            parts.append(generate(pipeline, prompts, conditioning, sampling, rows))
            on_progress(drawn_before + rows.stop, {})
        return torch.cat(parts)

    def side(i: int) -> Side:
        images = draw(unets[i], i * len(prompts))
        hits = scorer.caption_hits(images, prompts).tolist() if prompts.distractors else []
        return Side(
            latency(architectures[i]),
            measured[i],
            latency.inventory.parameters(architectures[i]),
            tuple(scorer.score(images, captions).tolist()),
            tuple(hits),
            images,
        )

    try:
        return Comparison(side(0), side(1))
    finally:
        pipeline.unet = base_unet


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
