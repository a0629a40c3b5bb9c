"""The paper's published architecture and figures against ours, and its whole pipeline in one run.

Parameters and latencies are counted from configurations and tables. The shapes world's whole run
is that of the preset ``shapes_full``; its factors stand beside the paper's.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from rich.console import Console

from evaluators.latency import TableLatency
from experiments.benchmarks.ablation import Ablation, ablation_figures
from experiments.benchmarks.benchmark import Figure, Goal
from experiments.benchmarks.searches import QUICK_SEARCH
from experiments.experiment import load_experiment
from experiments.run_log import RunLog
from experiments.unets import choose_unet
from experiments.whole.folder import WholeFolder
from experiments.whole.measures import WholeComparison
from experiments.whole.published import (
    EFFICIENT_PARAMETERS,
    SNAP_FUSION,
    STABLE_DIFFUSION,
    efficient,
    without_highest_attention,
)
from experiments.whole.run import run_whole
from experiments.whole.stages import WholeRun
from experiments.whole.timing import Factors
from latency_tables import LatencyTable, known_tables
from supernet.architecture import UNetConfig
from supernet.inventory import take_inventory

# Published counts (BK-SDM, arXiv 2305.15798, and Stable Diffusion v1.5) and what is changed in SD
# v1.5's configuration for them.
_COUNTED: dict[str, tuple[dict[str, Any], int]] = {
    "sd15": ({}, 859_520_964),
    "bk_sdm_base": ({"layers_per_block": 1}, 579_384_964),
    "bk_sdm_small": ({"layers_per_block": 1, "mid_block_type": None}, 482_346_884),
}


@dataclass(frozen=True)
class _Size:
    """How much is done: changes to the preset, and the ablation."""

    overrides: tuple[str, ...]
    ablation: Ablation


_WHOLE = _Size((), Ablation(prompts=64, steps=8, blocks=None))
_QUICK = _Size(
    (
        *QUICK_SEARCH,
        "decoder.pairs.count=16",
        "decoder.pairs.sampling.num_inference_steps=4",
        "decoder.training.steps=2",
        "steps.pictures=64",
        'steps.stages=[{name = "efficient-8", kind = "distillation", teacher = "base", '
        'student = "search", teacher_steps = 16, training = { student_steps = 8, steps = 1, '
        "batch_size = 4, warmup_steps = 0 }}]",
        "whole.timed=2",
    ),
    Ablation(prompts=4, steps=1, blocks=1),
)


def run(quick: bool, console: Console) -> list[Figure]:
    """Do the whole run, count, predict and ablate; nothing is kept."""
    with TemporaryDirectory() as name:
        return run_in(Path(name), quick, console)


def run_in(folder: Path, quick: bool, console: Console) -> list[Figure]:
    """The same in a folder, where stages of the whole run that are done are not done again."""
    size = _QUICK if quick else _WHOLE
    experiment = load_experiment(Path("shapes_full"), size.overrides)
    run_folder = WholeFolder(folder / "run")
    run_folder.begin(experiment, overwrite=False)
    with run_folder.locked():
        comparison = run_whole(WholeRun(experiment, run_folder, RunLog(console, run_folder.log)))
    for line in comparison.shortfall():
        console.print(line, soft_wrap=True)
    ablation = ablation_figures(size.ablation, console)
    return [*_whole(comparison), *_counts(), *_predicted(), *ablation]


def _whole(comparison: WholeComparison) -> Iterator[Figure]:
    """The factors of the shapes world's run beside the paper's."""
    ours, paper = comparison.factors, Factors.between(STABLE_DIFFUSION, SNAP_FUSION)
    base, final = comparison.base, comparison.final
    timed = f"{base.times.steps} steps of the base against {final.times.steps}; shapes world"
    count = len(base.pictures.images)
    yield Figure(
        "wall_speedup",
        ours.whole,
        f"time of a picture, {base.times.picture_ms:.0f} over {final.times.picture_ms:.0f} ms, "
        f"{timed}; the paper's: {paper.whole:.1f}",
        goal=Goal(">=", 43),
    )
    yield Figure(
        "clip_ratio",
        comparison.clip_ratio,
        f"CLIP of the final pipeline over that of the base's {base.times.steps} steps; {count} "
        "held-out captions; spread: 95 % interval",
        comparison.clip_interval,
        Goal(">=", 1),
    )
    if comparison.fid_ratio is not None:
        yield Figure("fid_ratio", comparison.fid_ratio, "FID likewise", goal=Goal("<=", 1.05))
    factors = (
        ("unet_speedup", ours.unet, paper.unet, "time of a UNet step, base over final"),
        ("steps_factor", ours.steps, paper.steps, "steps, base over final"),
        ("decoder_speedup", ours.decoder, paper.decoder, "time of the image decoder likewise"),
        ("text_encoder_speedup", ours.text_encoder, paper.text_encoder, "time of the text encoder"),
    )
    for name, own, published, what in factors:
        yield Figure(name, own, f"{what}; the paper's: {published:.2f}")


def _counts() -> Iterator[Figure]:
    """Parameters by our inventory, of models whose number is published."""
    base = choose_unet("sd15").inventory
    for name, (changes, published) in _COUNTED.items():
        inventory = take_inventory(UNetConfig.of({**base.config.values, **changes}))
        counted = inventory.parameters(inventory.full())
        yield Figure(
            f"{name}_parameters_off",
            abs(counted - published),
            f"parameters counted ({counted:,}) against those published",
            goal=Goal("<=", 0),
        )
    table, attention = (
        base.parameters(of(base.full())) / 1e6 for of in (efficient, without_highest_attention)
    )
    yield Figure(
        "efficient_table_parameters_m",
        table,
        "M parameters of the efficient UNet by the paper's Table 3, shortcuts of removed ResNets "
        f"with it; published: {EFFICIENT_PARAMETERS / 1e6:.0f}",
    )
    yield Figure(
        "without_highest_attention_parameters_m",
        attention,
        "M parameters without the cross-attention at the highest resolution alone, likewise",
    )


def _predicted() -> Iterator[Figure]:
    """Latency of SD v1.5's UNet over that of the paper's efficient one, by every shipped table."""
    unet = choose_unet("sd15")
    inventory = unet.inventory
    full = inventory.full()
    paper = Factors.between(STABLE_DIFFUSION, SNAP_FUSION)
    for name, table in known_tables(unet=unet.arguments).items():
        if isinstance(table, LatencyTable) and table.covers(inventory.all_signatures()):
            latency = TableLatency(inventory, table)
            before, after = latency(full), latency(efficient(full))
            yield Figure(
                f"efficient_speedup_{name.replace('-', '_')}",
                before / after,
                f"SD v1.5's UNet over the paper's efficient one by table {name}: {before:,.0f} "
                f"over {after:,.0f} ms; the paper measured {paper.unet:.1f} on its phones",
            )
