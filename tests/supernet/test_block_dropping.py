"""Which architectures a step of robust training runs."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
import torch

from supernet.architecture import CROSS_ATTENTION, RESNET, Architecture, BlockId
from supernet.block_dropping import (
    BlockDropping,
    keep_probabilities,
    sample_architecture,
    sample_passes,
)
from supernet.supernet import Supernet

ATTENTION = BlockId(CROSS_ATTENTION, "up.1", 0)
MID = BlockId(RESNET, "mid", 0)
HALF = BlockDropping(keep_prob=0.5)


def sampled(
    architecture: Architecture, seed: int, dropping: BlockDropping, step: int = 0
) -> Architecture:
    generator = torch.Generator().manual_seed(seed)
    return sample_architecture(architecture, dropping, step, generator)


def passes_of(
    architecture: Architecture, seed: int = 0, batch_size: int = 3, step: int = 0, **fields: Any
) -> list[list[Architecture]]:
    generator = torch.Generator().manual_seed(seed)
    passes = sample_passes(architecture, BlockDropping(**fields), step, batch_size, generator)
    return [list(each) for each in passes]


def kept_share(architecture: Architecture, sampled: Architecture) -> float:
    running = [block for block, count in architecture.blocks if count]
    return sum(sampled[block] > 0 for block in running) / len(running)


@pytest.mark.parametrize("keep_prob", [(0.5, 0.5), (0.9, 0.9), (0.2, 0.8), (0.5, 1.0)])
def test_blocks_are_kept_with_the_drawn_probability(
    supernet: Supernet, keep_prob: tuple[float, float]
) -> None:
    """The share of kept blocks follows the one probability that a step draws."""
    low, high = keep_prob
    drawn, kept = [], []
    for seed in range(400):
        share = torch.rand((), generator=torch.Generator().manual_seed(seed)).item()
        drawn.append(low + (high - low) * share)
        lighter = sampled(supernet.full(), seed, BlockDropping(keep_prob=keep_prob))
        kept.append(kept_share(supernet.full(), lighter))
    drawn_probability, kept_blocks = torch.tensor(drawn), torch.tensor(kept)
    assert kept_blocks.mean().item() == pytest.approx((low + high) / 2, abs=0.03)
    assert (kept_blocks - drawn_probability).mean().item() == pytest.approx(0, abs=0.03)
    if high > low:
        correlation = torch.corrcoef(torch.stack([drawn_probability, kept_blocks]))[0, 1]
        assert correlation > 0.6


def test_every_block_is_dropped_now_and_then(supernet: Supernet) -> None:
    dropped: set[BlockId] = set()
    for seed in range(60):
        dropped.update(sampled(supernet.full(), seed, HALF).removed)
    assert dropped == set(supernet.full())


def test_keep_probability_one_keeps_all(supernet: Supernet) -> None:
    for seed in range(20):
        assert sampled(supernet.full(), seed, BlockDropping(keep_prob=1)) == supernet.full()


def test_removed_blocks_stay_away_and_copies_go_together(supernet: Supernet) -> None:
    largest = supernet.full().with_multiplicities({ATTENTION: 0, MID: 2})
    counts = set()
    for seed in range(40):
        lighter = sampled(largest, seed, HALF)
        assert lighter[ATTENTION] == 0
        counts.add(lighter[MID])
    assert counts == {0, 2}


# --- probabilities by kind, stage, depth and step


def test_the_most_specific_key_holds(supernet: Supernet) -> None:
    by = {"cross_attention up.1": 0.9, "up.1": (0.5, 0.7), "cross_attention": 0.3}
    dropping = BlockDropping(keep_prob=0.1, by=by)
    keep = keep_probabilities(supernet.full(), dropping, 0, u=0.5)
    expected = {
        block: (0.9 if block.stage == "up.1" else 0.3)
        if block.kind == CROSS_ATTENTION
        else (0.6 if block.stage == "up.1" else 0.1)
        for block in supernet.full()
    }
    assert keep == pytest.approx(expected)


def test_transformer_layers_follow_cross_attention_until_they_are_named() -> None:
    layer: Any = SimpleNamespace(kind="transformer_layer", stage="down.0")
    attention = {"cross_attention": 0.5, "cross_attention down.0": 0.6}
    assert BlockDropping(by=attention).range_of(layer) == (0.6, 0.6)
    named = BlockDropping(keep_prob=0.9, by={**attention, "transformer_layer": 0.7})
    assert named.range_of(layer) == (0.7, 0.7)
    elsewhere = BlockDropping(keep_prob=0.9, by={**attention, "transformer_layer mid": 0.7})
    assert elsewhere.range_of(layer) == (0.9, 0.9)


@pytest.mark.parametrize("key", ["atention", "down.9", "cross_attention down.1", "resnet mid/0"])
def test_a_key_that_means_no_block_is_refused(supernet: Supernet, key: str) -> None:
    with pytest.raises(ValueError, match=r"there are: resnet, cross_attention, down\.0,") as error:
        BlockDropping(by={"resnet": 0.5, key: 0.5}).check(supernet.full())
    assert f"dropping.by: no block is of '{key}'" in str(error.value)
    BlockDropping(by={"resnet": 1, "mid": 1, "resnet down.1": 1}).check(supernet.full())


def test_deeper_blocks_are_dropped_more_under_linear_depth(supernet: Supernet) -> None:
    """1 - l / L (1 - p), over the blocks that run, for block l in forward order."""
    architecture = supernet.full().without([ATTENTION])
    dropping = BlockDropping(keep_prob=0.4, depth="linear")
    keep = keep_probabilities(architecture, dropping, 0, u=0.0)
    running = [block for block in sorted(supernet.full()) if block != ATTENTION]
    assert list(keep) == running
    expected = [1 - (place + 1) / len(running) * 0.6 for place in range(len(running))]
    assert list(keep.values()) == pytest.approx(expected)


def test_the_drop_rate_rises_from_nothing(supernet: Supernet) -> None:
    dropping = BlockDropping(keep_prob=(0.2, 0.6), anneal_steps=10)
    for step, rate in [(0, 0.0), (1, 0.06), (5, 0.3), (10, 0.6), (99, 0.6)]:
        keep = keep_probabilities(supernet.full(), dropping, step, u=0.5)
        assert list(keep.values()) == pytest.approx([1 - rate] * len(keep))
    assert sampled(supernet.full(), 0, dropping, step=0) == supernet.full()


# --- passes


def test_a_step_runs_one_architecture_for_the_whole_batch(supernet: Supernet) -> None:
    [architectures] = passes_of(supernet.full(), keep_prob=0.5, per="batch")
    assert architectures == [sampled(supernet.full(), 0, HALF)] * 3


def test_every_picture_draws_for_itself(supernet: Supernet) -> None:
    [architectures] = passes_of(supernet.full(), batch_size=200, per="sample", keep_prob=(0.2, 1.0))
    assert len({each.id for each in architectures}) > 150
    u = torch.rand((), generator=torch.Generator().manual_seed(0)).item()
    for block in supernet.full():
        share = sum(each[block] for each in architectures) / len(architectures)
        assert share == pytest.approx(0.2 + 0.8 * u, abs=0.12)


def test_a_sandwich_is_the_largest_the_smallest_and_random_ones(supernet: Supernet) -> None:
    largest = supernet.full().without([ATTENTION])
    passes = passes_of(largest, keep_prob=0.5, by={"mid": 1}, sandwich=2, per="batch")
    assert all(len(set(each)) == 1 and len(each) == 3 for each in passes)
    first, smallest, *random = [each[0] for each in passes]
    assert first == largest
    assert smallest == largest.without(block for block in largest if block.stage != "mid")
    assert len({each.id for each in random} - {first.id, smallest.id}) == 2
