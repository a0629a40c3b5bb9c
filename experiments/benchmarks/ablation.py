"""The paper's ablation in the shapes world: what the loss of a block of each kind costs.

With a robustly trained supernet's weights and with those of the base UNet (robust training on and
off), every block is removed by itself, on the same prompts from the same noise.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean, stdev

from rich.console import Console
from torch import Tensor

from evaluators.evaluator import Evaluator, EvaluatorSpec
from evaluators.generation import SamplingChoice
from evaluators.latency import TableLatency
from evaluators.scorers import ClipModel
from experiments.benchmarks.benchmark import Figure
from experiments.models import SHAPES, pipeline_source, scorer_settings, supernet_weights
from experiments.progress import track
from experiments.prompts import prompt_set
from experiments.sections import PromptsSection
from experiments.training import load_unet_weights
from latency_tables import load_table
from supernet.architecture import BlockId
from supernet.inventory import Inventory, take_inventory, unet_config

_SEED = 17  # of captions and noise; no preset uses it
_TABLE = "epyc-1core-fp32"
_PLACES = ("down", "mid", "up")


@dataclass(frozen=True)
class Ablation:
    """How much is measured.

    Attributes:
        prompts: held-out captions.
        steps: of drawing.
        blocks: of each kind and place at most; None for all.
    """

    prompts: int
    steps: int
    blocks: int | None


def ablation_figures(size: Ablation, console: Console) -> Iterator[Figure]:
    """Mean change of CLIP and of latency by kind and place, robust training on and off."""
    prompts = prompt_set(PromptsSection(count=size.prompts, seed=_SEED), "test")
    sampling = SamplingChoice(
        num_inference_steps=size.steps, guidance_scale=4.0, precision="auto", batch_size=32
    ).start()
    judge = scorer_settings(ClipModel(name=SHAPES))
    evaluator = Evaluator(EvaluatorSpec(pipeline_source(SHAPES), judge, prompts, sampling))
    unet = evaluator.pipeline.unet
    tokens = evaluator.pipeline.tokenizer.model_max_length
    inventory = take_inventory(unet_config(unet), context_length=tokens)
    latency = TableLatency(inventory, load_table(_TABLE, unet=SHAPES))
    groups = dict(_groups(inventory, size.blocks))
    weights = {
        "robust": load_unet_weights(supernet_weights(SHAPES), unet),
        "plain": {name: value.float().clone() for name, value in unet.state_dict().items()},
    }
    changes = _changes(evaluator, inventory, groups, weights, console)
    full = inventory.full()
    for group, blocks in groups.items():
        removed = [latency(full.without([block])) - latency(full) for block in blocks]
        name = group.replace(" ", "_")
        what = f"of {len(blocks)} {group.split()[0]} blocks of the {group.split()[1]} stages"
        yield Figure(
            f"{name}_latency_delta_ms", fmean(removed), f"mean {what}, each removed alone; {_TABLE}"
        )
        for training in weights:
            own = changes[training, group]
            error = 1.96 * stdev(own) / len(own) ** 0.5
            yield Figure(
                f"{name}_clip_delta_{training}",
                fmean(own),
                f"mean change of CLIP {what}, each removed alone, {training} weights; "
                f"{size.prompts} captions, {size.steps} steps; spread: 95 % over captions",
                (fmean(own) - error, fmean(own) + error),
            )


def _groups(inventory: Inventory, most: int | None) -> Iterator[tuple[str, Sequence[BlockId]]]:
    """Blocks by kind and place."""
    for kind in ("cross_attention", "resnet"):
        for place in _PLACES:
            blocks = [
                block.id
                for block in inventory.blocks
                if block.id.kind == kind and block.id.stage.split(".")[0] == place
            ]
            yield f"{kind} {place}", blocks[:most]


def _changes(
    evaluator: Evaluator,
    inventory: Inventory,
    groups: Mapping[str, Sequence[BlockId]],
    weights: Mapping[str, Mapping[str, Tensor]],
    console: Console,
) -> dict[tuple[str, str], list[float]]:
    """By weights and group: of every caption, the mean change over the group's blocks."""
    full, done = inventory.full(), 0
    total = len(weights) * (1 + sum(map(len, groups.values())))
    changes = {}
    with track(console, "ablation: architectures", total) as told:
        for training, values in weights.items():
            evaluator.load_weights(values)
            before = evaluator.scores(full).first
            done += 1
            for group, blocks in groups.items():
                losses = []
                for block in blocks:
                    after = evaluator.scores(full.without([block])).first
                    losses.append([a - b for a, b in zip(after, before, strict=True)])
                    told(done := done + 1, {})
                changes[training, group] = [fmean(column) for column in zip(*losses, strict=True)]
    return changes
