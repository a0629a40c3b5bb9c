"""Scores of every architecture of a space that is small enough for it: the truth for strategies.

The space is every way to remove any of twelve blocks of the shapes world's supernet: the
cross-attention blocks at the three finest resolutions, which take most of the time, and two ResNets
beside them; all other blocks stay. It is recorded once, by::

    python -m experiments.benchmarks.enumerated_space

which goes on where it was interrupted.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import Annotated

import torch
import typer
from rich.console import Console
from torch import Tensor

from evaluators.evaluator import EvaluatorSpec
from evaluators.generation import SamplingSettings
from evaluators.job import Job
from evaluators.latency import TableLatency
from evaluators.pipelines import load_pipeline
from evaluators.pool import EvaluatorPool, Evaluators
from evaluators.scorers import ClipModel
from experiments.models import SHAPES, pipeline_source, scorer_settings, supernet_weights
from experiments.progress import track
from experiments.prompts import prompt_set
from experiments.sections import PromptsSection
from experiments.training import load_unet_weights
from experiments.unets import choose_unet
from latency_tables import load_table
from supernet.architecture import Architecture, BlockId
from supernet.checkpoint import load_tensors, save_tensors

SHIPPED = Path(__file__).parent / "recorded" / "shapes_space.safetensors"
TABLE = "epyc-1core-fp32"

_FINE = ("down.0", "down.1", "up.2", "up.3")
_RESNETS = (BlockId("resnet", "up.3", 0), BlockId("resnet", "up.3", 1))
_PROMPTS = 16
_SAMPLING = SamplingSettings(
    num_inference_steps=8, guidance_scale=4.0, precision="bf16", batch_size=_PROMPTS
)
_SAVED_TOGETHER = 64  # architectures


@dataclass(frozen=True)
class EnumeratedSpace:
    """All subsets of some blocks, scored.

    Attributes:
        full: the base with every block once.
        blocks: those that may be removed, in forward order.
        latency: of any architecture, in ms.
        scores: CLIP by prompt, ``(2 ** blocks, prompts)``: row i lacks the blocks of its bits, the
            first block's being the highest.
    """

    full: Architecture
    blocks: tuple[BlockId, ...]
    latency: TableLatency
    scores: Tensor

    def architectures(self) -> list[Architecture]:
        """All of them, in the order of the rows."""
        return every_subset(self.full, self.blocks)


def every_subset(full: Architecture, blocks: Sequence[BlockId]) -> list[Architecture]:
    """Every way to remove some of these blocks."""
    return [
        full.without(block for block, gone in zip(blocks, bits, strict=True) if gone)
        for bits in product((False, True), repeat=len(blocks))
    ]


def load_space(path: Path = SHIPPED) -> EnumeratedSpace:
    """A recorded space.

    Raises:
        CheckpointError: if the file is missing or damaged.
    """
    tensors, metadata = load_tensors(path)
    unet = choose_unet(SHAPES)
    blocks = tuple(map(BlockId.parse, json.loads(metadata["blocks"])))
    latency = TableLatency(unet.inventory, load_table(metadata["table"]))
    return EnumeratedSpace(unet.inventory.full(), blocks, latency, tensors["scores"].double())


def record(path: Path, console: Console) -> None:
    """Score every architecture, as far as the file does not have it yet."""
    full = choose_unet(SHAPES).inventory.full()
    blocks = tuple(
        block
        for block in full
        if block in _RESNETS or (block.kind == "cross_attention" and block.stage in _FINE)
    )
    every = every_subset(full, blocks)
    scores = torch.empty(0, _PROMPTS)
    if path.exists():
        scores = load_tensors(path)[0]["scores"]
    about = {"blocks": json.dumps([str(block) for block in blocks]), "table": TABLE}
    with (
        EvaluatorPool() as pool,
        track(console, "architectures", len(every)) as on_progress,
    ):
        evaluators = _evaluators(pool)
        while len(scores) < len(every):
            some = every[len(scores) :][:_SAVED_TOGETHER]
            scores = torch.cat([scores, _scores(evaluators, some)])
            save_tensors(path, {"scores": scores}, about)
            on_progress(len(scores), {"CLIP": scores[-1].mean().item()})


def _evaluators(pool: EvaluatorPool) -> Evaluators:
    spec = EvaluatorSpec(
        pipeline=pipeline_source(SHAPES),
        scorer=scorer_settings(ClipModel(name=SHAPES)),
        prompts=prompt_set(PromptsSection(source=SHAPES, count=_PROMPTS, seed=0), "validation"),
        sampling=_SAMPLING,
    )
    evaluators = pool.evaluators(spec)
    unet = load_pipeline(spec.pipeline).unet
    evaluators.load_weights(load_unet_weights(supernet_weights(SHAPES), unet))
    return evaluators


def _scores(evaluators: Evaluators, architectures: Sequence[Architecture]) -> Tensor:
    jobs = [Job(each, range(_PROMPTS)) for each in architectures]
    known = {job.architecture.id: scores.first for job, scores in evaluators.scores(jobs)}
    return torch.tensor([known[each.id] for each in architectures])


def main(
    out: Annotated[Path, typer.Argument(help="safetensors file to write")] = SHIPPED,
) -> None:
    """Record the scores of every architecture of the space."""
    record(out, Console())


if __name__ == "__main__":
    typer.run(main)
