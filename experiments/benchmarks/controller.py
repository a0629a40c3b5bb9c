"""What the controller itself takes of a decision, beside the evaluators.

The largest UNet that is supported, layer by layer, with a made-up table and made-up scores: what
is timed is only what the search does with them.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from datetime import date
from statistics import median

import torch
from rich.console import Console
from torch import Tensor

from evaluators.job import Job, Scores
from evaluators.latency import TableLatency
from experiments.benchmarks.benchmark import Figure, Goal
from experiments.progress import track
from experiments.unets import choose_unet
from latency_tables import LatencyRow, LatencyTable, TableMetadata
from search.action import removals
from search.evaluations import Evaluations
from search.round import Round
from search.settings import EvolutionSettings
from search.store import EvaluationStore
from search.strategies import STRATEGIES
from supernet.architecture import Architecture, BlockId
from supernet.block_groups import Grouping, block_groups
from supernet.inventory import take_inventory
from supernet.parts import Inventory

_GROUPS: tuple[Grouping, ...] = ("layer", "stage")
_PROMPTS = 256
_RECORDED, _QUICK_RECORDED = 10_000, 500
_REPEATED, _QUICK_REPEATED = 5, 2
_TO_GO = 0.92  # of the base's latency: what a round is asked for


class _MadeUp:
    """Scores by a formula: every block is worth something, and prompts disagree about it."""

    def __init__(self, full: Architecture) -> None:
        generator = torch.Generator().manual_seed(0)
        blocks = list(full)
        worth = torch.rand(len(blocks), generator=generator).tolist()
        self._worth: dict[BlockId, float] = dict(zip(blocks, worth, strict=True))
        self._noise = torch.randn(_PROMPTS, generator=generator)

    def load_weights(self, weights: Mapping[str, Tensor]) -> str:
        return "made up"

    def scores(self, jobs: Sequence[Job]) -> Iterator[tuple[Job, Scores]]:
        for job in jobs:
            lost = sum(self._worth[block] for block in job.architecture.removed)
            rows = self._noise.roll(len(job.architecture.removed))[job.rows]
            yield job, Scores(tuple((0.9 - 0.002 * lost + 0.002 * lost**0.5 * rows).tolist()))


def overhead(quick: bool, console: Console) -> Figure:
    """Time that a round takes where every score that it asks for is recorded already."""
    config = choose_unet("sdxl").inventory.config
    inventory = take_inventory(config, granularity="transformer_layer")
    full, latency = inventory.full(), _latency(inventory)
    groups = [group for each in _GROUPS for group in block_groups(full, each)]
    actions = sum(1 for _ in removals(full, groups))
    store = EvaluationStore(None, "made up")
    evaluations = Evaluations(_MadeUp(full), store, _PROMPTS, latency)
    evaluations.use({}, 1)
    goal_ms = _TO_GO * latency(full)
    settings = EvolutionSettings(target_ms=goal_ms, groups=_GROUPS)

    def decide() -> tuple[float, int]:
        start = time.perf_counter()
        question = Round(full, goal_ms, latency, evaluations, settings, 32, groups=groups)
        after = STRATEGIES["evolution"].choose(question).after
        return 1000 * (time.perf_counter() - start), len(question.removed(after))

    decide()  # whatever it asks for is recorded now
    recorded = _QUICK_RECORDED if quick else _RECORDED
    _record(evaluations, full, recorded - len(store), console)
    took = [decide() for _ in range(_QUICK_REPEATED if quick else _REPEATED)]
    per_decision = [ms / removed for ms, removed in took]
    return Figure(
        "controller_ms_per_decision",
        median(per_decision),
        f"time of a round by blocks removed ({took[0][1]}) at {actions} actions on {_PROMPTS} "
        f"prompts and {len(store)} recorded evaluations, racing and refinement included; median "
        f"of {len(took)} rounds; spread: least and most",
        spread=(min(per_decision), max(per_decision)),
        goal=Goal("<=", 50),
    )


def _latency(inventory: Inventory) -> TableLatency:
    """A millisecond for every thousand million of multiply-accumulates."""
    about = TableMetadata(
        name="made-up",
        device="none",
        chip="none",
        os="none",
        runtime="torch",
        runtime_version="none",
        precision="fp32",
        method="derived",
        measured_how="made up from multiply-accumulates",
        measured_at=date.today(),
        command="evounet bench search",
    )
    rows = {
        part.signature: LatencyRow(max(part.macs / 1e9, 1e-3), 0.0, 1)
        for part in inventory.possible_parts()
    }
    return TableLatency(inventory, LatencyTable(about, rows))


def _record(evaluations: Evaluations, full: Architecture, count: int, console: Console) -> None:
    """So many further evaluations, of architectures that lack random blocks."""
    generator = torch.Generator().manual_seed(1)
    blocks = list(full)
    with track(console, "controller: recording", count) as on_progress:
        for done in range(count):
            gone = torch.rand(len(blocks), generator=generator) < 0.5
            lacking = full.without(b for b, out in zip(blocks, gone.tolist(), strict=True) if out)
            evaluations.first(16, [lacking])
            on_progress(done + 1, {})
