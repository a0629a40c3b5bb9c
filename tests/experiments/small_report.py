"""A search of a small UNet with invented scores, as a report shows it."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace

import torch

from experiments.report.data import ReportData, SampleSet
from search.action import Action, removals
from search.decision import Candidate, Decision
from supernet.architecture import Architecture, BlockId
from supernet.inventory import take_inventory, unet_config
from supernet.parts import Inventory, Part

CAPTION = "a <script>alert('red')</script> circle"


class AreaLatency:
    """A latency model in the place of a table: parts cost what they touch."""

    table = SimpleNamespace(metadata=SimpleNamespace(name="area <1>"))

    def __init__(self, inventory: Inventory) -> None:
        self.inventory = inventory

    def __call__(self, architecture: Architecture) -> float:
        return sum(self._part_ms(part) for part in self.inventory.parts(architecture))

    def saved_by_removing(self, block: BlockId) -> float:
        found = self.inventory.by_id[block]
        kept = self._part_ms(found.remainder) if found.remainder else 0.0
        return self._part_ms(found.part) - kept

    def _part_ms(self, part: Part) -> float:
        scale = {"resnet": 2.0, "cross_attention": 3.0}.get(part.signature.kind, 1.0)
        return scale * part.signature.height * part.signature.in_channels / 1000


def small_latency() -> AreaLatency:
    """Of a UNet of two stages."""
    config = {
        "sample_size": 16,
        "block_out_channels": (32, 64),
        "down_block_types": ("CrossAttnDownBlock2D", "DownBlock2D"),
        "up_block_types": ("UpBlock2D", "CrossAttnUpBlock2D"),
        "cross_attention_dim": 16,
        "attention_head_dim": 2,
        "norm_num_groups": 8,
    }
    return AreaLatency(take_inventory(unet_config(config)))


def small_decisions(latency: AreaLatency) -> tuple[Decision, ...]:
    """Two removals, a training that raises the CLIP score, and one addition."""
    full = latency.inventory.full()
    first, second = BlockId("resnet", "down.0", 0), BlockId("cross_attention", "up.1", 1)
    removal = _decide(latency, 1, "remove", full, (Action(-1, second), Action(-1, first)))
    grown = Action(1, BlockId("cross_attention", "mid", 0))
    return removal, _decide(latency, 2, "add", removal.after, (grown,))


def _decide(
    latency: AreaLatency,
    round_: int,
    phase: str,
    before: Architecture,
    taken: tuple[Action, ...],
) -> Decision:
    clip = 0.25 + 0.01 * round_
    actions = list(removals(before)) if phase == "remove" else list(taken)
    candidates = []
    for i, action in enumerate(actions):
        delta_ms = latency(action.apply(before)) - latency(before)
        delta = 0.002 * i * action.change
        candidates.append(Candidate(action, clip + delta, delta, 0.003, delta_ms, 32))
    after = before
    on_top = []
    for action in taken:
        [alone] = [c for c in candidates if c.action == action]
        on_top.append(replace(alone, delta_clip=alone.delta_clip - 0.01))
        after = action.apply(after)
    return Decision(
        round=round_,
        phase=phase,
        weights=f"weights {round_}",
        before=before,
        clip_before=clip,
        latency_before_ms=latency(before),
        candidates=tuple(candidates),
        executed=tuple(on_top),
        after=after,
        clip_after=clip - 0.005,
        latency_after_ms=latency(after),
    )


def small_data(latency: AreaLatency) -> ReportData:
    """A search that has ended after its two decisions."""
    images = torch.rand(2, 3, 8, 8, generator=torch.Generator().manual_seed(0))
    samples = SampleSet("base", images, (CAPTION, "a square"), (0.25, 0.27))
    return ReportData(
        title="run & report",
        inventory=latency.inventory,
        decisions=small_decisions(latency),
        latency=latency,
        target_ms=5.0,
        samples=(samples, replace(samples, title="found")),
        result={
            "unet_ms_before": 10.0,
            "unet_ms_after": 6.0,
            "clip_before": 0.27,
            "clip_after": 0.26,
            "caption_accuracy_before": 0.9,
            "caption_accuracy_after": 0.85,
            "wall_s": 75.0,
        },
        commands=("evounet search demo.toml",),
    )
